"""Similarity of images and kernels after the best shift."""

import math

import numpy as np
import pytest
from scipy import ndimage

from napari_blind_deconv.numerics.metrics import (
    align,
    kernel_similarity,
    kernel_width,
    psnr_up_to_shift,
)
from napari_blind_deconv.numerics.optics import gaussian_kernel

TRUTH = ndimage.gaussian_filter(np.random.default_rng(0).random((80, 90)), 2)


@pytest.mark.parametrize("shift", [(0, 0), (3, -7), (-10, 10)])
def test_a_shift_by_full_pixels_costs_nothing(shift):
    aligned = align(TRUTH, np.roll(TRUTH, shift, (0, 1)))
    assert np.allclose(aligned.shift, (-shift[0], -shift[1]))
    assert aligned.psnr(peak=1) == math.inf
    assert aligned.ssim(peak=1) == pytest.approx(1)


def test_a_shift_by_a_quarter_pixel_is_found():
    moved = ndimage.shift(TRUTH, (0.25, -2.5), order=3)
    assert align(TRUTH, moved).shift == (-0.25, 2.5)
    assert psnr_up_to_shift(TRUTH, moved, peak=1) > psnr_up_to_shift(
        TRUTH, moved, peak=1, step=0.99
    )


def test_no_other_shift_is_better():
    estimate = ndimage.shift(TRUTH, (1.3, -0.4), order=3) + 0.01
    found = align(TRUTH, estimate, moved="estimate")
    for rows in np.arange(-3, 3.01, 0.25):
        for columns in np.arange(-2, 2.01, 0.25):
            moved = ndimage.shift(estimate, (rows, columns), order=1)[15:-15, 15:-15]
            error = np.mean((moved - found.truth) ** 2)
            assert error >= np.mean((found.estimate - found.truth) ** 2) * (1 - 1e-9)


@pytest.mark.parametrize("shift", [(0, 0), (0.5, -1.5)])
def test_noise_gives_the_psnr_of_its_variance(shift):
    noise = np.random.default_rng(1).normal(0, 0.01, TRUTH.shape)
    noisy = ndimage.shift(TRUTH, shift, order=5) + noise
    assert psnr_up_to_shift(TRUTH, noisy, peak=1) == pytest.approx(40, abs=0.3)


def test_moving_the_estimate_averages_its_noise():
    noisy = TRUTH + np.random.default_rng(1).normal(0, 0.1, TRUTH.shape)
    assert psnr_up_to_shift(TRUTH, noisy, peak=1) == pytest.approx(20, abs=0.3)
    assert psnr_up_to_shift(TRUTH, noisy, peak=1, moved="estimate") > 24


def test_ssim_falls_with_noise_and_is_relative_to_the_peak():
    noise = np.random.default_rng(1).normal(0, 0.02, TRUTH.shape)
    slight, strong = (align(TRUTH, TRUTH + share * noise).ssim(1) for share in (0.5, 1))
    assert strong < slight < 1
    assert align(100 * TRUTH, 100 * (TRUTH + noise)).ssim(100) == pytest.approx(strong)


def test_a_border_smaller_than_the_shifts_is_refused():
    with pytest.raises(ValueError, match="got 5 px"):
        psnr_up_to_shift(TRUTH, TRUTH, peak=1, border=5)


@pytest.mark.parametrize("sigma", [1.5, 2.5, 4.0])
def test_the_width_of_a_gaussian_is_its_fwhm(sigma):
    kernel = gaussian_kernel((41, 31), sigma)
    assert kernel_width(kernel) == pytest.approx(2.355 * sigma, rel=0.04)


def test_kernels_are_similar_up_to_shift_and_scale():
    kernel = gaussian_kernel((21, 21), 2.0)
    shifted = 3 * np.roll(np.pad(kernel, 5), (2, -3), (0, 1))
    assert kernel_similarity(kernel, shifted) == pytest.approx(1)
    point = np.zeros((21, 21))
    point[10, 10] = 1
    assert kernel_similarity(kernel, point) == pytest.approx(kernel.max() / np.linalg.norm(kernel))
