"""Widths of kernels whose widths are known."""

import numpy as np
import pytest

from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel
from napari_blind_deconv.numerics.kernel_shape import KernelShape, border_share
from napari_blind_deconv.numerics.optics import elliptic_gaussian, line_kernel

FWHM = 2 * np.sqrt(2 * np.log(2))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_a_gaussian_has_its_width_in_every_direction(sigma):  # narrow ones are a little blunt
    shape = KernelShape.of(gaussian_kernel((41, 41), sigma).numpy())
    for width in (shape.rows, shape.columns, shape.longest, shape.shortest):
        assert width == pytest.approx(FWHM * sigma, rel=0.07)


@pytest.mark.parametrize("angle", [0.0, 20.0, 90.0, 135.0])
def test_an_ellipse_has_its_angle(angle):
    kernel = elliptic_gaussian(41, (4.0, 2.0), angle)
    shape = KernelShape.of(kernel)
    assert shape.longest == pytest.approx(4 * FWHM, rel=0.05)
    assert shape.shortest == pytest.approx(2 * FWHM, rel=0.05)
    assert (shape.angle - angle + 90) % 180 - 90 == pytest.approx(0, abs=1)


def test_a_drift_upwards_to_the_right_has_a_positive_angle():
    shape = KernelShape.of(line_kernel(12, 30))
    assert shape.angle == pytest.approx(30, abs=1)
    assert shape.longest == pytest.approx(12, rel=0.1)
    assert shape.shortest < 2


def test_widths_are_in_the_unit_of_the_pixels():
    kernel = gaussian_kernel((31, 31), 2.0).numpy()
    shape = KernelShape.of(kernel, (0.2, 0.1))
    assert shape.rows == pytest.approx(0.2 * 2 * FWHM, rel=0.05)
    assert shape.columns == pytest.approx(0.1 * 2 * FWHM, rel=0.05)
    assert shape.angle == pytest.approx(90)


def test_the_strongest_piece_counts():
    kernel = np.zeros((31, 31))
    kernel[5:10, 5:10] = 1.0
    kernel[20:22, 20:22] = 0.7
    assert KernelShape.of(kernel).rows == pytest.approx(5, abs=1.1)


def test_what_lies_on_the_border_is_told():
    flat = np.ones((5, 5))
    assert border_share(flat) == pytest.approx(16 / 25)
    assert border_share(gaussian_kernel((31, 31), 1.0).numpy()) < 1e-6
