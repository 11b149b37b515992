"""Regions of a plane: a rectangle that the user has drawn, or the visible part."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
from napari.components import Dims, LayerList
from napari.layers import Image, Layer, Shapes
from numpy.typing import NDArray

from napari_blind_deconv.plugin.geometry import Region
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.viewing import converted_points, plane_axes

__all__ = ["LINES", "can_hold_regions", "drawn_region", "visible_region"]

LINES = ("line", "path")
"""Types of shapes that enclose no area."""


def can_hold_regions(layer: Layer) -> TypeGuard[Shapes]:
    """Return whether a layer is a shapes layer for regions, and does not contain only lines."""
    if not isinstance(layer, Shapes):
        return False
    return not len(layer.data) or any(kind not in LINES for kind in layer.shape_type)


def drawn_region(layer: Image, layers: LayerList, dims: Dims) -> Region:
    """Return the bounding box of the last drawn shape, in pixels of a layer's plane.

    A selected shape takes precedence over others, and a layer over the layers below it. Hidden
    layers are ignored.

    Raises
    ------
    ValueError
        If there is no shape, or it lies outside of the layer.
    """
    candidates = [other for other in layers if can_hold_regions(other)]
    for shapes in reversed(candidates):
        areas = [index for index, kind in enumerate(shapes.shape_type) if kind not in LINES]
        if areas and shapes.visible:
            index = max(shapes.selected_data & set(areas), default=areas[-1])
            corners = converted_points(shapes.data[index], shapes, layer, dims)
            pixels = corners[:, plane_axes(layer, dims)]
            # The centre of a pixel has integer coordinates, so its edges are half a pixel away.
            return _clipped(layer, dims, pixels.min(axis=0) + 0.5, pixels.max(axis=0) + 0.5)
    shown = [shapes.name for shapes in candidates if shapes.visible]
    how = f"draw one in {shown[-1]}," if shown else "add a shapes layer and draw one"
    raise ValueError(f"No rectangle is drawn; {how} over the image.")


def visible_region(layer: Image, dims: Dims) -> Region:
    """Return the part of a layer's plane that is visible in the viewer."""
    first, last = np.asarray(layer.corner_pixels, float)
    end = last + 1
    if layer.multiscale:  # the corners are in pixels of the level that is displayed
        factors = layer.downsample_factors[layer.data_level]
        first, end = first * factors, end * factors
    axes = list(plane_axes(layer, dims))
    return _clipped(layer, dims, first[axes], end[axes])


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
        raise ValueError(f"The region lies outside of {layer.name}; draw it over the image.")
    return rows, columns
