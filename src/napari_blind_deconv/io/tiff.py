"""Open a TIFF file of any kind as an array of intensities, with the names of its axes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import tifffile
import zarr

from napari_blind_deconv.io.provenance import provenance_in_tiff, with_scaling
from napari_blind_deconv.io.series import Series, chosen_series
from napari_blind_deconv.io.stored_array import StoredArray, UnsupportedFileError, pyramid_notes
from napari_blind_deconv.io.tiff_metadata import TiffMetadata

__all__ = ["open_tiff", "series_of"]

# tifffile's messages are for programmers. What matters to the user becomes a note or an error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_ALPHA = {tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA}
_COLOUR = {
    tifffile.PHOTOMETRIC.RGB,
    tifffile.PHOTOMETRIC.YCBCR,
    tifffile.PHOTOMETRIC.LINEAR_RAW,
}
_NO_INTENSITIES: dict[int, str] = {
    tifffile.PHOTOMETRIC.SEPARATED: "amounts of ink (CMYK)",
    tifffile.PHOTOMETRIC.CIELAB: "lightness and colour (CIELAB)",
    tifffile.PHOTOMETRIC.ICCLAB: "lightness and colour (CIELAB)",
    tifffile.PHOTOMETRIC.ITULAB: "lightness and colour (CIELAB)",
    tifffile.PHOTOMETRIC.LOGL: "logarithms of intensities (LogL)",
    tifffile.PHOTOMETRIC.LOGLUV: "logarithms of intensities (LogLuv)",
    tifffile.PHOTOMETRIC.CFA: "the raw mosaic of a colour camera",
}
_STRAIGHT_LINE, _UNCALIBRATED = 0, 20  # numbers of ImageJ's calibration functions


def open_tiff(path: Path, choice: str | None = None, *, as_labels: bool = False) -> StoredArray:
    """Open a TIFF file without reading its pixels.

    Parameters
    ----------
    path : Path
        The file.
    choice : str or None
        Number or name of an image, if the file contains several.
    as_labels : bool
        Whether to return the numbers as they are stored, because they are labels or a mask and not
        intensities. Programs store masks as MinIsWhite, and labels with a palette.

    Raises
    ------
    UnsupportedFileError
        If no image is chosen of several, if the image has no intensities, or if the file leaves its
        metadata to another.
    Exception
        Of any type, if the file is damaged.
    """
    tiff = tifffile.TiffFile(path)  # stays open, since the array reads from it
    try:
        return _from_tiff(path, tiff, choice, as_labels=as_labels)
    except BaseException:
        tiff.close()
        raise


def _from_tiff(
    path: Path, tiff: tifffile.TiffFile, choice: str | None, *, as_labels: bool
) -> StoredArray:
    series = _series(path, tiff, choice)
    metadata = TiffMetadata.of(path, tiff, series)
    page = series.keyframe
    imagej = tiff.imagej_metadata or {}
    data = _lazy(series)
    notes: tuple[str, ...] = ()
    if not as_labels:
        data, notes = _with_intensities(path, page, imagej, data, tiff.is_ome)
    if not imagej and not as_labels:  # whose calibration states the scaling
        data, scaling_notes = with_scaling(path, data, lambda: provenance_in_tiff(tiff))
        notes = (*notes, *scaling_notes)
    data, axes, sample_notes = _with_named_samples(path, page, imagej, data, series.axes)
    return StoredArray(
        data=data,
        axes=axes,
        calibration=metadata.calibration,
        channels=metadata.channels,
        optics=metadata.optics,
        notes=(
            *_missing_notes(path, metadata.missing_files),
            *pyramid_notes(path.name, len(series.levels)),
            *notes,
            *sample_notes,
        ),
        source=tiff,
    )


def series_of(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return the images in a file, without thumbnails, as LSM files have them."""
    full = [series for series in tiff.series if not series.keyframe.is_reduced]
    return full or list(tiff.series)


def _series(path: Path, tiff: tifffile.TiffFile, choice: str | None) -> tifffile.TiffPageSeries:
    images = series_of(tiff)
    found = [Series(series.name, series.axes, tuple(series.shape)) for series in images]
    return images[chosen_series(path, found, choice)]


def _lazy(series: tifffile.TiffPageSeries) -> da.Array:
    array = zarr.open_array(series.aszarr(level=0), mode="r")
    chunks = tuple(
        side if axis in "YXS" else 1 for side, axis in zip(array.shape, series.axes, strict=True)
    )
    return da.from_array(array, chunks=chunks, name=False)


def _missing_notes(path: Path, missing: tuple[str, ...]) -> tuple[str, ...]:
    if not missing:
        return ()
    names = f"{missing[0]} is" if len(missing) == 1 else f"{len(missing)} files are"
    others = "" if len(missing) == 1 else f" (the first is {missing[0]})"
    return (f"{names} missing beside {path.name}{others}; the planes in there are read as zeros.",)


# Intensities


def _with_intensities(
    path: Path, page: tifffile.TiffPage, imagej: Mapping[str, Any], data: da.Array, is_ome: bool
) -> tuple[da.Array, tuple[str, ...]]:
    """Return pixels that grow with the light, and notes on how they differ from those stored.

    Raises
    ------
    UnsupportedFileError
        If the stored numbers are no intensities.
    """
    _check_photometric(path, page, is_table=bool(imagej) or is_ome)
    notes = []
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        data, rule = _inverted(data, page.bitspersample)
        notes.append(
            f"{path.name} stores white as its smallest value (MinIsWhite); it is read {rule}, so "
            "that bright pixels have large values."
        )
    data, calibration_notes = _calibrated(path, imagej, data)
    return data, (*notes, *calibration_notes)


