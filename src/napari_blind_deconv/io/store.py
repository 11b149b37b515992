"""A stack on its way to a file: each plane is on disk before the next is begun.

Planes collect in a folder beside the output, an OME-Zarr with a record of what is done. Only when
all are there does anything get the output's name, and by being renamed: the OME-Zarr itself, or a
TIFF written into it. What was killed goes on from where it was, at whatever moment that happened.
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
# The plan's name once the result is whole and waits for its own.
_COMPLETE_PLAN, _COMPLETE_TIFF = "whole.json", "whole.tif"


def is_zarr(path: Path) -> bool:
    """Whether an output of this name becomes an OME-Zarr."""
    return path.suffix.lower() == ".zarr"


def partial_folder(output: Path) -> Path:
    """Where planes collect until the output is whole."""
    return output.with_name(f"{output.name}.partial")


def has_partial(output: Path) -> bool:
    """Whether there are planes on their way to this output, or all that wait for its name."""
    return any((partial_folder(output) / name).is_file() for name in (_PLAN, _COMPLETE_PLAN))


def has_planes(output: Path) -> bool:
    """Whether some of them are done: what a killed run left without any is not worth asking for."""
    return any((partial_folder(output) / name).is_file() for name in (_RECORDS, _COMPLETE_PLAN))


@dataclass(frozen=True)
class StackStore:
    """Planes that are done, and the plan they were made by.

    Attributes
    ----------
    output : Path
        What it is to become: a TIFF, or a folder ending in ``.zarr``.
    image : Image
        The input; its axes, spacing and names go into the output.
    plan : StackPlan
    """

    output: Path
    image: Image
    plan: StackPlan

    @classmethod
    def create(cls, output: Path, image: Image, plan: StackPlan, job: dict[str, Any]) -> Self:
        """Begin anew; `job` is what a later run must have been asked for to go on with this."""
        if is_zarr(output) and image.is_colour:
            raise ValueError(
                f"The output {output} is an OME-Zarr, which has no colours; accepted is a TIFF."
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
        """Go on with what a run of the same job has left; None if there is nothing.

        Raises
        ------
        ValueError
            If what is there is from another job.
        """
        path = partial_folder(output) / _PLAN
        if not path.is_file():
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["job"] != job:
            changed = [key for key in job if record["job"].get(key) != job[key]]
            raise ValueError(
                f"{path.parent} is from a run with other choices ({', '.join(changed)}); resume "
                "with the same, or delete that folder."
            )
        return cls(output, image, StackPlan.from_record(record["plan"]))

    def put(self, index: Index, image: NDArray[np.float32], record: dict[str, Any]) -> None:
        """Write a plane, then that it is done; `OSError` in one sentence if the disk refuses."""
        try:
            self._array(mode="r+")[index] = image
            if hasattr(os, "sync"):  # zarr renames whole files, but leaves it to the system when
                os.sync()
            # A run that was killed may have left half a line, which must not swallow this one.
            line = "\n" + json.dumps({"index": list(index), **record}) + "\n"
            with self._records.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            reason = error.strerror or f"{error}; is the disk full?"
            folder = partial_folder(self.output)
            sentence = (
                f"Plane {index} could not be written into {folder} ({reason}); the planes before "
                "it are there, and --resume goes on with them."
                if self.image.blocks > 1
                else f"The output {self.output} could not be written ({reason})."
            )
            raise OSError(error.errno, sentence) from error

    def records(self) -> dict[Index, dict[str, Any]]:
        """What is done; half a line, from a run that was killed, is not."""
        if not self._records.is_file():
            return {}
        found = {}
        for line in self._records.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[tuple(record.pop("index"))] = record
        return found

    def finish(self, provenance: dict[str, Any]) -> None:
        """Give the output its name, and take the folder away."""
        folder = partial_folder(self.output)
        if is_zarr(self.output):
            self._describe(provenance)
        else:
            write_atomically(
                folder / _COMPLETE_TIFF, lambda part: self._write_tiff(part, provenance)
            )
        (folder / _PLAN).replace(folder / _COMPLETE_PLAN)
        finalize(self.output)

    def discard(self) -> None:
        """Take away what there is."""
        shutil.rmtree(partial_folder(self.output), ignore_errors=True)

    @property
    def _records(self) -> Path:
        return partial_folder(self.output) / _RECORDS

    def _array(self, mode: Any) -> zarr.Array[Any]:
        return zarr.open_array(partial_folder(self.output) / _LEVEL, mode=mode)

    def _planes(self, order: str) -> Iterator[NDArray[np.float32]]:
        """All planes, their leading axes in another order."""
        array, leading = self._array(mode="r"), self.image.stack_axes
        lengths = dict(zip(leading, self.image.stack_shape, strict=True))
        wanted = [axis for axis in order if axis in leading]
        for place in np.ndindex(*(lengths[axis] for axis in wanted)):
            at = dict(zip(wanted, place, strict=True))
            yield np.asarray(array[tuple(at[axis] for axis in leading)])

    def _write_tiff(self, part: Path, provenance: dict[str, Any]) -> None:
        image, axes = self.image, tiff_axes(self.output, self.image.axes)
        lengths = dict(zip(image.axes, image.pixels.shape, strict=True))
        shape = tuple(lengths[axis] for axis in axes)
        layout = TiffLayout(axes, shape, image.spacing, image.unit, image.channel_names)
        write_tiff(part, self.output, self._planes(axes), layout, provenance)

    def _describe(self, provenance: dict[str, Any]) -> None:
        """What makes the folder an OME-Zarr."""
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
                group, {"omero": {"channels": [_omero(c) for c in self.image.channel_names]}}
            )


def _omero(name: str) -> dict[str, Any]:
    window = {"min": 0.0, "max": 65535.0, "start": 0.0, "end": 65535.0}
    return {"label": name, "color": "FFFFFF", "active": True, "window": window}


def finalize(output: Path) -> None:
    """Give a result that is whole its name, if one is waiting for it."""
    folder = partial_folder(output)
    if (folder / _COMPLETE_PLAN).is_file():
        if is_zarr(output):
            _replace_folder(folder, output)
        else:
            if (folder / _COMPLETE_TIFF).is_file():  # else it was killed right after
                (folder / _COMPLETE_TIFF).replace(output)
            shutil.rmtree(folder)
    if is_zarr(output):
        for name in (_RECORDS, _COMPLETE_PLAN):
            (output / name).unlink(missing_ok=True)


def _replace_folder(folder: Path, target: Path) -> None:
    """Rename a folder; what was there under that name goes last."""
    old = target.with_name(f".{target.name}.replaced")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.replace(old)
    folder.replace(target)
    shutil.rmtree(old, ignore_errors=True)
