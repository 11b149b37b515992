"""Early stopping by the windowed moving variance (WMV-ES; section 3.1.5, Algorithm 1)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["EarlyStopping", "WindowedVariance"]


class WindowedVariance:
    """Windowed moving variance: the variance of each pixel over the last estimates, averaged.

    Running sums make an update cost one pass over the pixels, whatever the window. All estimates of
    the window are kept in memory, so for a large canvas the caller should pass a fixed sample of
    pixels.

    Parameters
    ----------
    window : int
        Number W of estimates. Raising it gives a steadier variance and delays its minimum.
    pixels : int
        Number of pixels of an estimate, or of the sample.
    """

    def __init__(self, window: int, pixels: int) -> None:
        self._ring = np.zeros((window, pixels), dtype=np.float32)
        self._sum = np.zeros(pixels)
        self._sum_of_squares = 0.0
        self._count = 0

    def update(self, estimate: NDArray[np.float32]) -> float:
        """Add an estimate ``(pixels,)`` and return the variance; NaN until the window is full."""
        window, pixels = self._ring.shape
        slot = self._ring[self._count % window]
        self._sum += estimate.astype(np.float64) - slot
        self._sum_of_squares += _energy(estimate) - _energy(slot)
        slot[:] = estimate
        self._count += 1
        if self._count < window:
            return math.nan
        # Var = mean(Σx²) − mean(x)², summed over the pixels.
        variance = self._sum_of_squares / window - _energy(self._sum) / window**2
        return max(variance, 0.0) / pixels


class EarlyStopping:
    """Early-stopping rule of Algorithm 1, based on the smallest variance so far.

    Parameters
    ----------
    patience : int
        Number P of iterations without a smaller variance after which the run should stop. Raising
        it survives longer rises of the variance and costs that many more iterations.

    Attributes
    ----------
    best_iteration : int or None
        Iteration with the smallest variance so far; None until the window is full.
    best_variance : float
        Variance at that iteration; infinite until the window is full.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_iteration: int | None = None
        self.best_variance = math.inf
        self._iteration = 0

    def update(self, iteration: int, variance: float) -> bool:
        """Add the variance of an iteration; return whether it is the smallest so far.

        A variance of NaN means that the window is not full yet.
        """
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
    # Not a dot product: it would start the threads of BLAS, which compete with those of torch and
    # halve the speed of the fit.
    return float(np.square(values, dtype=np.float64).sum())
