"""A job: a file to be sharpened into another, all choices said. Its sidecar runs it again."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.images import (
    check_output,
    read_psf,
    write_json,
    write_kernels,
    write_traces,
)
from napari_blind_deconv.io.output_lock import output_lock
from napari_blind_deconv.io.stacks import OpenImage, open_image
from napari_blind_deconv.io.store import (
    StackStore,
    finalize,
    has_partial,
    has_planes,
    partial_folder,
)
from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelScope
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import BlockResult, Snapshot, StackResult, versions
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.steps import Run
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from napari_blind_deconv.engine.cluster import ClusterExecutor

__all__ = ["OUTPUT_SUFFIXES", "Job", "Summary", "is_finished", "run_job", "sidecar_of"]

# What all planes have in common is told once.
_SHARED_BY_PLANES = {"software", "settings", "versions"}
# What 0.1.0 wrote beside the settings and now stands among them.
_NOW_SETTINGS = ("device", "seed")
OUTPUT_SUFFIXES = {".tif", ".tiff", ".zarr"}


class Job(BaseModel):
    """What is asked for; paths as they were typed, and everything that changes a pixel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Path
    output: Path
    settings: Settings
    axes: str | None = None
    kernel: KernelScope = KernelScope.CHANNEL
    select: str | None = None
    psf: Path | None = None
    psf_guess: Path | None = None
    reference: tuple[int, ...] | None = None
    warm_start: bool = True

    @classmethod
    def from_sidecar(cls, path: Path) -> Self:
        """The job a sidecar tells of; `ValueError` in one sentence if it tells of none."""
        try:
            job = json.loads(path.read_text(encoding="utf-8"))["job"]
            moved = {name: job.pop(name) for name in _NOW_SETTINGS if name in job}
            return cls.model_validate({**job, "settings": {**job["settings"], **moved}})
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            reason = first_line(error)
            raise ValueError(
                f"{path} is no sidecar of a run ({reason}); accepted is the .json beside a result."
            ) from error

    def open(self) -> OpenImage:
        """The image, or the part of it that is selected; raises as `open_image`."""
        return open_image(self.input, self.axes, self.select)

    def kernel_choice(self) -> KernelChoice:
        """Where the kernel comes from; a PSF is read from its file."""
        if self.psf is not None and self.psf_guess is not None:
            raise ValueError("Got a PSF and a guess of it; accepted is one of them.")
        if self.psf is not None:
            return KernelChoice.hold(read_psf(self.psf))
        if self.psf_guess is not None:
            return KernelChoice.start_from(read_psf(self.psf_guess), self.kernel)
        return KernelChoice.find(self.kernel)

    def as_record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class Summary:
    """How a job ended.

    Attributes
    ----------
    finished : bool
        Whether the output is there; if not, `resume` goes on.
    planes : int
        Of the whole image.
    done : int
        Computed by this run.
    failures : dict
        What was wrong with planes, by position.
    warnings : dict
        Reasons to doubt planes, as sentences, and how many each was raised for.
    seconds : float
        Wall time of this run.
    stopped : bool
        Whether it was ended before its time: of a single plane the best so far is there, of a stack
        the planes that were done.
    """

    finished: bool
    planes: int
    done: int
    failures: dict[Index, str]
    warnings: dict[str, int]
    seconds: float
    stopped: bool = False

    def warning_lines(self) -> list[str]:
        """What gives reason to doubt planes, each with how many of them it is."""
        return [
            text if self.planes == 1 else f"{count} plane{'s' * (count > 1)}: {text}"
            for text, count in self.warnings.items()
        ]


