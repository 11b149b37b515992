"""Estimate how the noise variance of a camera grows with brightness, from a single image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from napari_blind_deconv.numerics.noise_shape import WHITE_NOISE, NoiseShape
from napari_blind_deconv.numerics.threads import gaussian_smoothed, in_threads

__all__ = ["CameraNoise"]

# Immerkær's mask does not respond to slopes and curvatures.
_MASK = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
_MEDIAN_SQUARE = 0.4549  # median of the square of a standard normal variable
_BINS = 24
_MIN_PIXELS_PER_BIN = 50
_MAX_VOXELS = 2**22  # more of them do not make the estimate better
_PIXELS_AT_ONCE = 2**20  # that a thread takes
_SMOOTHING = 2.0  # σ in pixels of the Gaussian that estimates the local brightness
# If the variance grows over the image by less than this fraction, it counts as constant.
_MIN_GROWTH = 0.2
# No variance below this fraction of the overall one is accepted for any brightness.
_MIN_FRACTION = 0.3
# Rounding error of single precision, relative to the brightest pixel; no noise can be smaller.
_ROUNDING = 1e-7


@dataclass(frozen=True)
class CameraNoise:
    """Variance of the noise as a function of brightness, in the units of the image.

    Attributes
    ----------
    gain : float
        Slope of the variance against brightness, which is the image units per photon for photon
        noise; 0 if the noise does not grow with brightness.
    floor : float
        Variance of the fitted line at brightness 0; it is negative if the camera has an offset.
    levels, variances : ndarray
        Brightness levels and the variance at each, shape ``(n,)``; the line is fitted to them.
    """

    gain: float
    floor: float
    levels: NDArray[np.float64]
    variances: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        image: NDArray[np.floating[Any]],
        valid: NDArray[np.bool_] | None = None,
        noise: NoiseShape = WHITE_NOISE,
    ) -> Self:
        """Estimate the noise of an image ``(..., H, W)``; the finest detail counts as noise.

        Detail is measured within planes, because the planes of a volume are farther apart than its
        pixels. Of a large volume, planes at equal distances are used.

        Pixels that are not `valid` are left out, and so are the pixels beside them, if others are
        left. `noise` states how the power of the noise depends on frequency.
        """
        of_plane = (1,) * (image.ndim - 2)
        mask = _MASK.reshape(of_plane + _MASK.shape)
        brightness = gaussian_smoothed(image.astype(np.float64), _SMOOTHING)
        if of_plane:
            some = slice(None, None, max(1, image.size // _MAX_VOXELS))
            image, brightness = image[some], brightness[some]
            valid = None if valid is None else valid[some]
        response = ndimage.convolve(image.astype(np.float64), mask) ** 2 / noise.response(_MASK)
        # A background that was clipped at 0 has no noise left, so it is left out.
        noisy = response > 0
        if valid is not None and not valid.all():
            inner = ndimage.binary_erosion(valid, np.ones((*of_plane, 3, 3)), border_value=1)
            noisy &= inner if inner.any() else valid
        overall = float(np.median(response[noisy])) / _MEDIAN_SQUARE if noisy.any() else 0.0
        edges = np.linspace(brightness.min(), brightness.max(), _BINS + 1)
        bins = np.clip(np.digitize(brightness, edges) - 1, 0, _BINS - 1)
        levels, variances = [], []
        for level in range(_BINS):
            inside = (bins == level) & noisy
            if np.count_nonzero(inside) >= _MIN_PIXELS_PER_BIN:
                levels.append(float(brightness[inside].mean()))
                variances.append(float(np.median(response[inside])) / _MEDIAN_SQUARE)
        gain, floor = 0.0, overall
        if len(levels) > 2:
            slope, intercept, lowest, _ = stats.theilslopes(variances, levels)
            # Theil-Sen is robust against bins with texture. The noise counts as growing only if the
            # confidence interval of the slope excludes 0 and the growth is large enough to matter.
            if lowest > 0 and slope * (levels[-1] - levels[0]) > _MIN_GROWTH * overall:
                gain, floor = float(slope), float(intercept)
        if gain == 0:
            levels, variances = [float(brightness.mean())], [overall]
        rounding = (_ROUNDING * float(np.abs(image).max())) ** 2
        bounded = np.maximum(variances, max(_MIN_FRACTION * overall, rounding))
        return cls(gain, floor, np.array(levels), bounded)

    @property
    def offset(self) -> float | None:
        """Brightness at which the noise would vanish: without read noise, the camera's offset."""
        return None if self.gain == 0 else -self.floor / self.gain

    def deviation(self, brightness: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the standard deviation of the noise expected at each brightness."""
        parts = np.array_split(brightness.ravel(), max(1, brightness.size // _PIXELS_AT_ONCE))

        def variance(part: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
            return np.interp(part, self.levels, self.variances)

        variances = np.concatenate(in_threads(variance, parts)).reshape(brightness.shape)
        return np.sqrt(np.maximum(variances, math.ulp(0.0), out=variances), out=variances)
