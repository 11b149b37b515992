"""Kernels of a volume on trial: fits of a part of it without some voxels."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from napari_blind_deconv import Image, KernelChoice, Settings
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.kernel_trials import most_probable_kernel
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.pixel_faults import PixelFault
from napari_blind_deconv.numerics.volume_search import ProbableKernel
from napari_blind_deconv.steps import Run, run_to_end
from napari_blind_deconv.task import Task

SHAPE = (20, 32, 32)
SIGMAS = (1.2, 1.5, 1.5)


@cache
def volume(seed: int = 0) -> np.ndarray:
    """Balls in dark space, blurred, in counts above an offset."""
    random, shape = np.random.default_rng(seed), (28, 44, 44)
    grid, sharp = np.indices(shape), np.zeros(shape)
    for _ in range(25):
        centre = random.uniform(0, 1, 3) * shape
        distance = np.linalg.norm(grid - centre[:, None, None, None], axis=0)
        sharp = np.maximum(sharp, (distance < random.uniform(1.5, 5)) * random.uniform(0.3, 1))
    blurred = ndimage.gaussian_filter(sharp, SIGMAS)
    light = blurred[4:-4, 6:-6, 6:-6] / blurred.max()
    counts = random.poisson(500 * (light + 0.02)) + random.normal(100, 1.5, SHAPE)
    return counts.astype(np.float32)


def kernel_of(factor: float) -> Kernel:
    """Return the Gaussian that blurred the volume, this many times as wide."""
    sigmas = tuple(factor * sigma for sigma in SIGMAS)
    sides = tuple(2 * int(np.ceil(3.5 * sigma)) + 1 for sigma in sigmas)
    return Kernel(gaussian_kernel(sides, sigmas), KernelSource.GAUSSIAN, width_deviation=0.3)


def problem_of(counts: np.ndarray) -> Problem:
    image = Image(counts, "ZYX", dict.fromkeys("ZYX", 0.1), "µm", space="ZYX")
    return Problem.of(Task(image, Settings(), KernelChoice.find()))


def chosen(counts: np.ndarray, *probable: tuple[Kernel, float]) -> Kernel:
    kernels = [ProbableKernel(*each) for each in probable]
    return run_to_end(most_probable_kernel(problem_of(counts), kernels))


TRUE, WIDE = kernel_of(1), kernel_of(1.8)


class TestChoice:
    """The kernel that is chosen."""

    @pytest.mark.parametrize("counts", [volume(), 7 * volume() + 3000, volume()[::-1, :, ::-1]])
    def test_a_kernel_that_is_too_wide_explains_less(self, counts):
        assert chosen(counts, (WIDE, 0.0), (TRUE, -3.0)) is TRUE

    def test_a_narrow_kernel_predicts_with_more_noise(self):
        narrow = kernel_of(0.3)
        assert chosen(volume(), (narrow, 0.0), (TRUE, 0.0)) is TRUE

    def test_the_spectrum_decides_if_it_is_sure(self):
        assert chosen(volume(), (WIDE, 0.0), (TRUE, -1e5)) is WIDE

    def test_what_is_returned_keeps_its_error_and_size(self):
        large = replace(TRUE, weights=np.pad(TRUE.weights, 40))
        assert chosen(volume(), (large, 0.0)) is large

    def test_without_contrast_the_most_probable_is_returned(self, monkeypatch):
        monkeypatch.setattr(Inspection, "part", lambda *_: None)
        assert chosen(volume(), (WIDE, 0.0), (TRUE, 0.0)) is WIDE


class TestTrials:
    """How the kernels are tried."""

    @staticmethod
    def _tried(*probable: tuple[Kernel, float]) -> int:
        """Return how many kernels lead at some time or are tried after the one that leads."""
        kernels = [ProbableKernel(*each) for each in probable]
        return sum(1 for _ in most_probable_kernel(problem_of(volume()), kernels))

    def test_kernels_that_cannot_win_are_not_tried(self):
        alone = self._tried((TRUE, 0.0))
        assert self._tried((TRUE, 0.0), (WIDE, -40.0), (TRUE, -50.0)) == alone
        assert self._tried((TRUE, 0.0), (TRUE, -0.1)) == 2 * alone

    def test_a_run_that_is_stopped_has_the_most_probable_kernel_so_far(self):
        kernels = [ProbableKernel(WIDE, 0.0), ProbableKernel(TRUE, -3.0)]
        leading = list(Run(most_probable_kernel(problem_of(volume()), kernels)))
        assert leading[0] is WIDE
        assert leading[-1] is TRUE


def test_voxels_that_are_held_out_leave_no_trace():
    inspection = problem_of(volume()).inspection
    held_out = np.random.default_rng(0).random(inspection.valid.shape) < 0.1
    changed = replace(inspection, channels=inspection.channels + 1e4 * held_out)
    known = inspection.valid & ~held_out
    for each in (inspection, changed):
        seen = each.without(held_out)
        np.testing.assert_array_equal(seen.valid, known)
        assert (seen.faults[held_out] == PixelFault.MASKED).all()
        np.testing.assert_array_equal(seen.channels[known], inspection.channels[known])
    np.testing.assert_array_equal(
        inspection.without(held_out).channels, changed.without(held_out).channels
    )
