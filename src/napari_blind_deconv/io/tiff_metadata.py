"""Pixel size, position and channel names, from wherever a TIFF file states them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tifffile

from napari_blind_deconv.io.optics_metadata import (
    elements,
    optics_of_ome,
    optics_of_properties,
    optics_of_text,
    properties_in,
)
from napari_blind_deconv.io.stored_array import Calibration, UnsupportedFileError
from napari_blind_deconv.io.tiff_vendor_metadata import vendor_metadata
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.units import convert, in_unit, short_unit

__all__ = ["TiffMetadata"]

_WITHOUT_SIZE = {"", "pixel", "pixels", "inch"}  # 'inch' is the resolution of screens and printers
_CENTIMETRE = "cm"


@dataclass(frozen=True)
class TiffMetadata:
    """What the metadata of a TIFF file state about its image.

    Attributes
    ----------
    calibration : Calibration
        Pixel sizes and position.
    channels : tuple of str
        Names of the channels; empty unless all of them have a name.
    missing_files : tuple of str
        Names of files that hold planes of the image and do not exist.
    optics : Optics
        Optics of the image; the wavelengths may be those of another number of channels.
    """

    calibration: Calibration = field(default_factory=Calibration)
    channels: tuple[str, ...] = ()
    missing_files: tuple[str, ...] = ()
    optics: Optics = field(default_factory=Optics)

    @classmethod
    def of(
        cls, path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries
    ) -> TiffMetadata:
        """Read the metadata of an image: OME-XML, else those of its microscope, else the tags.

        Raises
        ------
        UnsupportedFileError
            If the metadata are in another file.
        """
        if tiff.ome_metadata:
            ome = tifffile.xml2dict(tiff.ome_metadata).get("OME", {})
            _check_not_binary_only(path, ome)
            return _from_ome(path, ome, _ome_image(ome, tiff, series))
        vendor = vendor_metadata(tiff)
        if vendor is not None:
            return cls(*vendor)
        micromanager = (tiff.micromanager_metadata or {}).get("Summary") or {}
        calibration = _of_imagej_or_tags(tiff, series.keyframe)
        if not {"Y", "X"} <= set(calibration.spacing):
            calibration = _of_micromanager(micromanager) or calibration
        names = micromanager.get("ChNames")
        return cls(
            calibration,
            _names(names if isinstance(names, list) else []),
            optics=_optics_of_imagej_or_others(tiff, micromanager),
        )


def _check_not_binary_only(path: Path, ome: Mapping[str, Any]) -> None:
    """Raise `UnsupportedFileError` if an OME-TIFF holds pixels only."""
    binary_only = ome.get("BinaryOnly")
    if not isinstance(binary_only, dict):
        return
    companion = str(binary_only.get("MetadataFile", ""))
    if companion.lower().endswith((".tif", ".tiff")):
        advice = f"open {companion} instead"
    else:
        advice = (
            "export the image as one OME-TIFF, for example in Fiji or with Bio-Formats' command "
            f"'bfconvert {companion} image.ome.tif'"
        )
    raise UnsupportedFileError(
        f"Expected a file that states its axes and pixel size, but {path} leaves them to the "
        f"companion file {companion}; {advice}."
    )


def _ome_image(
    ome: Mapping[str, Any], tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> Mapping[str, Any]:
    """Return the element that describes an image of an OME-TIFF; empty if none does."""
    images = elements(ome.get("Image"))
    if len(images) != len(tiff.series):  # tifffile leaves out images without pixels
        width = str(series.shape[series.axes.index("X")])
        images = [
            image
            for image in images
            if image.get("Name", "") == series.name
            and any(str(p.get("SizeX")) == width for p in elements(image, "Pixels"))
        ]
        return images[0] if images else {}
    return images[tiff.series.index(series)]


def _from_ome(path: Path, ome: Mapping[str, Any], image: Mapping[str, Any]) -> TiffMetadata:
    pixels: Mapping[str, Any] = next(iter(elements(image, "Pixels")), {})
    channels = [channel.get("Name") for channel in elements(pixels.get("Channel"))]
    return TiffMetadata(
        _of_ome(pixels),
        _names(channels),
        _missing_files(path, ome, pixels),
        optics_of_ome(ome, image),
    )


def _of_ome(pixels: Mapping[str, Any]) -> Calibration:
    unit = str(pixels.get("PhysicalSizeXUnit", "µm"))  # µm is the default of the OME schema
    spacing = {
        axis: in_unit(
            pixels.get(f"PhysicalSize{axis}"),
            str(pixels.get(f"PhysicalSize{axis}Unit", "µm")),
            unit,  # all lengths of an `Image` have one unit
        )
        for axis in "ZYX"
    }
    interval = in_unit(pixels.get("TimeIncrement"), str(pixels.get("TimeIncrementUnit", "s")), "s")
    first = _first_plane(pixels)
    origin = {
        axis: convert(
            first.get(f"Position{axis}"),
            str(first.get(f"Position{axis}Unit", "reference frame")),  # the default of the schema
            unit,
        )
        for axis in "ZYX"
    }
    lengths, positions = _known(spacing), _known(origin)
    unit = short_unit(unit) if lengths or positions else "pixel"
    return Calibration(lengths | _known({"T": interval}), unit, positions)


def _first_plane(pixels: Mapping[str, Any]) -> Mapping[str, Any]:
    for plane in elements(pixels.get("Plane")):
        if all(str(plane.get(f"The{axis}", 0)) == "0" for axis in "ZCT"):
            return plane
    return {}


def _missing_files(
    path: Path, ome: Mapping[str, Any], pixels: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the files of an OME-TIFF of several files that are not beside it."""
    parts = [part.get("UUID") for part in elements(pixels.get("TiffData"))]
    files = {
        str(part.get("FileName", ""))
        for part in parts
        # The file itself is known by its identifier, because it may have been renamed.
        if isinstance(part, dict) and part.get("value") != ome.get("UUID")
    }
    return tuple(sorted(name for name in files if name and not (path.parent / name).exists()))


