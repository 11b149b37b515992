"""Shifts of the content, and recentring of image and kernel."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.field_of_view import crop_to_field_of_view
from napari_blind_deconv.numerics.location import (
    content_shift,
    kernel_centroid,
    moved_back,
    origin_at_centroid,
    recentre,
)
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.synthetic import fluorescence_scene

WINDOW = (21, 17)


def blurred_by(canvas: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return Convolution(torch.from_numpy(kernel)).forward(torch.from_numpy(canvas)).numpy()


@pytest.fixture(scope="module")
def canvas() -> np.ndarray:
    scene = fluorescence_scene((84, 96))
    image = (scene.truth - scene.truth.min()) / np.ptp(scene.truth)
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    points = np.random.default_rng(0).random((30, 44, 46)) > 0.995
    return ndimage.gaussian_filter(points.astype(np.float32), 1.0)


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-10, 8), (7, 2)])
def test_finds_a_known_shift(canvas, shift):
    blurred = blurred_by(canvas, gaussian_kernel(WINDOW, 1.5))
    moved = np.roll(canvas, shift, (0, 1))
    assert content_shift(moved, blurred, WINDOW) == shift


@pytest.mark.parametrize("shift", [(0, 0, 0), (2, -3, 1)])
def test_finds_a_known_shift_of_a_volume(volume, shift):
    window = (9, 13, 11)
    blurred = blurred_by(volume, gaussian_kernel(window, 1.5))
    assert content_shift(np.roll(volume, shift, (0, 1, 2)), blurred, window) == shift


@pytest.mark.parametrize("shift", [(0, 0), (4, -3), (-5, 6)])
def test_recentring_undoes_a_joint_shift(canvas, shift):
    kernel = gaussian_kernel(WINDOW, 1.5)
    blurred = blurred_by(canvas, kernel)[None]
    moved = np.roll(canvas, shift, (0, 1))[None]
    opposite = np.roll(kernel, (-shift[0], -shift[1]), (0, 1))
    image, centred = recentre(moved, opposite, blurred)
    expected = crop_to_field_of_view(canvas, WINDOW)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(image[0] - expected)[inner].max() < 0.02
    assert np.hypot(*kernel_centroid(centred)) < 0.05


def test_recentring_undoes_a_joint_shift_of_volumes(volume):
    window, shift = (9, 13, 11), (1, -2, 2)
    kernel = gaussian_kernel(window, 1.5)
    opposite = np.roll(kernel, [-s for s in shift], (0, 1, 2))
    moved = np.roll(volume, shift, (0, 1, 2))[None]
    image, centred = recentre(moved, opposite, blurred_by(volume, kernel)[None])
    expected = crop_to_field_of_view(volume, window)
    inner = np.s_[3:-3, 3:-3, 3:-3]
    assert np.abs(image[0] - expected)[inner].max() < 0.05 * expected.max()
    assert max(map(abs, kernel_centroid(centred))) < 0.05


def test_recentring_has_subpixel_accuracy():
    offset = (0.4, -0.3)
    kernel = ndimage.shift(gaussian_kernel((31, 31), 2.5), offset, order=3).clip(0)
    kernel = kernel / kernel.sum()
    spot = np.zeros((1, 80, 80), np.float32)
    spot[0, 40, 42] = 1
    spot = ndimage.gaussian_filter(spot, (0, 1.5, 1.5))
    blurred = blurred_by(spot, kernel)
    image, centred = recentre(spot, kernel, blurred)
    assert np.hypot(*kernel_centroid(centred)) < 0.05
    expected = ndimage.center_of_mass(blurred[0])
    assert ndimage.center_of_mass(image[0]) == pytest.approx(expected, abs=0.05)


def test_the_recentred_kernel_is_normalised(canvas):
    kernel = np.roll(gaussian_kernel(WINDOW, 1.5), (2, 1), (0, 1))
    _, centred = recentre(canvas[None], kernel, blurred_by(canvas, kernel)[None])
    assert centred.shape == WINDOW
    assert centred.min() >= 0
    assert centred.sum() == pytest.approx(1, abs=1e-5)


def test_a_pedestal_does_not_change_the_centroid():
    kernel = np.roll(gaussian_kernel((41, 41), 1.5), (10, -6), (0, 1))
    with_pedestal = kernel + 0.02 * kernel.max()
    assert kernel_centroid(with_pedestal) == pytest.approx((10, -6), abs=0.05)


def test_a_known_kernel_is_centred_without_a_change_of_values():
    kernel = ndimage.shift(gaussian_kernel((15, 17), 1.5), (2.3, -1.4), order=3).clip(0)
    moved, remainder = origin_at_centroid(kernel)
    assert moved.shape == (19, 19)
    assert remainder == pytest.approx((0.3, -0.4), abs=0.03)
    assert kernel_centroid(moved) == pytest.approx(remainder, abs=1e-3)
    np.testing.assert_array_equal(moved[moved > 0], kernel[kernel > 0])


@pytest.mark.parametrize("displacement", [(0.5, -0.3, 0.2), (-2.4, 3.0, 1.5)])
def test_moving_back_is_exact_for_a_smooth_volume(displacement):
    spot = gaussian_kernel((31, 33, 35), 2.5)
    moved = ndimage.fourier_shift(np.fft.fftn(spot), displacement)
    back = moved_back(np.fft.ifftn(moved).real.astype(np.float32)[np.newaxis], displacement)
    np.testing.assert_allclose(back[0], spot, atol=2e-3 * spot.max())


def test_moving_back_adds_no_light_darker_than_the_darkest():
    canvas = np.zeros((1, 9, 9, 9), np.float32)
    canvas[0, 4, 4, 4] = 1
    moved = moved_back(canvas, (0.5, 0.0, -0.4))
    assert moved.min() == 0
    assert kernel_centroid(moved[0]) == pytest.approx((-0.5, 0, 0.4), abs=0.1)