def _check_photometric(path: Path, page: tifffile.TiffPage, *, is_table: bool) -> None:
    """Raise `UnsupportedFileError` if the stored numbers are no intensities.

    In files of ImageJ and in OME-TIFF, a palette is a lookup table for the display of intensities.
    """
    kind = _NO_INTENSITIES.get(page.photometric)
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        kind = None if is_table or _is_brightness_scale(page) else "numbers of colours in a palette"
    # The decoders of JPEG and JPEG 2000 return RGB.
    if page.photometric == tifffile.PHOTOMETRIC.YCBCR and not _is_jpeg(page):
        kind = "brightness and colour (YCbCr)"
    if kind is not None:
        raise UnsupportedFileError(
            f"Expected intensities in {path}, got {kind}; convert the image to grey or RGB first, "
            "for example in Fiji with Image ▸ Type."
        )


def _is_jpeg(page: tifffile.TiffPage) -> bool:
    return "JP" in tifffile.COMPRESSION(page.compression).name


def _is_brightness_scale(page: tifffile.TiffPage) -> bool:
    """Whether the colours of a palette become brighter, or stay, from each number to the next."""
    brightness = np.array([0.299, 0.587, 0.114]) @ np.asarray(page.colormap, np.float64)
    return bool((np.diff(brightness) >= 0).all() and brightness[-1] > brightness[0])


def _inverted(data: da.Array, bits: int) -> tuple[da.Array, str]:
    """Exchange black and white: the smallest and the largest value of the type of the pixels."""
    if data.dtype.kind == "f":  # has no largest value
        return -data, "with the opposite sign"
    if data.dtype.kind == "u":  # of 12 bits, for example
        largest = data.dtype.type(2**bits - 1)
        return data ^ largest, f"as {largest} minus the stored value"
    return ~data, "inverted"


def _calibrated(
    path: Path, imagej: Mapping[str, Any], data: da.Array
) -> tuple[da.Array, tuple[str, ...]]:
    """Apply the straight line by which ImageJ converts stored values to those that it shows."""
    function = imagej.get("cf", _UNCALIBRATED)
    # ImageJ applies calibration functions to integers of 8 and 16 bits only.
    if function == _UNCALIBRATED or data.dtype.kind != "u" or data.dtype.itemsize > 2:
        return data, ()
    offset, slope = imagej.get("c0"), imagej.get("c1")
    if function != _STRAIGHT_LINE or offset is None or not slope:
        return data, (
            f"{path.name} has a calibration function of ImageJ that is no straight line; the "
            "values are read as they are stored.",
        )
    if (offset, slope) == (0, 1):
        return data, ()
    note = (
        f"The calibration of ImageJ is applied to {path.name}: value = {offset:g} + {slope:g} × "
        "stored value.",
    )
    if (offset, slope) == (-(2**15), 1) and data.dtype.itemsize == 2:  # ImageJ's signed 16 bits
        return (data.astype(np.int32) - 2**15).astype(np.int16), note
    return (data.astype(np.float64) * slope + offset).astype(np.float32), note


# Samples


def _with_named_samples(
    path: Path, page: tifffile.TiffPage, imagej: Mapping[str, Any], data: da.Array, letters: str
) -> tuple[da.Array, tuple[str, ...], tuple[str, ...]]:
    """Decide by the tags of a file whether its samples are colours, alpha or channels.

    Return the pixels without an alpha that is not part of a colour image, a name for each axis, and
    notes.
    """
    if "S" not in letters:
        return data, tuple(letters), ()
    axis = letters.index("S")
    before, after = tuple(letters[:axis]), tuple(letters[axis + 1 :])
    # If there is a channel axis already, the samples are an axis that the user has to select from.
    channel = "samples" if "C" in letters and data.shape[letters.index("C")] > 1 else "C"
    count = data.shape[axis]
    if imagej.get("channels") == count:  # ImageJ stores three channels like colours
        return data, (*before, channel, *after), ()
    kept, is_colour, notes = _kept_samples(path, page, count)
    if len(kept) == 1:
        return data[(slice(None),) * axis + (0,)], (*before, *after), notes
    data = data if len(kept) == count else da.take(data, kept, axis=axis)
    return data, (*before, "S" if is_colour else channel, *after), notes


def _kept_samples(
    path: Path, page: tifffile.TiffPage, count: int
) -> tuple[list[int], bool, tuple[str, ...]]:
    """Return the numbers of the samples to read, whether they are colours, and notes."""
    colours = 3 if page.photometric in _COLOUR and count >= 3 else 1
    kinds = dict(zip(range(colours, count), page.extrasamples, strict=False))
    alpha = [number for number, kind in kinds.items() if kind in _ALPHA]
    undescribed = [number for number in range(colours, count) if number not in alpha]
    if colours == 3 and not undescribed:
        return [0, 1, 2, *alpha[:1]], True, ()
    kept = [*range(colours), *undescribed]
    notes = [f"The alpha channel of {path.name} is left out."] if alpha else []
    if colours == 3:
        notes.append(
            f"{path.name} has {count} samples, three of them colours, and does not describe the "
            f"others; {len(kept)} of them are read as channels."
        )
    return kept, False, tuple(notes)