def sidecar_of(output: Path) -> Path:
    """Where the sidecar of an output goes."""
    return output.with_name(f"{output.name}.json")


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
    """Sharpen a file plane by plane, be it one plane or many.

    Parameters
    ----------
    resume : bool
        Go on from where a run of the same job was cut off; nothing is done if it was not.
    overwrite : bool
        Replace an output that exists, and planes left behind.
    scheduler : str, optional
        Address of a dask.distributed scheduler that is to do the planes; the kernels are found
        here.
    kernel_out : Path, optional
        TIFF for the kernels, one page a channel, or a plane where planes have their own.
    trace_out : Path, optional
        CSV for the early-stopping traces of the planes, of those that were computed with one asked
        for.
    should_stop : callable, optional
        Asked after every iteration; True ends the run with the planes that are finished. Of a
        single plane, the best so far is kept.
    on_open : callable, optional
        Called with the opened image.

    Returns
    -------
    Run
        An iterator of snapshots, and of `BlockResult` for each plane once it is on disk; its
        ``result()`` is a `Summary`.

    Raises
    ------
    ValueError, TypeError, OSError
        In one sentence, before anything is written.
    """
    begun = resume and (has_partial(job.output) or is_finished(job))
    check_output(job.output, overwrite=resume or overwrite, suffixes=OUTPUT_SUFFIXES)
    for path, suffixes in ((kernel_out, None), (trace_out, {".csv"})):
        if path is not None:
            check_output(path, overwrite=begun or overwrite, suffixes=suffixes)
    beside = _ExtraFiles(kernel_out, trace_out)
    stop = should_stop or (lambda: False)
    return Run(_run(job, beside, stop, on_open, resume, overwrite, scheduler))


@dataclass(frozen=True)
class _ExtraFiles:
    """Files that are asked for beside the output."""

    kernel: Path | None
    trace: Path | None

    def write(self, job: Job, store: StackStore, story: dict[str, Any]) -> None:
        records = store.records()
        if self.kernel is not None:
            axes, kernels = _kernels_of(store, records)
            write_kernels(self.kernel, kernels, axes, store.image, story)
        if self.trace is not None:
            traces = {index: record.get("trace") or [] for index, record in records.items()}
            write_traces(self.trace, store.image.stack_axes, traces)


def _run(
    job: Job,
    beside: _ExtraFiles,
    should_stop: Callable[[], bool],
    on_open: Callable[[OpenImage], None] | None,
    resume: bool,
    overwrite: bool,
    scheduler: str | None,
) -> Generator[Snapshot | BlockResult, None, Summary]:
    started = time.monotonic()
    with ExitStack() as held:
        held.enter_context(output_lock(job.output))
        if resume:
            finalize(job.output)
        if resume and is_finished(job):
            return _earlier_summary(job, started)
        _check_paths(job, resume=resume, overwrite=overwrite)
        executor = held.enter_context(_executor(scheduler))
        opened = held.enter_context(job.open())
        image = opened.image
        if on_open is not None:
            on_open(opened)
        store = StackStore.resume(job.output, image, job.as_record()) if resume else None
        if store is None:
            plan = yield from _plan(job, image, should_stop)
            if should_stop() and image.blocks > 1:
                return Summary(False, image.blocks, 0, {}, {}, _since(started), stopped=True)
            store = StackStore.create(job.output, image, plan, job.as_record())
        try:
            outcome = yield from _fill(store, executor, should_stop, beside)
        except BaseException:
            if image.blocks == 1:  # there is nothing to go on with
                store.discard()
            raise
        records = store.records()
        if outcome.missing == 0:
            story = _provenance(job, store, records)
            # The output comes last: where it is, all is.
            write_json(sidecar_of(job.output), story)
            beside.write(job, store, story)
            store.finish(story)
    return Summary(
        finished=outcome.missing == 0,
        planes=image.blocks,
        done=outcome.done,
        failures=_failures(records),
        warnings=_warnings(records.values()),
        seconds=_since(started),
        stopped=should_stop(),
    )


def _since(started: float) -> float:
    return time.monotonic() - started


def _failures(records: dict[Index, dict[str, Any]]) -> dict[Index, str]:
    return {index: r["failure"] for index, r in sorted(records.items()) if r["failure"]}


def _warnings(records: Iterable[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(text for record in records for text in record.get("warnings") or ()))


def is_finished(job: Job) -> bool:
    """Whether this very job has its result already, under its name: see `finalize`.

    A single plane that was stopped has one and is not finished.
    """
    return _is_made(job) and not any(
        plane.get("stop_reason") == StopReason.STOPPED for plane in _recorded_planes(job)
    )


def _is_made(job: Job) -> bool:
    try:
        same = Job.from_sidecar(sidecar_of(job.output)) == job
        newer = job.output.stat().st_mtime >= job.input.stat().st_mtime
    except (ValueError, OSError):
        return False
    return same and newer and not has_partial(job.output)


def _recorded_planes(job: Job) -> list[dict[str, Any]]:
    """What the sidecar says of planes; 0.1.0 listed none where there was one only."""
    told = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))
    return told.get("planes") or [{"index": [], "failure": None, **told}]


