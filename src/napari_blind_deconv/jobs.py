"""A job: a file to be sharpened into another, all choices said. Its sidecar runs it again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_blind_deconv.io.claim import claimed
from napari_blind_deconv.io.images import check_output, read_psf, write_json, write_kernels
from napari_blind_deconv.io.stacks import Stack, open_stack
from napari_blind_deconv.io.store import StackStore, is_under_way, partial_folder, publish
from napari_blind_deconv.plan import Index, KernelMode, Plan
from napari_blind_deconv.results import SliceResult, Snapshot, first_line
from napari_blind_deconv.settings import Settings

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["OUTPUT_SUFFIXES", "Job", "Summary", "is_finished", "run_job", "sidecar_of"]

_TOLD_OF_A_PLANE = ("stop_reason", "blur", "iterations", "slowed_at", "tiles", "warnings", "trust")
OUTPUT_SUFFIXES = {".tif", ".tiff", ".zarr"}


class Job(BaseModel):
    """What is asked for; paths as they were typed, and everything that changes a pixel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Path
    output: Path
    settings: Settings
    axes: str | None = None
    kernel: KernelMode = KernelMode.PER_CHANNEL
    select: str | None = None
    psf: Path | None = None
    psf_guess: Path | None = None
    reference: tuple[int, ...] | None = None
    warm_start: bool = True
    device: str = "auto"
    seed: int = 0

    @classmethod
    def from_sidecar(cls, path: Path) -> Self:
        """The job a sidecar tells of; `ValueError` in one sentence if it tells of none."""
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8"))["job"])
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            reason = first_line(error)
            raise ValueError(
                f"{path} is no sidecar of a run ({reason}); accepted is the .json beside a result."
            ) from error

    def open(self) -> Stack:
        """The image, or the part of it that is selected; raises as `open_stack`."""
        return open_stack(self.input, self.axes, self.select)

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
    seconds : float
        Wall time of this run.
    """

    finished: bool
    planes: int
    done: int
    failures: dict[Index, str]
    seconds: float


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
    should_stop: Callable[[], bool] | None = None,
    on_stack: Callable[[Stack], None] | None = None,
    on_slice: Callable[[SliceResult], None] | None = None,
) -> Generator[tuple[Index, Snapshot], None, Summary]:
    """Sharpen a file plane by plane; yields ``(index, snapshot)``, *returns* a `Summary`.

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
        TIFF for the kernels that planes share, one page a channel.
    should_stop : callable, optional
        Asked after every iteration; True ends the run with the planes that are finished.
    on_stack, on_slice : callable, optional
        Called with the opened image, and with each plane once it is on disk.

    Raises
    ------
    ValueError, TypeError, OSError
        In one sentence, before anything is written.
    """
    started = time.monotonic()
    if kernel_out is not None and job.kernel is KernelMode.PER_SLICE:
        raise ValueError(
            "Every plane has a kernel of its own with --kernel per-slice; "
            "--kernel-out accepts per-channel and shared."
        )
    if job.psf_guess is not None:
        raise ValueError(
            "Got a guess of the PSF for a stack or a large plane; accepted is a PSF to hold."
        )
    check_output(job.output, overwrite=resume or overwrite, suffixes=OUTPUT_SUFFIXES)
    with ExitStack() as held:
        held.enter_context(claimed(job.output))
        if resume and is_finished(job):
            return _told_before(job, started)
        _check_places(job, resume=resume, overwrite=overwrite)
        client, stack = held.enter_context(_cluster(scheduler)), held.enter_context(job.open())
        if on_stack is not None:
            on_stack(stack)
        store = StackStore.resume(job.output, stack, job.as_record()) if resume else None
        stop = should_stop or (lambda: False)
        if store is None:
            plan = yield from _plan(job, stack, stop)
            if stop():
                return Summary(False, stack.planes, 0, {}, time.monotonic() - started)
            store = StackStore.create(job.output, stack, plan, job.as_record())
        done, missing = yield from _fill(store, client, stop, on_slice)
        records = store.records()
        if missing == 0:
            story = _story(job, store, records)
            # The output comes last: where it is, all is.
            write_json(sidecar_of(job.output), story)
            if kernel_out is not None:
                _write_kernels(kernel_out, store, story)
            store.finish(story)
    failures = {index: r["failure"] for index, r in sorted(records.items()) if r["failure"]}
    seconds = time.monotonic() - started
    return Summary(missing == 0, stack.planes, done, failures, seconds)


def is_finished(job: Job) -> bool:
    """Whether this very job has its result already; one that only waits for its name gets it."""
    publish(job.output)
    try:
        same = Job.from_sidecar(sidecar_of(job.output)) == job
        newer = job.output.stat().st_mtime >= job.input.stat().st_mtime
    except (ValueError, OSError):
        return False
    return same and newer and not is_under_way(job.output)


def _told_before(job: Job, started: float) -> Summary:
    """What the sidecar of a finished job says; that of a single plane lists none."""
    record = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))
    planes = record.get("planes", ())
    failures = {tuple(plane["index"]): plane["failure"] for plane in planes if plane["failure"]}
    return Summary(True, max(len(planes), 1), 0, failures, time.monotonic() - started)


@contextmanager
def _cluster(scheduler: str | None) -> Iterator[Client | None]:
    if scheduler is None:
        yield None
        return
    from napari_blind_deconv.engine.cluster import connect

    with connect(scheduler) as client:
        yield client


def _fill(
    store: StackStore,
    client: Client | None,
    should_stop: Callable[[], bool],
    on_slice: Callable[[SliceResult], None] | None,
) -> Generator[tuple[Index, Snapshot], None, tuple[int, int]]:
    """Compute the planes a store does not have; how many were, and how many are missing still."""
    from napari_blind_deconv.engine.cluster import deconvolve_on_cluster
    from napari_blind_deconv.engine.stacks import deconvolve_stack

    def keep(result: SliceResult) -> None:
        store.put(result.index, result.image, _record(result))
        if on_slice is not None:
            on_slice(result)

    finished = store.records().keys()
    options: dict[str, Any] = {"on_slice": keep, "should_stop": should_stop, "finished": finished}
    if client is not None:
        outcome = deconvolve_on_cluster(store.stack.data, store.plan, client, **options)
    else:
        outcome = yield from deconvolve_stack(
            store.stack.data, axes=store.plan.axes, plan=store.plan, **options
        )
    return outcome.done, outcome.missing


def _check_places(job: Job, *, resume: bool, overwrite: bool) -> None:
    check_output(job.output, overwrite=overwrite, suffixes=OUTPUT_SUFFIXES)
    if os.path.realpath(job.input) == os.path.realpath(job.output):
        raise ValueError(
            f"The file {job.input} is named twice; input and output must be different files."
        )
    if is_under_way(job.output) and not (resume or overwrite):
        raise ValueError(
            f"{partial_folder(job.output)} holds the planes of a run that did not end; "
            "--resume goes on with them, --overwrite begins anew."
        )


def _plan(
    job: Job, stack: Stack, should_stop: Callable[[], bool]
) -> Generator[tuple[Index, Snapshot], None, Plan]:
    from napari_blind_deconv.engine.stacks import make_plan

    return (
        yield from make_plan(
            stack.data,
            job.settings,
            axes=stack.axes,
            kernel=job.kernel if job.psf is None else read_psf(job.psf),
            reference=job.reference,
            warm_start=job.warm_start,
            device=job.device,
            seed=job.seed,
            should_stop=should_stop,
        )
    )


def _write_kernels(path: Path, store: StackStore, story: dict[str, Any]) -> None:
    kernels = store.plan.kernels_on_one_window()
    if kernels is not None:
        write_kernels(path, kernels, store.stack.pixel_size, store.stack.unit, story)


def _record(result: SliceResult) -> dict[str, Any]:
    told = {name: result.provenance.get(name) for name in _TOLD_OF_A_PLANE}
    own = result.provenance.get("blur") not in (None, "given") and result.kernel is not None
    return {
        **told,
        "kernel": result.kernel.tolist() if own and result.kernel is not None else None,
        "failure": result.failure,
        "seconds": round(result.seconds, 2),
    }


def _story(job: Job, store: StackStore, records: dict[Index, dict[str, Any]]) -> dict[str, Any]:
    """What the output and its sidecar say about their origin."""
    from napari_blind_deconv import __version__

    plan = store.plan
    planes = [{"index": list(index), **record} for index, record in sorted(records.items())]
    return {
        "software": "napari-blind-deconv",
        "version": __version__,
        "job": job.as_record(),
        "axes": plan.axes,
        "intensity_ranges": [span and list(span) for span in plan.intensity_ranges],
        "kernels": [None if kernel is None else kernel.tolist() for kernel in plan.kernels],
        "planes": planes,
    }
