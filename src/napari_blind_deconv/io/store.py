"""Store the planes of a stack until all are finished, so that an interrupted run can continue.

Each plane is on disk before the next one starts. The planes are collected in a folder beside the
output: an OME-Zarr with a record of each finished plane. When all planes are finished, the output
appears by a rename, of the OME-Zarr itself or of a TIFF that was written into the folder. So a run
can be killed at any moment, and continue later.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.images import (
    TiffLayout,
    tiff_axes,
    write_atomically,
    write_json,
    write_tiff,
)
from napari_blind_deconv.io.units import long_unit
from napari_blind_deconv.plan import StackPlan

__all__ = ["StackStore", "finalize", "has_partial", "has_planes", "is_zarr", "partial_folder"]

_PLAN, _RECORDS, _LEVEL = "plan.json", "planes.jsonl", "0"
# The plan is renamed to this when the result is complete, before the result itself is renamed.
_COMPLETE_PLAN, _COMPLETE_TIFF = "whole.json", "whole.tif"


def is_zarr(path: Path) -> bool:
    """Whether an output of this name is an OME-Zarr."""
    return path.suffix.lower() == ".zarr"


def partial_folder(output: Path) -> Path:
    """Return the folder that collects planes until the output is complete."""
    return output.with_name(f"{output.name}.partial")


def has_partial(output: Path) -> bool:
    """Whether a run of this output has started and its output has not appeared yet."""
    return any((partial_folder(output) / name).is_file() for name in (_PLAN, _COMPLETE_PLAN))


def has_planes(output: Path) -> bool:
    """Whether that run has finished at least one plane.

    Without a finished plane nothing is lost if the run starts again, so the user is not asked.
    """
    return any((partial_folder(output) / name).is_file() for name in (_RECORDS, _COMPLETE_PLAN))


@dataclass(frozen=True)
class StackStore:
    """The finished planes of a stack, and the plan they were computed with.

    Attributes
    ----------
    output : Path
        The output: a TIFF file, or a folder that ends in ``.zarr``.
    image : Image
        The input. The output gets its axes, spacing and channel names.
    plan : StackPlan
        Settings, kernels and intensity ranges that the planes share.
    """

    output: Path
    image: Image
    plan: StackPlan

    @classmethod
    def create(cls, output: Path, image: Image, plan: StackPlan, job: dict[str, Any]) -> Self:
        """Start an empty store, and delete what an earlier run left behind.

        A later run can continue only if its `job` is equal to this one.

        Raises
        ------
        ValueError
            If the image is a colour image and the output an OME-Zarr.
        """
        if is_zarr(output) and image.is_colour:
            raise ValueError(
                f"Expected a TIFF output for a colour image, got {output}; OME-Zarr has no colours."
            )
        folder = partial_folder(output)
        shutil.rmtree(folder, ignore_errors=True)
        group = zarr.open_group(folder, mode="w", zarr_format=3)
        leading = len(image.stack_shape)
        group.create_array(
            _LEVEL,
            shape=image.pixels.shape,
            chunks=(1,) * leading + image.pixels.shape[leading:],
            dtype="float32",
            dimension_names=[axis.lower() for axis in image.axes],
        )
        write_json(folder / _PLAN, {"job": job, "plan": plan.as_record()})
        return cls(output, image, plan)

    @classmethod
    def resume(cls, output: Path, image: Image, job: dict[str, Any]) -> Self | None:
        """Open the store of an earlier run of the same job, or return None if there is none.

        Raises
        ------
        ValueError
            If the earlier run was a different job.
        """
        path = partial_folder(output) / _PLAN
        if not path.is_file():
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["job"] != job:
            changed = [key for key in job if record["job"].get(key) != job[key]]
            raise ValueError(
                f"{path.parent} comes from a run with different options ({', '.join(changed)}); "
                "resume with the same options, or delete that folder."
            )
        return cls(output, image, StackPlan.from_record(record["plan"]))

    def put(self, index: Index, image: NDArray[np.float32], record: dict[str, Any]) -> None:
        """Write a plane and then its record, which marks the plane as finished.

        Raises
        ------
        OSError
            If the plane cannot be written, for example to a full disk.
        """
        try:
            self._array(mode="r+")[index] = image
            # zarr does not flush its files; the plane must be on disk before its record.
            if hasattr(os, "sync"):
                os.sync()
            # A killed run can leave an incomplete line; the newline keeps this record apart.
            line = "\n" + json.dumps({"index": list(index), **record}) + "\n"
            with self._records.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            reason = error.strerror or f"{error}; is the disk full?"
            folder = partial_folder(self.output)
            sentence = (
                f"Plane {index} could not be written into {folder} ({reason}); the finished planes "
                "are kept, and --resume continues."
                if self.image.blocks > 1
                else f"The output {self.output} could not be written ({reason})."
            )
            raise OSError(error.errno, sentence) from error

    def records(self) -> dict[Index, dict[str, Any]]:
        """Return the records of the finished planes, by index."""
        if not self._records.is_file():
            return {}
        records = {}
        for line in self._records.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # an incomplete line of a killed run
                continue
            records[tuple(record.pop("index"))] = record
        return records

    def finish(self, provenance: dict[str, Any]) -> None:
        """Write the output, and delete the folder of the store."""
        folder = partial_folder(self.output)
        if is_zarr(self.output):
            self._write_ome_metadata(provenance)
        else:
            write_atomically(
                folder / _COMPLETE_TIFF,
                lambda temporary: self._write_tiff(temporary, provenance),
            )
        # From here on, a run that continues only has to rename files: see `finalize`.
        (folder / _PLAN).replace(folder / _COMPLETE_PLAN)
        finalize(self.output)

    def discard(self) -> None:
        """Delete the store and its planes."""
        shutil.rmtree(partial_folder(self.output), ignore_errors=True)

    @property
    def _records(self) -> Path:
        return partial_folder(self.output) / _RECORDS

    def _array(self, mode: Any) -> zarr.Array[Any]:
        return zarr.open_array(partial_folder(self.output) / _LEVEL, mode=mode)

    def _planes(self, order: str) -> Iterator[NDArray[np.float32]]:
        """Yield all planes, with the stack axes in the given order."""
        array, leading = self._array(mode="r"), self.image.stack_axes
        lengths = dict(zip(leading, self.image.stack_shape, strict=True))
        ordered = [axis for axis in order if axis in leading]
        for index in np.ndindex(*(lengths[axis] for axis in ordered)):
            along = dict(zip(ordered, index, strict=True))
            yield np.asarray(array[tuple(along[axis] for axis in leading)])

    def _write_tiff(self, temporary: Path, provenance: dict[str, Any]) -> None:
        image, axes = self.image, tiff_axes(self.output, self.image.axes)
        lengths = dict(zip(image.axes, image.pixels.shape, strict=True))
        shape = tuple(lengths[axis] for axis in axes)
        layout = TiffLayout(axes, shape, image.spacing, image.unit, image.channel_names)
        write_tiff(temporary, self.output, self._planes(axes), layout, provenance)

    def _write_ome_metadata(self, provenance: dict[str, Any]) -> None:
        """Write the metadata that make the folder an OME-Zarr."""
        from ome_zarr.format import FormatV05
        from ome_zarr.writer import add_metadata, write_multiscales_metadata

        group = zarr.open_group(partial_folder(self.output), mode="r+")
        kinds = {"T": "time", "C": "channel"}
        axes = [
            {"name": axis.lower(), "type": kinds.get(axis, "space")} for axis in self.image.axes
        ]
        units = {
            axis.lower(): long_unit(self.image.unit)
            for axis in "ZYX"
            if axis in self.image.spacing and self.image.unit != "pixel"
        }
        if "T" in self.image.spacing:
            units["t"] = "second"
        scale = [self.image.spacing.get(axis, 1.0) for axis in self.image.axes]
        write_multiscales_metadata(
            group,
            [
                {
                    "path": _LEVEL,
                    "coordinateTransformations": [{"type": "scale", "scale": scale}],
                }
            ],
            fmt=FormatV05(),
            axes=axes,
            axes_units={
                name: unit for name, unit in units.items() if name.upper() in self.image.axes
            },
            name=self.output.name.removesuffix(".zarr").removesuffix(".ome"),
        )
        group.attrs["napari-blind-deconv"] = provenance
        if self.image.channel_names:
            add_metadata(
                group,
                {"omero": {"channels": [_omero_channel(c) for c in self.image.channel_names]}},
            )


def _omero_channel(name: str) -> dict[str, Any]:
    # The OMERO metadata require a colour and a window; only the name is known.
    window = {"min": 0.0, "max": 65535.0, "start": 0.0, "end": 65535.0}
    return {"label": name, "color": "FFFFFF", "active": True, "window": window}


def finalize(output: Path) -> None:
    """Rename a complete result to its output, if a run was killed before it did so.

    Each step can be repeated, so that this function can be killed at any moment, too.
    """
    folder = partial_folder(output)
    if (folder / _COMPLETE_PLAN).is_file():
        if is_zarr(output):
            _replace_folder(folder, output)
        else:
            if (folder / _COMPLETE_TIFF).is_file():  # missing if killed right after the rename
                (folder / _COMPLETE_TIFF).replace(output)
            shutil.rmtree(folder)
    if is_zarr(output):
        for name in (_RECORDS, _COMPLETE_PLAN):
            (output / name).unlink(missing_ok=True)


def _replace_folder(folder: Path, target: Path) -> None:
    """Rename a folder to `target`; an existing `target` is deleted only after that."""
    old = target.with_name(f".{target.name}.replaced")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.replace(old)
    folder.replace(target)
    shutil.rmtree(old, ignore_errors=True)
