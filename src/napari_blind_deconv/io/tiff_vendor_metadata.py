"""Pixel sizes and channel names that microscopes write into tags of their own: LSM and STK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tifffile

from napari_blind_deconv.io.stored_array import Calibration
from napari_blind_deconv.units import in_unit

__all__ = ["VendorMetadata", "vendor_metadata"]


class VendorMetadata(NamedTuple):
    """What the tags of a microscope state about its image.

    Attributes
    ----------
    calibration : Calibration
        Pixel sizes.
    channels : tuple of str
        Names of the channels; empty if they have none.
    """

    calibration: Calibration
    channels: tuple[str, ...] = ()


def vendor_metadata(tiff: tifffile.TiffFile) -> VendorMetadata | None:
    """Read the tags of Zeiss (LSM) or MetaMorph (STK); None in other files."""
    if tiff.lsm_metadata:
        return _of_lsm(tiff.lsm_metadata)
    if tiff.stk_metadata:
        return _of_stk(tiff.stk_metadata)
    return None


def _of_lsm(tags: Mapping[str, Any]) -> VendorMetadata:
    # The origin is left out: it is that of the centre, relative to a stage position elsewhere.
    lengths = {axis: in_unit(tags.get(f"VoxelSize{axis}"), "m", "µm") for axis in "ZYX"}
    names = (tags.get("ChannelColors") or {}).get("ColorNames") or []
    return VendorMetadata(
        _calibration(lengths, tags.get("TimeIntervall")),  # as tifffile spells it
        tuple(map(str, names)) if all(names) else (),
    )


def _of_stk(tags: Mapping[str, Any]) -> VendorMetadata:
    lengths: dict[str, float | None] = {}
    if tags.get("SpatialCalibration"):  # off: the numbers are those of an earlier calibration
        unit = str(tags.get("CalibrationUnits", ""))
        lengths = {axis: in_unit(tags.get(f"{axis}Calibration"), unit, "µm") for axis in "YX"}
    steps = np.abs(np.asarray(tags.get("ZDistance", ()), np.float64))
    if steps.size:  # in µm, negative if the stage moves down
        lengths["Z"] = in_unit(np.median(steps), "µm", "µm")
    return VendorMetadata(_calibration(lengths))


def _calibration(lengths: Mapping[str, float | None], interval: Any = None) -> Calibration:
    """Return a calibration of what is known of lengths in µm and an interval in seconds."""
    steps = {**lengths, "T": in_unit(interval, "s", "s")}
    known = {axis: step for axis, step in steps.items() if step is not None}
    return Calibration(known, "µm" if set(known) - {"T"} else "pixel")
