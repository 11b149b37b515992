"""Images of any axes from TIFF, OME-TIFF and OME-Zarr, read plane by plane when asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, Self

import dask.array as da
import tifffile
import zarr

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.image import Image
from napari_blind_deconv.io.images import find_value, pixel_calibration
from napari_blind_deconv.io.units import in_unit, short_unit

__all__ = ["OpenImage", "open_image"]

_UNNAMED = "ZTC"  # what pages without a name are taken for, most likely first


class Closeable(Protocol):
    """Something that is open."""

    def close(self) -> None:
        """Let go of it; once closed, nothing more can be read."""


@dataclass(frozen=True)
class OpenImage:
    """An image whose file is open; ``with open_image(...) as opened`` closes it.

    Attributes
    ----------
    image : Image
        Not read yet: a dask array whose every chunk is a plane or a part of one.
    notes : tuple of str
        What had to be assumed, as sentences for the user.
    file : Closeable or None
        What its pixels are read from.
    """

    image: Image
    notes: tuple[str, ...] = ()
    file: Closeable | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    @property
    def described(self) -> str:
        """Axes with their lengths, and what was assumed, as sentences."""
        pixels = self.image.pixels
        lengths = zip(self.image.axes, pixels.shape, strict=True)
        shape = " × ".join(f"{axis} {length}" for axis, length in lengths)
        return " ".join([f"{shape}, {pixels.dtype}.", *self.notes])


@dataclass(frozen=True)
class _Found:
    """An array as it stands in its file, its axes still to be named and put in order."""

    data: da.Array
    axes: str
    sizes: Mapping[str, float] = field(default_factory=dict)
    unit: str = "pixel"
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    source: Closeable | None = None

    def close(self) -> None:
        if self.source is not None:
            self.source.close()

    def opened(self) -> OpenImage:
        image = Image(self.data, self.axes, self.sizes, self.unit, self.channels)
        return OpenImage(image, self.notes, self.source)


def open_image(path: Path, axes: str | None = None, select: str | None = None) -> OpenImage:
    """Open an image without reading its pixels.

    Parameters
    ----------
    path : Path
        TIFF of any kind, or the folder of an OME-Zarr.
    axes : str, optional
        One letter for each axis of the array in the file, in place of what the file says.
    select : str, optional
        Part of the image, as ``"3,10:266,20:276"``: for each axis of the file longer than 1, but
        for colour, a position, a range whose end is left out, or ``:`` for all.

    Raises
    ------
    ValueError
        In one sentence, if it cannot be read or `axes` or `select` cannot be.
    OSError
        If it is not there or may not be opened.
    """
    reader = _open_zarr if path.is_dir() else _open_tiff
    try:
        found = reader(path)
    except (OSError, _RefusedError):
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = first_line(error)
        raise ValueError(
            f"{path} cannot be read ({reason}); accepted are TIFF files and OME-Zarr folders."
        ) from error
    try:
        return _in_order(_named(path, found, axes, select)).opened()
    except ValueError:
        found.close()
        raise


class _RefusedError(ValueError):
    """A file that is sound and not for us."""


def _open_tiff(path: Path) -> _Found:
    tiff = tifffile.TiffFile(path)  # open as long as the array that reads from it
    try:
        return _from_tiff(path, tiff)
    except BaseException:
        tiff.close()
        raise


def _from_tiff(path: Path, tiff: tifffile.TiffFile) -> _Found:
    if len(tiff.series) > 1:
        shapes = ", ".join(str(series.shape) for series in tiff.series)
        raise _RefusedError(
            f"The file {path} holds {len(tiff.series)} images of shapes {shapes}; "
            "accepted is one image, of any axes."
        )
    series = tiff.series[0]
    stored = zarr.open_array(series.aszarr(level=0), mode="r")
    chunks = tuple(
        side if axis in "YXS" else 1 for side, axis in zip(stored.shape, series.axes, strict=True)
    )
    axes = series.axes
    composite = (tiff.imagej_metadata or {}).get("channels")
    if "S" in axes and composite == stored.shape[axes.index("S")]:
        axes = axes.replace("S", "C")  # ImageJ keeps three channels as if they were colours
    lengths, unit = pixel_calibration(tiff)
    return _Found(
        data=da.from_array(stored, chunks=chunks, name=False),
        axes=axes,
        sizes=dict(zip("YX", lengths or (), strict=False)) | _steps(tiff),
        unit=unit,
        channels=_channel_names(tiff),
        notes=_pyramid_note(path, len(series.levels)),
        source=tiff,
    )


def _steps(tiff: tifffile.TiffFile) -> dict[str, float]:
    """Distance of planes and frames, where the file says."""
    if tiff.ome_metadata:
        pixels = find_value(tifffile.xml2dict(tiff.ome_metadata), "Pixels") or {}
        found = {
            "Z": in_unit(
                pixels.get("PhysicalSizeZ"),
                pixels.get("PhysicalSizeZUnit", "µm"),
                pixels.get("PhysicalSizeXUnit", "µm"),
            ),
            "T": in_unit(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"), "s"),
        }
    else:
        ours = tiff.imagej_metadata or {}
        found = {
            "Z": ours.get("spacing"),  # in the unit of all lengths
            "T": in_unit(ours.get("finterval"), ours.get("tunit", "s"), "s"),
        }
    numbers = {axis: float(value) for axis, value in found.items() if value}
    return {axis: value for axis, value in numbers.items() if 0 < value < math.inf}


def _channel_names(tiff: tifffile.TiffFile) -> tuple[str, ...]:
    if not tiff.ome_metadata:
        return ()
    pixels = find_value(tifffile.xml2dict(tiff.ome_metadata), "Pixels") or {}
    channels = pixels.get("Channel", [])
    listed = channels if isinstance(channels, list) else [channels]
    names = tuple(str(channel.get("Name", "")) for channel in listed)
    return names if all(names) else ()


def _open_zarr(path: Path) -> _Found:
    from ome_zarr.io import parse_url  # seconds to load, and most files are TIFF
    from ome_zarr.reader import Multiscales, Reader

    location = parse_url(str(path), mode="r")
    nodes = [] if location is None else list(Reader(location)())
    images = [node for node in nodes if any(isinstance(spec, Multiscales) for spec in node.specs)]
    if not images:
        raise _RefusedError(f"The folder {path} holds no OME-Zarr image.")
    image = images[0]
    axes = image.metadata["axes"]
    scale: list[float] = next(
        step["scale"]
        for step in image.metadata["coordinateTransformations"][0]
        if step["type"] == "scale"
    )
    letters = "".join(axis["name"].upper() for axis in axes)
    units = {axis["name"].upper(): axis.get("unit") for axis in axes}
    length = str(units.get("X") or "pixel")
    wanted = {"Z": length, "Y": length, "X": length, "T": "s"}
    found = {
        letter: in_unit(step, str(units.get(letter)), wanted[letter])
        for letter, step in zip(letters, scale, strict=True)
        if letter in wanted
    }
    sizes = {letter: step for letter, step in found.items() if step is not None}
    data = image.data[0]
    planes = tuple(
        side if letter in "YX" else 1 for side, letter in zip(data.shape, letters, strict=True)
    )
    names = tuple(str(name) for name in image.metadata.get("channel_names", ()))
    unit = short_unit(length)
    return _Found(
        data.rechunk(planes), letters, sizes, unit, names, _pyramid_note(path, len(image.data))
    )


def _pyramid_note(path: Path, levels: int) -> tuple[str, ...]:
    if levels < 2:
        return ()
    return (f"{path.name} is a pyramid of {levels} levels; the finest is used.",)


def _named(path: Path, found: _Found, asked: str | None, select: str | None) -> _Found:
    """Name the axes, drop those of length 1 that have no name, and take what is selected."""
    axes, notes = found.axes, found.notes
    if asked is not None:
        axes = asked.upper()
        _check_asked(path, axes, found.data.shape)
    data = found.data
    kept = [
        place
        for place, (axis, side) in enumerate(zip(axes, data.shape, strict=True))
        if axis in "YX" or side > 1 or (axis in "TCZ" and asked is not None)
    ]
    data = data[tuple(slice(None) if at in kept else 0 for at in range(data.ndim))]
    axes = "".join(axes[place] for place in kept)
    if "S" in axes and data.shape[axes.index("S")] not in (3, 4):
        axes = axes.replace("S", "C")
    named = _with_letters(axes)
    if named != axes:
        notes = (
            *notes,
            f"{path.name} does not say what its axes are; they are taken for {named} "
            "(--axes says otherwise).",
        )
    if not {"Y", "X"} <= set(named) or len(set(named)) < len(named):
        raise ValueError(
            f"The file {path} holds an array of shape {found.data.shape} with axes {found.axes}; "
            "accepted are T, C, Z, Y, X and colour, each once."
        )
    channels = found.channels
    if "C" not in named or len(channels) != data.shape[named.index("C")]:
        channels = ()
    stack = replace(found, data=data, axes=named, channels=channels, notes=notes)
    return stack if select is None else _selected(path, stack, select)


def _in_order(stack: _Found) -> _Found:
    """Put the axes in the order of OME, colour last."""
    order = [axis for axis in "TCZYXS" if axis in stack.axes]
    data = da.transpose(stack.data, [stack.axes.index(axis) for axis in order])
    return replace(stack, data=data, axes="".join(order))


def _selected(path: Path, stack: _Found, text: str) -> _Found:
    """A part of a stack; of a single channel the name goes with its axis."""
    axes = stack.axes.replace("S", "")
    items = [_part(path, item, text) for item in text.split(",")]
    lengths = [side for axis, side in zip(stack.axes, stack.data.shape, strict=True) if axis != "S"]
    if len(items) != len(axes) or not all(
        (axis not in "YX" and -side <= item < side)
        if isinstance(item, int)
        else len(range(side)[item]) > 0
        for axis, item, side in zip(axes, items, lengths, strict=True)
    ):
        raise ValueError(
            f"{text!r} was selected of {path}, whose axes {axes} have lengths {lengths}; accepted "
            "is a position or a range for each, ranges for rows and columns."
        )
    chosen = dict(zip(axes, items, strict=True))
    channels = stack.channels
    if channels and isinstance(chosen["C"], slice):
        channels = channels[chosen["C"]]
    return replace(
        stack,
        data=stack.data[tuple(chosen.get(axis, slice(None)) for axis in stack.axes)],
        axes="".join(axis for axis in stack.axes if not isinstance(chosen.get(axis), int)),
        channels=channels if isinstance(chosen.get("C"), slice) else (),
    )


def _part(path: Path, item: str, text: str) -> int | slice:
    try:
        if ":" not in item:
            return int(item)
        first, last = (int(side) if side.strip() else None for side in item.split(":"))
    except ValueError:
        raise ValueError(
            f"{text!r} was selected of {path}; accepted are positions and ranges such as "
            "3,10:266,20:276."
        ) from None
    return slice(first, last)


def _check_asked(path: Path, axes: str, shape: tuple[int, ...]) -> None:
    if len(axes) != len(shape) or not set(axes) <= set("TCZYXS") or len(set(axes)) < len(axes):
        raise ValueError(
            f"The axes {axes!r} were given for {path}, whose array has shape {shape}; "
            "accepted is one letter an axis, of T, C, Z, Y, X and S (colour), each once."
        )


def _with_letters(axes: str) -> str:
    """Letters nobody knows become those of `_UNNAMED` that are not taken."""
    free = [axis for axis in _UNNAMED if axis not in axes]
    return "".join(axis if axis in "TCZYXS" or not free else free.pop(0) for axis in axes)
