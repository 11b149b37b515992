"""Kernels: allowed values, widths and sources."""

import json
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelScope, KernelSource
from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.numerics.location import kernel_centroid
from napari_blind_deconv.numerics.optics import (
    elliptic_gaussian,
    gaussian_kernel,
    line_kernel,
    widefield_psf,
)

FWHM = 2 * np.sqrt(2 * np.log(2))


class TestWidths:
    @pytest.mark.parametrize("axes", [2, 3])
    @pytest.mark.parametrize("sigma", [1.0, 2.0])
    def test_a_gaussian_has_its_width_in_every_direction(self, axes, sigma):
        """Narrow kernels are measured a little too narrow, more so with more axes."""
        widths = KernelWidths.of(gaussian_kernel((17,) * axes, sigma))
        for width in (*widths.along_axes, *widths.principal):
            assert width == pytest.approx(FWHM * sigma, rel=0.07 if axes == 2 else 0.13)
        assert widths.roundness == pytest.approx(1, abs=0.01)

    def test_a_volume_has_three_widths_and_no_angle(self):
        widths = KernelWidths.of(gaussian_kernel((27, 15, 15), (4.0, 2.0, 1.0)))
        assert widths.along_axes == pytest.approx((4 * FWHM, 2 * FWHM, FWHM), rel=0.1)
        assert widths.principal == pytest.approx(widths.along_axes, rel=1e-3)
        assert widths.angle is None

    @pytest.mark.parametrize("angle", [0.0, 20.0, 90.0, 135.0])
    def test_an_ellipse_has_its_angle(self, angle):
        widths = KernelWidths.of(elliptic_gaussian(41, (4.0, 2.0), angle))
        assert widths.principal == pytest.approx((4 * FWHM, 2 * FWHM), rel=0.05)
        assert widths.angle is not None
        assert (widths.angle - angle + 90) % 180 - 90 == pytest.approx(0, abs=1)

    def test_a_line_upwards_to_the_right_has_a_positive_angle(self):
        widths = KernelWidths.of(line_kernel(12, 30))
        assert widths.angle == pytest.approx(30, abs=1)
        assert widths.principal[0] == pytest.approx(12, rel=0.1)
        assert widths.principal[1] < 2

    def test_widths_are_in_the_unit_of_the_pixels(self):
        widths = KernelWidths.of(gaussian_kernel((31, 31), 2.0), (0.2, 0.1))
        assert widths.along_axes == pytest.approx((0.4 * FWHM, 0.2 * FWHM), rel=0.05)
        assert widths.angle == pytest.approx(90)

    def test_the_strongest_component_counts(self):
        kernel = np.zeros((31, 31))
        kernel[5:10, 5:10] = 1.0
        kernel[20:22, 20:22] = 0.7
        assert KernelWidths.of(kernel).along_axes[0] == pytest.approx(5, abs=1.1)


