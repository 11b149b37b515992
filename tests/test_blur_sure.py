"""Estimates of the width of the blur and of the noise from one image."""

import numpy as np
import pytest
from benchmarks.blur_sure import gaussian_width, white_noise

from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.synthetic import fluorescence_scene


@pytest.mark.parametrize("sigma", [1.5, 2.5, 3.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_finds_the_width_of_a_gaussian_blur(sigma, seed):
    scene = fluorescence_scene(kernel=gaussian_kernel((31, 31), sigma), seed=seed)
    assert gaussian_width(scene.observed) == pytest.approx(sigma, rel=0.25)


def test_the_width_does_not_depend_on_units():
    observed = fluorescence_scene().observed.astype(float)
    assert gaussian_width(37 * observed - 1000) == gaussian_width(observed)


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_finds_the_noise_of_a_blurred_image(sigma):
    rows, columns = np.mgrid[:128, :128]
    smooth = 0.5 + 0.5 * np.sin(rows / 5) * np.cos(columns / 7)
    noisy = smooth + np.random.default_rng(0).normal(0, sigma, smooth.shape)
    assert white_noise(noisy) == pytest.approx(sigma, rel=0.1)
