"""What one look at the planes of a stack tells, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_blind_deconv.engine.inputs import check_block
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.numerics.intensity import IntensityMap

__all__ = ["ChannelStatistics", "channel_statistics"]


@dataclass(frozen=True)
class ChannelStatistics:
    """What one look at all planes of a channel tells.

    Attributes
    ----------
    intensity_range : tuple of float or None
        Lowest and highest of all, hot pixels left out; None without a plane of any contrast.
    sharpest : tuple of int or None
        Position of the plane with the strongest gradients.
    contrast : float
        Mean square of its gradients.
    """

    intensity_range: tuple[float, float] | None = None
    sharpest: Index | None = None
    contrast: float = -1.0

    def with_plane(self, index: Index, plane: Image) -> ChannelStatistics:
        """The same with one plane more; one that cannot be sharpened adds nothing."""
        try:
            check_block(plane)
        except (ValueError, TypeError):
            return self
        channels = plane.by_channel()
        seen = IntensityMap.of(channels)
        low, high = self.intensity_range or (seen.low, seen.high)
        steps = ndimage.gaussian_gradient_magnitude(channels.mean(axis=0), 1.0)
        contrast = float(np.square(steps).mean())
        better = contrast > self.contrast
        return ChannelStatistics(
            (min(low, seen.low), max(high, seen.high)),
            index if better else self.sharpest,
            contrast if better else self.contrast,
        )


def channel_statistics(image: Image) -> list[ChannelStatistics]:
    """What the planes of each channel tell; those that cannot be read tell nothing."""
    found = [ChannelStatistics() for _ in range(image.channels)]
    for index in image.indices():
        try:
            plane = image.read(index)
        except ValueError:
            continue  # it will be told of when its turn comes
        channel = image.channel_of(index)
        found[channel] = found[channel].with_plane(index, plane)
    return found
