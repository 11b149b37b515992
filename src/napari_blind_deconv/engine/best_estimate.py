"""Averaging of the estimates of a run, early stopping, and the estimate to return."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.numerics.stopping import EarlyStopping, WindowedVariance

__all__ = ["BestEstimate", "Iterate"]

# The windowed variance is computed on a fixed random sample of so many pixels, so that its memory
# does not grow with the image.
_MONITORED_PIXELS = 65_536


@dataclass
class Iterate:
    """The canvas and the kernel of one iteration."""

    iteration: int
    canvas: Tensor
    kernel: Tensor


class BestEstimate:
    """Running mean of the estimates, their windowed variance, and the estimate to return.

    The estimate to return is the one with the smallest windowed variance. It is the latest estimate
    as long as the variance is not known or early stopping is off, in the settings or by the caller.

    Parameters
    ----------
    problem : Problem
    averaging : float
        Weight of the past in the running mean; 0 switches averaging off.
    window : int
        Number of estimates over which the variance is computed.
    stops_early : bool
        Whether the variance decides which estimate to return.

    Attributes
    ----------
    stopping : EarlyStopping
    latest : Iterate
        Mean of the estimates up to the latest iteration.
    best : Iterate
        Estimate to return.
    """

    def __init__(
        self, problem: Problem, averaging: float, window: int, *, stops_early: bool
    ) -> None:
        settings = problem.settings
        self._averaging = averaging
        self._pixels = _monitored_pixels(problem).to(problem.device)
        self._variance = WindowedVariance(window, len(self._pixels))
        self._stops_early = settings.early_stopping and stops_early
        self.stopping = EarlyStopping(settings.patience)
        self._updates = 0
        self.latest: Iterate
        self.best: Iterate

    def update(self, iteration: int, canvas: Tensor, kernel: Tensor) -> float:
        """Add the estimate of an iteration and return the windowed variance."""
        monitored_pixels = canvas.flatten(1)[:, self._pixels].mean(0)
        variance = self._variance.update(monitored_pixels.cpu().numpy())
        if self._updates and self._averaging:
            # averaging · previous mean + (1 - averaging) · estimate
            canvas = torch.lerp(canvas, self.latest.canvas, self._averaging)
        self._updates += 1
        self.latest = Iterate(iteration, canvas, kernel)
        monitored = variance if self._stops_early else math.nan
        if self.stopping.update(iteration, monitored) or math.isnan(monitored):
            self.best = self.latest
        return variance


def _monitored_pixels(problem: Problem) -> Tensor:
    count = math.prod(problem.canvas_shape)
    if count <= _MONITORED_PIXELS:
        return torch.arange(count)
    random = np.random.default_rng(problem.settings.seed)
    pixels = random.choice(count, _MONITORED_PIXELS, replace=False)
    return torch.from_numpy(np.sort(pixels))
