"""Damaged or absurd files, pixels, settings and paths: one sentence each, and no file is left."""

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
EXIT_CODES = {0, 1, 2, 3}
IMAGE = fluorescence_scene((40, 48)).observed


def run(*arguments: object) -> tuple[int, str]:
    """Return exit code and output; any exception other than `SystemExit` is raised."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def exit_code_of_run(folder: Path, *options: object) -> int:
    """Deconvolve the file in a folder, check the outcome, and return the exit code."""
    (source,) = folder.iterdir()
    output = folder / "result.ome.tif"
    code, output_text = run("run", source, output, *TINY, *options)
    assert code in EXIT_CODES, output_text
    assert "Traceback" not in output_text
    if code in (0, 3):
        assert tifffile.imread(output).size > 0
    else:
        assert "error:" in output_text
        assert output_text.split("error:")[1].strip().endswith("."), output_text
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


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("write", WRITERS)
def test_corrupt_files(tmp_path, write: Callable[[Path], None], seed: int):
    """Bytes are changed, cut off, doubled or removed, mostly in the header."""
    random = np.random.default_rng(seed)
    for kind in ("change", "cut", "double", "remove", "header"):
        folder = tmp_path / kind
        folder.mkdir()
        path = folder / "image.tif"
        write(path)
        content = bytearray(path.read_bytes())
        at = int(random.integers(len(content)))
        if kind == "change":
            for offset in random.integers(0, len(content), 20):
                content[offset] = random.integers(256)
        elif kind == "cut":
            del content[at:]
        elif kind == "double":
            content[at:at] = content[at : at + 64]
        elif kind == "remove":
            del content[at : at + 64]
        else:
            for offset in random.integers(4, min(400, len(content)), 3):
                content[offset] = random.integers(256)
        path.write_bytes(content)
        exit_code_of_run(folder)


@pytest.mark.parametrize("side", [10**5, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("tag", [256, 257])
def test_headers_with_a_false_size(tmp_path, tag, side):
    path = tmp_path / "image.tif"
    write_plain(path)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages.first.tags[tag].valueoffset
        order = tiff.byteorder
        kind = "H" if tiff.pages.first.tags[tag].dtype.name == "SHORT" else "I"
    content = bytearray(path.read_bytes())
    struct.pack_into(order + kind, content, offset, min(side, 65535 if kind == "H" else side))
    path.write_bytes(content)
    assert exit_code_of_run(tmp_path) != 0


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
    monkeypatch.setattr(da.Array, "compute", lambda *_: pytest.fail("the plane was read"))
    code, output_text = run("run", tmp_path / "image.zarr", tmp_path / "out.ome.zarr", *TINY)
    assert code == 2
    assert "GiB" in output_text
    assert not (tmp_path / "out.ome.zarr").exists()


def hostile_images() -> Iterator[tuple[str, np.ndarray]]:
    """Yield images that are known to cause errors in such software."""
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


@pytest.mark.parametrize(
    ("name", "pixels"), list(hostile_images()), ids=lambda value: str(value)[:20]
)
def test_hostile_pixels(name, pixels):
    """For each type of pixels, a result as finite as the image, or a refusal in one sentence."""
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
        np.testing.assert_array_equal(
            np.isfinite(result.image), np.isfinite(image), f"{name}, {kind}"
        )
        assert np.isfinite(result.kernel.weights).all()
        assert result.kernel.weights.sum() == pytest.approx(1, abs=1e-3)
        json.dumps(result.provenance())


@pytest.mark.parametrize("kind", ["bool", "complex64", "datetime64[s]", "U3", "O"])
def test_types_that_are_not_numeric(kind):
    with pytest.raises((TypeError, ValueError)):
        deconvolve(np.ones((40, 48)).astype(kind), QUICK)


def nonsense(random: np.random.Generator) -> object:
    """Return a value that (almost) no setting allows."""
    values = [None, True, -1, 0, 1e308, float("nan"), "", "x" * 1000, [], {}, [[1]], {"a": 1}, "😀"]
    return values[int(random.integers(len(values)))]


@pytest.mark.parametrize("seed", range(6))
def test_sidecars_with_wrong_values(tmp_path, seed):
    random = np.random.default_rng(seed)
    source, output = tmp_path / "image.tif", tmp_path / "out.tif"
    write_plain(source)
    code, output_text = run("run", source, output, *TINY)
    assert code == 0, output_text
    good = json.loads((tmp_path / "out.tif.json").read_text(encoding="utf-8"))
    output.unlink()
    for _ in range(20):
        record = json.loads(json.dumps(good))
        job = record["job"]
        fields = job["settings"] if random.random() < 0.6 else job
        name = random.choice([*fields, "surprise"])
        fields[name] = nonsense(random)
        if name == "output":
            continue  # the user may choose any output
        sidecar = tmp_path / "tampered.json"
        sidecar.write_text(json.dumps(record))
        code, output_text = run("run", "--from-sidecar", sidecar, "--overwrite")
        assert code in (0, 1, 2), output_text
        assert "Traceback" not in output_text
        assert code == 0 or "error:" in output_text
    for text in ("", "{", "[]", "null", '{"job": 3}', "\x00"):
        sidecar.write_text(text)
        code, output_text = run("run", "--from-sidecar", sidecar)
        assert code == 2
        assert "is not the sidecar" in output_text


@pytest.mark.parametrize(
    "text",
    [
        *("max_iterations=1e9", "channels=[]", "channels=8", "sparsity=NaN", "=", "a", "window=-1"),
        *("huber_delta=[1]", "precision=float8", "kernel_size=[3,4,5]", "seeds=1"),
    ],
)
def test_impossible_settings(tmp_path, text):
    write_plain(tmp_path / "image.tif")
    code, output_text = run("run", tmp_path / "image.tif", tmp_path / "out.tif", "--set", text)
    assert code == 2, output_text
    assert "error:" in output_text


def test_outputs_that_cannot_be_written(tmp_path):
    source = tmp_path / "image.tif"
    write_plain(source)
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "link.tif").symlink_to(source)
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "nowhere" / "x.tif")
    before = source.read_bytes()
    for name in ("folder.tif", "link.tif", "nowhere/out.tif", "out.png", "out", "image.tif"):
        code, output_text = run("run", source, tmp_path / name, *TINY)
        assert code == 2, f"{name}: {output_text}"
        assert "error:" in output_text
    for name in ("loop.tif", "dangling.tif"):
        code, output_text = run("run", source, tmp_path / name, *TINY)
        assert code in (0, 2), output_text
    code, output_text = run("run", source, tmp_path / "link.tif", *TINY, "--overwrite")
    assert code == 2, "the link points to the input"
    assert source.read_bytes() == before


def test_inputs_that_are_not_images(tmp_path):
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.tif").write_text("not an image")
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    for name in ("empty.tif", "text.tif", "folder", "broken.zarr", "nothing.tif", ""):
        code, output_text = run("run", tmp_path / name, tmp_path / "out.tif", *TINY)
        assert code == 2, f"{name}: {output_text}"
        assert "error:" in output_text
