"""The contrast limits of an estimate: those of its input, unless they would hide it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

__all__ = ["EstimateContrast"]

_BRIGHT = 99.9  # percentile of the voxels that is still within the limits
_SAMPLE = 1_000_000  # voxels that tell it; of a large volume, every n-th along each axis


class EstimateContrast:
    """The contrast limits of the layer of a volume's estimate.

    Light that goes back to where it came from makes a volume several times as bright as its input,
    with whose limits it would be a white patch. The upper limit therefore rises to the 99.9th
    percentile of the estimate, if that is higher. The lower one stays: black is the same intensity
    in both. Limits that the user has set are left alone.

    Parameters
    ----------
    layer : Image
        Grey layer of the estimate, with the limits of its input.
    """

    def __init__(self, layer: Image) -> None:
        self._layer = layer
        self._given = self._made = tuple(layer.contrast_limits)

    def fit(self, volume: NDArray[Any], *, is_one_of_many: bool = False) -> None:
        """Fit the limits to an estimate, or raise them if it is one of the many in the layer."""
        if tuple(self._layer.contrast_limits) != self._made:
            return
        bright = _bright(volume)
        highest = (self._made if is_one_of_many else self._given)[1]
        if math.isfinite(bright):
            self._layer.contrast_limits = (self._given[0], max(highest, bright))
            self._made = tuple(self._layer.contrast_limits)


def _bright(volume: NDArray[Any]) -> float:
    step = math.ceil((volume.size / _SAMPLE) ** (1 / volume.ndim))
    return float(np.nanpercentile(volume[(slice(None, None, step),) * volume.ndim], _BRIGHT))
