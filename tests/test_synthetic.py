"""The synthetic scene and the sample image."""

import numpy as np
import pytest

from napari_blind_deconv import deconvolve
from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.synthetic import (
    astigmatic_kernel,
    cell_crop,
    fluorescence_scene,
    microtubules,
)


def test_the_kernel_is_centred_with_sum_one():
    kernel = astigmatic_kernel()
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-7)


def test_a_scene_is_blurred_noisy_and_of_the_same_flux():
    scene = fluorescence_scene((96, 80))
    assert scene.observed.shape == scene.truth.shape == (96, 80)
    assert scene.observed.dtype == np.uint16
    assert scene.observed.mean() - 100 == pytest.approx(scene.truth.mean() - 100, rel=0.1)
    assert scene.truth.max() > 1.2 * np.percentile(scene.observed, 99.99)


def test_a_seed_reproduces_a_scene():
    repeated = fluorescence_scene(seed=3).observed, fluorescence_scene(seed=3).observed
    np.testing.assert_array_equal(*repeated)
    assert (fluorescence_scene(seed=4).observed != repeated[0]).any()


def test_the_first_sample_is_sharpened_with_a_kernel_like_its_own():
    sample = microtubules()
    result = deconvolve(sample.observed)
    assert sample.psnr(result.image) > sample.psnr(sample.observed) + 2
    assert not result.flags
    found, true = result.kernel.widths, KernelWidths.of(sample.kernel)
    assert found.principal == pytest.approx(true.principal, rel=0.12)
    assert found.angle == pytest.approx(true.angle, abs=5)


def test_the_cell_is_in_its_crop():
    crop = cell_crop()
    assert crop.shape == (192, 192)
    assert crop[96, 96] > 2 * crop[:10, :10].mean()
