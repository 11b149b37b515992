"""Open images of any axes from TIFF, OME-TIFF and OME-Zarr; their planes are read on demand."""

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

_ASSUMED_AXES = "ZTC"  # assumed for axes without a name, the most likely first


class Closeable(Protocol):
    """An open file."""

    def close(self) -> None:
        """Close the file; nothing more can be read from it."""


@dataclass(frozen=True)
class OpenImage:
    """An image whose file is open; ``with open_image(...) as opened`` closes it.

    Attributes
    ----------
    image : Image
        The image. Its pixels are a dask array that is not read yet; each chunk of it is a plane or
        a part of a plane.
    notes : tuple of str
        Assumptions that were made about the file, as sentences for the user.
    file : Closeable or None
        The open file that the pixels are read from.
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
        """Axes with their lengths, pixel type, and the assumptions made, as sentences."""
        pixels = self.image.pixels
        lengths = zip(self.image.axes, pixels.shape, strict=True)
        shape = " × ".join(f"{axis} {length}" for axis, length in lengths)
        return " ".join([f"{shape}, {pixels.dtype}.", *self.notes])


@dataclass(frozen=True)
class _StoredArray:
    """An array as its file stores it, before its axes are named and put in order.

    Attributes
    ----------
    data : dask array
        The pixels.
    axes : str
        One letter for each axis, as the file has them; unknown letters are possible.
    sizes : mapping
        Step along each axis, as in `Image.spacing`.
    unit : str
        Unit of lengths.
    channels : tuple of str
        Names of the channels, if they have names.
    notes : tuple of str
        As in `OpenImage`.
    source : Closeable or None
        The open file.
    """

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

    def as_open_image(self) -> OpenImage:
        image = Image(self.data, self.axes, self.sizes, self.unit, self.channels)
        return OpenImage(image, self.notes, self.source)


def open_image(path: Path, axes: str | None = None, select: str | None = None) -> OpenImage:
    """Open an image without reading its pixels.

    Parameters
    ----------
    path : Path
        TIFF file of any kind, or folder of an OME-Zarr.
    axes : str, optional
        One letter for each axis of the array in the file, in place of the axes in the file.
    select : str, optional
        Part of the image, such as ``"3,10:266,20:276"``. It has one item for each axis of the file
        that is longer than 1, except the colour axis: an index, a range that excludes its end, or
        ``:`` for the complete axis.

    Returns
    -------
    OpenImage
        The image, with its axes in the order T, C, Z, Y, X, S. Close it after use.

    Raises
    ------
    ValueError
        If the file cannot be read, or if `axes` or `select` does not fit the array.
    OSError
        If the file does not exist or cannot be opened.
    """
    reader = _open_zarr if path.is_dir() else _open_tiff
    try:
        stored = reader(path)
    except (OSError, _UnsupportedFileError):
        raise
    except Exception as error:  # the decoders raise any exception for a damaged file
        reason = first_line(error)
        raise ValueError(
            f"Expected a TIFF file or an OME-Zarr folder, but {path} cannot be read ({reason})."
        ) from error
    try:
        return _in_ome_order(_with_named_axes(path, stored, axes, select)).as_open_image()
    except ValueError:
        stored.close()
        raise


class _UnsupportedFileError(ValueError):
    """A file that can be read, but does not contain one image."""


def _open_tiff(path: Path) -> _StoredArray:
    tiff = tifffile.TiffFile(path)  # stays open, since the array reads from it
    try:
        return _from_tiff(path, tiff)
    except BaseException:
        tiff.close()
        raise


def _from_tiff(path: Path, tiff: tifffile.TiffFile) -> _StoredArray:
    if len(tiff.series) > 1:
        shapes = ", ".join(str(series.shape) for series in tiff.series)
        raise _UnsupportedFileError(
            f"Expected one image of any axes in {path}, "
            f"got {len(tiff.series)} images of shapes {shapes}."
        )
    series = tiff.series[0]
    array = zarr.open_array(series.aszarr(level=0), mode="r")
    chunks = tuple(
        side if axis in "YXS" else 1 for side, axis in zip(array.shape, series.axes, strict=True)
    )
    axes = series.axes
    composite = (tiff.imagej_metadata or {}).get("channels")
    # ImageJ stores three channels like colour samples; its metadata state their number.
    if "S" in axes and composite == array.shape[axes.index("S")]:
        axes = axes.replace("S", "C")
    lengths, unit = pixel_calibration(tiff)
    return _StoredArray(
        data=da.from_array(array, chunks=chunks, name=False),
        axes=axes,
        sizes=dict(zip("YX", lengths or (), strict=False)) | _steps(tiff),
        unit=unit,
        channels=_channel_names(tiff),
        notes=_pyramid_note(path, len(series.levels)),
        source=tiff,
    )


def _steps(tiff: tifffile.TiffFile) -> dict[str, float]:
    """Return the distance of planes and of frames, where the file states them."""
    if tiff.ome_metadata:
        pixels = find_value(tifffile.xml2dict(tiff.ome_metadata), "Pixels") or {}
        steps = {
            "Z": in_unit(  # in the unit of X, which is that of all lengths of an Image
                pixels.get("PhysicalSizeZ"),
                pixels.get("PhysicalSizeZUnit", "µm"),
                pixels.get("PhysicalSizeXUnit", "µm"),
            ),
            "T": in_unit(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"), "s"),
        }
    else:
        imagej = tiff.imagej_metadata or {}
        steps = {
            "Z": imagej.get("spacing"),  # ImageJ has one unit for all lengths
            "T": in_unit(imagej.get("finterval"), imagej.get("tunit", "s"), "s"),
        }
    numbers = {axis: float(value) for axis, value in steps.items() if value}
    return {axis: value for axis, value in numbers.items() if 0 < value < math.inf}


def _channel_names(tiff: tifffile.TiffFile) -> tuple[str, ...]:
    if not tiff.ome_metadata:
        return ()
    pixels = find_value(tifffile.xml2dict(tiff.ome_metadata), "Pixels") or {}
    channels = pixels.get("Channel", [])
    if not isinstance(channels, list):  # xml2dict makes a list of two or more elements only
        channels = [channels]
    names = tuple(str(channel.get("Name", "")) for channel in channels)
    return names if all(names) else ()


def _open_zarr(path: Path) -> _StoredArray:
    from ome_zarr.io import parse_url  # takes seconds to import
    from ome_zarr.reader import Multiscales, Reader

    location = parse_url(str(path), mode="r")
    nodes = [] if location is None else list(Reader(location)())
    images = [node for node in nodes if any(isinstance(spec, Multiscales) for spec in node.specs)]
    if not images:
        raise _UnsupportedFileError(f"The folder {path} contains no OME-Zarr image.")
    image = images[0]
    axes = image.metadata["axes"]
    scale: list[float] = next(
        step["scale"]
        for step in image.metadata["coordinateTransformations"][0]
        if step["type"] == "scale"
    )
    letters = "".join(axis["name"].upper() for axis in axes)
    units = {axis["name"].upper(): axis.get("unit") for axis in axes}
    length_unit = str(units.get("X") or "pixel")
    target_units = {"Z": length_unit, "Y": length_unit, "X": length_unit, "T": "s"}
    steps = {
        letter: in_unit(step, str(units.get(letter)), target_units[letter])
        for letter, step in zip(letters, scale, strict=True)
        if letter in target_units
    }
    sizes = {letter: step for letter, step in steps.items() if step is not None}
    data = image.data[0]
    plane_chunks = tuple(
        side if letter in "YX" else 1 for side, letter in zip(data.shape, letters, strict=True)
    )
    names = tuple(str(name) for name in image.metadata.get("channel_names", ()))
    unit = short_unit(length_unit)
    return _StoredArray(
        data.rechunk(plane_chunks),
        letters,
        sizes,
        unit,
        names,
        _pyramid_note(path, len(image.data)),
    )


def _pyramid_note(path: Path, levels: int) -> tuple[str, ...]:
    if levels < 2:
        return ()
    return (f"{path.name} is a pyramid of {levels} levels; only the finest level is used.",)


def _with_named_axes(
    path: Path, stored: _StoredArray, given_axes: str | None, select: str | None
) -> _StoredArray:
    """Name the axes, drop axes of length 1, and take the part that is selected.

    Axes of length 1 are kept if the user gave the axes.
    """
    axes, notes = stored.axes, stored.notes
    if given_axes is not None:
        axes = given_axes.upper()
        _check_given_axes(path, axes, stored.data.shape)
    data = stored.data
    kept = [
        number
        for number, (axis, side) in enumerate(zip(axes, data.shape, strict=True))
        if axis in "YX" or side > 1 or (axis in "TCZ" and given_axes is not None)
    ]
    data = data[tuple(slice(None) if number in kept else 0 for number in range(data.ndim))]
    axes = "".join(axes[number] for number in kept)
    # Colour has 3 samples, or 4 with alpha; any other number of samples are channels.
    if "S" in axes and data.shape[axes.index("S")] not in (3, 4):
        axes = axes.replace("S", "C")
    named = _with_assumed_letters(axes)
    if named != axes:
        notes = (
            *notes,
            f"{path.name} does not state its axes; they are assumed to be {named} "
            "(--axes changes this).",
        )
    if not {"Y", "X"} <= set(named) or len(set(named)) < len(named):
        raise ValueError(
            f"Expected axes from T, C, Z, Y, X and S (colour), each at most once and with Y and X, "
            f"in {path}, got an array of shape {stored.data.shape} with axes {stored.axes}."
        )
    channels = stored.channels
    if "C" not in named or len(channels) != data.shape[named.index("C")]:
        channels = ()
    stack = replace(stored, data=data, axes=named, channels=channels, notes=notes)
    return stack if select is None else _select(path, stack, select)


def _in_ome_order(stack: _StoredArray) -> _StoredArray:
    """Put the axes in the order of OME, with colour last."""
    order = [axis for axis in "TCZYXS" if axis in stack.axes]
    data = da.transpose(stack.data, [stack.axes.index(axis) for axis in order])
    return replace(stack, data=data, axes="".join(order))


def _select(path: Path, stack: _StoredArray, text: str) -> _StoredArray:
    """Take a part of a stack.

    An axis with a single index is dropped; the channel names are dropped with the channel axis.
    """
    axes = stack.axes.replace("S", "")
    items = [_parse_item(path, item, text) for item in text.split(",")]
    lengths = [side for axis, side in zip(stack.axes, stack.data.shape, strict=True) if axis != "S"]
    if len(items) != len(axes) or not all(
        (axis not in "YX" and -side <= item < side)
        if isinstance(item, int)
        else len(range(side)[item]) > 0
        for axis, item, side in zip(axes, items, lengths, strict=True)
    ):
        raise ValueError(
            f"Expected an index or a range for each of the axes {axes} of {path}, of lengths "
            f"{lengths}, and ranges for rows and columns, got the selection {text!r}."
        )
    selected = dict(zip(axes, items, strict=True))
    channels = stack.channels
    if channels and isinstance(selected["C"], slice):
        channels = channels[selected["C"]]
    return replace(
        stack,
        data=stack.data[tuple(selected.get(axis, slice(None)) for axis in stack.axes)],
        axes="".join(axis for axis in stack.axes if not isinstance(selected.get(axis), int)),
        channels=channels if isinstance(selected.get("C"), slice) else (),
    )


def _parse_item(path: Path, item: str, text: str) -> int | slice:
    try:
        if ":" not in item:
            return int(item)
        start, stop = (int(side) if side.strip() else None for side in item.split(":"))
    except ValueError:
        raise ValueError(
            f"Expected indices and ranges such as 3,10:266,20:276 to select a part of {path}, "
            f"got {text!r}."
        ) from None
    return slice(start, stop)


def _check_given_axes(path: Path, axes: str, shape: tuple[int, ...]) -> None:
    if len(axes) != len(shape) or not set(axes) <= set("TCZYXS") or len(set(axes)) < len(axes):
        raise ValueError(
            f"Expected one letter for each axis of {path}, from T, C, Z, Y, X and S (colour), each "
            f"at most once, got {axes!r} for an array of shape {shape}."
        )


def _with_assumed_letters(axes: str) -> str:
    """Replace unknown letters by letters of `_ASSUMED_AXES` that are not in use."""
    free = [axis for axis in _ASSUMED_AXES if axis not in axes]
    return "".join(axis if axis in "TCZYXS" or not free else free.pop(0) for axis in axes)
