"""Store the planes of a stack until all are finished, so that an interrupted run can continue.

Each plane is on disk before the next one starts. The planes are collected in a folder beside the
output: an OME-Zarr with a record of each finished plane. When all planes are finished, the output
appears by a rename, of the OME-Zarr itself or of a TIFF that was written into the folder. So a run
can be killed at any moment, and continue later with the same inputs, options and version.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.images import write_atomically, write_json
from napari_blind_deconv.io.partial import (
    COMPLETE_PLAN,
    COMPLETE_TIFF,
    LEVEL,
    PLAN,
    RECORDS,
    SCALED_LEVEL,
    damaged,
    finalize,
    is_zarr,
    partial_folder,
    read_plan,
)
from napari_blind_deconv.io.scaling import Scaling
from napari_blind_deconv.io.tiff_output import TiffLayout, tiff_axes, write_tiff
from napari_blind_deconv.io.zarr_output import write_ome_metadata
from napari_blind_deconv.plan import StackPlan

__all__ = ["StackStore"]

# A plane is finished only if its pixels have the checksum of its record.
_CHECKSUM = "checksum"


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
    def create(
        cls,
        output: Path,
        image: Image,
        plan: StackPlan,
        origin: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ) -> Self:
        """Start an empty store, and delete what an earlier run left behind.

        Parameters
        ----------
        output : Path
        image : Image
        plan : StackPlan
        origin : mapping
            What the run starts from, ready for JSON: its job, the identity of its inputs, the
            version. A later run can continue only if all of it is equal.
        overwrite : bool
            Whether the run may replace an existing output. A run that continues may, too.

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
        zarr.open_group(folder, mode="w", zarr_format=3)
        _create_level(folder, LEVEL, image, "float32")
        record = {"origin": dict(origin), "overwrite": overwrite, "plan": plan.as_record()}
        write_json(folder / PLAN, record)
        return cls(output, image, plan)

    @classmethod
    def resume(cls, output: Path, image: Image, origin: Mapping[str, Any]) -> Self | None:
        """Open the store of an earlier run of the same origin, or return None if there is none.

        Planes whose pixels are missing or damaged are no longer finished.

        Raises
        ------
        ValueError
            If the earlier run had another origin, or if its plan or its array is damaged.
        """
        folder = partial_folder(output)
        if not (folder / PLAN).is_file():
            return None
        record = read_plan(folder)
        _check_origin(folder, record["origin"], origin)
        try:
            store = cls(output, image, StackPlan.from_record(record["plan"]))
            shape = store._array(mode="r").shape
        except Exception as error:  # zarr raises any exception for a damaged folder
            raise damaged(folder, error) from error
        if shape != image.pixels.shape:
            raise damaged(folder, f"planes of an image of shape {shape}")
        store._drop_damaged_planes()
        return store

    def put(self, index: Index, image: NDArray[np.float32], record: dict[str, Any]) -> None:
        """Write a plane and then its record, which marks the plane as finished.

        Raises
        ------
        OSError
            If the plane cannot be written, for example to a full disk.
        """
        try:
            # A plane of zeros gets a file, too: a plane without a file is missing.
            with zarr.config.set({"array.write_empty_chunks": True}):
                array = self._array(mode="r+")
                array[index] = image
            # zarr does not flush its files; the plane must be on disk before its record.
            _flush(array, partial_folder(self.output) / LEVEL, index)
            # A killed run can leave an incomplete line; the newline keeps this record apart.
            whole = {"index": list(index), _CHECKSUM: _checksum(image), **record}
            line = "\n" + json.dumps(whole) + "\n"
            with self._records.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            reason = error.strerror or f"{error}; is the disk full?"
            folder, kind = partial_folder(self.output), self.image.block_kind
            sentence = (
                f"{kind.capitalize()} {index} could not be written into {folder} ({reason}); the "
                f"finished {kind}s are kept, and --resume continues."
                if self.image.blocks > 1
                else f"The output {self.output} could not be written ({reason})."
            )
            raise OSError(error.errno, sentence) from error

    def records(self) -> dict[Index, dict[str, Any]]:
        """Return the records of the finished planes, by index."""
        records = self._stored_records()
        return {
            index: {name: value for name, value in record.items() if name != _CHECKSUM}
            for index, record in records.items()
        }

    def _stored_records(self) -> dict[Index, dict[str, Any]]:
        if not self._records.is_file():
            return {}
        records = {}
        text = self._records.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            record = _parse_record(line, self.image.stack_shape)
            if record is not None:
                records[tuple(record.pop("index"))] = record
        return records

    def _drop_damaged_planes(self) -> None:
        """Delete the records of planes whose pixels do not have the recorded checksum."""
        stored, array = self._stored_records(), self._array(mode="r")
        sound = {
            index: record
            for index, record in stored.items()
            if _stored_checksum(array, index) == record[_CHECKSUM]
        }
        if sound.keys() != stored.keys():
            lines = [json.dumps({"index": list(index), **r}) + "\n" for index, r in sound.items()]

            def write(temporary: Path) -> None:
                temporary.write_text("".join(lines), encoding="utf-8")

            write_atomically(self._records, write)

    def scaling(self) -> Scaling:
        """Return the scaling that stores all planes as 16-bit integers; they are read once."""
        return Scaling.for_planes(self._planes(self.image.plane_axes), self.image.pixels.dtype)

    def finish(self, provenance: dict[str, Any], scaling: Scaling | None = None) -> None:
        """Write the output, as float32 or with a scaling, and delete the folder of the store."""
        folder = partial_folder(self.output)
        if is_zarr(self.output):
            if scaling is not None:
                self._write_scaled_level(scaling)
            write_ome_metadata(folder, self.output.name, self.image, provenance)
        else:
            write_atomically(
                folder / COMPLETE_TIFF,
                lambda temporary: self._write_tiff(temporary, provenance, scaling),
            )
        # From here on, a run that continues only has to rename files: see `finalize`.
        (folder / PLAN).replace(folder / COMPLETE_PLAN)
        finalize(self.output)

    def discard(self) -> None:
        """Delete the store and its planes."""
        shutil.rmtree(partial_folder(self.output), ignore_errors=True)

    @property
    def _records(self) -> Path:
        return partial_folder(self.output) / RECORDS

    def _array(self, mode: Any) -> zarr.Array[Any]:
        return zarr.open_array(partial_folder(self.output) / LEVEL, mode=mode)

    def _planes(self, order: str) -> Iterator[NDArray[np.float32]]:
        """Yield all planes, with the stack axes in the given order."""
        array, leading = self._array(mode="r"), self.image.plane_axes
        lengths = dict(zip(leading, array.shape, strict=False))
        ordered = [axis for axis in order if axis in leading]
        for index in np.ndindex(*(lengths[axis] for axis in ordered)):
            along = dict(zip(ordered, index, strict=True))
            yield np.asarray(array[tuple(along[axis] for axis in leading)])

    def _write_tiff(
        self, temporary: Path, provenance: dict[str, Any], scaling: Scaling | None
    ) -> None:
        axes = tiff_axes(self.output, self.image.axes)
        planes: Iterator[NDArray[Any]] = self._planes(axes)
        if scaling is not None:
            planes = map(scaling.packed, planes)
        layout = TiffLayout.of(self.image, axes)
        write_tiff(temporary, self.output, planes, layout, provenance, scaling)

    def _write_scaled_level(self, scaling: Scaling) -> None:
        """Write the planes of an OME-Zarr once more, as integers; `finalize` renames them."""
        folder = partial_folder(self.output)
        scaled = _create_level(folder, SCALED_LEVEL, self.image, "uint16")
        leading = self.image.plane_axes
        indices = np.ndindex(*self.image.pixels.shape[: len(leading)])
        with zarr.config.set({"array.write_empty_chunks": True}):
            for index, plane in zip(indices, self._planes(leading), strict=True):
                scaled[index] = scaling.packed(plane)
                _flush(scaled, folder / SCALED_LEVEL, index)


