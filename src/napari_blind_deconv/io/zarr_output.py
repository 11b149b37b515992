"""Write what makes a folder of an array an OME-Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr

from napari_blind_deconv.image import Image
from napari_blind_deconv.io.partial import LEVEL
from napari_blind_deconv.units import long_unit

__all__ = ["write_ome_metadata"]


def write_ome_metadata(folder: Path, name: str, image: Image, provenance: dict[str, Any]) -> None:
    """Write the metadata that make a folder an OME-Zarr.

    Parameters
    ----------
    folder : Path
        Folder of a zarr group with the array of the image.
    name : str
        File name that the folder gets.
    image : Image
        Its axes, pixel size, position and channel names are written.
    provenance : dict
        Written as an attribute of the group.
    """
    from ome_zarr.format import FormatV05
    from ome_zarr.writer import add_metadata, write_multiscales_metadata

    group = zarr.open_group(folder, mode="r+")
    kinds = {"T": "time", "C": "channel"}
    axes = [{"name": axis.lower(), "type": kinds.get(axis, "space")} for axis in image.axes]
    units = {
        axis.lower(): long_unit(image.unit)
        for axis in "ZYX"
        if axis in image.spacing and image.unit != "pixel"
    }
    if "T" in image.spacing:
        units["t"] = "second"
    write_multiscales_metadata(
        group,
        [{"path": LEVEL, "coordinateTransformations": _transforms(image)}],
        fmt=FormatV05(),
        axes=axes,
        axes_units={axis: unit for axis, unit in units.items() if axis.upper() in image.axes},
        name=name.removesuffix(".zarr").removesuffix(".ome"),
    )
    group.attrs["napari-blind-deconv"] = provenance
    if image.channel_names:
        add_metadata(
            group,
            {"omero": {"channels": [_omero_channel(c) for c in image.channel_names]}},
        )


def _transforms(image: Image) -> list[dict[str, Any]]:
    """Return pixel size and position of an image as the transforms of an OME-Zarr."""
    scale = [image.spacing.get(axis, 1.0) for axis in image.axes]
    shift = [image.origin.get(axis, 0.0) for axis in image.axes]
    translation = [{"type": "translation", "translation": shift}] if any(shift) else []
    return [{"type": "scale", "scale": scale}, *translation]


def _omero_channel(name: str) -> dict[str, Any]:
    # The OMERO metadata require a colour and a window; only the name is known.
    window = {"min": 0.0, "max": 65535.0, "start": 0.0, "end": 65535.0}
    return {"label": name, "color": "FFFFFF", "active": True, "window": window}
