"""Which picture of a run is kept: they are averaged, watched, and the best is remembered."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.numerics.stopping import EarlyStopping, WindowedVariance

__all__ = ["BestEstimate", "Iterate"]

# Pixels the windowed variance is taken over: a fixed random sample keeps its memory flat.
_MONITORED_PIXELS = 65_536


@dataclass
class Iterate:
    """A canvas and its kernel, and the iteration they are from."""

    iteration: int
    canvas: Tensor
    kernel: Tensor


class BestEstimate:
    """Averages the pictures, watches their variance and keeps the estimate to return.

    Until early stopping has something to compare, that is the latest one.
    """

    def __init__(self, problem: Problem, averaging: float) -> None:
        settings = problem.settings
        self._averaging = averaging
        self._pixels = _monitored_pixels(problem).to(problem.device)
        self._variance = WindowedVariance(settings.window, len(self._pixels))
        self._watches = settings.early_stopping
        self.stopping = EarlyStopping(settings.patience)
        self.latest: Iterate
        self.best: Iterate

    def update(self, iteration: int, canvas: Tensor, kernel: Tensor) -> float:
        """Take the estimate of an iteration; the windowed variance of the pictures so far."""
        variance = self._variance.update(canvas.mean(0).flatten()[self._pixels].cpu().numpy())
        if iteration > 1:
            canvas = torch.lerp(canvas, self.latest.canvas, self._averaging)
        self.latest = Iterate(iteration, canvas, kernel)
        watched = variance if self._watches else math.nan
        if self.stopping.update(iteration, watched) or math.isnan(watched):
            self.best = self.latest
        return variance


def _monitored_pixels(problem: Problem) -> Tensor:
    count = math.prod(problem.canvas_shape)
    if count <= _MONITORED_PIXELS:
        return torch.arange(count)
    random = np.random.default_rng(problem.settings.seed)
    chosen = random.choice(count, _MONITORED_PIXELS, replace=False)
    return torch.from_numpy(np.sort(chosen))
