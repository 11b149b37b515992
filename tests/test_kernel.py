"""Kernels: allowed values, widths and sources."""

import json

import numpy as np
import pytest

from napari_blind_deconv.kernel import (
    Kernel,
    KernelChoice,
    KernelScope,
    KernelSource,
    KernelWidths,
)
from napari_blind_deconv.numerics.optics import elliptic_gaussian, gaussian_kernel, line_kernel

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
