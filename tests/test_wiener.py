"""The linear estimate of planes and of volumes."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data

from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.field_of_view import crop_to_field_of_view
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.wiener import EXPONENT, wiener, wiener_periodic


def specks() -> np.ndarray:
    """Return a volume with structures a little wider than a voxel."""
    points = np.random.default_rng(0).random((32, 48, 50)) > 0.99
    smooth = ndimage.gaussian_filter(points.astype(np.float32), 0.8)
    return smooth / smooth.max()


def corner() -> np.ndarray:
    """Return the kernel of a camera that moves down and then to the right."""
    kernel = np.zeros((17, 17), np.float32)
    kernel[3:13, 5] = kernel[12, 5:13] = 1
    return kernel / kernel.sum()


PLANE = data.camera()[100:330, 120:380].astype(np.float32) / 255
SCENES = pytest.mark.parametrize(
    ("scene", "kernel"),
    [(PLANE, corner()), (specks(), gaussian_kernel((11, 9, 9), (2.0, 1.5, 1.5)))],
    ids=["plane", "volume"],
)


def exposure(scene: np.ndarray, kernel: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the field of view, sharp and as recorded."""
    convolution = Convolution(torch.from_numpy(kernel))
    recorded = convolution.forward(torch.from_numpy(scene)).numpy()
    noisy = recorded + noise * np.random.default_rng(0).standard_normal(recorded.shape)
    return convolution.field_of_view(scene), noisy.astype(np.float32)


def estimates(observed: np.ndarray, kernel: np.ndarray, **options) -> list[np.ndarray]:
    run = wiener(torch.from_numpy(observed), kernel, **options)
    return [fitted.canvas.numpy() for fitted in run]


def error(estimate: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(np.square(estimate - truth)))


@SCENES
def test_the_estimate_improves_up_to_the_border(scene, kernel):
    sharp, recorded = exposure(scene, kernel, 0.002)
    *_, canvas = estimates(recorded, kernel, noise_to_signal=1e-3, exponent=EXPONENT)
    estimate = crop_to_field_of_view(canvas, kernel.shape)
    inside = tuple(slice(side // 4, -(side // 4)) for side in sharp.shape)
    assert error(estimate[inside], sharp[inside]) < 0.6 * error(recorded[inside], sharp[inside])
    assert error(estimate[:8], sharp[:8]) < error(recorded[:8], sharp[:8])


@SCENES
def test_the_iterations_converge(scene, kernel):
    _, recorded = exposure(scene, kernel, 0.01)
    steps = estimates(recorded, kernel, noise_to_signal=1e-3, exponent=3.0)
    first, middle = (error(steps[at], steps[-1]) for at in (0, len(steps) // 2))
    assert middle < 0.3 * first


@SCENES
def test_strong_noise_is_smoothed(scene, kernel):
    _, recorded = exposure(scene, kernel, 0.05)
    weak, strong = (
        estimates(recorded, kernel, noise_to_signal=ratio, exponent=3.0)[-1]
        for ratio in (1e-3, 1.0)
    )
    assert np.diff(strong, axis=0).std() < 0.8 * np.diff(weak, axis=0).std()
    seen = crop_to_field_of_view(strong, kernel.shape)
    assert seen.mean() == pytest.approx(recorded.mean(), rel=0.05)


@SCENES
def test_the_periodic_filter_improves_the_interior(scene, kernel):
    sharp, recorded = exposure(scene, kernel, 0.002)
    estimate = wiener_periodic(recorded, kernel, noise_to_signal=1e-3)
    inside = tuple(slice(side // 4, -(side // 4)) for side in sharp.shape)
    assert error(estimate[inside], sharp[inside]) < 0.6 * error(recorded[inside], sharp[inside])


def test_pixels_that_are_not_valid_are_not_explained():
    random = np.random.default_rng(0)
    observed = random.random((40, 48)).astype(np.float32)
    valid = np.ones(observed.shape, bool)
    valid[10:25, 12:30] = False
    other = observed.copy()
    other[~valid] = random.permutation(observed[~valid])
    options = {"noise_to_signal": 1e-3, "exponent": 3.5, "valid": torch.from_numpy(valid)}
    kernel = gaussian_kernel((9, 9), 1.5)
    *_, one = estimates(observed, kernel, **options)
    *_, same = estimates(other, kernel, **options)
    np.testing.assert_allclose(one, same, atol=1e-4)
    # A smooth scene is continued where nothing has to be explained.
    step = np.where(np.arange(48) < 32, 5, 0) + np.where(valid, 0, 100)
    *_, continued = estimates(step.astype(np.float32), kernel, **options)
    assert continued[21, 24] == pytest.approx(5, abs=0.3)
