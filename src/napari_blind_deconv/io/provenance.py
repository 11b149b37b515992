"""Read what results and their sidecars state about their origin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import tifffile
import zarr

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.io.scaling import Scaling
from napari_blind_deconv.results import SOFTWARE

__all__ = [
    "ZARR_KEY",
    "is_result",
    "provenance_in_tiff",
    "read_json",
    "read_provenance",
    "with_scaling",
]

ZARR_KEY = SOFTWARE
"""Attribute of an OME-Zarr that contains the provenance."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, whatever the file contains.

    Raises
    ------
    ValueError
        If the file is not a JSON object.
    OSError
        If it cannot be read.
    """
    return _parse(path.read_bytes(), path)


def read_provenance(output: Path) -> dict[str, Any]:
    """Read the provenance that a result carries in its own metadata.

    Parameters
    ----------
    output : Path
        TIFF or OME-Zarr, as written by a run.

    Raises
    ------
    ValueError
        If it has none.
    OSError
        If it cannot be read.
    """
    try:
        found = _of_zarr(output) if output.is_dir() else _of_tiff(output)
    except OSError:
        raise
    except Exception as error:  # the decoders raise any exception for a damaged file
        raise ValueError(
            f"Expected a result, but {output} cannot be read ({first_line(error)})."
        ) from error
    if isinstance(found, dict):
        return found
    return _parse(str(found or "").encode(), output)


def is_result(path: Path) -> bool:
    """Whether a run wrote a file, as the file itself states; no pixels are read.

    It is False for whatever cannot be read.
    """
    try:
        return read_provenance(path).get("software") == SOFTWARE
    except (ValueError, OSError):
        return False


def provenance_in_tiff(tiff: tifffile.TiffFile) -> Any:
    """Return the text in an open TIFF that is the provenance, if a run wrote the file."""
    if tiff.ome_metadata:
        return _find_value(tifffile.xml2dict(tiff.ome_metadata), "Description")
    if tiff.imagej_metadata:
        return tiff.imagej_metadata.get("Info")
    return tiff.pages.first.description


def with_scaling(
    path: Path, data: da.Array, find_provenance: Callable[[], Any]
) -> tuple[da.Array, tuple[str, ...]]:
    """Return the values of a result that a run stored as 16-bit integers, and a note on it.

    All other data are returned unchanged.

    Parameters
    ----------
    path : Path
        The file, for the note.
    data : dask array
        The pixels as they are stored.
    find_provenance : callable
        Returns what may be the provenance, as text or as a dictionary. It is called for 16-bit
        integers only.
    """
    scaling = _scaling_in(find_provenance()) if data.dtype == np.uint16 else None
    if scaling is None or scaling.is_identity:
        return data, ()
    return scaling.unpacked(data), (f"{path.name} is a scaled result: {scaling.equation}.",)


def _scaling_in(found: Any) -> Scaling | None:
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):  # any other description
            return None
    return Scaling.from_record(found)


def _of_zarr(output: Path) -> Any:
    return zarr.open_group(output, mode="r").attrs.asdict().get(ZARR_KEY)


def _of_tiff(output: Path) -> Any:
    with tifffile.TiffFile(output) as tiff:
        return provenance_in_tiff(tiff)


def _find_value(tree: Any, key: str) -> Any:
    """Return the first value of a key in nested dictionaries and lists, or None."""
    if isinstance(tree, dict):
        if key in tree:
            return tree[key]
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            if (value := _find_value(branch, key)) is not None:
                return value
    return None


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise ValueError(f"Expected a JSON object in {path}, got {first_line(error)}.") from error
    if not isinstance(record, dict):
        raise ValueError(f"Expected a JSON object in {path}, got a {type(record).__name__}.")
    return record
