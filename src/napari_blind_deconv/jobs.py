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

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.claim import claimed
from napari_blind_deconv.io.images import check_output, read_psf, write_json, write_kernels
from napari_blind_deconv.io.stacks import OpenImage, open_image
from napari_blind_deconv.io.store import StackStore, is_under_way, partial_folder, publish
from napari_blind_deconv.kernel import KernelChoice, KernelScope
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.results import SliceResult, Snapshot
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["OUTPUT_SUFFIXES", "Job", "Summary", "is_finished", "run_job", "sidecar_of"]

_TOLD_OF_A_PLANE = (
    *("stop_reason", "kernel_source", "kernel_is_held", "iterations", "slowed_at", "tiles"),
    *("warnings", "trust"),
)
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
            return KernelChoice.start_from(read_psf(self.psf_guess))
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
    on_stack: Callable[[OpenImage], None] | None = None,
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
    if kernel_out is not None and job.kernel is KernelScope.PLANE:
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
        if resume:
            publish(job.output)
        if resume and is_finished(job):
            return _told_before(job, started)
        _check_places(job, resume=resume, overwrite=overwrite)
        client, opened = held.enter_context(_cluster(scheduler)), held.enter_context(job.open())
        image = opened.image
        if on_stack is not None:
            on_stack(opened)
        store = StackStore.resume(job.output, image, job.as_record()) if resume else None
        stop = should_stop or (lambda: False)
        if store is None:
            plan = yield from _plan(job, image, stop)
            if stop():
                return Summary(False, image.blocks, 0, {}, time.monotonic() - started)
            store = StackStore.create(job.output, image, plan, job.as_record())
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
    return Summary(missing == 0, image.blocks, done, failures, seconds)


def is_finished(job: Job) -> bool:
    """Whether this very job has its result already, under its name: see `publish`."""
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
        outcome = deconvolve_on_cluster(store.image, store.plan, client, **options)
    else:
        outcome = yield from deconvolve_stack(store.image, plan=store.plan, **options)
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
    job: Job, image: Image, should_stop: Callable[[], bool]
) -> Generator[tuple[Index, Snapshot], None, StackPlan]:
    from napari_blind_deconv.engine.solver import Watch
    from napari_blind_deconv.engine.stacks import make_plan

    task = Task(image, job.settings, job.kernel_choice())
    watch = Watch(should_stop)
    return (yield from make_plan(task, watch, reference=job.reference, warm_start=job.warm_start))


def _write_kernels(path: Path, store: StackStore, story: dict[str, Any]) -> None:
    kernels = store.plan.kernels_on_one_window()
    if kernels is not None:
        write_kernels(path, kernels, store.image, story)


def _record(result: SliceResult) -> dict[str, Any]:
    told = {name: result.provenance.get(name) for name in _TOLD_OF_A_PLANE}
    found_here = result.kernel is not None and not told["kernel_is_held"]
    return {
        **told,
        "kernel": result.kernel.as_record() if result.kernel and found_here else None,
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
        "axes": store.image.axes,
        "intensity_ranges": [span and list(span) for span in plan.intensity_ranges],
        "kernels": [kernel and kernel.as_record() for kernel in plan.kernels],
        "planes": planes,
    }
