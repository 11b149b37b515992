"""The stage ``wiener``: the linear estimate for a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.converging import Converging
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.numerics.convolution import Fitted
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.wiener import EXPONENT, KERNEL_ERROR, noise_to_signal, wiener
from napari_blind_deconv.results import Stage

__all__ = ["Wiener", "noise_to_signal_of"]


class Wiener(Converging):
    """Solver that finds the Wiener estimate for a kernel by conjugate gradients.

    Parameters
    ----------
    problem : Problem
    kernel : ndarray
        Weights of the kernel.
    ratio : float
        Noise-to-signal ratio of all channels together, for this kernel.
    """

    stage = Stage.WIENER
    has_negative_light = True

    def __init__(self, problem: Problem, kernel: NDArray[np.float32], ratio: float) -> None:
        super().__init__(problem, kernel, _runs(problem, kernel, ratio))

    @classmethod
    def solved(cls, problem: Problem, kernel: NDArray[np.float32], ratio: float) -> Self:
        """Return a solver that has found the estimate."""
        solver = cls(problem, kernel, ratio)
        for fitted in solver._estimates:
            solver._latest = fitted
        return solver


def noise_to_signal_of(problem: Problem, kernel: NDArray[np.float32]) -> float:
    """Return the noise-to-signal ratio of all channels together, for a kernel."""
    inspection = problem.inspection
    spectrum = Spectrum.of(
        problem.luminance, inspection.valid_share, inspection.noise, problem.task.image.sampling
    )
    return noise_to_signal(spectrum, kernel)


def _runs(problem: Problem, kernel: NDArray[np.float32], ratio: float) -> list[Iterator[Fitted]]:
    channels = map(problem.on_device, (problem.observed, problem.inspection.valid))
    return [
        wiener(
            channel,
            kernel,
            noise_to_signal=ratio,
            exponent=EXPONENT,
            kernel_error=KERNEL_ERROR,
            valid=valid,
            noise=problem.inspection.noise,
            sampling=problem.task.image.sampling,
        )
        for channel, valid in zip(*channels, strict=True)
    ]
