"""The geometry of a napari layer: its plane on the screen, and its position in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from napari.components import Dims
from napari.layers import Image, Layer
from napari.utils.transforms import Affine
from numpy.typing import NDArray

from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_optics import LayerOptics
from napari_blind_deconv.plugin.pixel_size import (
    PixelSize,
    read_pixel_size,
    stated_for_results,
)
from napari_blind_deconv.plugin.stated import Stated

__all__ = [
    "GAP",
    "LayerGeometry",
    "LayerPlane",
    "Region",
    "converted_points",
    "display_of",
    "pixel_size",
    "plane_axes",
    "plane_shape",
    "shown_index",
    "shows_last_axes",
    "unit_factors",
    "viewer_position",
]

Region = tuple[slice, slice]
"""Rows and columns of a plane."""

GAP = 0.05
"""Free space between the image and a layer beside it, as a fraction of the image's width."""


@dataclass(frozen=True, kw_only=True)
class LayerGeometry:
    """Position and display settings of a plane of a layer, or of a part of that plane.

    No pixel of the layer is read.

    Attributes
    ----------
    name : str
        Name of the layer.
    rgb : bool
        Whether the layer is a colour image.
    white : float
        Intensity that napari displays as 1: the largest value of the data type for a colour image
        of integers, else 1.
    axes : tuple of int
        The two axes of the layer that are the rows and the columns of the plane.
    position : tuple of int
        Index of the plane's first pixel in the layer.
    transform : dict
        Scale, rotate, shear, affine, units and axis labels of the layer.
    translate : ndarray
        Translation that puts a layer with this transform at the plane's first pixel.
    display : dict
        How the layer is displayed: blending, gamma and interpolation; of a grey image also colormap
        and contrast limits.
    pixel_size : tuple
        Height and width of a pixel, and the symbol of their unit.
    stated : Stated
        What the results have to state in their metadata, because they have no more than the
        transform, the units and the labels of the layer.
    rows : int
        Number of rows of the plane, or of the part of it.
    columns : int
        Number of columns of the full plane.
    corner : tuple of int
        Row and column of the first pixel in the full plane; ``(0, 0)`` unless this is a part.
    """

    name: str
    rgb: bool
    white: float
    axes: tuple[int, int]
    position: tuple[int, ...]
    transform: dict[str, Any]
    translate: NDArray[np.float64]
    display: dict[str, Any]
    pixel_size: PixelSize
    stated: Stated
    rows: int
    columns: int
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, layer: Image, dims: Dims, region: Region | None = None) -> LayerGeometry:
        """Return the geometry of the plane that the viewer shows, or of a region of it."""
        axes = plane_axes(layer, dims)
        data = full_data(layer)
        rows = slice(0, data.shape[axes[0]]) if region is None else region[0]
        corner = (0, 0) if region is None else (region[0].start, region[1].start)
        inside = np.array(shown_index(layer, dims))
        inside[list(axes)] = corner
        position = tuple(map(int, inside))
        reading = read_pixel_size(layer, axes)
        return LayerGeometry(
            name=layer.name,
            rgb=layer.rgb,
            white=_white(data.dtype) if layer.rgb else 1.0,
            axes=axes,
            position=position,
            transform={
                "scale": layer.scale,
                "rotate": layer.rotate,
                "shear": layer.shear,
                "affine": layer.affine.affine_matrix,
                "units": layer.units,
                "axis_labels": layer.axis_labels,
            },
            # napari applies `affine` after `translate`, so its effect is taken out here.
            translate=layer.affine.inverse(layer.data_to_world(position)),
            display=display_of(layer),
            pixel_size=reading.size,
            stated=stated_for_results(layer, axes, reading),
            rows=rows.stop - rows.start,
            columns=data.shape[axes[1]],
            corner=corner,
        )

    @property
    def calibration(self) -> dict[str, Any]:
        """Spacing and unit as arguments of the package's `Image`; empty if no unit is set."""
        height, width, unit = self.pixel_size
        return {} if unit == "px" else {"spacing": {"Y": height, "X": width}, "unit": unit}

    def shifted(self, rows: float, columns: float) -> Self:
        """Return a copy that is moved by a number of rows and columns of pixels."""
        offset = np.zeros(len(self.position))
        offset[list(self.axes)] = rows, columns
        return self.moved(offset)

    def moved(self, offset: NDArray[np.float64]) -> Self:
        """Return a copy that is moved by a number of pixels along each axis of the layer."""
        return replace(self, translate=self.translate + self._linear_matrix() @ offset)

    def counted_backwards(self, axis: int, last: float) -> Self:
        """Return a copy for pixels that are counted down along an axis of the layer from `last`."""
        offset = np.zeros(len(self.position))
        offset[axis] = last
        scale = np.array(self.transform["scale"])
        scale[axis] *= -1
        return replace(self.moved(offset), transform={**self.transform, "scale": scale})

    @property
    def mirrored(self) -> tuple[bool, bool]:
        """Whether row and column numbers fall from top to bottom and from left to right.

        A negative scale does this, or an affine transform. A half turn does both.
        """
        affine = np.asarray(self.transform["affine"])[:-1, :-1]
        linear = affine @ self._linear_matrix()
        down, right = (bool(linear[axis, axis] < 0) for axis in self.axes)
        return down, right

    def right_of_plane(self, below: float, shape: tuple[float, float]) -> Self:
        """Return a copy for an object that is drawn to the right of the full plane.

        Right and below are those of the viewer, also if the layer is mirrored.

        Parameters
        ----------
        below : float
            Distance from the top of this plane or part to the top of the object, in pixels.
        shape : tuple of float
            Rows and columns of the object.
        """
        height, width = shape
        upside_down, reversed_columns = self.mirrored
        rows = self.rows - below - height if upside_down else below
        gap = GAP * self.columns
        columns = -gap - width if reversed_columns else self.columns + gap
        return self.shifted(rows, columns - self.corner[1])

    def layer_arguments(self) -> dict[str, Any]:
        """Return the arguments that put a new layer at the position of this plane."""
        return {**self.transform, "translate": self.translate}

    def embed(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return a plane with singleton axes for the other axes of the layer."""
        return np.expand_dims(
            plane, [axis for axis in range(len(self.position)) if axis not in self.axes]
        )

    def embed_points(self, points: NDArray[Any]) -> NDArray[Any]:
        """Return points ``(N, 2)`` of the plane as points ``(N, ndim)`` of the layer."""
        embedded = np.zeros((len(points), len(self.position)))
        embedded[:, list(self.axes)] = points
        return embedded

    def _linear_matrix(self) -> NDArray[np.float64]:
        parts = {key: self.transform[key] for key in ("scale", "rotate", "shear")}
        return np.asarray(Affine(**parts, ndim=len(self.position)).linear_matrix)


@dataclass(frozen=True, kw_only=True)
class LayerPlane(LayerGeometry):
    """A copy of the pixels of a plane, or of a part of it, with its geometry.

    The plane does not depend on the layer any more: the layer may be changed or deleted.

    Attributes
    ----------
    pixels : ndarray
        Copy of the pixels, ``(rows, columns)``, or ``(rows, columns, 3 or 4)`` if `rgb`.
    optics : Optics
        Optics of the plane, as far as they are known.
    """

    pixels: NDArray[Any]
    optics: Optics

    @classmethod
    def of(cls, layer: Image, dims: Dims, region: Region | None = None) -> LayerPlane:
        """Copy the plane of `layer` that the viewer shows, or read only a region of it."""
        geometry = LayerGeometry.of(layer, dims, region)
        index: list[int | slice] = list(geometry.position)
        for axis, part in zip(geometry.axes, region or (slice(None), slice(None)), strict=True):
            index[axis] = part
        optics = LayerOptics.of(layer).at(geometry.position)
        pixels = np.array(full_data(layer)[tuple(index)])
        return cls(**vars(geometry), pixels=pixels, optics=optics)

    @property
    def image(self) -> ImageData:
        """The plane as an image for `deconvolve`, with its pixel size."""
        axes = "YXS" if self.rgb else "YX"
        return ImageData(self.pixels, axes, optics=self.optics, **self.calibration)


def display_of(layer: Image) -> dict[str, Any]:
    """Return how a layer is displayed, as arguments of a new layer."""
    shared = {name: getattr(layer, name) for name in ("blending", "gamma", "interpolation2d")}
    if layer.rgb:
        return shared
    limits = list(layer.contrast_limits)
    return {**shared, "contrast_limits": limits, "colormap": layer.colormap}


def _white(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


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
