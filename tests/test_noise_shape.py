"""How the power of the noise depends on frequency."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import data
from skimage.restoration import denoise_nl_means

from napari_blind_deconv.numerics.noise_shape import WHITE_NOISE, NoiseColour, NoiseShape
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.synthetic import fluorescence_scene

FREQUENCIES = np.meshgrid(*[2 * np.pi * np.fft.fftfreq(16)] * 2, indexing="ij")
RADIUS = np.hypot(*FREQUENCIES) / (2 * np.pi)  # cycles per pixel


@pytest.fixture(scope="module")
def exposure() -> np.ndarray:
    kernel = gaussian_kernel((17, 17), 2.6)
    return fluorescence_scene((192, 192), kernel=kernel).observed.astype(np.float64)


def smoothed(image: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(image, 0.7)


def shifted(image: np.ndarray) -> np.ndarray:
    return ndimage.shift(image, (0.5, 0.5), order=1)[4:, 4:]


def power_of(filtered) -> np.ndarray:
    """Return |T|² of a filter at `FREQUENCIES`, from its response to a point."""
    point = np.zeros((64, 64))
    point[32, 32] = 1
    response = filtered(point)
    padded = np.zeros((64, 64))
    padded[: response.shape[0], : response.shape[1]] = response
    return np.abs(np.fft.fft2(padded))[::4, ::4] ** 2


class TestColour:
    def test_an_exposure_has_white_noise(self, exposure):
        shape = NoiseShape.of(exposure)
        assert shape.colour is NoiseColour.WHITE
        assert shape.is_white
        assert shape.spectrum is None

    @pytest.mark.parametrize("filtered", [smoothed, shifted])
    def test_filters_are_recognised(self, exposure, filtered):
        shape = NoiseShape.of(filtered(exposure))
        assert shape.colour is NoiseColour.FILTERED
        measured, true = shape.power(FREQUENCIES), power_of(filtered)
        clear = (RADIUS > 0.22) & (true > 0.05)
        ratio = measured[clear] / true[clear]
        assert np.abs(np.log(ratio / np.median(ratio))).max() < np.log(2)
        # Below, it is continued like a Gaussian filter.
        low = RADIUS < 0.2
        ratio = measured[low] / true[low] / np.median(ratio)
        assert 0.5 < ratio.min() <= ratio.max() < 2

    def test_denoising_is_recognised(self, exposure):
        denoised = denoise_nl_means(exposure, h=4.0, sigma=4.0, patch_size=5, patch_distance=6)
        assert NoiseShape.of(denoised).colour is NoiseColour.PROCESSED

    @pytest.mark.parametrize("name", ["camera", "grass", "brick", "gravel"])
    @pytest.mark.parametrize("sigma", [0.0, 2.0])
    def test_photographs_are_not_filtered(self, name, sigma):
        photograph = getattr(data, name)()[:256, :256].astype(float)
        blurred = ndimage.gaussian_filter(photograph, sigma)
        noisy = blurred + np.random.default_rng(0).normal(0, 2, blurred.shape)
        assert NoiseShape.of(photograph).colour is not NoiseColour.FILTERED
        assert NoiseShape.of(noisy).colour is NoiseColour.WHITE

    @pytest.mark.parametrize("shape", [(10, 200), (16, 16), (40, 40)])
    def test_in_small_images_it_cannot_be_told(self, shape):
        noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 1)
        assert NoiseShape.of(noise).is_white

    def test_gain_and_offset_do_not_matter(self, exposure):
        one, other = (NoiseShape.of(smoothed(a)) for a in (exposure, 3 * exposure + 7))
        np.testing.assert_allclose(one.spectrum, other.spectrum, rtol=1e-6)

    def test_rows_and_columns_are_treated_alike(self, exposure):
        image = ndimage.gaussian_filter(exposure, (0.5, 1.0))
        one, other = NoiseShape.of(image), NoiseShape.of(image.T)
        np.testing.assert_allclose(one.spectrum, other.spectrum.T, rtol=1e-6)

    def test_pixels_that_are_not_valid_do_not_matter(self, exposure):
        image = smoothed(exposure)
        valid = np.ones(image.shape, bool)
        valid[40:80, 30:90] = False
        one, other = (NoiseShape.of(np.where(valid, image, a), valid) for a in (0.0, 1e6))
        np.testing.assert_array_equal(one.spectrum, other.spectrum)
        assert NoiseShape.of(image, np.zeros(image.shape, bool)).is_white

    def test_an_image_of_one_value(self):
        assert NoiseShape.of(np.ones((128, 128))).is_white


@pytest.fixture(scope="module")
def filtered(exposure) -> NoiseShape:
    return NoiseShape.of(smoothed(exposure))


class TestPower:
    def test_white_noise_has_the_same_power_everywhere(self):
        assert (WHITE_NOISE.power(FREQUENCIES) == 1).all()
        assert WHITE_NOISE.is_recorded(FREQUENCIES).all()
        assert WHITE_NOISE.neighbour_correlation == 0
        assert WHITE_NOISE.response(np.array([[1.0, -2.0, 1.0]])) == pytest.approx(6)

    def test_the_mean_power_is_one(self, filtered):
        assert filtered.power(FREQUENCIES).mean() == pytest.approx(1)
        assert filtered.response(np.ones((1, 1))) == pytest.approx(1)

    def test_the_power_at_a_frequency_does_not_depend_on_the_grid(self, filtered):
        fine = np.meshgrid(*[2 * np.pi * np.fft.fftfreq(64)] * 2, indexing="ij")
        np.testing.assert_allclose(filtered.power(fine)[::4, ::4], filtered.power(FREQUENCIES))
        broadcast = filtered.power(np.ix_(fine[0][:, 0], fine[1][0]))
        np.testing.assert_allclose(broadcast, filtered.power(fine))

    def test_neighbours_are_correlated_like_filtered_noise(self, filtered):
        noise = smoothed(np.random.default_rng(1).normal(size=(300, 300)))
        true = (noise[1:] * noise[:-1]).mean() / noise.var()
        assert filtered.neighbour_correlation == pytest.approx(true, abs=0.1)
        mask = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
        response = ndimage.convolve(noise, mask).var() / noise.var()
        assert filtered.response(mask) == pytest.approx(response, rel=0.5)

    def test_a_filter_that_leaves_nothing_is_noticed(self, exposure):
        strong = NoiseShape.of(ndimage.gaussian_filter(exposure, 1.2))
        recorded = strong.is_recorded(FREQUENCIES)
        assert recorded[RADIUS < 0.3].all()
        assert not recorded[RADIUS > 0.5].any()
        assert strong.power(FREQUENCIES).min() > 0
