"""Open an OME-Zarr of any version, with its pixel size and position.

zarr reads the metadata here. The reader of ome-zarr leaves out the transforms of the multiscale
image, prints a warning for every version but its own, and opens all labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from numpy.typing import NDArray

from napari_blind_deconv.io.provenance import ZARR_KEY, with_scaling
from napari_blind_deconv.io.series import Series, chosen_series
from napari_blind_deconv.io.stored_array import (
    Calibration,
    StoredArray,
    UnsupportedFileError,
    pyramid_notes,
)
from napari_blind_deconv.io.zarr_optics import optics_of_zarr
from napari_blind_deconv.units import convert, short_unit

__all__ = ["open_zarr"]

_DEFAULT_AXES = "TCZYX"  # versions 0.1 and 0.2 have these five, without saying so
_LETTER_OF_TYPE = {"channel": "C", "time": "T"}
_LISTED = 8  # images that an error names before it says how many more there are


def open_zarr(path: Path, choice: str | None = None) -> StoredArray:
    """Open the folder of an image without reading its pixels.

    Parameters
    ----------
    path : Path
        The folder.
    choice : str or None
        Number or name of an image, if the metadata of the folder describe several.

    Raises
    ------
    UnsupportedFileError
        If the folder does not contain one image; the message names the images in it.
    Exception
        Of any type, if the folder is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr, about codecs and versions
        try:
            group = zarr.open_group(path, mode="r")
        except (FileNotFoundError, zarr.errors.ContainsArrayError) as error:
            raise _no_image(path) from error
        ome = _ome(group)
        if "multiscales" not in ome:
            raise _several_images(path, ome) or _no_image(path)
        multiscales = ome["multiscales"]
        found = [_series(group, multiscale) for multiscale in multiscales]
        multiscale = multiscales[chosen_series(path, found, choice)]
        return _from_multiscale(path, group, ome, multiscale)


def _series(group: zarr.Group, multiscale: Mapping[str, Any]) -> Series:
    """Return what a user needs to know of an image to choose it."""
    array = group.get(multiscale["datasets"][0]["path"])
    shape = array.shape if isinstance(array, zarr.Array) else ()
    axes = _axes(multiscale.get("axes"), len(shape))
    return Series(str(multiscale.get("name") or ""), "".join(a["name"] for a in axes), shape)


def _from_multiscale(
    path: Path, group: zarr.Group, ome: Mapping[str, Any], multiscale: Mapping[str, Any]
) -> StoredArray:
    levels = multiscale["datasets"]
    array = group[levels[0]["path"]]
    if not isinstance(array, zarr.Array):
        raise UnsupportedFileError(f"Expected an array in {path}, got a group {array.path}.")
    axes = _axes(multiscale.get("axes"), array.ndim)
    names = tuple(axis["name"] for axis in axes)
    chunks = tuple(
        side if name in ("Y", "X") else 1 for side, name in zip(array.shape, names, strict=True)
    )
    calibration, notes = _calibration(path.name, axes, _steps(multiscale))
    channels = (ome.get("omero") or {}).get("channels") or []
    labels = tuple(channel.get("label") for channel in channels)
    data, scaling_notes = with_scaling(
        path,
        da.from_array(array, chunks=chunks, name=False),
        lambda: group.attrs.get(ZARR_KEY),
    )
    return StoredArray(
        data=data,
        axes=names,
        calibration=calibration,
        channels=tuple(map(str, labels)) if all(labels) else (),
        optics=optics_of_zarr(path, group, ome),
        notes=(*pyramid_notes(path.name, len(levels)), *notes, *scaling_notes),
    )


def _axes(stated: Sequence[Any] | None, count: int) -> list[dict[str, Any]]:
    """Return the axes as dictionaries with their names as in `StoredArray`."""
    if stated is None:
        stated = _DEFAULT_AXES[-count:]
    axes = [{"name": axis} if isinstance(axis, str) else dict(axis) for axis in stated]
    for axis in axes:
        name = str(axis["name"])
        known = name.upper() in set(_DEFAULT_AXES)
        axis["name"] = name.upper() if known else _LETTER_OF_TYPE.get(axis.get("type", ""), name)
    return axes


