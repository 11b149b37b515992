"""Finding content that moved, and moving image and kernel back together."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_blind_deconv.numerics.blur import blur, crop_to_field_of_view
from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel
from napari_blind_deconv.numerics.location import (
    content_shift,
    kernel_centroid,
    origin_at_centroid,
    recentre,
)
from napari_blind_deconv.synthetic import fluorescence_scene

WINDOW = (21, 17)


@pytest.fixture(scope="module")
def canvas() -> torch.Tensor:
    scene = fluorescence_scene((84, 96))
    picture = (scene.truth - scene.truth.min()) / np.ptp(scene.truth)
    return torch.from_numpy(picture.astype(np.float32))


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-10, 8), (7, 2)])
def test_finds_a_known_shift(canvas, shift):
    blurred = blur(canvas, gaussian_kernel(WINDOW, 1.5))
    moved = torch.roll(canvas, shift, (0, 1))
    assert content_shift(moved, blurred, WINDOW) == shift


@pytest.mark.parametrize("shift", [(0, 0), (4, -3), (-5, 6)])
def test_recentring_undoes_a_joint_shift(canvas, shift):
    kernel = gaussian_kernel(WINDOW, 1.5)
    blurred = blur(canvas, kernel)[None]
    moved = torch.roll(canvas, shift, (0, 1))[None]
    opposite = torch.roll(kernel, (-shift[0], -shift[1]), (0, 1))
    image, centred = recentre(moved, opposite, blurred)
    expected = crop_to_field_of_view(canvas, WINDOW).numpy()
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(image[0] - expected)[inner].max() < 0.02
    assert np.hypot(*kernel_centroid(centred)) < 0.05


def test_recentring_works_below_a_pixel(canvas):
    offset = (0.4, -0.3)
    kernel = ndimage.shift(gaussian_kernel((31, 31), 2.5).numpy(), offset, order=3)
    kernel = torch.from_numpy(np.clip(kernel, 0, None))
    kernel = kernel / kernel.sum()
    spot = torch.zeros(1, 80, 80)
    spot[0, 40, 42] = 1
    spot = torch.from_numpy(ndimage.gaussian_filter(spot.numpy(), (0, 1.5, 1.5)))
    blurred = blur(spot, kernel)
    image, centred = recentre(spot, kernel, blurred)
    assert np.hypot(*kernel_centroid(centred)) < 0.05
    wanted = ndimage.center_of_mass(blurred[0].numpy())
    assert ndimage.center_of_mass(image[0]) == pytest.approx(wanted, abs=0.05)


def test_the_recentred_kernel_is_a_kernel(canvas):
    kernel = torch.roll(gaussian_kernel(WINDOW, 1.5), (2, 1), (0, 1))
    _, centred = recentre(canvas[None], kernel, blur(canvas, kernel)[None])
    assert centred.shape == WINDOW
    assert centred.min() >= 0
    assert centred.sum() == pytest.approx(1, abs=1e-5)


def test_a_pedestal_does_not_pull_the_centroid():
    kernel = np.roll(gaussian_kernel((41, 41), 1.5).numpy(), (10, -6), (0, 1))
    with_pedestal = kernel + 0.02 * kernel.max()
    assert kernel_centroid(with_pedestal) == pytest.approx((10, -6), abs=0.05)


def test_a_known_kernel_gets_its_origin_without_a_change_of_value():
    kernel = ndimage.shift(gaussian_kernel((15, 17), 1.5).numpy(), (2.3, -1.4), order=3).clip(0)
    moved, left = origin_at_centroid(kernel)
    assert moved.shape == (19, 19)
    assert left == pytest.approx((0.3, -0.4), abs=0.03)
    assert kernel_centroid(moved) == pytest.approx(left, abs=1e-3)
    np.testing.assert_array_equal(moved[moved > 0], kernel[kernel > 0])
