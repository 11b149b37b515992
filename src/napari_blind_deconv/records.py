"""The records that a result and its sidecar contain: of each plane, and of the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.scaling import Scaling
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.results import SOFTWARE, BlockResult, versions

__all__ = ["plane_record", "run_record", "without_traces"]

# The record of a run has these once for all planes, so the records of the planes leave them out.
_SHARED_BY_PLANES = {"software", "settings", "versions"}


def plane_record(block: BlockResult) -> dict[str, Any]:
    """Return what is recorded of a plane besides its pixels, ready for JSON."""
    if block.result is None:
        return {"failure": block.failure, "kernel": None}
    result = block.result
    provenance = {
        name: value for name, value in result.provenance().items() if name not in _SHARED_BY_PLANES
    }
    kernel = None if result.kernel_is_held else result.kernel.as_record()
    # JSON has no NaN, which is the variance before the first full window.
    trace = [[None if value != value else value for value in row] for row in result.trace.tolist()]
    return {**provenance, "kernel": kernel, "failure": None, "trace": trace}


def run_record(
    origin: Mapping[str, Any],
    image: Image,
    plan: StackPlan,
    records: Mapping[Index, dict[str, Any]],
    scaling: Scaling | None = None,
) -> dict[str, Any]:
    """Return what the sidecar of a result states about its origin, its provenance.

    Parameters
    ----------
    origin : mapping
        What the run started from: its job, the identity of its inputs, the version.
    image : Image
        The input, with the axes, the pixel size and the optics that the result gets.
    plan : StackPlan
        What the planes share.
    records : mapping
        The `plane_record` of each plane, by index.
    scaling : Scaling, optional
        How the result stores its values as 16-bit integers.
    """
    planes = [{"index": list(index), **record} for index, record in sorted(records.items())]
    return {
        "software": SOFTWARE,
        "versions": versions(),
        **origin,
        "axes": image.axes,
        "pixel_size": _pixel_size(image),
        "optics": image.optics.as_record(),
        **({} if scaling is None else {"scaling": scaling.as_record()}),
        "intensity_ranges": [limits and list(limits) for limits in plan.intensity_ranges],
        "kernels": [kernel and kernel.as_record() for kernel in plan.kernels],
        "planes": planes,
    }


def without_traces(provenance: dict[str, Any]) -> dict[str, Any]:
    """Return a provenance for the metadata of a file, where long traces would be in the way."""
    planes = [
        {name: value for name, value in plane.items() if name != "trace"}
        for plane in provenance.get("planes") or ()
    ]
    return {**provenance, "planes": planes}


def _pixel_size(image: Image) -> dict[str, Any]:
    """Return what is known of the pixel size, with its unit."""
    sides = {axis: image.spacing[axis] for axis in "ZYX" if axis in image.spacing}
    return {**sides, "unit": image.unit} if sides else {}
