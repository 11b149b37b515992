"""The pixel size of a layer: from the user, its transform and units, its metadata or its file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree.ElementTree import ParseError

import numpy as np
import pint
from napari.layers import Image
from napari.utils.transforms import Affine
from numpy.typing import NDArray
from pydantic import BaseModel

from napari_blind_deconv.io.optics_metadata import xml_as_dict
from napari_blind_deconv.plugin.axes import FROM_FILE, axis_letter, read_axes
from napari_blind_deconv.plugin.layer_file import LayerFile
from napari_blind_deconv.plugin.stated import Stated
from napari_blind_deconv.units import in_unit
from napari_blind_deconv.units import short_unit as short_name

__all__ = [
    "PixelReading",
    "PixelSize",
    "read_pixel_size",
    "read_steps",
    "short_unit",
    "stated_for_results",
]

PixelSize = tuple[float, float, str]
"""Height and width of a pixel, and the symbol of their unit; 1, 1 and ``"px"`` if unknown."""

_Lengths = tuple[tuple[float, ...], str]
"""Sizes of a pixel along some axes, and their unit."""

_UNKNOWN: PixelSize = (1.0, 1.0, "px")
# Lengths that differ by a smaller fraction are equal, because metadata are rounded.
_TOLERANCE = 1e-3
# Metadata may refer to anything; of larger metadata only this many values are searched.
_MAX_VALUES = 20_000


class PixelReading(NamedTuple):
    """The pixel size of a layer.

    Attributes
    ----------
    size : tuple
        Height and width of a pixel, and their unit.
    note : str
        Where the size comes from, or why it is not known; empty for the usual cases.
    """

    size: PixelSize
    note: str = ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the size is known, but not from the transform and the units of the layer."""
        return bool(self.note) and self.size[2] != "px"


def read_pixel_size(layer: Image, axes: tuple[int, int]) -> PixelReading:
    """Return the size of a pixel, for the two axes of a layer that are rows and columns.

    Height and width are the lengths in the world of a step of one pixel along rows and along
    columns, so they are positive. The whole transform counts: scale, rotate, shear and affine. If
    rows and columns are not perpendicular in the world, the lengths are those along the two axes.
    Their unit is that of the columns; a height in another unit is converted.

    A size that was stated to this plugin goes before all others. A layer without units of length
    has the pixel size that OME metadata state for an image of its shape, or else its file, unless
    its scale says otherwise. A scale without a unit is not taken for a pixel size.
    """
    symbol = _symbol(layer.units[axes[1]])
    letters = [axis_letter(layer, axis) for axis in axes]
    stated = Stated.of(layer)
    if all(letter in stated.spacing for letter in letters):
        height, width = (stated.spacing[letter] for letter in letters)
        return PixelReading((height, width, stated.unit), "as stated")
    lengths = _lengths(layer, axes, symbol)
    if np.isfinite(lengths).all():
        return PixelReading((float(lengths[0]), float(lengths[1]), symbol))
    found = _size_elsewhere(layer, axes, letters)
    if found is not None:
        ((height, width), unit), note = found
        return PixelReading((height, width, unit), note)
    height, width = np.linalg.norm(_steps(layer, axes), axis=0)
    if not np.allclose((height, width), 1, rtol=_TOLERANCE):
        text = f"scale of {height:.3g} × {width:.3g} without a unit of length"
        return PixelReading(_UNKNOWN, f"{text}, so sizes are in pixels")
    return PixelReading(_UNKNOWN)


