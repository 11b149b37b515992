"""Write arrays as TIFF: OME-TIFF, ImageJ's TIFF, or plain TIFF for colour images."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_blind_deconv.image import Image
from napari_blind_deconv.units import convert

__all__ = ["TiffLayout", "tiff_axes", "write_tiff"]

_IMAGEJ_ORDER = "TZCYXS"  # the only axis order that ImageJ reads
# Bytes of pixels that fit into a TIFF with 32-bit offsets; 1 MiB is left for the metadata.
_TIFF_LIMIT = 4 * 2**30 - 2**20


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
    origin : mapping
        Position of the first pixel, as in `Image`.
    """

    axes: str
    shape: tuple[int, ...]
    spacing: Mapping[str, float]
    unit: str
    channels: tuple[str, ...] = ()
    origin: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, image: Image, axes: str) -> Self:
        """Return the layout of an image whose axes are stored in another order."""
        lengths = dict(zip(image.axes, image.pixels.shape, strict=True))
        return cls(
            axes,
            tuple(lengths[axis] for axis in axes),
            image.spacing,
            image.unit,
            image.channel_names,
            image.origin,
        )


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
    options |= _resolution(layout, only_tags=colour and not _is_ome(path))
    tifffile.imwrite(temporary, pixels, shape=layout.shape, dtype=np.float32, **options)


def _resolution(layout: TiffLayout, *, only_tags: bool) -> dict[str, Any]:
    """Return the pixel size for the tags, which know no unit but inches and centimetres."""
    if not {"Y", "X"} <= set(layout.spacing):
        return {}
    unit = "cm" if only_tags else layout.unit  # other metadata state the unit
    one = convert(1, unit, layout.unit)
    if one is None:
        return {}
    return {
        "resolution": tuple(one / layout.spacing[axis] for axis in "XY"),
        "resolutionunit": "CENTIMETER" if only_tags else "NONE",
    }


def _ome(layout: TiffLayout, text: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": layout.axes, "Description": text}
    if layout.unit != "pixel":
        for axis in (set("ZYX") & set(layout.spacing)) & set(layout.axes):
            metadata[f"PhysicalSize{axis}"] = layout.spacing[axis]
            metadata[f"PhysicalSize{axis}Unit"] = layout.unit
        metadata |= _ome_positions(layout)
    if "T" in layout.axes and "T" in layout.spacing:
        metadata |= {"TimeIncrement": layout.spacing["T"], "TimeIncrementUnit": "s"}
    if layout.channels:
        metadata["Channel"] = {"Name": list(layout.channels)}
    return metadata


def _ome_positions(layout: TiffLayout) -> dict[str, Any]:
    """Return the position of each plane, if the position of the image is known."""
    shape = [
        side for axis, side in zip(layout.axes, layout.shape, strict=True) if axis not in "YXS"
    ]
    planes = math.prod(shape)
    positions: dict[str, Any] = {}
    for axis in (axis for axis in "ZYX" if axis in layout.origin):
        along = np.full(planes, layout.origin[axis])
        if axis in layout.axes and axis == "Z":
            step = layout.spacing.get("Z", 0.0)
            along += step * np.indices(shape)[layout.axes.index("Z")].ravel()
        positions |= {
            f"Position{axis}": along.tolist(),
            f"Position{axis}Unit": [layout.unit] * planes,
        }
    return {"Plane": positions} if positions else {}


def _imagej(layout: TiffLayout, text: str) -> dict[str, Any]:
    # ImageJ's description is ASCII, so µm is written as um.
    unit = layout.unit.replace("µm", "um").encode("ascii", "backslashreplace").decode()
    metadata: dict[str, Any] = {"axes": layout.axes, "unit": unit, "Info": text}
    names = {"Z": "spacing", "T": "finterval"}
    metadata |= {
        name: layout.spacing[axis]
        for axis, name in names.items()
        if axis in layout.axes and axis in layout.spacing
    }
    # ImageJ states where the origin is in pixels, instead of where the first pixel is.
    return metadata | {
        f"{axis.lower()}origin": -layout.origin[axis] / layout.spacing[axis]
        for axis in "XYZ"
        if axis in layout.origin and axis in layout.spacing
    }
