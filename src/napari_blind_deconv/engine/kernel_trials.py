"""Trials of the kernels that the spectrum of a volume allows, on a part of the volume.

The spectrum does not use that light is positive, nor that noise differs from voxel to voxel. A fit
does: with a kernel that is too wide, no positive scene explains the volume. The part is therefore
fitted with each kernel without some of its voxels, and the kernel is judged by how well the fit
predicts them (cross-validation).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.log_gaussian import LogGaussian
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.richardson_lucy import START_ITERATIONS, RichardsonLucy
from napari_blind_deconv.engine.solver import RunControl, run_solver
from napari_blind_deconv.engine.wiener import noise_to_signal_of
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.numerics.camera import CameraNoise
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.location import crop_or_pad
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.numerics.volume_search import ProbableKernel
from napari_blind_deconv.task import Task

__all__ = ["most_probable_kernel"]

_SIDE = 48  # voxels of the part along each axis
_HELD_OUT = 0.08  # share of the voxels that a fit does not see
# The voxels held out count as so many independent ones, because no scene follows the model of the
# fit exactly. Raising it trusts the fits more, and the spectrum less.
_INDEPENDENT = 100.0
# Nats per voxel by which a prediction may be better, by chance, than the noise allows.
_CHANCE = 0.01
# Relative error of the width of a kernel on trial. It is not that of the kernel that is found: a
# fit that allows for a large error explains a volume with a wrong kernel, too.
_WIDTH_ERROR = 0.05


def most_probable_kernel(
    problem: Problem, probable: Sequence[ProbableKernel]
) -> Generator[Kernel, None, Kernel]:
    """Fit a part of a volume with each kernel, and return the most probable one.

    Parameters
    ----------
    problem : Problem
        The volume.
    probable : sequence of ProbableKernel
        At least one kernel, the most probable by the spectrum first. A kernel is not tried if even
        the best prediction would not make it the most probable.

    Yields
    ------
    Kernel
        The most probable so far.
    """
    best = probable[0].kernel
    trial = _Trial.of(problem)
    if trial is None:
        return best
    highest, highest_possible = -math.inf, math.inf
    for kernel, probability in probable:
        if probability + _INDEPENDENT * highest_possible < highest:
            break
        fit = trial.problem_with(kernel)
        predicted = yield from _predicted(fit, best)
        prediction = trial.judged(fit, predicted)
        posterior = probability + _INDEPENDENT * prediction.likelihood
        if posterior > highest:
            highest, best = posterior, kernel
            highest_possible = prediction.highest_possible
        yield best
    return best


class _Prediction(NamedTuple):
    """Logarithm of the likelihood of the voxels held out, in nats per voxel, up to a constant."""

    likelihood: float
    highest_possible: float  # of a prediction without an error


@dataclass(frozen=True, eq=False)
class _Trial:
    """A part of a volume, some voxels of which are held out."""

    task: Task
    part: Inspection
    held_out: NDArray[np.bool_]  # (C, *part)

    @classmethod
    def of(cls, problem: Problem) -> Self | None:
        """Return a trial on the part with most contrast, or None if it has too little."""
        part = problem.inspection.part(region_with_contrast(problem.luminance, _SIDE))
        if part is None:
            return None
        drawn = np.random.default_rng(0).random(part.valid.shape) < _HELD_OUT
        low, high = problem.intensity.low, problem.intensity.high
        settings = problem.settings.with_changes(strength=1.0)
        task = replace(problem.task, settings=settings, intensity_range=(low, high))
        return cls(task, part, drawn & part.valid)

    def problem_with(self, kernel: Kernel) -> Problem:
        """Return the problem of the part with a kernel, no larger than the part."""
        seen = self.part.without(self.held_out)
        sides = (side - 1 | 1 for side in seen.block.block_shape)
        weights = crop_or_pad(kernel.weights, tuple(map(min, kernel.shape, sides)))
        tried = replace(kernel, weights=weights, width_deviation=_WIDTH_ERROR)
        return Problem.of(
            replace(self.task, image=seen.block, kernel=KernelChoice.hold(tried)), seen
        )

    def judged(self, fit: Problem, predicted: NDArray[np.float32]) -> _Prediction:
        """Judge a prediction of the part ``(C, *part)`` by the voxels held out."""
        observed = fit.intensity.to_unit(self.part.channels)
        misfits, logarithms = [], []
        for channel, held_out in enumerate(self.held_out):
            given, light = observed[channel], predicted[channel][held_out]
            camera = CameraNoise.of(given, self.part.valid[channel], self.part.noise)
            deviation = camera.deviation(light)
            misfits.append(np.square((given[held_out] - light) / deviation) / 2)
            logarithms.append(np.log(deviation))
        misfit = float(np.concatenate(misfits).mean())
        constant = float(np.concatenate(logarithms).mean())
        return _Prediction(-misfit - constant, -min(misfit, 0.5) - constant + _CHANCE)


def _predicted(fit: Problem, best: Kernel) -> Generator[Kernel, None, NDArray[np.float32]]:
    """Return the blurred estimate of a problem with a kernel, and yield the best kernel so far."""
    assert fit.kernel_start is not None
    start = RichardsonLucy(fit, START_ITERATIONS)
    for _ in run_solver(fit, start, RunControl()):
        yield best
    solver = LogGaussian(fit, start.canvas, noise_to_signal_of(fit, fit.kernel_start))
    for _ in run_solver(fit, solver, RunControl()):
        yield best
    blurred = Convolution(torch.from_numpy(fit.kernel_start)).forward(
        torch.from_numpy(solver.canvas)
    )
    return blurred.numpy()