def stated_for_results(layer: Image, axes: tuple[int, int], reading: PixelReading) -> Stated:
    """Return what results of a layer have to state, as they only have its transform and labels.

    The parameters are those of :func:`read_pixel_size`, and what it has returned.
    """
    stated = Stated.of(layer)
    try:
        letters, note = read_axes(layer)
    except ValueError:  # the axes are not needed for a single plane
        letters = note = ""
    spacing, unit = dict(stated.spacing), stated.unit
    if reading.is_elsewhere:
        *sides, unit = reading.size
        steps = read_steps(layer, letters, unit) if letters else {}
        spacing = {axis: step for axis, step in steps.items() if axis == "Z"}
        spacing |= {axis_letter(layer, a): side for a, side in zip(axes, sides, strict=True)}
    is_known = stated.axes or note
    return Stated(letters.removesuffix("S") if is_known else "", spacing, unit, stated.optics)


def read_steps(layer: Image, letters: str, unit: str) -> dict[str, float]:
    """Return the steps of a stack along Z in a unit of length and along T in seconds, if known.

    Like the pixel size, they are stated by the user, or lengths in the world, or those that OME
    metadata or the layer's file state.

    Parameters
    ----------
    layer : Image
    letters : str
        Axes of the layer, such as ``"TZYX"``.
    unit : str
        Unit of length, such as ``"µm"``.
    """
    targets = {axis: target for axis, target in (("Z", unit), ("T", "s")) if axis in letters}
    steps = {
        axis: float(_lengths(layer, (letters.index(axis),), target)[0])
        for axis, target in targets.items()
    }
    stated = Stated.of(layer)
    if "Z" in steps and "Z" in stated.spacing:
        steps["Z"] = in_unit(stated.spacing["Z"], stated.unit, unit) or np.nan
    elif np.isnan(steps.get("Z", 0)):
        found = _size_elsewhere(layer, [letters.index(axis) for axis in "ZYX"], list("ZYX"))
        if found is not None:
            (lengths, known), _ = found
            steps["Z"] = in_unit(lengths[0], known, unit) or np.nan
    if np.isnan(steps.get("T", 0)):
        steps["T"] = LayerFile.of(layer).spacing.get("T", np.nan)
    return {axis: step for axis, step in steps.items() if np.isfinite(step)}


def short_unit(unit: pint.Unit) -> str:
    """Return the symbol of a pint unit, such as ``"µm"`` or ``"px"``."""
    # Unicode has two signs for micro, and versions of pint differ in which one they use.
    return f"{unit:~P}".replace("μ", "µ").replace("pixel", "px")


def _lengths(layer: Image, axes: Sequence[int], symbol: str) -> NDArray[np.float64]:
    """Return the lengths of steps of one pixel along axes, in a unit; NaN if they have none.

    A step along an axis with a unit of another kind, such as time for a length, has none.
    """
    steps = _steps(layer, axes)
    units = np.array([_in_unit(unit, symbol) for unit in layer.units])
    lengths: NDArray[np.float64] = np.linalg.norm(
        np.where(steps, steps * units[:, np.newaxis], 0), axis=0
    )
    return lengths


def _steps(layer: Image, axes: Sequence[int]) -> NDArray[np.float64]:
    """Return the steps of one pixel along some axes in the world, ``(ndim, axes)``."""
    parts = {"scale": layer.scale, "rotate": layer.rotate, "shear": layer.shear}
    linear = layer.affine.linear_matrix @ Affine(**parts, ndim=layer.ndim).linear_matrix
    steps = np.asarray(linear, np.float64)[:, list(axes)]
    return np.where(np.abs(steps) > 1e-9 * np.abs(steps).max(), steps, 0)  # rounding of a rotation


def _symbol(unit: pint.Unit) -> str:
    """Return the symbol of a unit of length that files know, else ``"µm"``."""
    symbol = short_unit(unit)
    return symbol if in_unit(1, symbol, "µm") else "µm"


def _in_unit(unit: pint.Unit, symbol: str) -> float:
    """Return a unit in another one; NaN if it is of another kind."""
    if short_unit(unit) == "px":  # "px" is 1/96 inch to pint, unlike "pixel"
        return np.nan
    quantity = 1.0 * unit
    return float(quantity.m_as(symbol)) if quantity.is_compatible_with(symbol) else np.nan


