"""The stage ``wiener``: the linear estimate for a kernel, in one iteration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from napari_blind_deconv.engine.objective import Objective
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import Step
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.wiener import EXPONENT, KERNEL_ERROR, noise_to_signal, wiener
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import Stage

__all__ = ["Wiener", "wiener_canvases"]


class Wiener:
    """Solver that returns the Wiener estimate for a kernel.

    Parameters
    ----------
    problem : Problem
    kernel : ndarray
        Weights of the kernel.

    Attributes
    ----------
    canvas : ndarray
        The latest estimate ``(C, *canvas)``, not clipped.
    """

    stage = Stage.WIENER
    limit = 1
    at_the_limit = StopReason.COMPLETED
    averaging = 0.0
    slowed_at = None

    def __init__(self, problem: Problem, kernel: NDArray[np.float32]) -> None:
        self._problem, self._kernel = problem, kernel
        self.canvas = np.zeros((len(problem.observed), *problem.canvas_shape), np.float32)

    def prepare(self) -> Iterator[None]:
        """Compute the estimate by conjugate gradients, one iteration at a time."""
        for canvas in wiener_canvases(self._problem, self._kernel):
            self.canvas = canvas
            yield

    def step(self, iteration: int) -> Step:
        """Return the estimate, clipped to [0, 1 + headroom]."""
        clipped = self.canvas.clip(0, 1 + self._problem.settings.headroom)
        device = self._problem.device
        canvas = torch.from_numpy(clipped).to(device)
        kernel = torch.from_numpy(self._kernel).to(device)
        terms = Objective(self._problem).of(canvas, Convolution(kernel))
        return Step.of(canvas, kernel, terms)


def wiener_canvases(problem: Problem, kernel: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield successively better estimates ``(C, *problem.canvas_shape)`` of all channels."""
    noise = problem.inspection.noise
    spectrum = Spectrum.of(problem.luminance, problem.inspection.valid_share, noise)
    ratio = noise_to_signal(spectrum, kernel)
    options = {"noise_to_signal": ratio, "exponent": EXPONENT, "kernel_error": KERNEL_ERROR}
    channels = [
        wiener(channel, kernel, valid=valid, noise=noise, **options)
        for channel, valid in zip(problem.observed, problem.inspection.valid, strict=True)
    ]
    for estimates in _zip_to_longest(channels):
        yield np.stack(estimates)


def _zip_to_longest(
    runs: Sequence[Iterator[NDArray[np.float32]]],
) -> Iterator[tuple[NDArray[np.float32], ...]]:
    """Yield the latest estimate of every run until all runs have ended."""
    latest = [next(run) for run in runs]
    yield tuple(latest)
    while True:
        estimates = [next(run, None) for run in runs]
        if all(estimate is None for estimate in estimates):
            return
        latest = [old if new is None else new for old, new in zip(latest, estimates, strict=True)]
        yield tuple(latest)
