"""Early stopping by the windowed moving variance (WMV-ES; section 3.1.5, Algorithm 1)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["EarlyStopping", "WindowedVariance"]


class WindowedVariance:
    """Variance of the last `window` pictures: mean over the pixels of each pixel's variance.

    Running sums make a step cost one pass over the pixels, whatever the window. The pictures of
    the window are kept, so the caller gives a fixed sample of pixels when the canvas is large.
    """

    def __init__(self, window: int, pixels: int) -> None:
        self._ring = np.zeros((window, pixels), dtype=np.float32)
        self._sum = np.zeros(pixels)
        self._sum_of_squares = 0.0
        self._count = 0

    def update(self, picture: NDArray[np.float32]) -> float:
        """Take the next picture (shape ``(pixels,)``); NaN until the window is full."""
        window, pixels = self._ring.shape
        slot = self._ring[self._count % window]
        self._sum += picture.astype(np.float64) - slot
        self._sum_of_squares += _energy(picture) - _energy(slot)
        slot[:] = picture
        self._count += 1
        if self._count < window:
            return math.nan
        variance = self._sum_of_squares / window - _energy(self._sum) / window**2
        return max(variance, 0.0) / pixels


class EarlyStopping:
    """The rule of Algorithm 1: remember the least variance, give up after `patience` without less.

    Attributes
    ----------
    best_iteration : int or None
        Iteration of the least variance so far; None while the window is not full.
    best_variance : float
        That variance, infinite while there is none.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_iteration: int | None = None
        self.best_variance = math.inf
        self._iteration = 0

    def update(self, iteration: int, variance: float) -> bool:
        """Take the variance at this iteration (NaN: none yet); True if it is the least so far."""
        self._iteration = iteration
        if not variance < self.best_variance:
            return False
        self.best_iteration, self.best_variance = iteration, variance
        return True

    @property
    def exhausted(self) -> bool:
        """Whether the variance has not decreased over the last `patience` iterations."""
        return (
            self.best_iteration is not None
            and self._iteration - self.best_iteration >= self.patience
        )


def _energy(values: NDArray[np.floating]) -> float:
    # Not a dot product: that would wake the threads of BLAS, which then spin beside torch's and
    # halve the speed of the fit.
    return float(np.square(values, dtype=np.float64).sum())