def _size_elsewhere(
    layer: Image, axes: Sequence[int], letters: list[str]
) -> tuple[_Lengths, str] | None:
    """Return the size that metadata or file state, and a note on which of them does."""
    for note, read in (("from the metadata", _size_in_metadata), (FROM_FILE, _size_in_file)):
        stated = read(layer, axes, letters)
        if stated is not None:
            return stated, note
    return None


def _size_in_file(layer: Image, axes: Sequence[int], letters: list[str]) -> _Lengths | None:
    """Return the size in µm that the layer's file states, unless the scale says otherwise."""
    file = LayerFile.of(layer)
    sides = [in_unit(file.spacing.get(letter), file.unit, "µm") for letter in letters]
    lengths = tuple(side for side in sides if side is not None)
    return _unless_scaled(layer, axes, (lengths, "µm")) if len(lengths) == len(axes) else None


def _unless_scaled(layer: Image, axes: Sequence[int], stated: _Lengths) -> _Lengths | None:
    """Return a stated size, or None if the layer has a scale that says otherwise."""
    scale = np.linalg.norm(_steps(layer, axes), axis=0)
    fits = any(np.allclose(scale, expected, rtol=_TOLERANCE) for expected in (1, stated[0]))
    return stated if fits else None


# OME metadata, as dictionaries, as models of the package ome-types, or as XML


def _size_in_metadata(layer: Image, axes: Sequence[int], letters: list[str]) -> _Lengths | None:
    """Return the only size that the metadata state for an image of the layer's shape, or None.

    It is none either if the layer has a scale that says otherwise.
    """
    sides = [layer.data.shape[axis] for axis in axes]
    sizes = {_size_in(node, letters, sides) for node in _mappings(layer.metadata)} - {None}
    stated = sizes.pop() if len(sizes) == 1 else None
    return None if stated is None else _unless_scaled(layer, axes, stated)


def _size_in(node: Mapping[Any, Any], letters: list[str], sides: list[int]) -> _Lengths | None:
    unit = short_name(_unit_in(node, letters[-1]))
    lengths = []
    for letter, side in zip(letters, sides, strict=True):
        count = _value(node, f"Size{letter}", f"size_{letter.lower()}")
        if count is not None and str(count) != str(side):  # another image, or a binned one
            return None
        size = _value(node, f"PhysicalSize{letter}", f"physical_size_{letter.lower()}")
        try:
            lengths.append(in_unit(size, _unit_in(node, letter), unit))
        except (TypeError, ValueError):  # not a number
            return None
    known = tuple(length for length in lengths if length is not None)
    is_complete = len(known) == len(lengths) and in_unit(1, unit, "µm")
    return (known, unit) if is_complete else None


def _unit_in(node: Mapping[Any, Any], letter: str) -> str:
    unit = _value(node, f"PhysicalSize{letter}Unit", f"physical_size_{letter.lower()}_unit")
    return str(getattr(unit, "value", unit) or "µm")  # µm is the default of the OME schema


def _value(node: Mapping[Any, Any], *names: str) -> Any:
    return next((node[name] for name in names if node.get(name) is not None), None)


def _mappings(tree: Any) -> Iterator[Mapping[Any, Any]]:
    """Return all dictionaries and models in nested metadata as mappings, the outer ones first."""
    queue = deque([tree])
    for _ in range(_MAX_VALUES):
        if not queue:
            return
        node = queue.popleft()
        if isinstance(node, BaseModel):
            node = dict(node)
        elif isinstance(node, str):
            node = _parsed(node)
        if isinstance(node, Mapping):
            yield node
            node = list(node.values())
        queue.extend(value for value in node if _is_nested(value))


def _is_nested(value: Any) -> bool:
    return isinstance(value, BaseModel | Mapping | list | tuple) or (
        isinstance(value, str) and "PhysicalSize" in value
    )


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        return xml_as_dict(text)
    except (ParseError, ValueError):  # some other text
        return {}
