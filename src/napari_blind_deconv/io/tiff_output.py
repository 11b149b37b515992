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
from napari_blind_deconv.io.optics_metadata import ome_mode
from napari_blind_deconv.io.scaling import Scaling
from napari_blind_deconv.optics import Optics
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
    optics : Optics
        Optics of the image. Only OME-TIFF has a place for them outside of the provenance.
    """

    axes: str
    shape: tuple[int, ...]
    spacing: Mapping[str, float]
    unit: str
    channels: tuple[str, ...] = ()
    origin: Mapping[str, float] = field(default_factory=dict)
    optics: Optics = field(default_factory=Optics)

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
            image.optics,
        )


def write_tiff(
    temporary: Path,
    path: Path,
    pixels: NDArray[Any] | Iterator[NDArray[Any]],
    layout: TiffLayout,
    provenance: dict[str, Any],
    scaling: Scaling | None = None,
) -> None:
    """Write an array as TIFF, of float32 or of scaled 16-bit integers.

    Parameters
    ----------
    temporary : Path
        File to write to.
    path : Path
        Name that the file gets later. It decides the format: OME-TIFF for ``.ome.tif``, plain TIFF
        for other names if the image is a colour image, and ImageJ's TIFF for all others.
    pixels : ndarray or iterator of ndarray
        The array, or its planes one by one: float32, or uint16 if there is a `scaling`.
    layout : TiffLayout
        Axes, shape and pixel size of the array.
    provenance : dict
        Written into the file as JSON.
    scaling : Scaling, optional
        How the integers stand for values. ImageJ's TIFF states it as its calibration.

    Raises
    ------
    ValueError
        If the array is too large for ImageJ's TIFF.
    """
    text = json.dumps(provenance)
    colour = "S" in layout.axes
    dtype = np.dtype(np.float32 if scaling is None else np.uint16)
    size = dtype.itemsize * math.prod(layout.shape)
    options: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack"}
    if _is_ome(path):
        options |= {"ome": True, "metadata": _ome(layout, text), "bigtiff": size > _TIFF_LIMIT}
    elif size > _TIFF_LIMIT:
        raise ValueError(
            f"Expected at most 4 GiB for an ImageJ TIFF, got {size / 2**30:.1f} GiB; "
            "name the output .ome.tif or .ome.zarr."
        )
    elif colour:  # ImageJ has no colour images in float32 or 16 bits
        options |= {"description": text, "metadata": None}
    else:
        options |= {"imagej": True, "metadata": _imagej(layout, text) | _calibration(scaling)}
    options |= _resolution(layout, only_tags=colour and not _is_ome(path))
    tifffile.imwrite(temporary, pixels, shape=layout.shape, dtype=dtype, **options)
    if _is_ome(path):
        _add_optics(temporary, layout.optics)


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


def _calibration(scaling: Scaling | None) -> dict[str, Any]:
    """Return the straight line by which ImageJ shows values in place of stored integers."""
    if scaling is None or scaling.is_identity:
        return {}
    return {"cf": 0, "c0": scaling.offset, "c1": scaling.scale, "vunit": "Gray Value"}


def _add_optics(file: Path, optics: Optics) -> None:
    """Add objective and wavelengths to the OME-XML of a file.

    tifffile writes no instruments, and no wavelengths if only some channels have one.
    """
    if optics == Optics():
        return
    xml = str(tifffile.tiffcomment(file))
    for channel, wavelength in enumerate(optics.emission_wavelengths):
        if wavelength is not None:
            attributes = (
                f'EmissionWavelength="{1000 * wavelength:.10g}" EmissionWavelengthUnit="nm"'
            )
            element = f'<Channel ID="Channel:0:{channel}"'
            xml = xml.replace(element, f"{element} {attributes}", 1)
    if optics.microscope is not None:
        mode = ome_mode(optics.microscope)
        xml = xml.replace("<Channel ID=", f'<Channel AcquisitionMode="{mode}" ID=')
    aperture, index = optics.numerical_aperture, optics.refractive_index
    if aperture is not None or index is not None:
        # No text contains these elements, because its brackets are written as entities.
        lens = "" if aperture is None else f' LensNA="{aperture!r}"'
        medium = "" if index is None else f' RefractiveIndex="{index!r}"'
        instrument = (
            f'<Instrument ID="Instrument:0"><Objective ID="Objective:0:0"{lens}/></Instrument>'
        )
        settings = (
            f'<InstrumentRef ID="Instrument:0"/><ObjectiveSettings ID="Objective:0:0"{medium}/>'
        )
        xml = xml.replace("<Image ", f"{instrument}<Image ", 1)
        xml = xml.replace("<Pixels ", f"{settings}<Pixels ", 1)
    tifffile.tiffcomment(file, xml.encode())


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
