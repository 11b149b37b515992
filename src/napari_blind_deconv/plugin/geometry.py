"""The geometry of a napari layer: its plane on the screen, and its position in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from napari.components import Dims
from napari.layers import Image
from napari.utils.transforms import Affine
from numpy.typing import ArrayLike, NDArray

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
from napari_blind_deconv.plugin.viewing import plane_axes, shown_index

__all__ = [
    "GAP",
    "LayerGeometry",
    "LayerPlane",
    "Region",
    "display_of",
]

Region = tuple[slice, slice]
"""Rows and columns of a plane."""

GAP = 0.05
"""Free space between the image and a layer beside it, as a fraction of the image's width."""


@dataclass(frozen=True, kw_only=True)
class LayerGeometry:
    """Position and display settings of what is deconvolved of a layer.

    That is a plane, a part of a plane, a volume, or a stack of planes or volumes. No pixel of the
    layer is read.

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
        How the layer is displayed: blending, gamma, interpolation and rendering; of a grey image
        also colormap and contrast limits.
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
    stack_axes : tuple of int
        Axes of the layer along which the planes or the volumes of a stack lie.
    depth : int or None
        Axis of the layer along which the planes of a volume lie; None unless volumes are
        deconvolved.
    planes : int
        Number of planes of a volume; 1 unless volumes are deconvolved.
    letters : str
        Axes of the layer as letters, with S for colour; empty for a single plane, which needs none.
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
    stack_axes: tuple[int, ...] = ()
    depth: int | None = None
    planes: int = 1
    letters: str = ""

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

    @property
    def block_axes(self) -> tuple[int, ...]:
        """The axes of the layer that are those of a plane, or of a volume."""
        return self.axes if self.depth is None else (self.depth, *self.axes)

    @property
    def all_axes(self) -> tuple[int, ...]:
        """The axes of the layer that are those of the image, in the order of the image."""
        return (*self.stack_axes, *self.block_axes)

    @property
    def sliced_axes(self) -> tuple[int, ...]:
        """The axes of the layer that count planes: those of the stack, then that of a volume."""
        return self.stack_axes if self.depth is None else (*self.stack_axes, self.depth)

    def shifted(self, offset: ArrayLike, axes: Sequence[int] | None = None) -> Self:
        """Return a copy that is moved by a number of pixels along axes; default: rows, columns."""
        full = np.zeros(len(self.position))
        full[list(self.axes if axes is None else axes)] = offset
        return self.moved(full)

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
        return self.shifted((rows, columns - self.corner[1]))

    def layer_arguments(self) -> dict[str, Any]:
        """Return the arguments that put a new layer at the position of this plane."""
        return {**self.transform, "translate": self.translate}

    def embed(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return a plane or a volume with singleton axes for the other axes of the layer."""
        return np.expand_dims(
            block, [axis for axis in range(len(self.position)) if axis not in self.block_axes]
        )

    def in_layer(self, stack: Any) -> Any:
        """Return a stack of blocks with its axes in the order of the layer, as a view."""
        if self.depth is None:
            return stack
        return np.moveaxis(stack, len(self.stack_axes), self.depth)

    def embed_points(self, points: NDArray[Any]) -> NDArray[Any]:
        """Return points ``(N, 2)`` of a plane or ``(N, 3)`` of a volume as points of the layer."""
        embedded = np.zeros((len(points), len(self.position)))
        embedded[:, list(self.block_axes[-points.shape[1] :])] = points
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
    names = ("blending", "gamma", "interpolation2d", "interpolation3d", "rendering", "attenuation")
    shared = {name: getattr(layer, name) for name in names}
    if layer.rgb:
        return shared
    limits = list(layer.contrast_limits)
    return {**shared, "contrast_limits": limits, "colormap": layer.colormap}


def _white(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0
