"""Read what results and their sidecars state about their origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tifffile
import zarr

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.io.images import find_value

__all__ = ["read_json", "read_provenance"]


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


def _of_zarr(output: Path) -> Any:
    attributes = zarr.open_group(output, mode="r").attrs.asdict()
    return attributes.get("napari-blind-deconv")


def _of_tiff(output: Path) -> Any:
    with tifffile.TiffFile(output) as tiff:
        if tiff.ome_metadata:
            return find_value(tifffile.xml2dict(tiff.ome_metadata), "Description")
        if tiff.imagej_metadata:
            return tiff.imagej_metadata.get("Info")
        return tiff.pages.first.description


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise ValueError(f"Expected a JSON object in {path}, got {first_line(error)}.") from error
    if not isinstance(record, dict):
        raise ValueError(f"Expected a JSON object in {path}, got a {type(record).__name__}.")
    return record
