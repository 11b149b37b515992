"""Read single planes, and write results so that a file is either complete or does not exist."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.series import SeveralImagesError
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.io.tiff_output import TiffLayout, tiff_axes, write_tiff
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.psf import prepare_psf
from napari_blind_deconv.results import TRACE_DTYPE

__all__ = [
    "TIFF_SUFFIXES",
    "check_output",
    "is_array_folder",
    "read_plane",
    "read_psf",
    "replacing_json",
    "write_atomically",
    "write_error",
    "write_json",
    "write_kernels",
    "write_plane",
    "write_traces",
]

TIFF_SUFFIXES = {".tif", ".tiff"}
# Files of an OME-Zarr besides its arrays, and those that a run keeps there until it is complete.
_ARRAY_FOLDER_FILES = {
    *("zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata"),
    *("plan.json", "planes.jsonl", "whole.json", "whole.tif"),
}


def read_plane(path: Path) -> Image:
    """Read one plane from a file.

    Parameters
    ----------
    path : Path
        TIFF file or OME-Zarr folder with a single plane, grey or RGB.

    Returns
    -------
    Image
        The plane, with axes ``YX``, or ``YXS`` for RGB, and its pixel size where the file has one.

    Raises
    ------
    ValueError
        If the file cannot be read, or contains anything but one plane.
    OSError
        If the file cannot be opened.
    """
    try:
        opened = open_image(path)
    except SeveralImagesError as error:  # only the input of a run has an option to choose one
        raise ValueError(
            f"Expected one plane, grey or RGB, in {path}, got {error.found}; save the plane as a "
            "file of its own."
        ) from error
    with opened:
        image = opened.image
        if image.stack_axes:
            raise ValueError(
                f"Expected one plane, grey or RGB, in {path}, got an array of shape "
                f"{image.pixels.shape} (axes {image.axes})."
            )
        try:
            return image.read()
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def read_psf(path: Path | str) -> Kernel:
    """Read a PSF from a file.

    Parameters
    ----------
    path : Path or str
        TIFF file or OME-Zarr folder with a single grey plane or volume. If it lies on a flat
        background, this is taken off, as by `prepare_psf`.

    Returns
    -------
    Kernel
        The PSF with its own pixel size, where the file states it.

    Raises
    ------
    ValueError
        If the file cannot be read, or contains anything but one plane or volume.
    OSError
        If the file cannot be opened.
    """
    path = Path(path)
    try:
        opened = open_image(path)
    except SeveralImagesError as error:
        raise ValueError(
            f"Expected one plane or volume of a PSF in {path}, got {error.found}; save the plane "
            "or volume as a file of its own."
        ) from error
    with opened:
        image = opened.image
        if image.is_colour or image.stack_axes not in ("", "Z"):
            kind = "a colour image" if image.is_colour else f"an image with axes {image.axes}"
            raise ValueError(f"Expected one grey plane or volume of a PSF, but {path} is {kind}.")
        psf = replace(image, space=image.axes)
        try:
            values = psf.read().array
            return prepare_psf(values, psf_pixel_size=psf.pixel_size, unit=psf.unit)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def check_output(
    path: Path,
    *,
    overwrite: bool,
    suffixes: set[str] | None = None,
    inputs: Iterable[Path] = (),
) -> None:
    """Check that an output can be written, before any time is spent on computing it.

    Parameters
    ----------
    path : Path
        The output.
    overwrite : bool
        Whether an existing output may be replaced.
    suffixes : set of str, optional
        File suffixes that are allowed; default: those of TIFF.
    inputs : iterable of Path
        Files that the output is made from, which are never replaced.

    Raises
    ------
    ValueError
        If the output has another suffix, already exists, or is one of the inputs, or if its folder
        is missing or read-only.
    """
    allowed = TIFF_SUFFIXES if suffixes is None else suffixes
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
    if path.is_dir() and not is_array_folder(path):
        raise ValueError(
            f"Expected an OME-Zarr as the output to replace, but the folder {path} contains other "
            "files; name another output."
        )
    if path.exists() and not overwrite:
        raise ValueError(f"The output {path} already exists; it is replaced only with --overwrite.")
    for given in inputs:
        if os.path.realpath(given) == os.path.realpath(path):
            raise ValueError(f"Expected different files for input and output, got {path} for both.")


def is_array_folder(path: Path) -> bool:
    """Whether a folder is empty or contains nothing but the arrays and metadata of one image.

    Only such a folder is ever deleted: labels, tables or notes that someone added are kept.
    """
    return all(
        entry.name.isdigit() if entry.is_dir() else entry.name in _ARRAY_FOLDER_FILES
        for entry in path.iterdir()
    )


def write_plane(path: Path, plane: Image, provenance: dict[str, Any]) -> None:
    """Write a plane as float32 TIFF, with its provenance as JSON; see :func:`write_tiff`."""
    pixels = plane.array.astype(np.float32)
    layout = TiffLayout.of(plane, plane.axes)
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


def write_traces(
    path: Path, axes: str, traces: Mapping[Index, Sequence[Sequence[float | None]]]
) -> None:
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
                writer.writerows(
                    [*index, *("nan" if value is None else value for value in row)] for row in trace
                )

    write_atomically(path, write)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON."""
    with replacing_json(path, record):
        pass


@contextmanager
def replacing_json(path: Path, record: dict[str, Any]) -> Iterator[None]:
    """Write a record as JSON, which gets its name only when the block has succeeded.

    Raises
    ------
    OSError
        If the file cannot be written; `path` is then unchanged.
    """

    def write(temporary: Path) -> None:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")

    with _replacing(path, write):
        yield


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
    with _replacing(path, write):
        pass


@contextmanager
def _replacing(path: Path, write: Callable[[Path], None]) -> Iterator[None]:
    """Write a file as :func:`write_atomically`, but rename it only when the block has succeeded."""
    try:
        with _temporary_file_beside(path) as temporary:
            write(temporary)
            # Without this, a power failure can leave the new name with an empty file.
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            yield
            temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(output: Path, error: OSError) -> OSError:
    """Return the error of an output that could not be written, whose `strerror` is a sentence."""
    while isinstance(error.__cause__, OSError):  # the first error has the reason
        error = error.__cause__
    reason = error.strerror or f"{error}; is the disk full?"
    return OSError(error.errno, f"The output {output} could not be written ({reason}).")


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
