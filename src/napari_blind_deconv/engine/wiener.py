"""The stage ``wiener``: the best linear estimate for a kernel, in one step."""

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
    """The Wiener estimate for the kernel of a problem.

    Attributes
    ----------
    canvas : ndarray
        The estimate ``(C, *canvas)``, as it comes.
    """

    stage = Stage.WIENER
    limit = 1
    at_the_limit = StopReason.COMPLETED
    averaging = 0.0
    slowed_at = None

    def __init__(self, problem: Problem, kernel: NDArray[np.float32]) -> None:
        self._problem, self._kernel = problem, kernel
        self.canvas = np.zeros((len(problem.despeckled), *problem.canvas_shape), np.float32)

    def prepare(self) -> Iterator[None]:
        """Approach the estimate."""
        for canvas in wiener_canvases(self._problem, self._kernel):
            self.canvas = canvas
            yield

    def step(self, iteration: int) -> Step:
        """The estimate, none of it below 0 or above the ceiling that the settings allow."""
        shown = self.canvas.clip(0, 1 + self._problem.settings.headroom)
        device = self._problem.device
        canvas = torch.from_numpy(shown).to(device)
        kernel = torch.from_numpy(self._kernel).to(device)
        terms = Objective(self._problem).of(canvas, Convolution(kernel))
        return Step.of(canvas, kernel, terms)


def wiener_canvases(problem: Problem, kernel: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Ever better estimates of all channels, each ``(C, *problem.canvas_shape)``."""
    ratio = noise_to_signal(Spectrum.of(problem.luminance), kernel)
    how = {"noise_to_signal": ratio, "exponent": EXPONENT, "kernel_error": KERNEL_ERROR}
    channels = [wiener(channel, kernel, **how) for channel in problem.despeckled]
    for estimates in _all_to_their_ends(channels):
        yield np.stack(estimates)


def _all_to_their_ends(
    runs: Sequence[Iterator[NDArray[np.float32]]],
) -> Iterator[tuple[NDArray[np.float32], ...]]:
    """The latest of each run, until the last has ended."""
    latest = [next(run) for run in runs]
    yield tuple(latest)
    while True:
        news = [next(run, None) for run in runs]
        if all(new is None for new in news):
            return
        latest = [old if new is None else new for old, new in zip(latest, news, strict=True)]
        yield tuple(latest)
