"""Masks in files: a mask is laid out as the image that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import dask.array as da

from napari_blind_deconv.io.stored_array import StoredArray

__all__ = ["fitted_mask"]


def fitted_mask(
    mask: StoredArray,
    whole: StoredArray,
    part: StoredArray,
    select: Callable[[StoredArray], StoredArray],
) -> StoredArray | None:
    """Return a mask for the selected part of an image.

    Parameters
    ----------
    mask : StoredArray
        The mask as its file stores it: of the complete image, or of the part.
    whole, part : StoredArray
        The complete image, and its part.
    select : callable
        Takes this part of an array with the axes of the complete image.

    Returns
    -------
    StoredArray or None
        Mask of the part, without a colour axis and with Y and X alone if they are its only axes;
        None if its shape fits neither.
    """
    of_whole = _laid_out_as(whole, mask)
    fitted = _laid_out_as(part, mask) if of_whole is None else select(of_whole)
    if fitted is None or {axis for axis, _ in _long_axes(mask)} != {"Y", "X"}:
        return fitted
    return replace(
        fitted,
        data=fitted.data[tuple(slice(None) if a in ("Y", "X") else 0 for a in fitted.axes)],
        axes=tuple(axis for axis in fitted.axes if axis in ("Y", "X")),
    )


def _laid_out_as(image: StoredArray, mask: StoredArray) -> StoredArray | None:
    """Return a mask with the axes of an image without colour; None if it does not fit.

    Axes with the same letters belong together, and the mask is repeated along axes that it lacks.
    If the letters are others, as in a file that states none, the axes are taken in their order.
    """
    sides = {
        axis: side for axis, side in zip(image.axes, image.data.shape, strict=True) if axis != "S"
    }
    axes = [axis for axis, _ in _long_axes(mask)]
    data = mask.data.reshape([side for _, side in _long_axes(mask)])
    if not (set(axes) <= set(sides) and len(set(axes)) == len(axes)):
        axes = [axis for axis, side in sides.items() if side > 1 or axis in ("Y", "X")]
    if data.shape != tuple(sides[axis] for axis in axes):
        return None
    present = [axis for axis in sides if axis in axes]
    data = da.transpose(data, [axes.index(axis) for axis in present])
    data = data[tuple(slice(None) if axis in axes else None for axis in sides)]
    return StoredArray(da.broadcast_to(data, tuple(sides.values())), tuple(sides))


def _long_axes(stored: StoredArray) -> list[tuple[str, int]]:
    """Return the axes with their lengths, without those of length 1 other than Y and X."""
    sides = zip(stored.axes, stored.data.shape, strict=True)
    return [(axis, side) for axis, side in sides if side > 1 or axis in ("Y", "X")]
