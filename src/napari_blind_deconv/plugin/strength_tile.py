"""The part of a result that is previewed at another strength, and its computation. No Qt."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from napari.components import Dims
from numpy.typing import NDArray

from napari_blind_deconv.image import Index
from napari_blind_deconv.plugin.geometry import LayerGeometry, Region
from napari_blind_deconv.plugin.layers import displayable
from napari_blind_deconv.plugin.regions import visible_region
from napari_blind_deconv.plugin.swipe import shows_planes
from napari_blind_deconv.plugin.torch_loading import load_torch
from napari_blind_deconv.results import Result
from napari_blind_deconv.settings import MAX_STRENGTH

if TYPE_CHECKING:
    from napari_blind_deconv.engine.preview import StrengthPreview
    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["Tile", "estimates"]

# Pixels; the first estimate of 512² takes less than 0.1 s on one core.
_MAX_SIDE = 512
# The first estimate is not accurate within half a kernel of the border of what is computed. So much
# is not shown, for the widest kernel, but at most this share of the side.
_MAX_MARGIN = 1 / 8


@dataclass(frozen=True, eq=False)
class Tile:
    """A part of a plane around the middle of what is visible.

    Attributes
    ----------
    run : ViewerRun
    index : tuple of int
        Index of the plane.
    result : Result
        Result of the plane.
    region : tuple of slice
        Rows and columns of the plane that are computed.
    shown : tuple of slice
        Rows and columns of the plane that are shown.
    """

    run: ViewerRun
    index: Index
    result: Result
    region: Region
    shown: Region

    @classmethod
    def of(cls, run: ViewerRun, result: Result, dims: Dims) -> Self:
        """Return the part to preview of the plane that the viewer shows."""
        sides = run.task.image.block_shape
        rows, columns = (
            _span((part.start + part.stop) // 2, side)
            for part, side in zip(_visible(run, dims), sides, strict=True)
        )
        margins = [math.ceil(MAX_STRENGTH * (side // 2)) for side in result.kernel.shape]
        top, left = (
            _inside(span, side, margin)
            for span, side, margin in zip((rows, columns), sides, margins, strict=True)
        )
        return cls(run, run.index_shown(), result, (rows, columns), (top, left))

    def has_place_of(self, other: Tile | None) -> bool:
        """Return whether both are the same part of the same result."""
        return other is not None and (self.result is other.result and self.region == other.region)

    @property
    def place(self) -> LayerGeometry:
        """Position of what is shown."""
        geometry = self.run.geometry
        first = geometry.shifted(self.index, geometry.stack_axes)
        return first.shifted([part.start for part in self.shown])

    def displayed(self, estimate: NDArray[np.float32]) -> NDArray[Any]:
        """Return what is shown of an estimate of the region, as napari displays it."""
        inside = tuple(
            slice(shown.start - computed.start, shown.stop - computed.start)
            for shown, computed in zip(self.shown, self.region, strict=True)
        )
        return displayable(self.run.geometry, estimate[inside])

    @cached_property
    def preview(self) -> StrengthPreview:
        """The computation; this reads the plane and inspects the region."""
        from napari_blind_deconv.engine.preview import StrengthPreview

        plane = self.run.task.image.read(self.index)
        return StrengthPreview(plane.part(self.region), self.result)


def estimates(
    tile: Tile, strength: float, stop: Event
) -> Generator[NDArray[np.float32], None, None]:
    """Yield the estimates of a tile at a strength: first a quick one, then that of a run."""
    load_torch()
    yield from tile.preview.estimates(strength, stop.is_set)


def _visible(run: ViewerRun, dims: Dims) -> Region:
    """Return the visible part of the plane of a result, or all of it if none is visible."""
    rows, columns = run.task.image.block_shape
    if shows_planes(run, dims):
        try:
            return visible_region(run.layer, dims)
        except ValueError:
            pass
    return slice(0, rows), slice(0, columns)


def _span(centre: int, length: int) -> slice:
    """Return the part of an axis around a pixel that is computed."""
    side = min(length, _MAX_SIDE)
    start = min(max(centre - side // 2, 0), length - side)
    return slice(start, start + side)


def _inside(span: slice, length: int, margin: int) -> slice:
    """Return a part of an axis without margins, which the border of the plane does not have."""
    margin = min(margin, int(_MAX_MARGIN * (span.stop - span.start)))
    start = span.start + (margin if span.start > 0 else 0)
    return slice(start, span.stop - (margin if span.stop < length else 0))
