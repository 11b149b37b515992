"""Files, pixels, settings and places nobody should have: one sentence each, nothing left behind."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from napari_blind_deconv import DeconvolutionError, Settings, deconvolve
from napari_blind_deconv.cli import app
from napari_blind_deconv.synthetic import fluorescence_scene

TINY = ["--set", "solver=wiener", "--set", "kernel_start=1.5"]
QUICK = Settings(channels=(8,), max_iterations=2, kernel_features=16)
ACCEPTED = {0, 1, 2, 3}
IMAGE = fluorescence_scene((40, 48)).observed


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and what was said; anything but a plain exit is raised."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def survives(folder: Path, *options: object) -> int:
    """Sharpen the file in a folder, and check how that ended."""
    (source,) = folder.iterdir()
    output = folder / "result.ome.tif"
    code, said = run("run", source, output, *TINY, *options)
    assert code in ACCEPTED, said
    assert "Traceback" not in said
    if code in (0, 3):
        assert tifffile.imread(output).size > 0
    else:
        assert "error:" in said
        assert said.split("error:")[1].strip().endswith("."), said
        assert not output.exists()
    return code


def write_plain(path: Path) -> None:
    tifffile.imwrite(path, IMAGE)


def write_imagej(path: Path) -> None:
    stack = np.stack([IMAGE, IMAGE[::-1]])
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX", "unit": "um"})


def write_ome(path: Path) -> None:
    tifffile.imwrite(path, IMAGE[None], ome=True, metadata={"axes": "CYX", "PhysicalSizeX": 0.1})


def write_deflated(path: Path) -> None:
    tifffile.imwrite(path, IMAGE, compression="zlib", tile=(16, 16))


def write_colour(path: Path) -> None:
    tifffile.imwrite(path, np.repeat(IMAGE[..., None], 3, axis=2), photometric="rgb")


WRITERS = (write_plain, write_imagej, write_ome, write_deflated, write_colour)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("write", WRITERS)
def test_corrupt_files(tmp_path, write: Callable[[Path], None], seed: int):
    """Bytes changed, cut off, doubled or taken out, most of them in the header."""
    random = np.random.default_rng(seed)
    for kind in ("change", "cut", "double", "remove", "header"):
        folder = tmp_path / kind
        folder.mkdir()
        path = folder / "image.tif"
        write(path)
        content = bytearray(path.read_bytes())
        at = int(random.integers(len(content)))
        if kind == "change":
            for place in random.integers(0, len(content), 20):
                content[place] = random.integers(256)
        elif kind == "cut":
            del content[at:]
        elif kind == "double":
            content[at:at] = content[at : at + 64]
        elif kind == "remove":
            del content[at : at + 64]
        else:
            for place in random.integers(4, min(400, len(content)), 3):
                content[place] = random.integers(256)
        path.write_bytes(content)
        survives(folder)


@pytest.mark.parametrize("side", [10**5, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("tag", [256, 257])
def test_headers_that_lie_about_the_size(tmp_path, tag, side):
    path = tmp_path / "image.tif"
    write_plain(path)
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages.first.tags[tag].valueoffset
        order = tiff.byteorder
        kind = "H" if tiff.pages.first.tags[tag].dtype.name == "SHORT" else "I"
    content = bytearray(path.read_bytes())
    struct.pack_into(order + kind, content, place, min(side, 65535 if kind == "H" else side))
    path.write_bytes(content)
    assert survives(tmp_path) != 0


def test_a_plane_beyond_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """A few kilobytes of compressed zeros that declare a plane of many gigabytes."""
    group = zarr.open_group(tmp_path / "image.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=(400_000, 400_000), dtype="u2", chunks=(1000, 1000))
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0]}]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": axes,
            "datasets": [{"path": "0", "coordinateTransformations": scale}],
        }
    ]
    monkeypatch.setattr(da.Array, "compute", lambda *_: pytest.fail("it was read"))
    code, said = run("run", tmp_path / "image.zarr", tmp_path / "out.ome.zarr", *TINY)
    assert code == 2
    assert "GiB" in said
    assert not (tmp_path / "out.ome.zarr").exists()


def pictures() -> Iterator[tuple[str, np.ndarray]]:
    """Pixels that have broken such software before."""
    random = np.random.default_rng(0)
    plain = IMAGE.astype(np.float64)
    one = np.zeros((40, 48))
    one[20, 24] = 1
    hot = np.full((40, 48), 100.0)
    hot += random.normal(0, 1, hot.shape)
    hot[7, 9] = 60_000
    yield "zeros", np.zeros((40, 48))
    yield "zero but one", one
    yield "one hot pixel", hot
    yield "offset of 33 000", plain + 33_000
    yield "negative", plain - 500
    yield "saturated", np.clip(plain, 0, 130)
    yield "two values", (plain > 150).astype(float)
    yield "checkerboard", np.indices((40, 48)).sum(axis=0) % 2 * 100.0
    yield "stripes", np.tile([0.0, 100.0], (40, 24))
    yield "noise", random.normal(size=(40, 48))
    yield "poisson of nothing", random.poisson(0.01, (40, 48)).astype(float)
    yield "ramp", np.add.outer(np.arange(40.0), np.arange(48.0))
    yield "a line", plain[:1]
    yield "a column", plain[:, :1]
    yield "a pixel", plain[:1, :1]
    yield "nothing", plain[:0]
    yield "narrow", np.tile(plain, (1, 8))[:16]
    yield "NaN", np.where(one > 0, np.nan, plain)
    yield "all NaN", np.full((40, 48), np.nan)
    yield "infinity", np.where(one > 0, np.inf, plain)
    yield "minus infinity", np.where(one > 0, -np.inf, plain)
    yield "denormal", plain * 1e-310
    yield "tiny", plain * 1e-30
    yield "huge", plain * 1e30
    yield "beyond float32", plain * 1e300
    yield "hardly any contrast", 1e9 + plain * 1e-7
    yield "four axes", plain[None, None]
    yield "a stack", np.stack([plain, plain])


KINDS = ("float64", "float32", "uint8", ">u2", "int64")


@pytest.mark.parametrize(("name", "pixels"), list(pictures()), ids=lambda value: str(value)[:20])
def test_hostile_pixels(name, pixels):
    """A finite result, or a refusal in one sentence; whatever the type."""
    for kind in KINDS:
        with np.errstate(all="ignore"):
            image = pixels.astype(kind)
        try:
            result = deconvolve(image, QUICK)
        except (ValueError, TypeError, DeconvolutionError) as refusal:
            sentence = str(refusal)
            assert sentence.endswith("."), f"{name}, {kind}: {sentence}"
            assert "\n" not in sentence
            continue
        assert result.image.shape == image.shape
        assert np.isfinite(result.image).all(), f"{name}, {kind}"
        assert np.isfinite(result.kernel.weights).all()
        assert result.kernel.weights.sum() == pytest.approx(1, abs=1e-3)
        json.dumps(result.provenance())


@pytest.mark.parametrize("kind", ["bool", "complex64", "datetime64[s]", "U3", "O"])
def test_types_that_are_no_numbers(kind):
    with pytest.raises((TypeError, ValueError)):
        deconvolve(np.ones((40, 48)).astype(kind), QUICK)


def nonsense(random: np.random.Generator) -> object:
    """A value that no setting should take, or hardly any."""
    values = [None, True, -1, 0, 1e308, float("nan"), "", "x" * 1000, [], {}, [[1]], {"a": 1}, "😀"]
    return values[int(random.integers(len(values)))]


@pytest.mark.parametrize("seed", range(6))
def test_sidecars_that_were_tampered_with(tmp_path, seed):
    random = np.random.default_rng(seed)
    source, output = tmp_path / "image.tif", tmp_path / "out.tif"
    write_plain(source)
    code, said = run("run", source, output, *TINY)
    assert code == 0, said
    good = json.loads((tmp_path / "out.tif.json").read_text(encoding="utf-8"))
    output.unlink()
    for _ in range(20):
        record = json.loads(json.dumps(good))
        job = record["job"]
        where = job["settings"] if random.random() < 0.6 else job
        name = random.choice([*where, "surprise"])
        where[name] = nonsense(random)
        if name == "output":
            continue  # where to write is the user's to say
        sidecar = tmp_path / "tampered.json"
        sidecar.write_text(json.dumps(record))
        code, said = run("run", "--from-sidecar", sidecar, "--overwrite")
        assert code in (0, 1, 2), said
        assert "Traceback" not in said
        assert code == 0 or "error:" in said
    for text in ("", "{", "[]", "null", '{"job": 3}', "\x00"):
        sidecar.write_text(text)
        code, said = run("run", "--from-sidecar", sidecar)
        assert code == 2
        assert "is not the sidecar" in said


@pytest.mark.parametrize(
    "text",
    [
        *("max_iterations=1e9", "channels=[]", "channels=8", "sparsity=NaN", "=", "a", "window=-1"),
        *("huber_delta=[1]", "precision=float8", "kernel_size=[3,4,5]", "seeds=1"),
    ],
)
def test_settings_that_cannot_be(tmp_path, text):
    write_plain(tmp_path / "image.tif")
    code, said = run("run", tmp_path / "image.tif", tmp_path / "out.tif", "--set", text)
    assert code == 2, said
    assert "error:" in said


def test_places_to_write_that_are_none(tmp_path):
    source = tmp_path / "image.tif"
    write_plain(source)
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "link.tif").symlink_to(source)
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "nowhere" / "x.tif")
    before = source.read_bytes()
    for name in ("folder.tif", "link.tif", "nowhere/out.tif", "out.png", "out", "image.tif"):
        code, said = run("run", source, tmp_path / name, *TINY)
        assert code == 2, f"{name}: {said}"
        assert "error:" in said
    for name in ("loop.tif", "dangling.tif"):
        code, said = run("run", source, tmp_path / name, *TINY)
        assert code in (0, 2), said
    code, said = run("run", source, tmp_path / "link.tif", *TINY, "--overwrite")
    assert code == 2, "what the link leads to is the input"
    assert source.read_bytes() == before


def test_inputs_that_are_none(tmp_path):
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.tif").write_text("not a picture")
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    for name in ("empty.tif", "text.tif", "folder", "broken.zarr", "nothing.tif", ""):
        code, said = run("run", tmp_path / name, tmp_path / "out.tif", *TINY)
        assert code == 2, f"{name}: {said}"
        assert "error:" in said
