"""What the file of a layer states about it, as napari's own readers do not pass it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from weakref import WeakKeyDictionary

import tifffile
from napari.layers import Image

from napari_blind_deconv.io.stacks import open_stored
from napari_blind_deconv.io.stored_array import StoredArray
from napari_blind_deconv.io.tiff import series_of
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.plugin.layer_array import full_data

__all__ = ["LayerFile", "tiff_of"]

_OTHER_AXES = "TCZ"  # axes besides rows and columns, of which a layer may be one index


@dataclass(frozen=True)
class LayerFile:
    """What the file that a layer was read from states about it.

    Attributes
    ----------
    letters : tuple of str
        A letter for each axis of the layer except colour, ``""`` where the file does not name the
        axis; empty if the axes of the file cannot be told apart in the layer.
    spacing : mapping
        Pixel size along Z, Y and X in `unit`, and time step along T in seconds, as far as they are
        known; empty if the file has other rows and columns than the layer.
    unit : str
        Unit of length.
    channels : int
        Number of channels in the file, of which the layer may be one.
    channel_names : tuple of str
        Names of the channels, if they have names.
    optics : Optics
        The optics, with the wavelengths of all channels of the file.
    """

    letters: tuple[str, ...] = ()
    spacing: Mapping[str, float] = field(default_factory=dict)
    unit: str = "pixel"
    channels: int = 1
    channel_names: tuple[str, ...] = ()
    optics: Optics = field(default_factory=Optics)

    @classmethod
    def of(cls, layer: Image) -> LayerFile:
        """Read the metadata of the file, but no pixels, once for a layer and its shape."""
        path, shape = layer.source.path, tuple(full_data(layer).shape[: layer.ndim])
        if path is None:
            return cls()
        known = _read.get(layer)
        if known is None or known[0] != (path, shape):
            known = _read[layer] = (path, shape), cls._of_file(Path(path), shape)
        return known[1]

    @classmethod
    def _of_file(cls, path: Path, shape: Sequence[int]) -> LayerFile:
        try:
            stored = open_stored(path)
        except Exception:  # decoders raise any exception; the file may have any format
            return cls()
        stored.close()
        sides = {axis: side for axis, side in _sides(stored) if axis in ("Y", "X")}
        is_plane = tuple(sides.values()) == tuple(shape[-2:])
        calibration = stored.calibration
        count = dict(_sides(stored)).get("C", 1)
        return cls(
            _letters(stored, shape),
            calibration.spacing if is_plane else {},
            calibration.unit,
            count,
            stored.channels if len(stored.channels) == count else (),
            stored.optics.of_channels(slice(None), count),
        )


_read: WeakKeyDictionary[Image, tuple[tuple[str, tuple[int, ...]], LayerFile]] = WeakKeyDictionary()


def _sides(stored: StoredArray) -> list[tuple[str, int]]:
    """Return the axes of an array without colour, and their lengths."""
    pairs = zip(stored.axes, stored.data.shape, strict=True)
    return [(axis, side) for axis, side in pairs if axis != "S"]


def _letters(stored: StoredArray, shape: Sequence[int]) -> tuple[str, ...]:
    """Return a letter for each axis of a layer, or nothing if that is not clear.

    Readers drop axes of length 1, and a layer may be one channel, plane or time of the file.
    """
    pairs = [pair for pair in _sides(stored) if pair[0] in ("Y", "X") or pair[1] > 1]
    long = [axis for axis, side in enumerate(shape) if side > 1 or axis >= len(shape) - 2]
    wanted = [shape[axis] for axis in long]
    free = [number for number, (axis, _) in enumerate(pairs) if axis in _OTHER_AXES]
    dropped = len(pairs) - len(long)
    if dropped < 0:
        return ()
    kept = [
        [pair for number, pair in enumerate(pairs) if number not in left_out]
        for left_out in combinations(free, dropped)
    ]
    found = {tuple(axis for axis, _ in part) for part in kept if [n for _, n in part] == wanted}
    return _placed(found.pop(), long, len(shape)) if len(found) == 1 else ()


def _placed(found: Sequence[str], axes: Sequence[int], ndim: int) -> tuple[str, ...]:
    """Put letters at axes of a layer, if rows and columns are the last two."""
    if tuple(found[-2:]) != ("Y", "X"):
        return ()
    letters = [""] * ndim
    for letter, axis in zip(found, axes, strict=True):
        letters[axis] = letter if letter in (*_OTHER_AXES, "Y", "X") else ""
    return tuple(letters)


def tiff_of(layer: Image) -> str | None:
    """Return the TIFF file a layer was read from, if its only image has the layer's shape."""
    path = layer.source.path
    if path is None:
        return None
    data = full_data(layer)
    try:
        with tifffile.TiffFile(path) as tiff:
            shapes = [tuple(series.shape) for series in series_of(tiff)]
            return path if shapes == [tuple(data.shape)] else None
    except Exception:  # the file has another format
        return None
