"""Intensity range and most informative planes of each channel, from one pass over a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.spectrum import Spectrum

__all__ = ["ChannelStatistics", "PlaneStatistics", "channel_statistics"]

# A plane that tells at least this share of what the best one tells can be compared with it.
_MIN_COMPARED_SHARE = 0.15
_MOST_SEARCHED = 4  # volumes; more take longer to read, and tell little more


@dataclass(frozen=True)
class PlaneStatistics:
    """Statistics of one plane.

    Attributes
    ----------
    index : tuple of int
        Index of the plane in its stack.
    low, high : float
        Lowest and highest intensity, without hot pixels.
    information : float
        How much the plane tells about its kernel, as `Spectrum.information`.
    """

    index: Index
    low: float
    high: float
    information: float

    @classmethod
    def of(cls, index: Index, plane: Image) -> Self:
        """Compute the statistics; raises as `Inspection.of`."""
        inspection = Inspection.of(plane)
        intensity = IntensityMap.of(inspection.channels)
        spectrum = Spectrum.of(inspection.luminance, inspection.valid_share, inspection.noise)
        return cls(index, intensity.low, intensity.high, spectrum.information)


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of a channel.

    Attributes
    ----------
    planes : tuple of PlaneStatistics
        Those of the planes that can be deconvolved, in the order of the stack.
    """

    planes: tuple[PlaneStatistics, ...] = ()

    @property
    def intensity_range(self) -> tuple[float, float] | None:
        """Lowest and highest intensity, without hot pixels; None without a usable plane."""
        if not self.planes:
            return None
        return min(plane.low for plane in self.planes), max(plane.high for plane in self.planes)

    @property
    def sharpest(self) -> tuple[Index, ...]:
        """Indices of the planes that tell most about the kernel, at most 4, the best first."""
        best = sorted(self._compared, key=lambda plane: plane.information, reverse=True)
        return tuple(plane.index for plane in best[:_MOST_SEARCHED])

    @property
    def ends(self) -> tuple[Index, ...]:
        """Indices of the first and the last plane that tell enough to be compared."""
        compared = [plane.index for plane in self._compared]
        return tuple(dict.fromkeys((*compared[:1], *compared[-1:])))

    @property
    def _compared(self) -> list[PlaneStatistics]:
        """Planes that tell nearly as much as the one that tells most, in the order of the stack."""
        most = max((plane.information for plane in self.planes), default=0.0)
        return [plane for plane in self.planes if plane.information >= _MIN_COMPARED_SHARE * most]


def channel_statistics(image: Image) -> list[ChannelStatistics]:
    """Compute the statistics of each channel.

    Planes that cannot be read or deconvolved are left out: the run reports these failures when it
    comes to them.
    """
    planes: list[list[PlaneStatistics]] = [[] for _ in range(image.channels)]
    for index in image.indices():
        try:
            planes[image.channel_of(index)].append(PlaneStatistics.of(index, image.read(index)))
        except (ValueError, TypeError):
            continue
    return [ChannelStatistics(tuple(of_channel)) for of_channel in planes]
