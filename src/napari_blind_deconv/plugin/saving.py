"""What the panel saves: the result of a run or its kernels, as the command line writes them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_blind_deconv import __version__
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.images import check_output, write_kernels
from napari_blind_deconv.io.stored_axes import AXES
from napari_blind_deconv.jobs import Job, origin_of
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.records import plane_record, run_record, without_traces
from napari_blind_deconv.results import BlockResult
from napari_blind_deconv.saving import write_result
from napari_blind_deconv.task import Task
from napari_blind_deconv.units import in_unit

if TYPE_CHECKING:
    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["RunToSave"]


@dataclass(frozen=True)
class RunToSave:
    """A run that has ended, without its layers, so that another thread can save it.

    Attributes
    ----------
    name : str
        Name of the input layer.
    task : Task
    plan : StackPlan
    blocks : list of BlockResult
        All planes.
    job : Job or None
        The same run from file to file, if the layer was read from a file. It counts only if the
        pixels of the file are those of the layer.
    inputs : tuple of Path
        The files that the run was made from, which are never replaced.
    """

    name: str
    task: Task
    plan: StackPlan
    blocks: list[BlockResult]
    job: Job | None
    inputs: tuple[Path, ...]

    @classmethod
    def of(cls, run: ViewerRun, output: Path) -> Self:
        """Return what is to be saved of a run."""
        plan = run.outcome.plan
        assert plan is not None
        # The job of a run that was stopped gives more planes than this result has.
        job = None if run.outcome.missing else _job_of(run, output)
        blocks = list(run.planes.blocks())
        return cls(run.geometry.name, run.task, plan, blocks, job, run.input_files())

    def write(self, output: Path, overwrite: bool) -> Generator[int, None, Path]:
        """Write result and sidecar, yield the number of planes written, and return the path.

        Errors are those of :func:`write_result`.
        """
        _check_is_free(output, overwrite)
        image, origin = self._image_and_origin()
        blocks = [replace(block, index=self._ordered(block.index)) for block in self.blocks]
        yield from write_result(
            output, image, self.plan, blocks, origin, overwrite=overwrite, inputs=self.inputs
        )
        return output

    def write_kernels(self, path: Path, axes: str, kernels: Any, overwrite: bool) -> None:
        """Write kernels with the provenance of the run.

        Errors are those of :func:`check_output` and :func:`write_kernels`.
        """
        _check_is_free(path, overwrite)
        check_output(path, overwrite=overwrite, inputs=self.inputs)
        records = {block.index: plane_record(block) for block in self.blocks}
        provenance = run_record(self._own_origin(), self.task.image, self.plan, records)
        write_kernels(path, kernels, axes, self.task.image, without_traces(provenance))

    # The axes of files are in the order of OME, those of layers in any order.

    def _ordered(self, index: Index) -> Index:
        axes = self.task.image.stack_axes
        return tuple(index[axes.index(axis)] for axis in AXES if axis in axes)

    def _ordered_image(self) -> Image:
        """Return the input with its axes in the order of files, and with pixels of no meaning."""
        image = self.task.image
        axes = "".join(axis for axis in AXES if axis in image.axes)
        shape = tuple(image.pixels.shape[image.axes.index(axis)] for axis in axes)
        pixels = np.broadcast_to(np.zeros((), image.pixels.dtype), shape)
        return replace(image, pixels=pixels, axes=axes, masked=None)

    # Where the input comes from

    def _image_and_origin(self) -> tuple[Image, dict[str, Any]]:
        """Return the input and its origin, with what only its file states if that has its pixels.

        The pixels of the file are read for this.
        """
        image = self._ordered_image()
        if self.job is None:
            return image, self._own_origin()
        try:
            with self.job.open() as opened:
                if not self._has_pixels_of(opened.image):
                    return image, self._own_origin()
                stated = opened.image
                origin = stated.origin if stated.unit == image.unit else {}
                image = replace(image, origin=origin, optics=stated.optics)
                return image, origin_of(self.job, stated)
        except Exception:  # the file is of a format that only napari's plugins read, or is gone
            return image, self._own_origin()

    def _has_pixels_of(self, stored: Image) -> bool:
        image = self.task.image
        return stored.axes == self._ordered_image().axes and all(
            np.array_equal(
                stored.read(self._ordered(index)).array, image.read(index).array, equal_nan=True
            )
            for index in image.indices()
        )

    def _own_origin(self) -> dict[str, Any]:
        """Return the origin of a run without a job."""
        task, pixels = self.task, self.task.image.pixels
        return {
            "job": None,
            "settings": task.settings.model_dump(mode="json"),
            "kernel": "held" if task.kernel.is_held else task.kernel.scope.value,
            "input": {"layer": self.name, "array": f"{pixels.dtype} {tuple(pixels.shape)}"},
            "PSF": None,
            "mask": None,
            "version": __version__,
        }


def _check_is_free(path: Path, overwrite: bool) -> None:
    # The panel has no --overwrite, which the sentence of `check_output` names.
    if path.exists() and not overwrite:
        raise ValueError(f"{path.name} already exists; choose another name.")


def _job_of(run: ViewerRun, output: Path) -> Job | None:
    """Return the job that would compute a run from file to file; None if there is none."""
    path, task = run.source.source.path, run.task
    if path is None or not task.kernel.is_found or task.image.masked is not None:
        return None
    image = task.image
    sides = [in_unit(image.spacing.get(axis), image.unit, "µm") for axis in "ZYX"]
    known = tuple(side for side in sides if side is not None)
    return Job(
        input=Path(path),
        output=output,
        settings=task.settings,
        axes=run.geometry.letters or None,
        pixel_size=known if len(known) > 1 else None,
        optics=image.optics,
        kernel=task.kernel.scope,
        select=_selection(run),
        block=image.block_kind,
    )


def _selection(run: ViewerRun) -> str | None:
    """Return the part of the input layer that a run has deconvolved, as `--select` takes it."""
    geometry, shape = run.geometry, run.task.image.pixels.shape
    sides = full_data(run.source).shape[: len(geometry.position)]
    lengths = [1] * len(sides)
    axes = geometry.all_axes
    for axis, length in zip(axes, shape, strict=False):
        lengths[axis] = length
    items = []
    for axis, (start, length, side) in enumerate(
        zip(geometry.position, lengths, sides, strict=True)
    ):
        if axis not in axes:
            # Files have no axes of length 1 unless their axes are given.
            items += [str(start)] if side > 1 or geometry.letters else []
        else:
            items.append(":" if length == side else f"{start}:{start + length}")
    return None if all(item == ":" for item in items) else ",".join(items)