def _of_imagej_or_tags(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> Calibration:
    imagej = tiff.imagej_metadata or {}
    in_centimetres = page.resolutionunit == tifffile.RESUNIT.CENTIMETER
    unit = str(imagej.get("unit") or (_CENTIMETRE if in_centimetres else "pixel"))
    spacing: dict[str, float | None] = {}
    if unit not in _WITHOUT_SIZE:
        per_unit = dict(zip("XY", page.get_resolution(), strict=True))
        spacing = {axis: in_unit(1 / n if n else None, unit, unit) for axis, n in per_unit.items()}
        if "yunit" in imagej:  # ImageJ states further units only if they differ from that of X
            spacing["Y"] = in_unit(spacing["Y"], str(imagej["yunit"]), unit)
    step = imagej.get("spacing")  # negative if the planes were stored from the last to the first
    spacing["Z"] = in_unit(abs(step) if step else None, str(imagej.get("zunit", unit)), unit)
    interval = in_unit(imagej.get("finterval"), str(imagej.get("tunit", "s")), "s")
    lengths = _known(spacing)
    return Calibration(
        lengths | _known({"T": interval}),
        short_unit(unit) if unit not in _WITHOUT_SIZE and lengths else "pixel",
        _origin_of_imagej(imagej, lengths),
    )


def _origin_of_imagej(imagej: Mapping[str, Any], lengths: Mapping[str, float]) -> dict[str, float]:
    # ImageJ states where the origin is in pixels; here it is where the first pixel is.
    pixels = {axis: imagej.get(f"{axis.lower()}origin") for axis in lengths}
    return {axis: -float(value) * lengths[axis] for axis, value in pixels.items() if value}


def _of_micromanager(summary: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration in the summary of a Micro-Manager file, if it has a pixel size."""
    side = in_unit(summary.get("PixelSize_um"), "µm", "µm")
    if side is None:
        return None
    step = in_unit(summary.get("z-step_um"), "µm", "µm")
    interval = in_unit(summary.get("Interval_ms"), "ms", "s")
    return Calibration(_known({"T": interval, "Z": step, "Y": side, "X": side}), "µm")


def _optics_of_imagej_or_others(tiff: tifffile.TiffFile, micromanager: Mapping[str, Any]) -> Optics:
    """Return the optics in the properties of ImageJ or Micro-Manager, or in a provenance."""
    imagej = tiff.imagej_metadata
    if micromanager:
        frame = tiff.pages.first.tags.valueof("MicroManagerMetadata", default={})
        properties = [*properties_in(micromanager), *properties_in(frame)]
        names = micromanager.get("ChNames")
        optics = optics_of_properties(properties, len(names) if isinstance(names, list) else 1)
        if optics != Optics():
            return optics
    text = imagej.get("Info") if imagej else tiff.pages.first.description
    return optics_of_text(text, int((imagej or {}).get("channels", 1)))


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {axis: value for axis, value in values.items() if value is not None}


def _names(names: list[Any]) -> tuple[str, ...]:
    return tuple(map(str, names)) if all(names) else ()
