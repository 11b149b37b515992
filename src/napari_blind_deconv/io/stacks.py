"""Open images of any axes from TIFF, OME-TIFF and OME-Zarr; their planes are read on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import dask.array as da
import tifffile

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.image import Image
from napari_blind_deconv.image_axes import moved_origin
from napari_blind_deconv.io.masks import fitted_mask
from napari_blind_deconv.io.stored_array import Closeable, StoredArray, UnsupportedFileError
from napari_blind_deconv.io.stored_axes import (
    AXES,
    check_axes,
    joined_axes,
    with_assumed_axes,
    with_named_axes,
)
from napari_blind_deconv.io.tiff import open_tiff
from napari_blind_deconv.io.zarr_images import open_zarr
from napari_blind_deconv.optics import Optics

__all__ = ["OpenImage", "open_image", "open_stored"]


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
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()

    @property
    def described(self) -> str:
        """Axes, pixel type, pixel size, optics, and the assumptions made, as sentences."""
        pixels = self.image.pixels
        lengths = zip(self.image.axes, pixels.shape, strict=True)
        shape = " × ".join(f"{axis} {length}" for axis, length in lengths)
        return " ".join([f"{shape}, {pixels.dtype}; {_scales(self.image)}.", *self.notes])


def _scales(image: Image) -> str:
    """Return what is known of pixel size and optics, in words."""
    sides = [f"{image.spacing[axis]:.4g}" for axis in "ZYX" if axis in image.spacing]
    size = f"{' × '.join(sides)} {image.unit}" if image.pixel_size else "unknown"
    return f"pixel size {size}, {image.optics.described or 'optics unknown'}"


def open_image(
    path: Path,
    axes: str | None = None,
    select: str | None = None,
    pixel_size: Sequence[float] | None = None,
    optics: Optics | None = None,
    series: str | None = None,
    mask: Path | None = None,
) -> OpenImage:
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
    pixel_size : sequence of float, optional
        Pixel size in µm, in place of the one in the file: one number for Y and X, or one each for
        Y and X, or for Z, Y and X.
    optics : Optics, optional
        Optics in place of those in the file, where they are known.
    series : str, optional
        Number, counted from 0, or name of the image in a file that contains several.
    mask : Path, optional
        File or folder of a mask, of the same formats: pixels where it is not 0 are left out. Its
        shape is that of the complete image or, with `select`, of the selected part, in both cases
        without the colour axis. If it lacks axes, it holds for all planes along them.

    Returns
    -------
    OpenImage
        The image, with its axes in the order T, C, Z, Y, X, S. Close it after use.

    Raises
    ------
    ValueError
        If the file cannot be read, if it contains several images and `series` is the number or
        name of none, or if another argument does not fit the array.
    OSError
        If the file does not exist or cannot be opened.
    """
    stored = open_stored(path, series)
    try:
        if pixel_size is not None:
            stored = replace(stored, calibration=stored.calibration.with_pixel_size(pixel_size))
        named = with_named_axes(path, stored, axes)
        part = named if select is None else _select(path, named, select)
        check_axes(path, part)
        opened = _as_open_image(part, optics or Optics())
        return opened if mask is None else _with_mask(opened, path, named, part, select, mask)
    except BaseException:
        stored.close()
        raise


def open_stored(path: Path, series: str | None = None, *, as_labels: bool = False) -> StoredArray:
    """Open an array as its file stores it, with its axes in the order of the file.

    Parameters and errors are those of :func:`open_image`; with `as_labels`, the image may have
    labels in place of intensities.
    """
    try:
        if path.is_dir():
            return open_zarr(path, series)
        return open_tiff(path, series, as_labels=as_labels)
    except (OSError, UnsupportedFileError):
        raise
    except Exception as error:  # the decoders raise any exception for a damaged file
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    is_tiff = path.suffix.lower() in (".tif", ".tiff")
    if isinstance(error, tifffile.TiffFileError) and not is_tiff and not path.is_dir():
        return ValueError(
            f"Expected a TIFF file or an OME-Zarr folder, got {path}; export it as OME-TIFF from "
            "the software of the microscope, Fiji or bioio, or open it in napari with a plugin "
            "that reads such files and deconvolve it in the panel."
        )
    kind = "an OME-Zarr folder" if path.is_dir() else "TIFF"
    return ValueError(
        f"Expected a TIFF file or an OME-Zarr folder, but {path} cannot be read as {kind} "
        f"({first_line(error)})."
    )


