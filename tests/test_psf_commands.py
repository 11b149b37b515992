"""The commands that make a PSF, and that `--psf` reads what they write."""

import numpy as np
import pytest
import tifffile
from tests.command import LINEAR, blind_deconv

from napari_blind_deconv import Optics, microscope_psf, prepare_psf
from napari_blind_deconv.io.images import read_psf
from napari_blind_deconv.numerics.optics import gaussian_kernel

OBJECTIVE = ("--na", 1.4, "--wavelength", 525, "--immersion", "oil")
CALIBRATED = {"imagej": True, "resolution": (10, 10), "metadata": {"axes": "YX", "unit": "um"}}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {}),
        (
            ("--confocal", "--excitation", 488, "--pinhole", 0.5),
            {"microscope": "confocal", "excitation_wavelength": 0.488, "pinhole": 0.5},
        ),
        (
            ("--two-photon", "--excitation", 900),
            {"microscope": "two-photon", "excitation_wavelength": 0.9},
        ),
        (("--light-sheet", 2), {"microscope": "light-sheet", "sheet_thickness": 2.0}),
        (("--sample-index", 1.33, "--depth", 4), {"sample_index": 1.33, "depth": 4.0}),
    ],
)
def test_a_computed_psf_is_written_with_its_voxels(tmp_path, options, expected):
    out = tmp_path / "psf.tif"
    sides = ("--pixel-size", "0.2,0.08,0.08", "--shape", "15,31,31")
    done = blind_deconv("psf", out, *OBJECTIVE, *sides, *options)
    assert done.returncode == 0, done.stderr
    kernel = read_psf(out)
    assert kernel.pixel_size == pytest.approx((0.2, 0.08, 0.08))
    optics = Optics(1.4, 1.515, (0.525,))
    made = microscope_psf(optics, (0.2, 0.08, 0.08), shape=(15, 31, 31), **expected)
    np.testing.assert_allclose(kernel, prepare_psf(made), atol=1e-7)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((*OBJECTIVE,), "Expected the pixel size of the PSF"),
        (("--pixel-size", 0.1, "--wavelength", 525), "Expected a numerical aperture"),
        ((*OBJECTIVE, "--pixel-size", 0.1, "--confocal"), "Expected an excitation wavelength"),
        (
            (*OBJECTIVE, "--pixel-size", 0.1, "--confocal", "--two-photon"),
            "one kind of microscope, got confocal and two-photon",
        ),
        ((*OBJECTIVE, "--pixel-size", 0.1, "--shape", "a"), "Expected sides in pixels"),
    ],
)
def test_what_is_missing_is_said(tmp_path, options, sentence):
    refused = blind_deconv("psf", tmp_path / "psf.tif", *options)
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert not (tmp_path / "psf.tif").exists()


@pytest.fixture
def beads(tmp_path):
    image = np.full((150, 150), 100.0)
    for row, column in ((40, 40), (110, 50), (75, 110)):
        image[row - 15 : row + 16, column - 15 : column + 16] += 5e4 * gaussian_kernel((31, 31), 2)
    counts = np.random.default_rng(0).poisson(image).astype(np.uint16)
    tifffile.imwrite(tmp_path / "beads.tif", counts, **CALIBRATED)
    return tmp_path / "beads.tif"


def test_beads_become_a_psf_that_a_run_takes_at_another_pixel_size(beads, tmp_path, small_scene):
    psf, image, out = (tmp_path / name for name in ("psf.tif", "image.tif", "out.tif"))
    done = blind_deconv("psf-beads", beads, psf, "--bead-diameter", 0.2)
    assert done.returncode == 0, done.stderr
    assert "Average of 3 beads; FWHM Y 0.4" in done.stderr
    kernel = read_psf(psf)
    assert kernel.pixel_size == pytest.approx((0.1, 0.1))
    assert kernel.widths.along_axes == pytest.approx((4.71, 4.71), rel=0.05)
    finer = {**CALIBRATED, "resolution": (20, 20)}
    tifffile.imwrite(image, (1000 * small_scene[1] + 300).astype(np.float32), **finer)
    kernels = tmp_path / "k.tif"
    ran = blind_deconv("run", image, out, "--psf", psf, "--kernel-out", kernels, *LINEAR)
    assert ran.returncode == 0, ran.stderr
    assert "was resampled to those of the image, 0.05 × 0.05 µm" in ran.stderr
    assert read_psf(kernels).widths.along_axes == pytest.approx((9.42, 9.42), rel=0.05)


def test_picked_beads_are_used(beads, tmp_path):
    done = blind_deconv("psf-beads", beads, tmp_path / "psf.tif", "--at", "39,41")
    assert done.returncode == 0, done.stderr
    assert "Average of 1 bead;" in done.stderr


@pytest.mark.parametrize(
    ("at", "sentence"),
    [("39", "Expected 2 numbers for the position of each bead"), ("a,b", "Expected a position")],
)
def test_impossible_positions_are_refused(beads, tmp_path, at, sentence):
    refused = blind_deconv("psf-beads", beads, tmp_path / "psf.tif", "--at", at)
    assert refused.returncode == 2
    assert sentence in refused.stderr


def test_an_image_without_beads_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "dark.tif", np.random.default_rng(0).poisson(99, (64, 64)))
    refused = blind_deconv("psf-beads", tmp_path / "dark.tif", tmp_path / "psf.tif")
    assert refused.returncode == 2
    assert "Expected an isolated bead in the image" in refused.stderr
