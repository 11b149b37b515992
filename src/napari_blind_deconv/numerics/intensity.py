"""Map intensities to the scale of the computation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.numerics.threads import in_threads

__all__ = ["IntensityMap", "local_median"]


@dataclass(frozen=True)
class IntensityMap:
    """Affine map between the units of an image and the range [0, 1] of the computation.

    Attributes
    ----------
    low, high : float
        Intensities that are mapped to 0 and 1.
    """

    low: float
    high: float

    @classmethod
    def of(cls, channels: NDArray[np.floating[Any]]) -> IntensityMap:
        """Return the map for an image ``(C, *space)``, ignoring single hot or dead pixels.

        The range is that of the 3×3 median, which removes detector errors one pixel wide and keeps
        everything that the microscope has blurred. If the median is constant, because nothing in
        the image is wider than a pixel, the range is that of the image itself.
        """
        median = local_median(channels)
        robust = median if np.ptp(median) > 0 else channels
        return cls(float(robust.min()), float(robust.max()))

    @classmethod
    def given(cls, intensity_range: tuple[float, float]) -> IntensityMap:
        """Return the map of a given range; raise `ValueError` if it is not a range."""
        low, high = intensity_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                "Expected an intensity range of two finite numbers, lower first, "
                f"got {low} to {high}."
            )
        return cls(float(low), float(high))

    def to_unit(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Convert from the units of the image to those of the computation."""
        return ((values - self.low) / (self.high - self.low)).astype(np.float32)

    def from_unit(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert from the units of the computation to those of the image, without clipping."""
        # Double precision, so that the result is rounded only once, at the end.
        exact = values.astype(np.float64) * (self.high - self.low) + self.low
        return exact.astype(np.float32)


def local_median(channels: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Return the 3×3 median of each plane of an image ``(C, *space)``."""
    planes = channels.reshape(-1, *channels.shape[-2:])
    return np.stack(in_threads(_median_filtered, planes)).reshape(channels.shape)


def _median_filtered(plane: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Return the 3×3 median of a plane, in a fifth of the time of scipy's filter for any window.

    It is the median of three values: the largest minimum, the median of the medians and the
    smallest maximum of the three columns. Source: Smith, *Implementing median filters in XC4000E
    FPGAs*, XCell 23 (1996).
    """
    padded = np.pad(plane, 1, mode="symmetric")
    rows = padded[:-2], padded[1:-1], padded[2:]
    lowest = reduce(np.maximum, _beside(reduce(np.minimum, rows)))
    highest = reduce(np.minimum, _beside(reduce(np.maximum, rows)))
    return _median(lowest, _median(*_beside(_median(*rows))), highest)


def _beside(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return values[:, :-2], values[:, 1:-1], values[:, 2:]


def _median(one: NDArray[Any], other: NDArray[Any], third: NDArray[Any]) -> NDArray[Any]:
    return np.maximum(np.minimum(one, other), np.minimum(np.maximum(one, other), third))