def _as_open_image(stored: StoredArray, given: Optics) -> OpenImage:
    """Put the axes in the order of OME, and the optics that the user gave in place of others."""
    axes = "".join(axis for axis in AXES if axis in stored.axes)
    data = da.transpose(stored.data, [stored.axes.index(axis) for axis in axes])
    # Samples that are channels were one chunk.
    data = data.rechunk({number: 1 for number, axis in enumerate(axes) if axis in "TCZ"})
    calibration = stored.calibration
    count = data.shape[axes.index("C")] if "C" in axes else 1
    channels = stored.channels if "C" in axes and len(stored.channels) == count else ()
    image = Image(
        data,
        axes,
        calibration.spacing,
        calibration.unit,
        channels,
        origin=calibration.origin,
        optics=stored.optics.of_channels(slice(None), count).corrected(given),
    )
    return OpenImage(image, stored.notes, stored.source)


def _with_mask(
    opened: OpenImage,
    path: Path,
    whole: StoredArray,
    part: StoredArray,
    select: str | None,
    mask: Path,
) -> OpenImage:
    """Leave out the pixels of the mask in a file; the parameters are those of `open_image`."""
    stored = open_stored(mask, as_labels=True)
    try:
        fitted = fitted_mask(
            stored, whole, part, lambda array: _select(path, array, select) if select else array
        )
        if fitted is None:
            selected = "" if select is None else f" or {part.data.shape}, as the selected part"
            raise ValueError(
                f"Expected a mask of shape {whole.data.shape}, as {path}{selected}, or of one of "
                f"its planes, got {mask} of shape {stored.data.shape}."
            )
        image = opened.image.with_mask(_as_open_image(fitted, Optics()).image.pixels)
    except BaseException as error:
        stored.close()
        if not isinstance(error, Exception) or isinstance(error, OSError | ValueError | TypeError):
            raise
        raise _unreadable(mask, error) from error  # a mask of one plane is read here
    files = ExitStack()
    for file in (stored, opened.file):
        if file is not None:
            files.callback(file.close)
    return replace(opened, image=image, file=files)


# Selections


def _select(path: Path, stack: StoredArray, text: str) -> StoredArray:
    """Take a part of a stack.

    An axis with a single index is dropped. The position moves to the first pixel that is taken.
    """
    numbers = [number for number, axis in enumerate(stack.axes) if axis != "S"]
    items = [_parse_item(path, item, text) for item in text.split(",")]
    _check_selection(path, stack, numbers, items, text)
    selected = dict(zip(numbers, items, strict=True))
    calibration = stack.calibration
    starts = {
        stack.axes[number]: _first(item, stack.data.shape[number])
        for number, item in selected.items()
    }
    origin = moved_origin(calibration.origin, calibration.spacing, starts)
    return replace(
        stack,
        data=stack.data[tuple(selected.get(n, slice(None)) for n in range(stack.data.ndim))],
        # A letter that is free now may be assumed for an axis that had none left.
        axes=with_assumed_axes(
            tuple(a for n, a in enumerate(stack.axes) if not isinstance(selected.get(n), int))
        ),
        calibration=replace(calibration, origin=origin),
        channels=_selected_channels(stack, selected),
        optics=_selected_optics(stack, selected),
    )


def _check_selection(
    path: Path,
    stack: StoredArray,
    numbers: Sequence[int],
    items: Sequence[int | slice],
    text: str,
) -> None:
    axes = [stack.axes[number] for number in numbers]
    lengths = [stack.data.shape[number] for number in numbers]
    if len(items) != len(axes) or not all(
        (axis not in ("Y", "X") and -side <= item < side)
        if isinstance(item, int)
        else len(range(side)[item]) > 0
        for axis, item, side in zip(axes, items, lengths, strict=True)
    ):
        raise ValueError(
            f"Expected an index or a range for each of the axes {joined_axes(axes)} of {path}, of "
            f"lengths {lengths}, and ranges for rows and columns, got the selection {text!r}."
        )


def _first(item: int | slice, length: int) -> int:
    return range(length)[item] if isinstance(item, int) else range(length)[item][0]


def _selected_channels(stack: StoredArray, selected: Mapping[int, int | slice]) -> tuple[str, ...]:
    """Return the names of the selected channels; they go with the channel axis."""
    if not stack.channels or "C" not in stack.axes:
        return ()
    number = stack.axes.index("C")
    item = selected[number]
    if isinstance(item, int) or len(stack.channels) != stack.data.shape[number]:
        return ()
    return stack.channels[item]


def _selected_optics(stack: StoredArray, selected: Mapping[int, int | slice]) -> Optics:
    """Return the optics of the selected channels."""
    if "C" not in stack.axes:
        return stack.optics
    number = stack.axes.index("C")
    return stack.optics.of_channels(selected[number], stack.data.shape[number])


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
