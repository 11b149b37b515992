"""PSNR up to shift."""

import math

import numpy as np
import pytest
from scipy import ndimage

from napari_blind_deconv.numerics.metrics import psnr_up_to_shift

TRUTH = ndimage.gaussian_filter(np.random.default_rng(0).random((80, 90)), 2)


@pytest.mark.parametrize("shift", [(0, 0), (3, -7), (-10, 10)])
def test_a_whole_shift_costs_nothing(shift):
    assert psnr_up_to_shift(TRUTH, np.roll(TRUTH, shift, (0, 1)), peak=1) == math.inf


def test_a_quarter_shift_is_found():
    moved = ndimage.shift(TRUTH, (0.25, -2.5), order=3)
    assert psnr_up_to_shift(TRUTH, moved, peak=1) > psnr_up_to_shift(
        TRUTH, moved, peak=1, step=0.99
    )


def test_noise_gives_the_psnr_of_its_variance():
    noisy = TRUTH + np.random.default_rng(1).normal(0, 0.01, TRUTH.shape)
    assert psnr_up_to_shift(TRUTH, noisy, peak=1, step=1) == pytest.approx(40, abs=0.3)


def test_a_border_within_reach_is_refused():
    with pytest.raises(ValueError, match="border is 5 px"):
        psnr_up_to_shift(TRUTH, TRUTH, peak=1, border=5)
