"""Intensity range and sharpest plane of each channel, from one pass over a stack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.numerics.intensity import IntensityMap

__all__ = ["ChannelStatistics", "channel_statistics"]


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of the planes of one channel.

    Attributes
    ----------
    intensity_range : tuple of float or None
        Lowest and highest intensity of all planes, without hot pixels; None if no plane has any
        contrast.
    sharpest : tuple of int or None
        Index of the plane with the strongest gradients.
    contrast : float
        Mean squared gradient of the sharpest plane.
    """

    intensity_range: tuple[float, float] | None = None
    sharpest: Index | None = None
    contrast: float = -1.0

    def with_plane(self, index: Index, plane: Image) -> ChannelStatistics:
        """Return a copy that includes one more plane, unless this plane cannot be deconvolved."""
        try:
            channels = Inspection.of(plane).channels
        except (ValueError, TypeError):
            return self
        intensity = IntensityMap.of(channels)
        low, high = self.intensity_range or (intensity.low, intensity.high)
        gradients = ndimage.gaussian_gradient_magnitude(channels.mean(axis=0), 1.0)
        contrast = float(np.square(gradients).mean())
        is_sharper = contrast > self.contrast
        return ChannelStatistics(
            (min(low, intensity.low), max(high, intensity.high)),
            index if is_sharper else self.sharpest,
            contrast if is_sharper else self.contrast,
        )


def channel_statistics(image: Image) -> list[ChannelStatistics]:
    """Compute the statistics of each channel. Planes that cannot be read are left out."""
    statistics = [ChannelStatistics() for _ in range(image.channels)]
    for index in image.indices():
        try:
            plane = image.read(index)
        except ValueError:
            continue  # the run reports the failure when it comes to this plane
        channel = image.channel_of(index)
        statistics[channel] = statistics[channel].with_plane(index, plane)
    return statistics
