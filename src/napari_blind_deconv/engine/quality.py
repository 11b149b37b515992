"""What gives reason to doubt a result, found in the result itself."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.numerics.kernel_shape import border_share
from napari_blind_deconv.results import QualityFlag, StopReason

__all__ = ["quality_flags"]

# Share of the kernel on its window's outermost pixels from which on it may reach beyond.
_MOST_AT_BORDER = 0.01
# Standard deviation of the picture, noise taken off, over that of the noise.
_LEAST_SIGNAL_TO_NOISE = 1.0


def quality_flags(
    problem: Problem, kernel: NDArray[np.float32], reason: StopReason
) -> tuple[QualityFlag, ...]:
    """The flags of a result, gravest first.

    Parameters
    ----------
    problem : Problem
        With the blur that was found, if one was looked for.
    kernel : ndarray
        Of the result.
    reason : StopReason
        Why its run ended.
    """
    found = {
        QualityFlag.NO_BLUR: problem.blur is not None and problem.blur.kind == "none",
        QualityFlag.KERNEL_FILLS_WINDOW: (
            problem.psf is None and border_share(kernel) > _MOST_AT_BORDER
        ),
        QualityFlag.LOW_SIGNAL: _signal_to_noise(problem) < _LEAST_SIGNAL_TO_NOISE,
        QualityFlag.ITERATION_LIMIT: reason is StopReason.ITERATION_LIMIT,
    }
    return tuple(flag for flag, raised in found.items() if raised)


def _signal_to_noise(problem: Problem) -> float:
    variance = float(problem.luminance.var())
    if problem.noise == 0:
        return math.inf
    return math.sqrt(max(variance - problem.noise**2, 0)) / problem.noise
