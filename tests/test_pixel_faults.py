"""Pixels that are no image: each kind is found where it was put, and hardly anything else is."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.pixel_faults import (
    PixelFault,
    counted,
    fill,
    find_faults,
    pixel_noise,
)
from napari_blind_deconv.synthetic import fluorescence_scene

SIDE = 96


@pytest.fixture(scope="module")
def exposure() -> np.ndarray:
    """A blurred scene with photon noise, in counts of a 16-bit camera."""
    kernel = gaussian_kernel((13, 13), 1.6)
    return fluorescence_scene((SIDE, SIDE), kernel=kernel).observed.astype(np.float64)


def as_8_bits(image: np.ndarray) -> np.ndarray:
    """With an offset, without which a border of zeros is like a clipped background."""
    return np.round(30 + 225 * (image - image.min()) / np.ptp(image))


def as_floats(image: np.ndarray) -> np.ndarray:
    """Without digital steps, as after a flat-field correction."""
    return image * np.random.default_rng(9).uniform(0.99, 1.01, image.shape) / 1000


TYPES = pytest.mark.parametrize(
    "converted", [np.asarray, as_8_bits, as_floats], ids=["16 bits", "8 bits", "floats"]
)

# Areas without image, and the value in them as a function of the image.
AREAS = {
    "border": (np.s_[:, :12], lambda image: 0.0),
    "border of one pixel": (np.s_[:, :1], lambda image: 0.0),
    "border on the right": (np.s_[:, -5:], lambda image: 0.0),
    "border at the bottom": (np.s_[-1:], lambda image: 0.0),
    "corner": (np.s_[:20, :30], lambda image: 0.0),
    "scale bar": (np.s_[80:84, 50:80], lambda image: 2.0 * image.max()),
    "dead column": (np.s_[:, 50:51], lambda image: 0.0),
    "stuck row": (np.s_[30:31], lambda image: 2.0 * image.max()),
    "dead column beside the border": (np.s_[:, 1:2], lambda image: 0.0),
    "part of a column": (np.s_[20:70, 33:34], lambda image: 0.0),
}


class TestFlatAreas:
    @TYPES
    @pytest.mark.parametrize("name", AREAS)
    def test_they_are_found_with_the_pixels_beside_them(self, exposure, name, converted):
        image = converted(exposure).copy()
        area, value = AREAS[name]
        expected = np.zeros(image.shape, bool)
        expected[area] = True
        image[area] = value(image)
        faults = find_faults(image)
        assert (faults[expected] == PixelFault.FLAT).all()
        beside = ndimage.binary_dilation(expected, np.ones((3, 3)), iterations=2)
        # Noise may have the value of the area by chance.
        assert np.count_nonzero(faults[~beside]) <= 10

    @pytest.mark.parametrize("converted", [np.asarray, as_floats], ids=["16 bits", "floats"])
    def test_a_gap_at_the_median_is_found(self, exposure, converted):
        """With 8 bits, neighbours of one value are too frequent to tell."""
        image = converted(exposure).copy()
        image[:, 40:52] = np.median(image)
        faults = find_faults(image)
        assert (faults[:, 40:52] == PixelFault.FLAT).all()
        assert np.count_nonzero(np.delete(faults, np.s_[38:54], 1)) <= 10

    def test_text_is_found(self, exposure):
        text = np.repeat(np.repeat(np.eye(5, dtype=bool) | np.eye(5, dtype=bool)[::-1], 3, 0), 3, 1)
        image = exposure.copy()
        image[5:20, 5:20][text] = 60_000
        faults = find_faults(image)
        assert (faults[5:20, 5:20][text] != 0).mean() > 0.9
        assert not faults[24:, 24:].any()

    def test_areas_that_the_microscope_imaged_end_gradually(self):
        """A clipped background and a saturated object are of one value, but end without a jump."""
        random = np.random.default_rng(0)
        light = ndimage.gaussian_filter((random.random((128, 128)) > 0.999) * 1e4, 3)
        clipped = np.clip(random.poisson(light) - 5.0, 0, 60)
        assert (clipped == 0).mean() > 0.2
        faults = find_faults(clipped)
        assert set(counted(faults)) <= {PixelFault.SATURATED}
        assert (clipped[faults > 0] == 60).all()


class TestSpikes:
    @TYPES
    @pytest.mark.parametrize("factor", [-1.0, 1.0, 20.0])
    def test_hot_and_dead_pixels_are_found(self, exposure, converted, factor):
        image = converted(exposure).copy()
        at = (np.array([0, 10, 30, 60, 95, 95]), np.array([40, 95, 70, 20, 0, 50]))
        image[at] += factor * 3 * np.ptp(image)
        faults = find_faults(image)
        assert (faults[at] == PixelFault.HOT).all()
        assert np.count_nonzero(faults) <= len(at[0]) + 2

    def test_a_pair_is_found(self, exposure):
        image = exposure.copy()
        image[40, 50:52] = 60_000
        assert (find_faults(image)[40, 50:52] == PixelFault.HOT).all()

    @pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
    @pytest.mark.parametrize("is_noisy", [False, True])
    def test_a_bead_is_none(self, sigma, is_noisy):
        image = np.zeros((64, 64))
        image[30, 34] = 5000
        image = 10 + ndimage.gaussian_filter(image, sigma)
        if is_noisy:
            image = np.random.default_rng(0).poisson(image)
        assert not find_faults(image.astype(float)).any()

    def test_photons_on_a_dark_background_are_none(self):
        """Most pixels count no photon, so that more than half of the differences are 0."""
        random = np.random.default_rng(0)
        beads = ndimage.gaussian_filter((random.random((128, 128)) > 0.99) * 1.0, 1.5)
        for photons in (0.02, 0.3, 3.0):
            image = random.poisson(0.02 + photons * beads / beads.max()).astype(float)
            assert np.count_nonzero(find_faults(image)) <= 2

    def test_noise_on_a_clipped_background_is_none(self):
        random = np.random.default_rng(0)
        image = np.clip(random.normal(-5, 5, (128, 128)), 0, None).round()
        assert not find_faults(image).any()

    def test_if_a_tenth_of_the_pixels_is_hot_they_are_the_image(self):
        random = np.random.default_rng(0)
        image = 100.0 + random.normal(0, 1, (64, 64))
        image[::3, ::3] += 1000
        assert not find_faults(image).any()


class TestSaturation:
    @TYPES
    def test_pixels_at_the_limit_of_the_detector_are_found(self, exposure, converted):
        image = converted(exposure)
        limit = np.percentile(image, 97)
        faults = find_faults(np.minimum(image, limit))
        assert (faults[image >= limit] == PixelFault.SATURATED).all()
        assert not faults[image < limit].any()

    def test_the_brightest_pixels_of_few_photons_are_not_saturated(self):
        image = np.minimum(np.random.default_rng(0).poisson(0.1, (300, 300)), 3).astype(float)
        assert (image == image.max()).sum() >= 9
        assert not find_faults(image).any()


class TestUndisturbed:
    @TYPES
    def test_an_exposure(self, exposure, converted):
        assert not find_faults(converted(exposure)).any()

    def test_a_blurred_scene_without_noise(self):
        scene = ndimage.gaussian_filter(np.random.default_rng(0).random((96, 96)), 3)
        assert not find_faults(scene).any()

    def test_a_gradient_of_8_bits(self):
        gradient = np.round(np.linspace(20, 60, 128)[None, :] + np.linspace(0, 9, 96)[:, None])
        assert not find_faults(gradient).any()

    @pytest.mark.parametrize("name", ["camera", "brick", "grass", "cell", "text", "clock"])
    def test_sharp_photographs(self, name):
        """Single pixels of a sharp photograph may be taken for hot ones."""
        image = getattr(data, name)().astype(float)
        faults = find_faults(image)
        assert set(counted(faults)) <= {PixelFault.HOT}
        assert np.count_nonzero(faults) < 5e-4 * image.size

    def test_an_image_of_one_value(self):
        assert not find_faults(np.full((20, 20), 7.0)).any()

    def test_a_large_dark_background(self):
        random = np.random.default_rng(0)
        rows, columns = np.mgrid[:128, :128]
        light = 5000 * np.exp(-((rows - 40) ** 2 + (columns - 50) ** 2) / 200)
        image = (100 + random.poisson(light) + random.normal(0, 2, light.shape)).round()
        assert np.count_nonzero(find_faults(image)) <= 2


@pytest.fixture(scope="module")
def disturbed(exposure) -> np.ndarray:
    image = np.minimum(exposure, np.percentile(exposure, 98))
    image[:, :5] = 0
    image[60, 70] = image[20, 80] = 40_000
    image[70:74, 40:70] = 30_000
    image[10:14, 30:34] = np.nan
    image[50, 50] = np.inf
    return image


class TestProperties:
    def test_all_kinds_in_one_image(self, disturbed):
        faults = find_faults(disturbed)
        assert set(counted(faults)) == set(PixelFault) - {PixelFault.NONE, PixelFault.MASKED}
        not_finite = ~np.isfinite(disturbed)
        np.testing.assert_array_equal(faults == PixelFault.NOT_FINITE, not_finite)

    @pytest.mark.parametrize(("gain", "offset"), [(4.0, 0.0), (0.25, -64.0), (1.0, 1024.0)])
    def test_gain_and_offset_do_not_matter(self, disturbed, gain, offset):
        np.testing.assert_array_equal(
            find_faults(gain * disturbed + offset), find_faults(disturbed)
        )

    def test_rows_and_columns_are_treated_alike(self, disturbed):
        """The noise is measured along rows only, so that a few pixels may differ."""
        same = find_faults(disturbed) == find_faults(disturbed.T).T
        assert same.mean() > 0.999

    def test_rows_without_a_number(self, exposure):
        image = exposure.copy()
        image[:7] = np.nan
        faults = find_faults(image)
        assert (faults[:7] == PixelFault.NOT_FINITE).all()
        assert not faults[7:].any()

    def test_an_image_without_a_number(self):
        assert (find_faults(np.full((20, 20), np.nan)) == PixelFault.NOT_FINITE).all()

    def test_areas_are_not_left_out_if_nothing_else_remains(self):
        """As in a drawing, whose pixels all are in areas of one value."""
        drawing = np.zeros((40, 40))
        drawing[:, 20:] = 1
        assert not find_faults(drawing).any()


class TestFill:
    def test_valid_pixels_stay_and_others_do_not_matter(self, exposure):
        valid = np.ones(exposure.shape, bool)
        valid[30:60, 20:50] = valid[:, 90:] = False
        filled = fill(exposure, valid)
        np.testing.assert_array_equal(filled[valid], exposure[valid])
        for value in (np.nan, np.inf, -1e30):
            other = np.where(valid, exposure, value)
            np.testing.assert_array_equal(fill(other, valid), filled)

    def test_the_continuation_has_no_edges(self, exposure):
        valid = np.ones(exposure.shape, bool)
        valid[30:60, 20:50] = False
        inside = fill(exposure, valid)[30:60, 20:50]
        assert exposure.min() <= inside.min() <= inside.max() <= exposure.max()
        assert pixel_noise(inside) < 0.2 * pixel_noise(exposure)

    def test_a_constant_is_continued(self):
        valid = np.zeros((33, 57), bool)
        valid[3, 4] = True
        np.testing.assert_allclose(fill(np.where(valid, 5.0, np.nan), valid), 5.0)

    def test_volumes(self):
        volume = np.random.default_rng(0).random((5, 20, 24))
        valid = volume < 0.8
        filled = fill(volume, valid)
        np.testing.assert_array_equal(filled[valid], volume[valid])
        assert filled[~valid].max() < 0.8


def test_the_noise_is_measured_where_pixels_differ():
    noise = np.random.default_rng(0).normal(0, 3, (100, 100))
    assert pixel_noise(noise) == pytest.approx(3, rel=0.05)
    noise[:, :60] = 0
    assert pixel_noise(noise) == pytest.approx(3, rel=0.1)
    assert pixel_noise(np.ones((9, 9))) == 0


def test_the_noise_is_measured_in_valid_pixels():
    noise = np.random.default_rng(0).normal(0, 3, (100, 100))
    valid = np.ones(noise.shape, bool)
    valid[:, :60] = False
    assert pixel_noise(fill(noise, valid), valid) == pytest.approx(3, rel=0.1)
