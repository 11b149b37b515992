"""The axes of an image: which are allowed, where its first pixel lies, and their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["check_axes", "moved_origin", "with_axis_moved"]


def moved_origin(
    origin: Mapping[str, float], spacing: Mapping[str, float], starts: Mapping[str, int]
) -> dict[str, float]:
    """Return the position of another pixel than the first.

    Parameters
    ----------
    origin, spacing : mapping
        As in `Image`.
    starts : mapping
        Index of the pixel along each axis on which it is not the first. Where the spacing is
        unknown, the position stays.
    """
    moved = dict(origin)
    for axis, start in starts.items():
        if start and axis in spacing:
            moved[axis] = moved.get(axis, 0.0) + start * spacing[axis]
    return moved


def with_axis_moved(pixels: Any, axis: int, to: int) -> Any:
    """Move an axis of an array, without reading one that is not in memory."""
    if not hasattr(pixels, "__array_function__"):  # such as a zarr array
        import dask.array  # it takes half a second

        pixels = dask.array.from_array(pixels)
    return np.moveaxis(pixels, axis, to)


def check_axes(axes: str, space: str, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless axes fit the shape of an array, and end with those of a block.

    Parameters
    ----------
    axes, space : str
        As in `Image`.
    shape : tuple of int
        Shape of the array.
    """
    grey = axes.removesuffix("S")
    before = grey.removesuffix(space)
    known = set(before) <= set("TCZ") - set(space)
    if not grey.endswith(space) or not known or len(set(before)) != len(before):
        raise ValueError(
            f"Expected axes with the letters T, C and Z, each at most once, then {space}, then S "
            f"for colour, got {axes!r}."
        )
    if len(axes) != len(shape):
        raise ValueError(
            f"Expected one letter for each axis of the array of shape {tuple(shape)}, got the axes "
            f"{axes!r}."
        )
    if axes.endswith("S") and shape[-1] not in (3, 4):
        raise ValueError(
            f"Expected a colour axis of length 3 or 4 for the axes {axes!r}, got length "
            f"{shape[-1]}."
        )
