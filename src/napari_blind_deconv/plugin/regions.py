"""A part of a plane: a rectangle that was drawn, or what the screen shows."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
from napari.components import Dims, LayerList
from napari.layers import Image, Layer, Shapes
from numpy.typing import NDArray

from napari_blind_deconv.plugin.layers import Region, full_data, plane_axes

__all__ = ["drawn_region", "is_for_regions", "visible_region"]

_LINES = ("line", "path")


def is_for_regions(layer: Layer) -> TypeGuard[Shapes]:
    """Whether regions are drawn in a layer: not in one that has lines only."""
    if not isinstance(layer, Shapes):
        return False
    return not len(layer.data) or any(kind not in _LINES for kind in layer.shape_type)


def drawn_region(layer: Image, layers: LayerList, dims: Dims) -> Region:
    """The bounding box of the shape that was drawn last, in pixels of a layer's plane.

    A shape that is selected comes before others, the topmost layer before those below.

    Raises
    ------
    ValueError
        In one sentence, if there is none, or it lies outside of the layer.
    """
    for shapes in reversed([other for other in layers if is_for_regions(other)]):
        areas = [at for at, kind in enumerate(shapes.shape_type) if kind not in _LINES]
        if areas and shapes.visible:
            which = max(shapes.selected_data & set(areas), default=areas[-1])
            world = [shapes.data_to_world(corner) for corner in shapes.data[which]]
            return _box(layer, dims, np.array(world))
    raise ValueError("No rectangle is drawn; add a shapes layer and draw one over the image.")


def visible_region(layer: Image, dims: Dims) -> Region:
    """What of a layer's plane the screen shows."""
    first, last = np.asarray(layer.corner_pixels, float)
    end = last + 1
    if layer.multiscale:  # the corners are pixels of the level that is loaded
        factors = layer.downsample_factors[layer.data_level]
        first, end = first * factors, end * factors
    axes = list(plane_axes(layer, dims))
    return _clipped(layer, dims, first[axes], end[axes])


def _box(layer: Image, dims: Dims, world: NDArray[np.float64]) -> Region:
    shared = min(layer.ndim, world.shape[1])
    axes = list(plane_axes(layer, dims))
    placed = np.tile(np.asarray(dims.point)[-layer.ndim :], (len(world), 1))
    placed[:, -shared:] = world[:, -shared:]
    pixels = np.array([layer.world_to_data(point) for point in placed])[:, axes]
    # A pixel's centre has its whole coordinates.
    return _clipped(layer, dims, pixels.min(axis=0) + 0.5, pixels.max(axis=0) + 0.5)


def _clipped(
    layer: Image, dims: Dims, low: NDArray[np.float64], high: NDArray[np.float64]
) -> Region:
    data = full_data(layer)
    sides = [data.shape[axis] for axis in plane_axes(layer, dims)]
    rows, columns = (
        slice(int(np.clip(round(first), 0, side)), int(np.clip(round(last), 0, side)))
        for first, last, side in zip(low, high, sides, strict=True)
    )
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ValueError(f"The region does not lie on {layer.name}; draw it over the image.")
    return rows, columns
