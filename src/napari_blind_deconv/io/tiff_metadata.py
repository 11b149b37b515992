"""Pixel size, position and channel names, from wherever a TIFF file states them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tifffile

from napari_blind_deconv.io.stored_array import Calibration, UnsupportedFileError
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
    """

    calibration: Calibration = field(default_factory=Calibration)
    channels: tuple[str, ...] = ()
    missing_files: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, tiff: tifffile.TiffFile) -> TiffMetadata:
        """Read the metadata: OME-XML, else those of ImageJ and Micro-Manager, else the tags.

        Raises
        ------
        UnsupportedFileError
            If the metadata are in another file.
        """
        if tiff.ome_metadata:
            ome = tifffile.xml2dict(tiff.ome_metadata).get("OME", {})
            _check_not_binary_only(path, ome)
            pixels = _as_list(_as_list(ome.get("Image"))[:1], "Pixels")
            return _from_ome(path, ome, pixels[0] if pixels else {})
        micromanager = (tiff.micromanager_metadata or {}).get("Summary") or {}
        calibration = _of_imagej_or_tags(tiff)
        if not {"Y", "X"} <= set(calibration.spacing):
            calibration = _of_micromanager(micromanager) or calibration
        names = micromanager.get("ChNames")
        return cls(calibration, _names(names if isinstance(names, list) else []))


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


def _from_ome(path: Path, ome: Mapping[str, Any], pixels: Mapping[str, Any]) -> TiffMetadata:
    channels = [channel.get("Name") for channel in _as_list(pixels.get("Channel"))]
    return TiffMetadata(_of_ome(pixels), _names(channels), _missing_files(path, ome, pixels))


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
    for plane in _as_list(pixels.get("Plane")):
        if all(str(plane.get(f"The{axis}", 0)) == "0" for axis in "ZCT"):
            return plane
    return {}


def _missing_files(
    path: Path, ome: Mapping[str, Any], pixels: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the files of an OME-TIFF of several files that are not beside it."""
    parts = [part.get("UUID") for part in _as_list(pixels.get("TiffData"))]
    files = {
        str(part.get("FileName", ""))
        for part in parts
        # The file itself is known by its identifier, because it may have been renamed.
        if isinstance(part, dict) and part.get("value") != ome.get("UUID")
    }
    return tuple(sorted(name for name in files if name and not (path.parent / name).exists()))


def _of_imagej_or_tags(tiff: tifffile.TiffFile) -> Calibration:
    imagej = tiff.imagej_metadata or {}
    page = tiff.pages.first
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


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {axis: value for axis, value in values.items() if value is not None}


def _names(names: list[Any]) -> tuple[str, ...]:
    return tuple(map(str, names)) if all(names) else ()


def _as_list(value: Any, key: str | None = None) -> list[Any]:
    """Return elements as a list of dictionaries; `xml2dict` makes lists of two or more only.

    With a key, return the elements of that name inside the elements.
    """
    elements = value if isinstance(value, list) else [value]
    elements = [element for element in elements if isinstance(element, dict)]
    if key is None:
        return elements
    return [child for element in elements for child in _as_list(element.get(key))]