def _earlier_summary(job: Job, started: float) -> Summary:
    """What the sidecar of a finished job says."""
    planes = _recorded_planes(job)
    records = {tuple(plane["index"]): plane for plane in planes}
    return Summary(
        finished=True,
        planes=len(planes),
        done=0,
        failures=_failures(records),
        warnings=_warnings(planes),
        seconds=_since(started),
    )


@contextmanager
def _executor(scheduler: str | None) -> Iterator[ClusterExecutor | None]:
    if scheduler is None:
        yield None
        return
    from napari_blind_deconv.engine.cluster import cluster

    with cluster(scheduler) as executor:
        yield executor


def _fill(
    store: StackStore,
    executor: ClusterExecutor | None,
    should_stop: Callable[[], bool],
    beside: _ExtraFiles,
) -> Generator[Snapshot | BlockResult, None, StackResult]:
    """Compute the planes a store does not have."""
    from napari_blind_deconv.engine.solver import RunControl
    from napari_blind_deconv.engine.stacks import run_stack

    run = Run(
        run_stack(
            Task(store.image, store.plan.settings, store.plan.choice),
            RunControl(should_stop),
            plan=store.plan,
            finished=store.records().keys(),
            collect=False,
            executor=executor,
        )
    )
    for step in run:
        if isinstance(step, BlockResult):
            store.put(step.index, step.image, _record(step, with_trace=beside.trace is not None))
        yield step
    return run.result()


def _check_paths(job: Job, *, resume: bool, overwrite: bool) -> None:
    stopped = resume and _is_made(job)  # but not finished
    check_output(job.output, overwrite=overwrite or stopped, suffixes=OUTPUT_SUFFIXES)
    if os.path.realpath(job.input) == os.path.realpath(job.output):
        raise ValueError(
            f"The file {job.input} is named twice; input and output must be different files."
        )
    if has_planes(job.output) and not (resume or overwrite):
        raise ValueError(
            f"{partial_folder(job.output)} holds the planes of a run that did not end; "
            "--resume goes on with them, --overwrite begins anew."
        )


def _plan(
    job: Job, image: Image, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, StackPlan]:
    from napari_blind_deconv.engine.solver import RunControl
    from napari_blind_deconv.engine.stacks import make_plan

    task = Task(image, job.settings, job.kernel_choice())
    control = RunControl(should_stop)
    return (yield from make_plan(task, control, reference=job.reference, warm_start=job.warm_start))


def _kernels_of(
    store: StackStore, records: dict[Index, dict[str, Any]]
) -> tuple[str, NDArray[np.float32]]:
    told = {index: record.get("kernel") for index, record in records.items()}
    own = {index: kernel and Kernel.from_record(kernel) for index, kernel in told.items()}
    return store.plan.all_kernels(store.image, own)


def _record(block: BlockResult, *, with_trace: bool) -> dict[str, Any]:
    """What is kept of a plane besides its pixels."""
    if block.result is None:
        return {"failure": block.failure, "kernel": None}
    result = block.result
    told = {
        name: value for name, value in result.provenance().items() if name not in _SHARED_BY_PLANES
    }
    kernel = None if result.kernel_is_held else result.kernel.as_record()
    trace = {"trace": result.trace.tolist()} if with_trace else {}
    return {**told, "kernel": kernel, "failure": None, **trace}


def _provenance(
    job: Job, store: StackStore, records: dict[Index, dict[str, Any]]
) -> dict[str, Any]:
    """What the output and its sidecar say about their origin."""
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
        "intensity_ranges": [span and list(span) for span in plan.intensity_ranges],
        "kernels": [kernel and kernel.as_record() for kernel in plan.kernels],
        "planes": planes,
    }
