"""Read single planes, and write results so that a file is either complete or does not exist."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.units import in_unit, short_unit
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.results import TRACE_DTYPE

__all__ = [
    "TiffLayout",
    "check_output",
    "find_value",
    "pixel_calibration",
    "read_plane",
    "read_psf",
    "tiff_axes",
    "write_atomically",
    "write_json",
    "write_kernels",
    "write_plane",
    "write_tiff",
    "write_traces",
]

_TIFF_SUFFIXES = {".tif", ".tiff"}
_IMAGEJ_ORDER = "TZCYXS"  # the only axis order that ImageJ reads
# Bytes of pixels that fit into a TIFF with 32-bit offsets; 1 MiB is left for the metadata.
_TIFF_LIMIT = 4 * 2**30 - 2**20


def read_plane(path: Path) -> Image:
    """Read one plane from a TIFF file.

    Parameters
    ----------
    path : Path
        TIFF file with a single plane, grey or RGB.

    Returns
    -------
    Image
        The plane, with axes ``YX``, or ``YXS`` for RGB, and its pixel size where the file has one.

    Raises
    ------
    ValueError
        If the file is not a TIFF, or contains anything but one plane.
    OSError
        If the file cannot be opened.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            count, shape, axes = len(tiff.series), tiff.series[0].shape, tiff.series[0].axes
            is_plane = count == 1 and _is_plane(shape, axes)
            pixels = tiff.series[0].asarray() if is_plane else None
            size, unit = pixel_calibration(tiff)
    except OSError:
        raise
    except Exception as error:  # the decoders raise any exception for a damaged file
        reason = first_line(error)
        raise ValueError(
            f"Expected a TIFF file, but {path} cannot be read as TIFF ({reason})."
        ) from error
    if pixels is None:
        content = f"{count} images, the first" if count > 1 else "an array"
        raise ValueError(
            f"Expected one plane, grey or RGB, in {path}, "
            f"got {content} of shape {shape} (axes {axes})."
        )
    rgb = "S" in axes and shape[axes.index("S")] > 1
    if rgb:  # planar TIFFs store the samples before the rows
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
    plane = pixels.reshape(pixels.shape[-3:] if rgb else pixels.shape[-2:])
    spacing = dict(zip("YX", size or (), strict=False))
    return Image(plane, "YXS" if rgb else "YX", spacing, unit)


def read_psf(path: Path) -> Kernel:
    """Read a PSF from a TIFF file of one grey plane; raise as :func:`read_plane`."""
    plane = read_plane(path)
    if plane.is_colour:
        raise ValueError(f"Expected a PSF of one grey plane, but {path} is a colour image.")
    return Kernel.of(plane.array, pixel_size=plane.pixel_size, unit=plane.unit)


def _is_plane(shape: tuple[int, ...], axes: str) -> bool:
    """Whether rows and columns, and 3 or 4 colour samples, are the only axes longer than 1."""
    return {"Y", "X"} <= set(axes) and all(
        axis in "YX" or side == 1 or (axis == "S" and side in (3, 4))
        for side, axis in zip(shape, axes, strict=True)
    )


def pixel_calibration(tiff: tifffile.TiffFile) -> tuple[tuple[float, float] | None, str]:
    """Return pixel height and width, and their unit, from the metadata of a TIFF file.

    They are read from OME-XML, else from ImageJ's metadata, else from the resolution tags. The
    size is None and the unit ``pixel`` where the file has no usable size.
    """
    if tiff.ome_metadata:
        pixels = find_value(tifffile.xml2dict(tiff.ome_metadata), "Pixels") or {}
        unit = pixels.get("PhysicalSizeXUnit", "µm")  # µm is the default of the OME schema
        size = tuple(
            in_unit(
                pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"), unit
            )
            or 0.0
            for axis in "YX"
        )
    else:
        page = tiff.pages.first
        unit = (tiff.imagej_metadata or {}).get("unit") or (
            "cm" if page.resolutionunit == tifffile.RESUNIT.CENTIMETER else "pixel"
        )
        per_unit = page.get_resolution()  # pixels per unit, x before y
        size = tuple(1 / value if value else 0.0 for value in reversed(per_unit))
    if unit in ("pixel", "inch") or not all(0 < side < np.inf for side in size):
        return None, "pixel"
    return (size[0], size[1]), short_unit(str(unit))


