"""Run a job: deconvolve a file plane by plane, and write the result with its sidecar."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import Image
from napari_blind_deconv.io.images import check_output, write_json, write_kernels, write_traces
from napari_blind_deconv.io.output_lock import output_lock
from napari_blind_deconv.io.partial import (
    clear_leftovers,
    finalize,
    has_partial,
    has_planes,
    may_replace,
    partial_folder,
)
from napari_blind_deconv.io.scaling import PixelType
from napari_blind_deconv.io.stacks import OpenImage
from napari_blind_deconv.io.store import StackStore
from napari_blind_deconv.job import (
    Job,
    Summary,
    earlier_summary,
    finished_record,
    is_finished,
    kernel_in,
    planes_in,
    result_record,
    sidecar_of,
)
from napari_blind_deconv.plan import StackPlan, all_kernels
from napari_blind_deconv.records import plane_record, run_record, without_traces
from napari_blind_deconv.results import (
    BlockResult,
    Notice,
    Snapshot,
    StackResult,
    StackStep,
)
from napari_blind_deconv.steps import Run
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from napari_blind_deconv.engine.cluster import ClusterExecutor

__all__ = [
    "OUTPUT_SUFFIXES",
    "Job",
    "Summary",
    "is_finished",
    "origin_of",
    "run_job",
    "sidecar_of",
]

OUTPUT_SUFFIXES = {".tif", ".tiff", ".zarr"}


def run_job(
    job: Job,
    *,
    resume: bool = False,
    overwrite: bool = False,
    scheduler: str | None = None,
    kernel_out: Path | None = None,
    trace_out: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_open: Callable[[OpenImage], None] | None = None,
) -> Run[StackStep, Summary]:
    """Deconvolve a file, of one plane or many, plane by plane.

    Parameters
    ----------
    job : Job
        The files and options.
    resume : bool
        Continue a run of the same job that was interrupted. Nothing is computed if the result is
        complete.
    overwrite : bool
        Replace an output that already exists, and planes that an interrupted run left behind.
    scheduler : str, optional
        Address of a dask.distributed scheduler, whose workers compute the planes. The kernels are
        estimated in this process.
    kernel_out : Path, optional
        TIFF file for the kernels. It has one page for each channel, or for each plane if each
        plane has its own kernel.
    trace_out : Path, optional
        CSV file for the early-stopping traces of the planes.
    should_stop : callable, optional
        Called after every iteration; the run stops when it returns True. The finished planes of a
        stack are kept; a single plane is written with the best estimate so far.
    on_open : callable, optional
        Called with the opened image.

    Returns
    -------
    Run
        An iterator of snapshots, of a `BlockResult` for each plane when it is on disk, and of
        notices when the run waits for workers. Its ``result()`` is a `Summary`.

    Raises
    ------
    ValueError, TypeError, OSError
        If the input or an option is invalid; the outputs are then unchanged.
    """
    may_continue = resume and (has_partial(job.output) or is_finished(job))
    check_output(job.output, overwrite=resume or overwrite, suffixes=OUTPUT_SUFFIXES)
    for path, suffixes in ((kernel_out, None), (trace_out, {".csv"})):
        if path is not None:
            check_output(path, overwrite=may_continue or overwrite, suffixes=suffixes)
    extra_files = _ExtraFiles(kernel_out, trace_out)
    stop = should_stop or (lambda: False)
    return Run(_run(job, extra_files, stop, on_open, resume, overwrite, scheduler))


@dataclass(frozen=True)
class _ExtraFiles:
    """Files for kernels and traces, beside the output; None if not requested."""

    kernel: Path | None
    trace: Path | None

    @property
    def paths(self) -> list[Path]:
        return [path for path in (self.kernel, self.trace) if path is not None]

    def write(self, image: Image, provenance: dict[str, Any], *, overwrite: bool = True) -> None:
        """Write the files from a provenance; with `overwrite` off, only those that are missing.

        Raises
        ------
        ValueError
            If the provenance holds no traces, as that of version 0.1.0.
        """
        planes = planes_in(provenance)
        if self.kernel is not None and (overwrite or not self.kernel.exists()):
            axes, kernels = _kernels_in(provenance, image)
            write_kernels(self.kernel, kernels, axes, image, without_traces(provenance))
        if self.trace is not None and (overwrite or not self.trace.exists()):
            if not any("trace" in plane for plane in planes.values()):
                raise ValueError(
                    f"Expected a result with its traces to write {self.trace}, but none are stored "
                    "with it; deconvolve again with --overwrite."
                )
            traces = {index: plane.get("trace") or [] for index, plane in planes.items()}
            write_traces(self.trace, image.stack_axes, traces)


def _run(
    job: Job,
    extra_files: _ExtraFiles,
    should_stop: Callable[[], bool],
    on_open: Callable[[OpenImage], None] | None,
    resume: bool,
    overwrite: bool,
    scheduler: str | None,
) -> Generator[StackStep, None, Summary]:
    started = time.monotonic()
    with ExitStack() as resources:
        resources.enter_context(output_lock(job.output))
        clear_leftovers(job.output, sidecar_of(job.output), *extra_files.paths)
        if resume:
            # The earlier run may have been killed between its last plane and the last rename.
            finalize(job.output)
        if resume and (record := finished_record(job)) is not None:
            _write_missing(job, extra_files, record)
            return earlier_summary(record, time.monotonic() - started)
        _check_paths(job, resume=resume, overwrite=overwrite)
        executor = resources.enter_context(_executor(scheduler))
        opened = resources.enter_context(job.open())
        image = opened.image
        if on_open is not None:
            on_open(opened)
        origin = origin_of(job, image)
        store = StackStore.resume(job.output, image, origin) if resume else None
        if store is None:
            plan = yield from _plan(job, image, should_stop)
            if should_stop() and image.blocks > 1:
                seconds = time.monotonic() - started
                return Summary(
                    False, image.blocks, 0, {}, {}, seconds, stopped=True, block=job.block
                )
            store = StackStore.create(job.output, image, plan, origin, overwrite=overwrite)
        try:
            outcome = yield from _compute_missing_planes(store, executor, should_stop)
        except BaseException:
            if image.blocks == 1:  # a single plane leaves nothing to continue with
                store.discard()
            raise
        records, scaling = store.records(), None
        if outcome.missing == 0:
            scaling = store.scaling() if job.dtype is PixelType.UINT16 else None
            provenance = run_record(origin, image, store.plan, records, scaling)
            # The output is written last: when it exists, the other files are complete.
            write_json(sidecar_of(job.output), provenance)
            extra_files.write(image, provenance)
            store.finish(without_traces(provenance), scaling)
    return Summary.of_records(
        records,
        finished=outcome.missing == 0,
        planes=image.blocks,
        done=outcome.done,
        seconds=time.monotonic() - started,
        stopped=should_stop(),
        scaling=scaling,
        block=job.block,
    )


def _write_missing(job: Job, extra_files: _ExtraFiles, provenance: dict[str, Any]) -> None:
    """Write what a finished result lacks of its sidecar and of the extra files."""
    if not sidecar_of(job.output).exists():
        write_json(sidecar_of(job.output), provenance)
    if not all(path.exists() for path in extra_files.paths):
        with job.open() as opened:
            extra_files.write(opened.image, provenance, overwrite=False)


def origin_of(job: Job, image: Image) -> dict[str, Any]:
    """Return everything that the planes of a run depend on; a run that continues needs the same."""
    from napari_blind_deconv import __version__

    inputs = job.inputs()
    return {
        "job": job.as_record(),
        # Not as "shape": tifffile takes a description with that key for its own.
        "input": {**inputs["input"], "array": f"{image.pixels.dtype} {image.pixels.shape}"},
        "PSF": inputs["PSF"],
        "mask": inputs["mask"],
        "version": __version__,
    }


def _check_paths(job: Job, *, resume: bool, overwrite: bool) -> None:
    # A run that continues may replace what the interrupted one was allowed to replace, and a
    # single plane that was stopped early.
    replaces = resume and (may_replace(job.output) or result_record(job) is not None)
    files = (job.input, job.psf, job.psf_guess, job.mask)
    check_output(
        job.output,
        overwrite=overwrite or replaces,
        suffixes=OUTPUT_SUFFIXES,
        inputs=[path for path in files if path is not None],
    )
    if has_planes(job.output) and not (resume or overwrite):
        raise ValueError(
            f"{partial_folder(job.output)} contains planes of an interrupted run; --resume "
            "continues that run, and --overwrite starts again."
        )


@contextmanager
def _executor(scheduler: str | None) -> Iterator[ClusterExecutor | None]:
    if scheduler is None:
        yield None
        return
    from napari_blind_deconv.engine.cluster import cluster

    with cluster(scheduler) as executor:
        yield executor


def _plan(
    job: Job, image: Image, should_stop: Callable[[], bool]
) -> Generator[Snapshot | Notice, None, StackPlan]:
    """Determine what the planes share: intensity ranges and kernels."""
    from napari_blind_deconv.engine.solver import RunControl
    from napari_blind_deconv.engine.stack_plan import make_plan

    task = Task(image, job.settings, job.kernel_choice())
    control = RunControl(should_stop)
    return (yield from make_plan(task, control, reference=job.reference, warm_start=job.warm_start))


def _compute_missing_planes(
    store: StackStore,
    executor: ClusterExecutor | None,
    should_stop: Callable[[], bool],
) -> Generator[StackStep, None, StackResult]:
    """Compute the planes that the store does not contain, and put them there."""
    from napari_blind_deconv.engine.solver import RunControl
    from napari_blind_deconv.engine.stacks import run_stack

    run = Run(
        run_stack(
            Task(store.image, store.plan.settings, store.plan.choice),
            RunControl(should_stop),
            plan=store.plan,
            finished=store.records().keys(),
            collect=False,  # the store has the planes, so memory use does not grow with the stack
            executor=executor,
        )
    )
    for step in run:
        if isinstance(step, BlockResult):
            # Write the plane first: whoever sees the step can rely on the file.
            store.put(step.index, step.image, plane_record(step))
        yield step
    return run.result()


def _kernels_in(provenance: dict[str, Any], image: Image) -> tuple[str, NDArray[np.float32]]:
    """Return the axes and weights of the kernels in a provenance, as `all_kernels`."""
    planes = planes_in(provenance)
    own = {index: kernel_in(plane.get("kernel"), plane) for index, plane in planes.items()}
    shared = [kernel_in(stored, {}) for stored in provenance.get("kernels") or ()]
    return all_kernels(image, shared, own)