class TestKernel:
    def test_weights_are_normalised_to_sum_one(self):
        kernel = Kernel.of([[0, 2], [4, 2]])
        assert kernel.shape == (3, 3)
        assert kernel.weights.dtype == np.float32
        assert kernel.weights[1, 1] == pytest.approx(0.25)
        assert kernel.weights.sum() == pytest.approx(1)

    def test_a_kernel_can_be_used_as_an_array(self):
        kernel = Kernel(gaussian_kernel((5, 5), 1.0))
        np.testing.assert_array_equal(np.asarray(kernel), kernel.weights)
        assert np.asarray(kernel, np.float64).dtype == np.float64

    @pytest.mark.parametrize("axes", [2, 3])
    def test_the_share_on_the_border_is_measured(self, axes):
        flat = Kernel.of(np.ones((5,) * axes))
        assert flat.border_share == pytest.approx(1 - 0.6**axes)
        assert Kernel(gaussian_kernel((21,) * axes, 1.0)).border_share < 1e-6

    def test_many_weights_take_little_space_in_a_record(self):
        kernel = Kernel.of(gaussian_kernel((61, 61, 61), (4, 2, 2)), pixel_size=(0.3, 0.1, 0.1))
        text = json.dumps(kernel.as_record())
        assert len(text) < 4 * kernel.weights.size
        again = Kernel.from_record(json.loads(text))
        np.testing.assert_array_equal(again.weights, kernel.weights)
        assert again.weights.dtype == np.float32
        plain = kernel.as_record() | {"weights": kernel.weights.tolist()}  # of earlier versions
        np.testing.assert_array_equal(Kernel.from_record(plain).weights, kernel.weights)

    def test_damaged_weights_are_refused(self):
        record = Kernel.of(np.ones((101, 101))).as_record()
        for text in ("%%%", "AAAA", record["weights"]["zlib"][:40]):
            damaged = record | {"weights": {"shape": [101, 101], "zlib": text}}
            with pytest.raises(ValueError, match="Expected the weights of a kernel, got damaged"):
                Kernel.from_record(damaged)

    def test_widths_of_a_large_window_are_those_of_a_small_one(self):
        """Only what is above half the maximum is sampled finely: all of a volume is gigabytes."""
        kernel = np.random.default_rng(0).random((9, 7, 5)) * gaussian_kernel((9, 7, 5), 1.5)
        tracemalloc.start()
        try:
            widths = KernelWidths.of(np.pad(kernel, 12))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 50e6
        np.testing.assert_allclose(widths.along_axes, KernelWidths.of(kernel).along_axes)

    def test_a_kernel_is_restored_from_its_record(self):
        weights = gaussian_kernel((5, 7), 1.0)
        kernel = Kernel(weights, KernelSource.ELONGATED, (0.2, 0.1), "µm", 1.5)
        again = Kernel.from_record(json.loads(json.dumps(kernel.as_record())))
        np.testing.assert_array_equal(again.weights, kernel.weights)
        assert again.source is KernelSource.ELONGATED
        assert (again.pixel_size, again.unit, again.misfit) == ((0.2, 0.1), "µm", 1.5)

    def test_the_name_of_linear_motion_in_version_0_1_0_is_read(self):
        record = Kernel.of(np.ones((1, 5))).as_record() | {"source": "drift"}
        kernel = Kernel.from_record(record)
        assert kernel.source is KernelSource.LINEAR_MOTION
        assert kernel.as_record()["source"] == "linear motion"

    @pytest.mark.parametrize(
        ("weights", "sentence"),
        [
            (np.ones(3), r"Expected a 2D PSF .* got shape \(3,\)"),
            (-np.eye(3), "without negative values, got -1.0"),
            (np.zeros((3, 3)), "got a sum of 0"),
            (np.full((3, 3), np.inf), "NaN or infinite"),
        ],
    )
    def test_invalid_kernels_are_refused_in_one_sentence(self, weights, sentence):
        with pytest.raises(ValueError, match=sentence):
            Kernel.of(weights)

    @pytest.mark.parametrize("weights", [np.full((4, 5), 1 / 20), 5 * gaussian_kernel((5, 5), 1)])
    def test_weights_that_are_not_normalised_are_refused(self, weights):
        with pytest.raises(ValueError, match="odd sides and a sum of 1"):
            Kernel(weights)


