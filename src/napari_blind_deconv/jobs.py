"""Run a job: deconvolve a file plane by plane, and write the result with its sidecar."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.images import check_output, write_json, write_kernels, write_traces
from napari_blind_deconv.io.output_lock import output_lock
from napari_blind_deconv.io.stacks import OpenImage
from napari_blind_deconv.io.store import (
    StackStore,
    finalize,
    has_partial,
    has_planes,
    partial_folder,
)
from napari_blind_deconv.job import (
    Job,
    Summary,
    earlier_summary,
    has_result,
    is_finished,
    sidecar_of,
)
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.results import BlockResult, Snapshot, StackResult, versions
from napari_blind_deconv.steps import Run
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from napari_blind_deconv.engine.cluster import ClusterExecutor

__all__ = ["OUTPUT_SUFFIXES", "Job", "Summary", "is_finished", "run_job", "sidecar_of"]

OUTPUT_SUFFIXES = {".tif", ".tiff", ".zarr"}
# The sidecar has these once for all planes, so the records of the planes leave them out.
_SHARED_BY_PLANES = {"software", "settings", "versions"}


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
) -> Run[Snapshot | BlockResult, Summary]:
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
        CSV file for the early-stopping traces of the planes. Planes that an earlier run computed
        without this option have no trace.
    should_stop : callable, optional
        Called after every iteration; the run stops when it returns True. The finished planes of a
        stack are kept; a single plane is written with the best estimate so far.
    on_open : callable, optional
        Called with the opened image.

    Returns
    -------
    Run
        An iterator of snapshots, and of a `BlockResult` for each plane when it is on disk. Its
        ``result()`` is a `Summary`.

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

    def write(self, job: Job, store: StackStore, provenance: dict[str, Any]) -> None:
        records = store.records()
        if self.kernel is not None:
            axes, kernels = _kernels_of(store, records)
            write_kernels(self.kernel, kernels, axes, store.image, provenance)
        if self.trace is not None:
            traces = {index: record.get("trace") or [] for index, record in records.items()}
            write_traces(self.trace, store.image.stack_axes, traces)


def _run(
    job: Job,
    extra_files: _ExtraFiles,
    should_stop: Callable[[], bool],
    on_open: Callable[[OpenImage], None] | None,
    resume: bool,
    overwrite: bool,
    scheduler: str | None,
) -> Generator[Snapshot | BlockResult, None, Summary]:
    started = time.monotonic()
    with ExitStack() as resources:
        resources.enter_context(output_lock(job.output))
        if resume:
            # The earlier run may have been killed between its last plane and the last rename.
            finalize(job.output)
        if resume and is_finished(job):
            return earlier_summary(job, time.monotonic() - started)
        _check_paths(job, resume=resume, overwrite=overwrite)
        executor = resources.enter_context(_executor(scheduler))
        opened = resources.enter_context(job.open())
        image = opened.image
        if on_open is not None:
            on_open(opened)
        store = StackStore.resume(job.output, image, job.as_record()) if resume else None
        if store is None:
            plan = yield from _plan(job, image, should_stop)
            if should_stop() and image.blocks > 1:
                seconds = time.monotonic() - started
                return Summary(False, image.blocks, 0, {}, {}, seconds, stopped=True)
            store = StackStore.create(job.output, image, plan, job.as_record())
        try:
            outcome = yield from _compute_missing_planes(store, executor, should_stop, extra_files)
        except BaseException:
            if image.blocks == 1:  # a single plane leaves nothing to continue with
                store.discard()
            raise
        records = store.records()
        if outcome.missing == 0:
            provenance = _provenance(job, store, records)
            # The output is written last: when it exists, the other files are complete.
            write_json(sidecar_of(job.output), provenance)
            extra_files.write(job, store, provenance)
            store.finish(provenance)
    return Summary.of_records(
        records,
        finished=outcome.missing == 0,
        planes=image.blocks,
        done=outcome.done,
        seconds=time.monotonic() - started,
        stopped=should_stop(),
    )


def _check_paths(job: Job, *, resume: bool, overwrite: bool) -> None:
    # A single plane that was stopped early may be replaced by the run that continues it.
    replaces_stopped = resume and has_result(job)
    check_output(job.output, overwrite=overwrite or replaces_stopped, suffixes=OUTPUT_SUFFIXES)
    if os.path.realpath(job.input) == os.path.realpath(job.output):
        raise ValueError(
            f"Expected different files for input and output, got {job.input} for both."
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
) -> Generator[Snapshot, None, StackPlan]:
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
    extra_files: _ExtraFiles,
) -> Generator[Snapshot | BlockResult, None, StackResult]:
    """Compute the planes that the store does not contain, and put them there."""
    from napari_blind_deconv.engine.solver import RunControl
    from napari_blind_deconv.engine.stacks import run_stack

    with_trace = extra_files.trace is not None
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
            store.put(step.index, step.image, _plane_record(step, with_trace=with_trace))
        yield step
    return run.result()


def _kernels_of(
    store: StackStore, records: dict[Index, dict[str, Any]]
) -> tuple[str, NDArray[np.float32]]:
    """Return the axes and weights of all kernels, as `StackPlan.all_kernels`."""
    kernels = {index: record.get("kernel") for index, record in records.items()}
    own = {index: kernel and Kernel.from_record(kernel) for index, kernel in kernels.items()}
    return store.plan.all_kernels(store.image, own)


def _plane_record(block: BlockResult, *, with_trace: bool) -> dict[str, Any]:
    """Return what the store keeps of a plane besides its pixels."""
    if block.result is None:
        return {"failure": block.failure, "kernel": None}
    result = block.result
    provenance = {
        name: value for name, value in result.provenance().items() if name not in _SHARED_BY_PLANES
    }
    kernel = None if result.kernel_is_held else result.kernel.as_record()
    trace = {"trace": result.trace.tolist()} if with_trace else {}
    return {**provenance, "kernel": kernel, "failure": None, **trace}


def _provenance(
    job: Job, store: StackStore, records: dict[Index, dict[str, Any]]
) -> dict[str, Any]:
    """Return what the output and its sidecar state about their origin."""
    from napari_blind_deconv import __version__

    plan = store.plan
    planes = [
        {"index": list(index), **{k: v for k, v in record.items() if k != "trace"}}
        for index, record in sorted(records.items())
    ]
    return {
        "software": "napari-blind-deconv",
        "version": __version__,
        "versions": versions(),
        "job": job.as_record(),
        "axes": store.image.axes,
        "intensity_ranges": [limits and list(limits) for limits in plan.intensity_ranges],
        "kernels": [kernel and kernel.as_record() for kernel in plan.kernels],
        "planes": planes,
    }
