"""The axes of a layer: what the user, its labels, its file and its units say, else assumptions."""

from __future__ import annotations

import re
from typing import NamedTuple

from napari.layers import Image

from napari_blind_deconv.plugin.layer_file import LayerFile
from napari_blind_deconv.plugin.stated import Stated

__all__ = ["FROM_FILE", "LayerAxes", "axis_letter", "read_axes", "stack_axes"]

FROM_FILE = "from the file"
"""Note on what the file of a layer states, and the layer does not."""

_ASSUMED = "ZTC"  # letters that axes without a name get, in this order
_NAMES = {
    "Z": "z depth slice slices plane planes zplane zslice zstack",
    "T": "t time times timepoint timepoints frame frames",
    "C": "c ch channel channels wavelength wavelengths lambda colour color",
    "Y": "y row rows height",
    "X": "x col column columns width",
}
_LETTERS = {name: letter for letter, names in _NAMES.items() for name in names.split()}
_NO_NAMES = {"dim", "axis", "dimension"}  # words of labels such as "dim_0", "axis -3" and "0"


class LayerAxes(NamedTuple):
    """The axes of a layer.

    Attributes
    ----------
    letters : str
        One letter for each axis, such as ``"ZYX"``, and S for colour.
    note : str
        What was assumed, or read elsewhere; empty if the layer states everything.
    """

    letters: str
    note: str


def stack_axes(layer: Image) -> str:
    """Return the axes of a layer as letters, such as ``"ZYX"``; raise as :func:`read_axes`."""
    return read_axes(layer).letters


def read_axes(layer: Image) -> LayerAxes:
    """Return the axes of a layer, as the user corrected them, or its labels, file and units say.

    Labels may be letters or words in any case, such as ``"Z"``, ``"time"`` and ``"ch"``. An axis
    with any other name, such as *position*, gets T if that is free: planes along it do not belong
    together in space, as those of a time series. Axes without a name have that of the file that the
    layer was read from; if the file has none, they get T if their unit is one of time, else the
    letters that are left, in the order Z, T, C.

    Raises
    ------
    ValueError
        If the labels say that rows or columns are not the last two axes, or if there are more axes
        than letters.
    """
    colour = "S" if layer.rgb else ""
    corrected = Stated.of(layer).axes
    if corrected:
        return LayerAxes(corrected + colour, "")
    labels = [str(label) for label in layer.axis_labels]
    found = [_letter(label) for label in labels[:-2]]
    if {"Y", "X"} & set(found):
        raise ValueError(
            f"Expected rows and columns as the last two axes of {layer.name}, got the axes "
            f"{', '.join(labels)}; transpose the layer."
        )
    # A letter that stands twice says nothing about either axis.
    letters = [letter if found.count(letter) == 1 else "" for letter in found]
    notes = [
        _read_other_as_time(letters, labels),
        _read_from_file(letters, layer),
        _assume(letters, layer),
    ]
    if "" in letters:
        raise ValueError(
            "Expected no axes but T, C and Z before rows and columns, each once, got the axes "
            f"{', '.join(labels)} of {layer.name}; process single planes, or split the layer along "
            f"{labels[letters.index('')]}."
        )
    text = "; ".join(note for note in notes if note)
    return LayerAxes("".join(letters) + "YX" + colour, text)


def axis_letter(layer: Image, axis: int) -> str:
    """Return the letter of an axis: that of its label, Y or X for the last two, else ``""``."""
    assumed = {layer.ndim - 2: "Y", layer.ndim - 1: "X"}.get(axis, "")
    return _letter(str(layer.axis_labels[axis])) or assumed


def _words(label: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", label.lower())


def _letter(label: str) -> str:
    """Return the letter of a label, such as Z for ``"z position"``, or ``""``."""
    return next((_LETTERS[word] for word in _words(label) if word in _LETTERS), "")


def _has_other_name(label: str) -> bool:
    return not _letter(label) and bool(set(_words(label)) - _NO_NAMES)


def _read_other_as_time(letters: list[str], labels: list[str]) -> str:
    """Give T to the first axis with another name, if T is free, and return a note on it."""
    others = [axis for axis in range(len(letters)) if _has_other_name(labels[axis])]
    if not others or "T" in letters:
        return ""
    letters[others[0]] = "T"
    return f"{labels[others[0]]} is read as T"


def _silent(letters: list[str], layer: Image) -> list[int]:
    """Return the axes without a letter that have no other name either."""
    return [
        axis
        for axis, letter in enumerate(letters)
        if not letter and not _has_other_name(str(layer.axis_labels[axis]))
    ]


def _read_from_file(letters: list[str], layer: Image) -> str:
    """Give axes without a name the letters of the layer's file, and return a note on them."""
    silent = _silent(letters, layer)
    stated = LayerFile.of(layer).letters if silent else ()
    read = {axis: stated[axis] for axis in silent if stated and stated[axis]}
    if not read or set(read.values()) & set(letters):  # labels and file contradict each other
        return ""
    for axis, letter in read.items():
        letters[axis] = letter
    return FROM_FILE


def _assume(letters: list[str], layer: Image) -> str:
    """Give the letters that are left to the axes without a name, and return a note on them."""
    silent = _silent(letters, layer)
    timed = [axis for axis in silent if (1 * layer.units[axis]).check("[time]")]
    if len(timed) == 1 and "T" not in letters:
        letters[timed[0]] = "T"
        silent.remove(timed[0])
    free = [letter for letter in _ASSUMED if letter not in letters]
    assumed = dict(zip(silent, free, strict=False))
    for axis, letter in assumed.items():
        letters[axis] = letter
    if not assumed:
        return ""
    subject = "axis has" if len(assumed) == 1 else "axes have"
    return f"{' and '.join(assumed.values())} assumed, because the {subject} no clear label"