class TestScaled:
    @pytest.mark.parametrize("factor", [0.7, 1.3, 1.5])
    @pytest.mark.parametrize("fwhm", [1.5, 2.0, 3.0, 6.0])
    def test_a_gaussian_becomes_the_gaussian_of_the_scaled_width(self, fwhm, factor):
        side = 2 * int(2 * fwhm) + 3
        scaled = Kernel(gaussian_kernel((side, side), fwhm / FWHM)).scaled(factor)
        exact = gaussian_kernel(scaled.shape, factor * fwhm / FWHM)
        np.testing.assert_allclose(transfer(scaled.weights), transfer(exact), atol=0.01)

    @pytest.mark.parametrize("factor", [0.7, 1.3])
    @pytest.mark.parametrize(
        "weights",
        [
            elliptic_gaussian(31, (3.0, 1.5), 30),
            ndimage.gaussian_filter(line_kernel(12, 30), 1.5),
            widefield_psf(31, numerical_aperture=0.7, wavelength=0.52, pixel_size=0.1),
            gaussian_kernel((15, 17, 21), (2.2, 2.5, 3.0)),
        ],
        ids=["ellipse", "motion", "Airy", "volume"],
    )
    def test_every_family_is_scaled_in_all_directions(self, weights, factor):
        kernel = Kernel.of(weights)
        scaled = kernel.scaled(factor)
        assert scaled.widths.principal == pytest.approx(
            [factor * width for width in kernel.widths.principal], rel=0.04
        )
        if scaled.widths.angle is not None and kernel.widths.roundness < 0.9:
            assert scaled.widths.angle == pytest.approx(kernel.widths.angle, abs=1)

    def test_the_central_element_stays_the_centre(self):
        weights = np.zeros((21, 21), np.float32)
        weights[10, 14] = 1
        kernel = Kernel.of(ndimage.gaussian_filter(weights, 1.0))
        assert kernel_centroid(kernel.scaled(1.5).weights) == pytest.approx((0, 6), abs=0.01)

    @pytest.mark.parametrize(
        ("factor", "shape"), [(0.7, (9, 15)), (1.1, (13, 23)), (1.5, (17, 31))]
    )
    def test_the_window_is_odd_and_holds_the_scaled_kernel(self, factor, shape):
        scaled = Kernel.of(np.ones((11, 21))).scaled(factor)
        assert scaled.shape == shape
        assert scaled.weights.dtype == np.float32
        assert scaled.weights.min() >= 0
        assert scaled.weights.sum() == pytest.approx(1, abs=1e-5)

    def test_what_is_known_of_the_kernel_is_kept(self):
        kernel = Kernel(gaussian_kernel((9, 9), 1.5), KernelSource.GAUSSIAN, (0.1, 0.1), "µm", 1.2)
        scaled = kernel.scaled(1.2)
        assert (scaled.source, scaled.pixel_size, scaled.misfit) == ("Gaussian", (0.1, 0.1), 1.2)

    def test_a_point_and_a_factor_of_1_change_nothing(self):
        padded_point = Kernel(np.pad(np.ones((1, 1), np.float32), 5))
        for kernel in (Kernel.point(), padded_point):
            assert kernel.scaled(1.5) is kernel
        kernel = Kernel(gaussian_kernel((9, 9), 1.5))
        assert kernel.scaled(1.0) is kernel


def transfer(weights: np.ndarray) -> np.ndarray:
    """Return the transfer function of a kernel with its origin at the centre."""
    window = np.zeros((64, 64))
    window[tuple(slice(32 - side // 2, 33 + side // 2) for side in weights.shape)] = weights
    return np.fft.rfft2(np.fft.ifftshift(window))


class TestChoice:
    def test_without_a_choice_the_kernel_is_found(self):
        choice = KernelChoice.of(None)
        assert choice.is_found
        assert choice.scope is KernelScope.CHANNEL

    def test_an_array_is_held_fixed(self):
        choice = KernelChoice.of(np.eye(3))
        assert choice.is_held
        assert choice.kernel is not None
        assert choice.kernel.source is KernelSource.GIVEN

    def test_a_found_kernel_keeps_its_source_when_held(self):
        found = Kernel(gaussian_kernel((5, 5), 1.0), KernelSource.GAUSSIAN)
        assert KernelChoice.of(found).kernel is found

    def test_a_starting_kernel_is_a_guess_whatever_its_source(self):
        found = Kernel(gaussian_kernel((5, 5), 1.0), KernelSource.GAUSSIAN)
        choice = KernelChoice.start_from(found)
        assert not choice.is_held
        assert choice.kernel is not None
        assert choice.kernel.source is KernelSource.GUESS

    def test_a_scope_is_chosen_by_its_name(self):
        assert KernelChoice.of("shared").scope is KernelScope.STACK
        with pytest.raises(ValueError, match=r"Expected 'per-channel', .* got 'best'"):
            KernelChoice.of("best")
