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
from numpy.typing import NDArray

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.log_gaussian import LogGaussian
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.richardson_lucy import START_ITERATIONS, RichardsonLucy
from napari_blind_deconv.engine.solver import RunControl, run_solver
from napari_blind_deconv.engine.wiener import noise_to_signal_of
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.numerics.camera import CameraNoise
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
        predicted = yield from _predicted(trial.problem_with(kernel), best)
        prediction = trial.judged(predicted)
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
    """A part of a volume, some voxels of which are held out.

    Attributes
    ----------
    task : Task
        The task on the part.
    seen : Inspection
        The part without the voxels held out.
    held_out : ndarray
        Mask of them ``(C, *part)``.
    observed : ndarray
        The whole part ``(C, *part)``, mapped to [0, 1].
    cameras : list of CameraNoise
        The noise of each channel of the part.
    """

    task: Task
    seen: Inspection
    held_out: NDArray[np.bool_]
    observed: NDArray[np.float32]
    cameras: list[CameraNoise]

    @classmethod
    def of(cls, problem: Problem) -> Self | None:
        """Return a trial on the part with most contrast, or None if it has too little."""
        part = problem.inspection.part(region_with_contrast(problem.luminance, _SIDE))
        if part is None:
            return None
        held_out = np.random.default_rng(0).random(part.valid.shape) < _HELD_OUT
        held_out &= part.valid
        seen, observed = part.without(held_out), problem.intensity.to_unit(part.channels)
        task = replace(
            problem.task,
            image=seen.block,
            settings=problem.settings.with_changes(strength=1.0),
            intensity_range=(problem.intensity.low, problem.intensity.high),
        )
        pairs = zip(observed, part.valid, strict=True)
        cameras = [CameraNoise.of(given, valid, part.noise) for given, valid in pairs]
        return cls(task, seen, held_out, observed, cameras)

    def problem_with(self, kernel: Kernel) -> Problem:
        """Return the problem of the part with a kernel, no larger than the part."""
        sides = (side - 1 | 1 for side in self.seen.block.block_shape)
        weights = crop_or_pad(kernel.weights, tuple(map(min, kernel.shape, sides)))
        tried = replace(kernel, weights=weights, width_deviation=_WIDTH_ERROR)
        return Problem.of(replace(self.task, kernel=KernelChoice.hold(tried)), self.seen)

    def judged(self, predicted: NDArray[np.float32]) -> _Prediction:
        """Judge a prediction of the part ``(C, *part)`` by the voxels held out."""
        misfits, logarithms = [], []
        for channel, held_out in enumerate(self.held_out):
            given, light = self.observed[channel][held_out], predicted[channel][held_out]
            deviation = self.cameras[channel].deviation(light)
            misfits.append(np.square((given - light) / deviation) / 2)
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
    return solver.blurred
