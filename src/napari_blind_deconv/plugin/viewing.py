"""What the viewer shows of a layer: which plane of it, where, and at which pixel size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.components import Dims
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.pixel_size import PixelSize, read_pixel_size

__all__ = [
    "converted_points",
    "pixel_size",
    "plane_axes",
    "plane_shape",
    "show_point",
    "shown_index",
    "shows_last_axes",
    "unit_factors",
    "viewer_position",
]


def plane_axes(layer: Image, dims: Dims) -> tuple[int, int]:
    """Return the two axes of the layer that the viewer shows, in their order in the array.

    The last two axes are returned if the viewer does not show exactly two axes of the layer.
    """
    shown = sorted(axis - (dims.ndim - layer.ndim) for axis in dims.displayed)
    if len(shown) != 2 or shown[0] < 0 or layer.rgb:
        return layer.ndim - 2, layer.ndim - 1
    return shown[0], shown[1]


def shows_last_axes(layer: Image, dims: Dims) -> bool:
    """Return whether the viewer shows the layer's last two axes."""
    last = layer.ndim - 1
    return plane_axes(layer, dims) == (last - 1, last)


def plane_shape(layer: Image, dims: Dims) -> tuple[int, int]:
    """Return rows and columns of the plane that `LayerPlane.of` would copy, without reading it."""
    shape = full_data(layer).shape
    rows, columns = plane_axes(layer, dims)
    return shape[rows], shape[columns]


def pixel_size(layer: Image, dims: Dims) -> PixelSize:
    """Return height and width of a pixel of the plane shown, and the symbol of their unit.

    See :func:`read_pixel_size`.
    """
    return read_pixel_size(layer, plane_axes(layer, dims)).size


def converted_points(
    points: NDArray[np.float64], source: Layer, target: Layer, dims: Dims
) -> NDArray[np.float64]:
    """Return points ``(N, source.ndim)`` of a layer as points ``(N, target.ndim)`` of another.

    The axes of the layers correspond from the last one on. Along axes that only the target has, the
    points lie at the viewer's sliders.
    """
    world = np.array([source.data_to_world(point) for point in points])
    shared = min(source.ndim, target.ndim)
    factors = unit_factors(source.units, target.units)
    places = np.tile(viewer_position(target, dims), (len(points), 1))
    places[:, -shared:] = world[:, -shared:] * factors[-shared:]
    return np.array([target.world_to_data(place) for place in places])


def shown_index(layer: Image, dims: Dims) -> tuple[int, ...]:
    """Return the index of the pixel of a layer that lies at the viewer's sliders."""
    centre = np.round(layer.world_to_data(viewer_position(layer, dims)))
    last = np.array(full_data(layer).shape[: layer.ndim]) - 1
    return tuple(map(int, np.clip(centre, 0, last)))


def viewer_position(layer: Layer, dims: Dims) -> NDArray[np.float64]:
    """Return the position of the viewer's sliders in the axes and units of a layer's world."""
    # A layer with fewer axes than the viewer corresponds to the viewer's last axes.
    point = np.asarray(dims.point, np.float64)[-layer.ndim :]
    return point * unit_factors(dims.units, layer.units)


def show_point(layer: Layer, dims: Dims, point: NDArray[np.float64]) -> None:
    """Move the viewer's sliders to a point of a layer."""
    world = np.array(layer.data_to_world(point)) / unit_factors(dims.units, layer.units)
    for axis in range(-layer.ndim, 0):
        if dims.ndim + axis not in dims.displayed:
            dims.set_point(dims.ndim + axis, world[axis])


def unit_factors(source: Sequence[Any] | None, target: Sequence[Any]) -> NDArray[np.float64]:
    """Return the factors that convert coordinates between units, one for each axis of `target`.

    The viewer shows all layers in one unit, while a layer's own coordinates are in its own. Axes
    correspond from the last one on. Coordinates whose units do not fit are left as they are, as
    napari does.
    """
    factors = np.ones(len(target))
    pairs = zip(reversed(source or ()), reversed(target), strict=False)
    for axis, (unit, other) in enumerate(pairs, 1):
        if unit != other and unit.is_compatible_with(other):
            factors[-axis] = (1.0 * unit).m_as(other)
    return factors
