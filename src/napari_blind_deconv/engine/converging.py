"""What the stages ``wiener`` and ``log-gaussian`` share: estimates for one kernel that converge."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from napari_blind_deconv.engine.objective import Objective
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import Step
from napari_blind_deconv.numerics.convolution import Convolution, Fitted
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import Stage

__all__ = ["Converging"]


class Converging:
    """Solver whose estimates for a known kernel converge, with any method that computes them.

    Parameters
    ----------
    problem : Problem
    kernel : ndarray
        Weights of the kernel.
    channels : list of iterators
        For each channel, its estimates on the canvas, one per iteration.

    Attributes
    ----------
    has_negative_light : bool
        Whether the estimates can have much negative light. What is left after this is cut off is
        then blurred again for the trace.
    """

    stage: Stage
    has_negative_light: bool
    limit = 60
    at_the_limit = StopReason.COMPLETED
    averaging = 0.0
    window = 5
    converges = True
    slowed_at = None

    def __init__(
        self,
        problem: Problem,
        kernel: NDArray[np.float32],
        channels: list[Iterator[Fitted]],
    ) -> None:
        self._estimates = _zip_to_longest(channels)
        self._objective = Objective(problem)
        self._convolution = Convolution(problem.on_device(kernel))
        self._latest: Fitted

    def prepare(self) -> tuple[()]:
        """Return nothing: this solver needs no preparation."""
        return ()

    def step(self, iteration: int) -> Step | None:
        """Run one iteration in each channel; negative light in its estimate is cut off."""
        fitted = next(self._estimates, None)
        if fitted is None:
            return None
        self._latest = fitted
        clipped = fitted.canvas.clamp(min=0)
        if self.has_negative_light:
            terms = self._objective.of(clipped, self._convolution)
        else:
            terms = self._objective.of_blurred(clipped, fitted.blurred)
        return Step.of(clipped, self._convolution.kernel, terms)

    @property
    def canvas(self) -> NDArray[np.float32]:
        """The latest estimate ``(C, *canvas)``, with negative light."""
        return self._latest.canvas.cpu().numpy()

    @property
    def blurred(self) -> NDArray[np.float32]:
        """The blur ``(C, *image)`` of the latest estimate."""
        return self._latest.blurred.cpu().numpy()


def _zip_to_longest(runs: list[Iterator[Fitted]]) -> Iterator[Fitted]:
    """Yield the latest estimates of all runs, stacked, until all of them have ended."""
    latest = [next(run) for run in runs]
    yield _stacked(latest)
    while True:
        estimates = [next(run, None) for run in runs]
        if all(estimate is None for estimate in estimates):
            return
        latest = [old if new is None else new for old, new in zip(latest, estimates, strict=True)]
        yield _stacked(latest)


def _stacked(channels: list[Fitted]) -> Fitted:
    if len(channels) == 1:  # without a copy
        return Fitted(*(values.unsqueeze(0) for values in channels[0]))
    return Fitted(*map(torch.stack, zip(*channels, strict=True)))