def _steps(multiscale: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the transforms from pixels to the world: those of the level, then of the image."""
    level = multiscale["datasets"][0].get("coordinateTransformations") or []
    return [*level, *(multiscale.get("coordinateTransformations") or [])]


def _calibration(
    name: str, axes: Sequence[Mapping[str, Any]], steps: Iterable[Mapping[str, Any]]
) -> tuple[Calibration, tuple[str, ...]]:
    composed = _composed(steps, len(axes))
    if composed is None:
        return Calibration(), (
            f"{name} has a transform other than scale and translation; its pixel size is unknown.",
        )
    scale, shift = composed
    units = {axis["name"]: str(axis.get("unit") or "") for axis in axes}
    unit = units.get("X") or ""
    targets = {"Z": unit, "Y": unit, "X": unit, "T": "s"}
    spacing: dict[str, float] = {}
    origin: dict[str, float] = {}
    for axis, step, position in zip(units, scale, shift, strict=True):
        size = convert(abs(step), units[axis], targets.get(axis, "")) if units[axis] else None
        if axis not in targets or not size:
            continue
        spacing[axis] = size
        if position and step > 0:  # along a mirrored axis, the position would mislead
            origin[axis] = size / step * position
    unknown = [
        axis
        for axis, step in zip(units, scale, strict=True)
        if axis in ("Z", "Y", "X") and axis not in spacing and step != 1
    ]
    notes = (
        f"{name} states a scale of {', '.join(unknown)} without a unit of length; that pixel size "
        "is unknown.",
    )
    return Calibration(
        spacing, short_unit(unit) if unit else "pixel", origin
    ), notes if unknown else ()


def _composed(
    steps: Iterable[Mapping[str, Any]], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return scale and translation of all transforms after each other; None if one is unknown."""
    scale, shift = np.ones(count), np.zeros(count)
    for step in steps:
        kind = step.get("type")
        if kind == "identity":
            continue
        if kind not in ("scale", "translation") or kind not in step:
            return None
        numbers = np.broadcast_to(np.asarray(step[kind], np.float64), count)
        if kind == "scale":
            scale, shift = scale * numbers, shift * numbers
        else:
            shift = shift + numbers
    return scale, shift


# Folders that contain several images


def _no_image(path: Path) -> UnsupportedFileError:
    parents = [p for p in path.absolute().parents if p.suffix == ".zarr"]
    hint = f"; name the folder of an image, such as {parents[0]}" if parents else ""
    return UnsupportedFileError(f"The folder {path} contains no OME-Zarr image{hint}.")


def _several_images(path: Path, ome: Mapping[str, Any]) -> UnsupportedFileError | None:
    """Return an error that names the images of a plate, a well or a series."""
    if "plate" in ome:
        wells = [str(well["path"]) for well in ome["plate"].get("wells", [])]
        return _naming(path, "a plate with the wells", wells, _first_field(path, wells))
    if "well" in ome:
        fields = _fields(ome)
        return _naming(path, "a well with the images", fields, next(iter(fields), None))
    series = _folders_of_series(path, ome)
    return _naming(path, "the images", series, series[0]) if series else None


def _naming(
    path: Path, kind: str, names: Sequence[str], example: str | None
) -> UnsupportedFileError:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    advice = f"; name one of its images, such as {path / example}" if example is not None else ""
    return UnsupportedFileError(
        f"Expected the folder of one image, got {path} with {kind} "
        f"{', '.join(names[:_LISTED]) or '(none)'}{more}{advice}."
    )


def _fields(well: Mapping[str, Any]) -> list[str]:
    return [str(image["path"]) for image in well["well"].get("images", [])]


def _first_field(path: Path, wells: Sequence[str]) -> str | None:
    """Return the path of the first image of the first well, inside the folder of a plate."""
    for well in wells:
        if (path / well).is_dir():
            fields = _fields(_ome_of(path / well))
            return f"{well}/{fields[0]}" if fields else None
    return None


def _folders_of_series(path: Path, ome: Mapping[str, Any]) -> list[str]:
    """Return the folders of the images that bioformats2raw and other converters put side by side.

    bioformats2raw lists them in the folder OME. Without a list, they are all folders of images.
    """
    listed = ome.get("series") or _ome_of(path / "OME").get("series")
    if listed:
        return [str(name) for name in listed]
    return [name for name in _folders(path) if "multiscales" in _ome_of(path / name)]


def _folders(path: Path) -> list[str]:
    names = (entry.name for entry in path.iterdir() if entry.is_dir())
    return sorted(names, key=lambda name: (not name.isdigit(), len(name), name))


def _ome_of(path: Path) -> dict[str, Any]:
    """Return the OME metadata of a group, which are empty if there is no group."""
    try:
        return _ome(zarr.open_group(path, mode="r"))
    except (FileNotFoundError, ValueError):
        return {}


def _ome(group: zarr.Group) -> dict[str, Any]:
    attributes: dict[str, Any] = group.attrs.asdict()
    return attributes.get("ome", attributes)  # under `ome` since version 0.5
