"""Masks that users give: the pixels of an image to leave out."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["as_mask"]

_KINDS = "bui"  # bool, unsigned and signed integers


def as_mask(values: Any) -> Any:
    """Return a mask as an array of bool: True where a value is not 0.

    Parameters
    ----------
    values : array_like
        Booleans or whole numbers, such as labels. Whole numbers may be stored as floating-point
        numbers; they are read at once to check them, but integers of a dask array are not.

    Returns
    -------
    ndarray or dask array
        A dask array only if `values` is one.

    Raises
    ------
    TypeError
        If the values are not numbers.
    ValueError
        If they are not whole numbers: what a fraction or NaN is to mean is not known.
    """
    is_lazy = hasattr(values, "__dask_graph__")
    mask = values if is_lazy else np.asarray(values)
    if mask.dtype.kind in _KINDS:
        return mask != 0
    if mask.dtype.kind != "f":
        raise TypeError(
            "Expected a mask of booleans or whole numbers, which are not 0 where a pixel is left "
            f"out, got values of type {mask.dtype}."
        )
    numbers = np.asarray(mask)
    is_whole = np.isfinite(numbers) & (numbers == np.round(numbers))
    if not is_whole.all():
        raise ValueError(
            "Expected a mask of booleans or whole numbers, which are not 0 where a pixel is left "
            f"out, got {numbers[~is_whole].flat[0]:.3g}; compare it with a threshold first."
        )
    return numbers != 0
