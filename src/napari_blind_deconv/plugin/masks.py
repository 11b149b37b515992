"""Masks from layers: labels and shapes, in the pixels of the image that they lie over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from napari.components import Dims
from napari.layers import Image, Labels, Shapes
from numpy.typing import NDArray
from skimage.draw import polygon

from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layers import file_name
from napari_blind_deconv.plugin.regions import LINES
from napari_blind_deconv.plugin.viewing import converted_points

__all__ = ["MaskFile", "mask_file", "mask_in_pixels"]

_ELLIPSE_POINTS = 128
# The centre of a pixel can lie between two labels. Rounding errors must not choose one of them in
# one row and the other one in the next.
_DECIMALS = 6
_NEGLIGIBLE = 1e-9  # pixels of the mask per pixel of the image


@dataclass(frozen=True)
class MaskFile:
    """The file that a layer has to be saved to as a mask, for scripts.

    Attributes
    ----------
    name : str
        Name of the file.
    ndim : int
        Number of its axes, which are the last ones of the image.
    note : str
        What to save there.
    """

    name: str
    ndim: int
    note: str


def mask_in_pixels(
    mask: Labels | Shapes,
    image: Image,
    dims: Dims,
    axes: tuple[int, int],
    pixels: Sequence[range],
) -> NDArray[np.bool_]:
    """Return which pixels of an image a layer covers.

    Parameters
    ----------
    mask : Labels or Shapes
        Labels that are not 0, or shapes that enclose an area. The axes of the layer are the last
        ones of the image, as in the viewer; along the others, it covers the same pixels everywhere.
    image : Image
        Layer of the image.
    dims : Dims
        Dimensions of the viewer.
    axes : tuple of int
        Axes of the image that are the rows and the columns.
    pixels : sequence of range
        Indices along each axis of the image.

    Returns
    -------
    ndarray
        Mask ``(rows, columns)`` if it is the same in all planes, else of all `pixels`.

    Raises
    ------
    ValueError
        If the layer is empty.
    """
    cover: _Cover = (
        _Drawn(mask, image, dims) if isinstance(mask, Shapes) else _Painted(mask, image, dims)
    )
    others = [axis for axis in range(image.ndim) if axis not in axes]
    differ = cover.differs_along(others)
    lengths = [len(pixels[axis]) if differ else 1 for axis in others]
    planes = []
    for index in np.ndindex(*lengths):
        of_plane = list(pixels)
        for axis, number in zip(others, index, strict=True):
            of_plane[axis] = pixels[axis][number : number + 1]
        planes.append(cover.of_plane(axes, of_plane))
    return planes[0] if len(planes) == 1 else np.reshape(planes, (*lengths, *planes[0].shape))


def mask_file(mask: Labels | Shapes, image: Image, dims: Dims) -> MaskFile:
    """Return the file that a layer has to be saved to as a mask of an image."""
    name = file_name(mask.name)
    ndim = min(mask.ndim, image.ndim)
    note = (
        f"Save the layer {mask.name!r} as {name!r} first."
        if isinstance(mask, Labels) and _has_pixels_of(image, mask, dims)
        else f"First save a mask in the pixels of {image.name!r}, not 0 where {mask.name!r} covers "
        f"them, as {name!r}."
    )
    return MaskFile(name, ndim, note)


def _has_pixels_of(image: Image, mask: Labels, dims: Dims) -> bool:
    """Whether the pixels of a mask are those of an image along its last axes."""
    shape = full_data(image).shape[: image.ndim]
    corners = np.array([np.zeros(image.ndim), np.subtract(shape, 1)])
    expected = corners[:, image.ndim - mask.ndim :]
    return (
        mask.ndim <= image.ndim
        and tuple(full_data(mask).shape) == tuple(shape[image.ndim - mask.ndim :])
        and np.allclose(converted_points(corners, image, mask, dims), expected, atol=1e-3)
    )


class _Cover(Protocol):
    def differs_along(self, axes: Sequence[int]) -> bool:
        """Whether the pixels that are covered can differ along these axes of the image."""

    def of_plane(self, axes: tuple[int, int], pixels: Sequence[range]) -> NDArray[np.bool_]:
        """Return the mask of a plane; `pixels` have one index along all but two axes."""


class _Painted:
    """The pixels under labels: those whose centres lie in a labelled pixel."""

    def __init__(self, mask: Labels, image: Image, dims: Dims) -> None:
        self._is_label = np.asarray(full_data(mask)) != 0
        if not self._is_label.any():
            raise ValueError(
                f"Expected labels in {mask.name} over the pixels to leave out, got none; paint "
                "some, or choose no layer."
            )
        # Coordinates of the mask are a matrix times those of the image, plus an offset.
        points = np.vstack([np.zeros(image.ndim), np.eye(image.ndim)])
        origin, *steps = converted_points(points, image, mask, dims)
        self._offset, self._matrix = origin, np.transpose(np.subtract(steps, origin))
        self._matrix[np.abs(self._matrix) < _NEGLIGIBLE] = 0

    def differs_along(self, axes: Sequence[int]) -> bool:
        return bool(self._matrix[:, list(axes)].any())

    def of_plane(self, axes: tuple[int, int], pixels: Sequence[range]) -> NDArray[np.bool_]:
        # Each of these grids varies along one axis only, so that scaled layers need little memory.
        grids = np.ix_(*(np.array(along, np.float64) for along in pixels))
        index, is_inside = [], np.ones((1,) * len(pixels), bool)
        for offset, factors, side in zip(
            self._offset, self._matrix, self._is_label.shape, strict=True
        ):
            place = sum((f * grid for f, grid in zip(factors, grids, strict=True) if f), offset)
            nearest = np.floor(np.round(place, _DECIMALS) + 0.5).astype(int)
            is_inside = is_inside & (nearest >= 0) & (nearest < side)
            index.append(np.clip(nearest, 0, side - 1))
        covered = np.broadcast_to(
            self._is_label[tuple(index)] & is_inside, [len(along) for along in pixels]
        )
        return covered.reshape([len(pixels[axis]) for axis in axes])


class _Drawn:
    """The pixels within shapes: those whose centres lie in a shape that encloses an area."""

    def __init__(self, mask: Shapes, image: Image, dims: Dims) -> None:
        areas = [
            _outline(np.asarray(corners), kind)
            for corners, kind in zip(mask.data, mask.shape_type, strict=True)
            if kind not in LINES
        ]
        if not areas:
            raise ValueError(
                f"Expected shapes in {mask.name} around the pixels to leave out, got none that "
                "encloses an area; draw one, or choose no layer."
            )
        self._outlines = [converted_points(area, mask, image, dims) for area in areas]
        self._own_axes = range(max(image.ndim - mask.ndim, 0), image.ndim)

    def differs_along(self, axes: Sequence[int]) -> bool:
        return not set(self._own_axes).isdisjoint(axes)

    def of_plane(self, axes: tuple[int, int], pixels: Sequence[range]) -> NDArray[np.bool_]:
        plane = [pixels[axis] for axis in axes]
        covered = np.zeros([len(along) for along in plane], bool)
        fixed = [axis for axis in self._own_axes if axis not in axes]
        for outline in self._outlines:
            place = np.round(outline.mean(axis=0)).astype(int)
            if all(place[axis] in pixels[axis] for axis in fixed):
                rows, columns = (outline[:, axes] - [along.start for along in plane]).T
                covered[polygon(rows, columns, covered.shape)] = True
        return covered


def _outline(corners: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the corners of a shape; of an ellipse, whose box is given, points along it."""
    if kind != "ellipse":
        return corners
    first, second, _, last = corners
    angles = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)[:, np.newaxis]
    sides = np.cos(angles) * (second - first) + np.sin(angles) * (last - first)
    return np.asarray(corners.mean(axis=0) + sides / 2)
