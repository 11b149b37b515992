"""Write what makes a folder of an array an OME-Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr

from napari_blind_deconv.image import Image
from napari_blind_deconv.io.partial import LEVEL
from napari_blind_deconv.io.provenance import ZARR_KEY
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
        Its axes, pixel size, position and channels are written.
    provenance : dict
        Written as an attribute of the group. It contains the optics, for which OME-Zarr has no
        place of its own.
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
    group.attrs[ZARR_KEY] = provenance
    if image.channel_names:
        add_metadata(group, {"omero": {"channels": _omero_channels(image)}})


def _transforms(image: Image) -> list[dict[str, Any]]:
    """Return pixel size and position of an image as the transforms of an OME-Zarr."""
    scale = [image.spacing.get(axis, 1.0) for axis in image.axes]
    shift = [image.origin.get(axis, 0.0) for axis in image.axes]
    translation = [{"type": "translation", "translation": shift}] if any(shift) else []
    return [{"type": "scale", "scale": scale}, *translation]


def _omero_channels(image: Image) -> list[dict[str, Any]]:
    """Return names and wavelengths of the channels as OMERO's metadata."""
    wavelengths = image.optics.emission_wavelengths or (None,) * len(image.channel_names)
    return [
        _omero_channel(name, wavelength)
        for name, wavelength in zip(image.channel_names, wavelengths, strict=False)
    ]


def _omero_channel(name: str, wavelength: float | None) -> dict[str, Any]:
    # The OMERO metadata require a colour and a window, which are not known.
    window = {"min": 0.0, "max": 65535.0, "start": 0.0, "end": 65535.0}
    # OMERO's name for the emission wavelength, in nm.
    wave = {} if wavelength is None else {"emissionWave": round(1000 * wavelength, 6)}
    return {"label": name, "color": "FFFFFF", "active": True, "window": window, **wave}
