"""Images on a finer grid than that on which they were sampled."""

import math

import numpy as np
import pytest

from napari_blind_deconv import KernelChoice, Settings, deconvolve, iterate
from napari_blind_deconv.engine.sampling import SampledGrid
from napari_blind_deconv.image import Image
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.reasons import Finding
from napari_blind_deconv.synthetic import fluorescence_scene

LINEAR = Settings(solver="wiener", kernel_start=1.5)
FACTORS = pytest.mark.parametrize("factors", [(2, 2), (3, 1), (1, 2), (4, 4)])


@pytest.fixture(scope="module")
def exposure() -> np.ndarray:
    return fluorescence_scene((40, 48), kernel=gaussian_kernel((11, 11), 1.5)).observed


def repeated(pixels: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    for axis, factor in enumerate(factors):
        pixels = np.repeat(pixels, factor, axis)
    return pixels


class TestGrid:
    @FACTORS
    def test_repeats_are_recognised(self, exposure, factors):
        large = Image(repeated(exposure, factors))
        grid = SampledGrid.of(large)
        assert grid.factors == factors
        np.testing.assert_array_equal(grid.reduced(large).array, exposure)
        np.testing.assert_array_equal(grid.expanded(exposure), large.array)

    def test_the_first_and_the_last_sample_may_be_cut(self, exposure):
        large = Image(repeated(exposure, (3, 3))[1:-2, 2:-1])
        grid = SampledGrid.of(large)
        np.testing.assert_array_equal(grid.reduced(large).array, exposure)
        np.testing.assert_array_equal(grid.expanded(exposure), large.array)

    def test_colour(self, exposure):
        colour = np.stack([exposure, exposure.T[:40, :].repeat(2, 1)[:, :48], exposure], axis=-1)
        large = Image(repeated(colour, (2, 2)), "YXS")
        grid = SampledGrid.of(large)
        assert grid.factors == (2, 2)
        np.testing.assert_array_equal(grid.reduced(large).array, colour)

    def test_volumes_may_have_repeated_planes(self, exposure):
        volume = np.random.default_rng(0).poisson(np.stack([exposure] * 16))
        large = Image(repeated(volume, (2, 1, 1)), "ZYX", space="ZYX")
        assert SampledGrid.of(large).factors == (2, 1, 1)

    def test_repeated_numbers_may_be_nan(self, exposure):
        image = exposure.astype(float)
        image[3:6] = image[20, 5] = np.nan
        large = Image(repeated(image, (2, 2)))
        grid = SampledGrid.of(large)
        assert grid.factors == (2, 2)
        np.testing.assert_array_equal(grid.reduced(large).array, image)

    def test_the_size_of_the_samples(self, exposure):
        image = Image(repeated(exposure, (4, 2)), spacing={"Y": 0.1, "X": 0.2}, unit="µm")
        assert SampledGrid.of(image).reduced(image).pixel_size == (0.4, 0.4)

    def test_a_sample_is_left_out_if_one_of_its_pixels_is(self, exposure):
        masked = np.zeros((80, 96), bool)
        masked[11, 21] = masked[40:43, 60:64] = True
        image = Image(repeated(exposure, (2, 2)), masked=masked)
        reduced = SampledGrid.of(image).reduced(image).masked
        expected = np.zeros(exposure.shape, bool)
        expected[5, 10] = expected[20:22, 30:32] = True
        np.testing.assert_array_equal(reduced, expected)

    @pytest.mark.parametrize(
        "pixels",
        [
            fluorescence_scene((40, 48)).observed,
            np.tile(np.arange(40.0)[:, None], (1, 48)),
            np.ones((40, 48)),
            np.zeros((0, 0)),
            np.zeros((1, 40)),
        ],
        ids=["exposure", "gradient", "one value", "nothing", "one row"],
    )
    def test_other_images_are_left_alone(self, pixels):
        assert SampledGrid.of(Image(pixels)) is None

    def test_empty_rows_are_no_repeats(self, exposure):
        image = exposure.copy()
        image[4:9] = image[30:] = 0
        assert SampledGrid.of(Image(image)) is None


class TestRuns:
    @FACTORS
    def test_the_result_is_that_of_the_samples(self, exposure, factors):
        small, large = (
            deconvolve(image, LINEAR) for image in (exposure, repeated(exposure, factors))
        )
        np.testing.assert_array_equal(large.image, repeated(small.image, factors))
        np.testing.assert_array_equal(large.trust.residual, repeated(small.trust.residual, factors))
        np.testing.assert_array_equal(large.kernel.weights, small.kernel.weights)
        assert large.findings == {Finding.REPEATED: max(factors)}
        assert (large.flags, large.stop_reason) == (small.flags, small.stop_reason)

    def test_the_kernel_has_the_pixel_size_of_the_samples(self, exposure):
        image = Image(repeated(exposure, (2, 2)), spacing={"Y": 0.1, "X": 0.1}, unit="µm")
        assert deconvolve(image, LINEAR).kernel.pixel_size == (0.2, 0.2)

    def test_a_given_psf_is_on_the_grid_of_the_pixels(self, exposure):
        psf = gaussian_kernel((23, 23), 3.0)
        result = deconvolve(
            repeated(exposure, (2, 2)), LINEAR.with_changes(kernel_start="auto"), kernel=psf
        )
        assert Finding.REPEATED not in result.findings
        np.testing.assert_array_equal(result.kernel.weights, psf)

    def test_a_kernel_that_was_found_is_on_the_grid_of_the_samples(self, exposure):
        large = repeated(exposure, (2, 2))
        found = deconvolve(large, solver="wiener")
        again = deconvolve(large, solver="wiener", kernel=KernelChoice.hold(found.kernel))
        assert Finding.REPEATED in again.findings
        np.testing.assert_array_equal(again.kernel.weights, found.kernel.weights)

    def test_snapshots_have_the_pixels_of_the_image(self, exposure):
        steps = list(iterate(repeated(exposure, (2, 2)), LINEAR, preview_seconds=0))
        images = [snapshot.image for snapshot in steps if snapshot.image is not None]
        assert images
        assert {image.shape for image in images} == {(80, 96)}

    def test_masked_pixels_are_those_of_the_input(self, exposure):
        masked = np.zeros((80, 96), bool)
        masked[21:33, 40:51] = True
        large = repeated(exposure, (2, 2))
        result = deconvolve(Image(large, masked=masked), LINEAR)
        np.testing.assert_array_equal(result.image[masked], large[masked])
        assert np.isfinite(result.image).all()
        assert set(result.findings) == {Finding.REPEATED, Finding.MASKED}

    def test_errors_are_raised_before_the_first_iteration(self, exposure):
        masked = np.ones((80, 80), bool)
        with pytest.raises(ValueError, match="at least half valid"):
            iterate(repeated(exposure[:20, :20], (4, 4)), LINEAR, mask=masked)


def test_the_greatest_common_divisor_decides(exposure):
    """Repeats by 2 of which some are equal: the grid is that of the finest changes."""
    image = exposure[:20].copy()
    image[5] = image[4]
    assert SampledGrid.of(Image(repeated(image, (2, 1)))).factors == (math.gcd(2, 4), 1)


def test_a_drawing_with_few_edges_has_no_grid():
    drawing = np.zeros((80, 80))
    drawing[20:40, 40:60] = 1
    assert SampledGrid.of(Image(drawing)) is None
