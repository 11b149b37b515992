"""Intensity range and sharpest plane of each channel, from one pass over a stack."""

from __future__ import annotations

from dataclasses import dataclass

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.spectrum import Spectrum

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
        Index of the plane that tells most about the kernel.
    information : float
        How much it tells, as `Spectrum.information`.
    """

    intensity_range: tuple[float, float] | None = None
    sharpest: Index | None = None
    information: float = -1.0

    def with_plane(self, index: Index, plane: Image) -> ChannelStatistics:
        """Return a copy that includes one more plane, unless this plane cannot be deconvolved."""
        try:
            inspection = Inspection.of(plane)
        except (ValueError, TypeError):
            return self
        intensity = IntensityMap.of(inspection.channels)
        low, high = self.intensity_range or (intensity.low, intensity.high)
        spectrum = Spectrum.of(inspection.luminance, inspection.valid_share, inspection.noise)
        is_sharper = spectrum.information > self.information
        return ChannelStatistics(
            (min(low, intensity.low), max(high, intensity.high)),
            index if is_sharper else self.sharpest,
            spectrum.information if is_sharper else self.information,
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