def find_value(tree: Any, key: str) -> Any:
    """Return the first value of a key in nested dictionaries and lists, or None."""
    if isinstance(tree, dict):
        if key in tree:
            return tree[key]
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            if (value := find_value(branch, key)) is not None:
                return value
    return None


def check_output(path: Path, *, overwrite: bool, suffixes: set[str] | None = None) -> None:
    """Check that an output can be written, before any time is spent on computing it.

    Parameters
    ----------
    path : Path
        The output.
    overwrite : bool
        Whether an existing output may be replaced.
    suffixes : set of str, optional
        File suffixes that are allowed; default: those of TIFF.

    Raises
    ------
    ValueError
        If the output has another suffix, already exists, or its folder is missing or read-only.
    """
    allowed = _TIFF_SUFFIXES if suffixes is None else suffixes
    if path.suffix.lower() not in allowed:
        raise ValueError(
            f"Expected an output that ends in {' or '.join(sorted(allowed))}, got {path}."
        )
    if not path.parent.is_dir():
        raise ValueError(f"The output folder {path.parent} does not exist; create it first.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"The output folder {path.parent} is not writable.")
    if path.is_dir() and path.suffix.lower() != ".zarr":
        raise ValueError(f"Expected the name of a file for the output, but {path} is a folder.")
    if path.exists() and not overwrite:
        raise ValueError(f"The output {path} already exists; it is replaced only with --overwrite.")


def write_plane(path: Path, plane: Image, provenance: dict[str, Any]) -> None:
    """Write a plane as float32 TIFF, with its provenance as JSON; see :func:`write_tiff`."""
    pixels = plane.array.astype(np.float32)
    layout = TiffLayout(plane.axes, pixels.shape, plane.spacing, plane.unit)
    write_atomically(
        path, lambda temporary: write_tiff(temporary, path, pixels, layout, provenance)
    )


def write_kernels(
    path: Path,
    kernels: NDArray[np.float32],
    axes: str,
    image: Image,
    provenance: dict[str, Any],
) -> None:
    """Write the kernels of an image as TIFF, one page for each kernel.

    Parameters
    ----------
    path : Path
        The TIFF file.
    kernels : ndarray
        Weights of all kernels in one array.
    axes : str
        Axes of `kernels`, such as ``CYX``.
    image : Image
        The deconvolved image; the kernels get its pixel size.
    provenance : dict
        Written into the file as JSON.
    """
    order = tiff_axes(path, axes)
    pages = kernels.transpose([axes.index(axis) for axis in order])
    layout = TiffLayout(order, pages.shape, image.spacing, image.unit)
    write_atomically(path, lambda temporary: write_tiff(temporary, path, pages, layout, provenance))


def tiff_axes(path: Path, axes: str) -> str:
    """Return axes in the order in which a TIFF of this name stores them.

    OME-TIFF stores them in any order, ImageJ only in its own.
    """
    return axes if _is_ome(path) else "".join(axis for axis in _IMAGEJ_ORDER if axis in axes)


def _is_ome(path: Path) -> bool:
    return path.name.lower().endswith((".ome.tif", ".ome.tiff"))


@dataclass(frozen=True)
class TiffLayout:
    """What the metadata of a TIFF file state about its array.

    Attributes
    ----------
    axes : str
        One letter for each axis.
    shape : tuple of int
        Length of each axis.
    spacing : mapping
        Step along the axes Z, Y and X in `unit`, and along T in seconds, where it is known.
    unit : str
        Unit of lengths.
    channels : tuple of str
        Names of the channels, if they have names.
    """

    axes: str
    shape: tuple[int, ...]
    spacing: Mapping[str, float]
    unit: str
    channels: tuple[str, ...] = ()


def write_tiff(
    temporary: Path,
    path: Path,
    pixels: NDArray[np.float32] | Iterator[NDArray[np.float32]],
    layout: TiffLayout,
    provenance: dict[str, Any],
) -> None:
    """Write an array as float32 TIFF.

    Parameters
    ----------
    temporary : Path
        File to write to.
    path : Path
        Name that the file gets later. It decides the format: OME-TIFF for ``.ome.tif``, plain TIFF
        for other names if the image is a colour image, and ImageJ's TIFF for all others.
    pixels : ndarray or iterator of ndarray
        The array, or its planes one by one.
    layout : TiffLayout
        Axes, shape and pixel size of the array.
    provenance : dict
        Written into the file as JSON.

    Raises
    ------
    ValueError
        If the array is too large for ImageJ's TIFF.
    """
    text = json.dumps(provenance)
    colour = "S" in layout.axes
    size = 4 * math.prod(layout.shape)
    options: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack"}
    if _is_ome(path):
        options |= {"ome": True, "metadata": _ome(layout, text), "bigtiff": size > _TIFF_LIMIT}
    elif size > _TIFF_LIMIT:
        raise ValueError(
            f"Expected at most 4 GiB for an ImageJ TIFF, got {size / 2**30:.1f} GiB; "
            "name the output .ome.tif or .ome.zarr."
        )
    elif colour:  # ImageJ has no colour images in float32
        options |= {"description": text, "metadata": None}
    else:
        options |= {"imagej": True, "metadata": _imagej(layout, text)}
    if {"Y", "X"} <= set(layout.spacing):
        options["resolution"] = tuple(1 / layout.spacing[axis] for axis in "XY")
        # The tag knows inches and centimetres only; the metadata state the unit.
        options["resolutionunit"] = "NONE"
    tifffile.imwrite(temporary, pixels, shape=layout.shape, dtype=np.float32, **options)


def _ome(layout: TiffLayout, text: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": layout.axes, "Description": text}
    if layout.unit != "pixel":
        for axis in (set("ZYX") & set(layout.spacing)) & set(layout.axes):
            metadata[f"PhysicalSize{axis}"] = layout.spacing[axis]
            metadata[f"PhysicalSize{axis}Unit"] = layout.unit
    if "T" in layout.axes and "T" in layout.spacing:
        metadata |= {"TimeIncrement": layout.spacing["T"], "TimeIncrementUnit": "s"}
    if layout.channels:
        metadata["Channel"] = {"Name": list(layout.channels)}
    return metadata


def _imagej(layout: TiffLayout, text: str) -> dict[str, Any]:
    # ImageJ's description is ASCII, so µm is written as um.
    unit = layout.unit.replace("µm", "um").encode("ascii", "backslashreplace").decode()
    metadata: dict[str, Any] = {"axes": layout.axes, "unit": unit, "Info": text}
    names = {"Z": "spacing", "T": "finterval"}
    return metadata | {
        name: layout.spacing[axis]
        for axis, name in names.items()
        if axis in layout.axes and axis in layout.spacing
    }


def write_traces(path: Path, axes: str, traces: Mapping[Index, Sequence[Sequence[float]]]) -> None:
    """Write early-stopping traces as CSV, one row for each iteration.

    Parameters
    ----------
    path : Path
        The CSV file.
    axes : str
        Axes of the stack before those of a plane. Their columns come first and hold the index of
        the plane; they are missing for a single plane, whose `axes` are empty.
    traces : mapping
        Rows of `TRACE_DTYPE` for each plane, by its index.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*axes.lower(), *(TRACE_DTYPE.names or ())])
            for index, trace in sorted(traces.items()):
                writer.writerows([*index, *row] for row in trace)

    write_atomically(path, write)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON."""

    def write(temporary: Path) -> None:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that it is either complete or does not exist.

    Parameters
    ----------
    path : Path
        The file.
    write : callable
        Gets the path of a temporary file in the same folder, and writes it. The temporary file is
        renamed to `path` when it is complete.

    Raises
    ------
    OSError
        If the file cannot be written; `path` is then unchanged.
    """
    try:
        with _temporary_file_beside(path) as temporary:
            write(temporary)
            # Without this, a power failure can leave the new name with an empty file.
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        reason = error.strerror or f"{error}; is the disk full?"
        raise OSError(error.errno, f"The output {path} could not be written ({reason}).") from error


@contextmanager
def _temporary_file_beside(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    temporary.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)  # it can only be read by setting it
    os.umask(current)
    return current
