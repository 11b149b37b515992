"""The command line: files, exit codes and Ctrl-C."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tests import guard
from tests.command import blind_deconv, command, full_disk

from napari_blind_deconv import Settings

QUICK = [
    *("--set", "channels=[8, 16]"),
    *("--set", "max_iterations=4"),
    *("--set", "kernel_size=9"),
    *("--set", "window=3"),
]


@pytest.fixture
def image(tmp_path, small_scene) -> Path:
    path = tmp_path / "image.tif"
    pixels = np.rint(1000 * np.clip(small_scene[1], 0, 1) + 200).astype(np.uint16)
    tifffile.imwrite(
        path, pixels, imagej=True, resolution=(10, 10), metadata={"axes": "YX", "unit": "um"}
    )
    return path


def test_run_writes_image_kernel_and_trace(image, tmp_path):
    out, kernel, trace = (tmp_path / name for name in ("out.tif", "k.tif", "t.csv"))
    done = blind_deconv(
        "run",
        image,
        out,
        "--kernel-out",
        kernel,
        "--trace-out",
        trace,
        *QUICK,
        "--set",
        "stop_at_noise=false",
    )
    assert done.returncode == 0, done.stderr
    with tifffile.TiffFile(out) as tiff:
        assert tiff.asarray().dtype == np.float32
        assert tiff.asarray().shape == (48, 48)
        assert tiff.imagej_metadata["unit"] == "um"
        assert tiff.pages.first.get_resolution() == pytest.approx((10, 10))
    assert tifffile.imread(kernel).sum() == pytest.approx(1, abs=1e-5)
    rows = list(csv.DictReader(trace.read_text().splitlines()))
    assert [row["iteration"] for row in rows] == [str(n + 1) for n in range(len(rows))]
    assert [row["stage"] for row in rows].count("double-dip") == 4
    assert "double-dip (kept)" in done.stderr
    assert "iteration limit" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["image.tif", "out.tif", "out.tif.json", "k.tif", "t.csv"]
    )


def test_run_keeps_a_given_psf(image, tmp_path):
    psf = np.zeros((7, 7), np.float32)
    psf[2:5, 2:5] = 1
    tifffile.imwrite(tmp_path / "psf.tif", psf)
    arguments = ("run", image, tmp_path / "out.tif", "--psf", tmp_path / "psf.tif")
    done = blind_deconv(*arguments, "--kernel-out", tmp_path / "k.tif", *QUICK)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(tifffile.imread(tmp_path / "k.tif"), psf / 9, atol=1e-6)


def test_a_colour_image_keeps_its_channels(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (20, 22, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", colour)
    done = blind_deconv("run", tmp_path / "in.tif", tmp_path / "out.tif", *QUICK)
    assert done.returncode == 0, done.stderr
    assert tifffile.imread(tmp_path / "out.tif").shape == colour.shape


def test_presets_lists_every_preset():
    done = blind_deconv("presets")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("fast", "draft", "paper-synthetic", "paper-real"))
    assert "max_iterations = 15" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing.tif", "out.tif"), "No such file or directory: "),
        (("text.tif", "out.tif"), "Expected a TIFF file or an OME-Zarr folder"),
        (("nan.tif", "out.tif"), "NaN or infinity in every pixel"),
        (("stack.tif", "out.tif"), "Expected at least one plane"),
        (("image.tif", "nan.tif"), "exists; it is replaced only with --overwrite"),
        (("image.tif", "image.tif"), "more than once"),
        (("image.tif", "out.png"), "ends in .tif or .tiff or .zarr"),
        (("image.tif", "out.tif", "--preset", "best"), "no preset 'best'"),
        (("image.tif", "out.tif", "--device", "tpu"), "got 'tpu'; expected auto, cpu"),
        (("image.tif", "out.tif", "--set", "sharpness=1"), "no setting 'sharpness'"),
        (("image.tif", "out.tif", "--set", "kernel_size=99"), "no larger than the image"),
        (("image.tif", "out.tif", "--psf", "zero.tif"), "a sum of 0"),
        (("image.tif", "out.tif", "--psf", "k.tif", "--kernel-out", "k.tif"), "more than once"),
        (("image.tif", "out.tif", "--seed", "-1"), "got -1; input should be"),
        (("image.tif", "out [b].tif", "--set", "precision=[/b]"), "got '[/b]'"),
        (("image.tif", "out.tif", "--trace-out", "t.txt"), "ends in .csv"),
        (("image.tif", "out.tif", "--kernel-out", "out.tif"), "more than once"),
    ],
)
def test_bad_input_is_reported_in_one_sentence_with_exit_code_2(
    image, tmp_path, arguments, sentence
):
    tifffile.imwrite(tmp_path / "nan.tif", np.full((20, 20), np.nan, np.float32))
    tifffile.imwrite(
        tmp_path / "stack.tif", np.zeros((3, 20, 20), np.uint8), photometric="minisblack"
    )
    tifffile.imwrite(tmp_path / "zero.tif", np.zeros((5, 5), np.float32))
    (tmp_path / "text.tif").write_text("not an image")
    before = sorted(tmp_path.iterdir())
    done = blind_deconv("run", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on file size needs POSIX")
def test_a_full_disk_is_reported_in_one_sentence_and_leaves_no_file(image, tmp_path):
    out = tmp_path / "out.tif"
    with full_disk(4096):
        done = blind_deconv("run", image, out, *QUICK)
    assert done.returncode == 2, done.stderr
    assert "out.tif could not be written (File too large)." in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == [image]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C to one process needs POSIX")
def test_ctrl_c_keeps_the_best_estimate_so_far(image, tmp_path):
    out, trace = tmp_path / "out.tif", tmp_path / "t.csv"
    endless = (
        "--set",
        "stop_at_noise=false",
        "--set",
        "max_iterations=100000",
        "--set",
        "patience=100000",
    )
    process = subprocess.Popen(
        command("run", image, out, "--trace-out", trace, *QUICK, *endless),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("Ctrl-C" in line for line in process.stderr)  # libraries may print warnings before
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=guard.SECONDS)
    assert process.returncode == 130, errors
    assert "best estimate so far was kept" in errors
    assert np.isfinite(tifffile.imread(out)).all()
    assert len(trace.read_text().splitlines()) >= 2


def test_demo_prints_its_gain(tmp_path, monkeypatch):
    quick = Settings(max_iterations=3, channels=(8,), window=2, kernel_start=2.0)
    monkeypatch.setattr(Settings, "preset", classmethod(lambda cls, name: quick))
    done = blind_deconv("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "dB before" in done.stderr.replace("\n", " ")
    suffixes = ("deblurred.tif", "kernel.tif", "summary.png", "trace.csv")
    names = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert names == [f"{name}_{suffix}" for name in ("cell", "scene") for suffix in suffixes]
