"""The axes of arrays as files store them: named by the file, by the user, or by assumption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_blind_deconv.io.stored_array import StoredArray

__all__ = ["AXES", "check_axes", "joined_axes", "with_assumed_axes", "with_named_axes"]

AXES = "TCZYXS"
"""Axes of images in the order of OME, with colour last."""

_UNNAMED = {"I", "Q"}  # pages of a TIFF that does not state what they are
_ASSUMED_AXES = "ZTC"  # assumed for them, the most likely first
_MEANINGS = {  # of letters in TIFF files
    "A": "angles",
    "E": "wavelengths",
    "H": "lifetimes",
    "L": "exposures",
    "M": "tiles of a mosaic",
    "P": "phases or positions",
    "R": "positions",
    "V": "events",
}


def with_named_axes(path: Path, stored: StoredArray, given: str | None) -> StoredArray:
    """Name the axes as the user did, or assume names for unnamed axes; drop axes of length 1.

    Axes of length 1 are kept if the user gave the axes.
    """
    axes = stored.axes
    if given is not None:
        axes = tuple(given.upper())
        _check_given_axes(path, axes, stored.data.shape)
    kept = [
        number
        for number, (axis, side) in enumerate(zip(axes, stored.data.shape, strict=True))
        if axis in ("Y", "X") or side > 1 or (axis in ("T", "C", "Z") and given is not None)
    ]
    data = stored.data[tuple(slice(None) if n in kept else 0 for n in range(stored.data.ndim))]
    axes = tuple(axes[number] for number in kept)
    named = with_assumed_axes(axes)
    notes = stored.notes
    if named != axes:
        notes = (
            *notes,
            f"{path.name} does not state its axes; they are assumed to be {joined_axes(named)} "
            "(--axes changes this).",
        )
    return replace(stored, data=data, axes=named, notes=notes)


def with_assumed_axes(axes: tuple[str, ...]) -> tuple[str, ...]:
    """Name the axes that a file does not name, as long as letters are left for them."""
    free = [axis for axis in _ASSUMED_AXES if axis not in axes]
    return tuple(axis if axis not in _UNNAMED or not free else free.pop(0) for axis in axes)


def _check_given_axes(path: Path, axes: tuple[str, ...], shape: tuple[int, ...]) -> None:
    if len(axes) != len(shape) or not set(axes) <= set(AXES) or len(set(axes)) < len(axes):
        raise ValueError(
            f"Expected one letter for each axis of {path}, from T, C, Z, Y, X and S (colour), each "
            f"at most once, got {''.join(axes)!r} for an array of shape {shape}."
        )


def check_axes(path: Path, stored: StoredArray) -> None:
    """Raise `ValueError` unless the axes are those of a plane or of a stack."""
    axes = stored.axes
    other = [axis for axis in axes if axis not in AXES]
    is_plane_or_stack = {"Y", "X"} <= set(axes) and len(set(axes)) == len(axes)
    if is_plane_or_stack and not other:
        return
    advice = ""
    if is_plane_or_stack:
        names = [
            f"{axis!r} ({_MEANINGS[axis]})" if axis in _MEANINGS else repr(axis) for axis in other
        ]
        items = ["0" if axis in other else ":" for axis in axes if axis != "S"]
        advice = (
            f"; take one index of {' and '.join(names)}, as with --select {','.join(items)} for "
            "the first, or name the axes with --axes"
        )
    raise ValueError(
        f"Expected axes from T, C, Z, Y, X and S (colour), each at most once and with Y and X, in "
        f"{path}, got an array of shape {stored.data.shape} with axes {joined_axes(axes)}{advice}."
    )


def joined_axes(axes: Sequence[str]) -> str:
    """Return axes as text: letters without a separator, other names with commas."""
    return ("" if all(len(axis) == 1 for axis in axes) else ", ").join(axes)
