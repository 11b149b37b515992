"""Offsets of rows and columns: found if they are there, and only then."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from napari_blind_deconv.numerics.line_offsets import line_offsets
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.synthetic import fluorescence_scene


@pytest.fixture(scope="module")
def exposure() -> np.ndarray:
    kernel = gaussian_kernel((13, 13), 1.6)
    return fluorescence_scene((96, 128), kernel=kernel).observed.astype(np.float64)


NOISE = 4.0  # counts in the dark parts of the exposure, approximately


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_offsets_are_found(exposure, axis, spread):
    true = np.random.default_rng(3).normal(0, spread * NOISE, exposure.shape[axis])
    found = line_offsets(exposure + np.expand_dims(true, 1 - axis), axis)
    # Slow changes along the lines are image, so they are not compared.
    fine = true - ndimage.gaussian_filter1d(true, 3.0)
    assert (found - fine).std() < 0.2 * NOISE
    assert abs(found.mean()) < 0.2 * NOISE


@pytest.mark.parametrize("axis", [0, 1])
def test_they_do_not_depend_on_gain_and_offset(exposure, axis):
    true = np.random.default_rng(3).normal(0, 8, exposure.shape[axis])
    image = exposure + np.expand_dims(true, 1 - axis)
    found = line_offsets(image, axis)
    np.testing.assert_allclose(line_offsets(4 * image + 100, axis), 4 * found, atol=1e-9)
    np.testing.assert_allclose(line_offsets(image.T, 1 - axis), found, atol=1e-9)
    assert not line_offsets(image, 1 - axis).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_pixels_that_are_not_valid_do_not_count(exposure, axis):
    true = np.random.default_rng(3).normal(0, 8, exposure.shape[axis])
    image = np.moveaxis(exposure + np.expand_dims(true, 1 - axis), axis, 0)
    valid = np.ones(image.shape, bool)
    valid[:, : image.shape[1] // 2] = valid[10:12] = False
    found = line_offsets(
        np.moveaxis(np.where(valid, image, 100.0), 0, axis), axis, np.moveaxis(valid, 0, axis)
    )
    fine = true - ndimage.gaussian_filter1d(true, 3.0)
    away = np.ones(len(true), bool)
    away[4:18] = False
    assert (found - fine)[away].std() < 0.5 * NOISE
    assert (found[10:12] == 0).all()


@pytest.mark.parametrize("axis", [0, 1])
class TestNone:
    def test_in_an_exposure(self, exposure, axis):
        assert not line_offsets(exposure, axis).any()

    def test_in_noise(self, axis):
        noise = np.random.default_rng(0).normal(size=(100, 80))
        assert not line_offsets(noise, axis).any()

    @pytest.mark.parametrize("name", ["camera", "brick", "grass", "coins", "cell", "page"])
    def test_in_photographs(self, name, axis):
        photograph = getattr(data, name)().astype(float)
        assert not line_offsets(photograph, axis).any()
        assert not line_offsets(ndimage.gaussian_filter(photograph, 1.5), axis).any()

    def test_in_few_photons(self, axis):
        random = np.random.default_rng(0)
        beads = ndimage.gaussian_filter((random.random((256, 256)) > 0.995) * 1.0, 1.5)
        image = random.poisson(0.02 + 3 * beads / beads.max()).astype(float)
        assert not line_offsets(image, axis).any()

    def test_in_an_image_without_noise(self, axis):
        smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((96, 96)), 3)
        assert not line_offsets(smooth, axis).any()
        assert not line_offsets(np.ones((64, 64)), axis).any()

    def test_in_an_image_too_small_to_tell(self, axis):
        image = np.random.default_rng(0).normal(size=(24, 24))
        image += np.expand_dims(np.arange(24) % 2 * 10.0, 1 - axis)
        assert not line_offsets(image, axis).any()