def _create_level(folder: Path, name: str, image: Image, dtype: str) -> zarr.Array[Any]:
    """Create an array for the planes of an image, each in a file of its own."""
    leading = len(image.plane_axes)
    return zarr.create_array(
        folder / name,
        shape=image.pixels.shape,
        chunks=(1,) * leading + tuple(image.pixels.shape[leading:]),
        dtype=dtype,
        dimension_names=[axis.lower() for axis in image.axes],
        overwrite=True,
        zarr_format=3,
    )


def _flush(array: zarr.Array[Any], level: Path, index: Index) -> None:
    """Wait until the files of a block, and the folders that list them, are on disk."""
    counts = [-(-side // chunk) for side, chunk in zip(array.shape, array.chunks, strict=True)]
    folders: dict[Path, None] = {}
    for rest in np.ndindex(*counts[len(index) :]):
        chunk = level / array.metadata.encode_chunk_key((*index, *rest))
        _fsync(chunk)
        inner = len(chunk.relative_to(level).parts)
        folders |= dict.fromkeys(list(chunk.parents)[:inner])
    if sys.platform != "win32":  # which has no handles of folders
        for folder in folders:
            _fsync(folder)


def _check_origin(folder: Path, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `ValueError` in one sentence if a run started from something else."""
    if earlier == now:
        return
    options, job = earlier.get("job"), now["job"]
    if isinstance(options, dict) and options != job:
        changed = [name for name in job if options.get(name) != job[name]]
        raise ValueError(
            f"{folder} comes from a run with different options ({', '.join(changed)}); resume with "
            "the same options, or delete that folder."
        )
    changed = [name for name in now if earlier.get(name) != now[name]]
    raise ValueError(
        f"{folder} comes from a run with another {' and '.join(changed)}, and its planes do not "
        "fit those of this one; delete that folder, or start again with --overwrite."
    )


def _parse_record(line: str, stack_shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Return the record of a plane; None for a line that a killed run left, or that is damaged."""
    try:
        record = json.loads(line)
        index, failure = record["index"], record["failure"]
        fits = len(index) == len(stack_shape) and all(
            type(number) is int and 0 <= number < length
            for number, length in zip(index, stack_shape, strict=True)
        )
        is_complete = fits and isinstance(record[_CHECKSUM], int)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return record if is_complete and (failure is None or isinstance(failure, str)) else None


def _checksum(image: NDArray[np.float32]) -> int:
    return zlib.crc32(np.ascontiguousarray(image, np.float32).tobytes())


def _stored_checksum(array: zarr.Array[Any], index: Index) -> int | None:
    """Return the checksum of a stored plane; None if it is missing or cannot be read."""
    try:
        return _checksum(np.asarray(array[index]))
    except Exception:  # the codecs raise any exception for a damaged chunk
        return None


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() or sys.platform != "win32" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
