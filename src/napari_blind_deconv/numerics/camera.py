"""Noise of a camera from one plane: how its variance grows with the brightness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

__all__ = ["CameraNoise"]

# Immerkær's mask: blind to slopes and curvatures, its response to white noise has 36 times the
# variance.
_MASK = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
_MASK_POWER = 36.0
_MEDIAN_SQUARE = 0.4549  # of a standard normal
_BINS = 24
_FEWEST_IN_A_BIN = 50
_SMOOTHING = 2.0  # pixels over which the brightness is taken
# Noise that grows by less than this share of itself over the picture does not grow.
_LEAST_GROWTH = 0.2
# No pixel is trusted to have less than this share of the mean noise.
_LEAST_SHARE = 0.3
_ROUNDING = 1e-7  # of single precision: no picture is known better


@dataclass(frozen=True)
class CameraNoise:
    """Variance of the noise over brightness, in the picture's units.

    Attributes
    ----------
    gain : float
        Variance by brightness: units a photon, where photons make the noise. 0 where noise does
        not grow with brightness.
    floor : float
        Variance at brightness 0 of the straight line that `gain` is the slope of; negative with an
        offset.
    levels, variances : ndarray
        Brightness and variance ``(n,)`` that the line was drawn through.
    """

    gain: float
    floor: float
    levels: NDArray[np.float64]
    variances: NDArray[np.float64]

    @classmethod
    def of(cls, image: NDArray[np.floating[Any]]) -> Self:
        """Noise of an image ``(H, W)``; its finest detail counts as noise."""
        response = ndimage.convolve(image.astype(np.float64), _MASK) ** 2 / _MASK_POWER
        brightness = ndimage.gaussian_filter(image.astype(np.float64), _SMOOTHING)
        noisy = response > 0  # a background that was cut off at 0 says nothing of the noise
        whole = float(np.median(response[noisy])) / _MEDIAN_SQUARE if noisy.any() else 0.0
        edges = np.linspace(brightness.min(), brightness.max(), _BINS + 1)
        place = np.clip(np.digitize(brightness, edges) - 1, 0, _BINS - 1)
        levels, variances = [], []
        for level in range(_BINS):
            inside = (place == level) & noisy
            if np.count_nonzero(inside) >= _FEWEST_IN_A_BIN:
                levels.append(float(brightness[inside].mean()))
                variances.append(float(np.median(response[inside])) / _MEDIAN_SQUARE)
        gain, floor = 0.0, whole
        if len(levels) > 2:
            slope, intercept, lowest, _ = stats.theilslopes(variances, levels)
            # It grows, as sure as the bins can tell, and enough to matter.
            if lowest > 0 and slope * (levels[-1] - levels[0]) > _LEAST_GROWTH * whole:
                gain, floor = float(slope), float(intercept)
        if gain == 0:
            levels, variances = [float(brightness.mean())], [whole]
        rounding = (_ROUNDING * float(np.abs(image).max())) ** 2
        believed = np.maximum(variances, max(_LEAST_SHARE * whole, rounding))
        return cls(gain, floor, np.array(levels), believed)

    @property
    def offset(self) -> float | None:
        """Brightness at which the noise would vanish: the camera's offset, but for read noise."""
        return None if self.gain == 0 else -self.floor / self.gain

    def deviation(self, brightness: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Standard deviation expected at some brightness."""
        variance = np.interp(brightness, self.levels, self.variances)
        return np.sqrt(np.maximum(variance, math.ulp(0.0)))
