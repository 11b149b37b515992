"""The one intensity scale that everything is computed in, and pixels that would spoil it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["IntensityMap", "local_median", "without_hot_pixels"]


@dataclass(frozen=True)
class IntensityMap:
    """The affine map between an image's units and the [0, 1] of the computation.

    Attributes
    ----------
    low, high : float
        Intensities that become 0 and 1.
    """

    low: float
    high: float

    @classmethod
    def of(cls, channels: NDArray[np.floating[Any]]) -> IntensityMap:
        """Range of an image ``(C, *space)`` without single hot or dead pixels.

        Its 3×3 median has lost detector errors one pixel wide, and kept whatever a microscope's
        blur has spread. The image itself counts only if nothing of it is wider than a pixel.
        """
        median = local_median(channels)
        seen = median if np.ptp(median) > 0 else channels
        return cls(float(seen.min()), float(seen.max()))

    @classmethod
    def given(cls, intensity_range: tuple[float, float]) -> IntensityMap:
        """A range somebody else has chosen; `ValueError` if it is none."""
        low, high = intensity_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"The intensity range is {low} to {high}; accepted are two numbers, lower first."
            )
        return cls(float(low), float(high))

    def to_unit(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The image's units to those of the computation."""
        return ((values - self.low) / (self.high - self.low)).astype(np.float32)

    def from_unit(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Units of the computation to the image's. Not clipped."""
        exact = values.astype(np.float64) * (self.high - self.low) + self.low
        return exact.astype(np.float32)


def local_median(channels: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """3×3 median of the planes of an image ``(C, *space)``."""
    size = (1,) * (channels.ndim - 2) + (3, 3)
    return ndimage.median_filter(channels, size=size)


def without_hot_pixels(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image ``(C, *space)`` in [0, 1] with hot and dead pixels replaced by the median around.

    They differ from it by more than the whole range. The data term sees them, and Huber's loss
    discounts them; means, spectra and the network's input would not.
    """
    median = local_median(unit)
    return np.where(np.abs(unit - median) > 1, median, unit)
