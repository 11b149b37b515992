"""A job run from the command line: checked, with a progress bar, its outputs written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_blind_deconv.cli.speech import (
    INTERRUPTED,
    SOME_FAILED,
    errors,
    interrupt_flag,
    progress_bar,
)
from napari_blind_deconv.steps import mapped, run_to_end

if TYPE_CHECKING:
    from napari_blind_deconv.image import Image
    from napari_blind_deconv.io.stacks import OpenImage
    from napari_blind_deconv.jobs import Job
    from napari_blind_deconv.results import Result, Snapshot
    from napari_blind_deconv.task import Task

__all__ = ["check_distinct", "deblur", "sharpen", "tell", "write"]


def sharpen(
    job: Job,
    kernel_out: Path | None,
    trace_out: Path | None,
    *,
    resume: bool,
    overwrite: bool,
    scheduler: str | None,
) -> int:
    """Run a job, plane or stack; the exit code. Raises before anything is written."""
    from napari_blind_deconv.io.claim import claimed
    from napari_blind_deconv.io.images import check_output
    from napari_blind_deconv.io.store import is_under_way, is_zarr, publish
    from napari_blind_deconv.jobs import OUTPUT_SUFFIXES, is_finished

    check_distinct(job.input, job.psf, job.psf_guess, job.output, kernel_out, trace_out)
    check_output(job.output, overwrite=resume or overwrite, suffixes=OUTPUT_SUFFIXES)
    begun = resume and is_under_way(job.output)
    for path, suffixes in ((kernel_out, None), (trace_out, {".csv"})):
        if path is not None:
            check_output(path, overwrite=begun or overwrite, suffixes=suffixes)
    with job.open() as opened:
        if opened.is_small_plane and not is_zarr(job.output):
            with claimed(job.output):
                if resume:
                    publish(job.output)
                if resume and is_finished(job):
                    errors.print(f"{job.output} is there already.", soft_wrap=True)
                    return 0
                check_output(job.output, overwrite=overwrite, suffixes=OUTPUT_SUFFIXES)
                return _run_plane(job, opened.image, kernel_out, trace_out)
    if trace_out is not None:
        raise ValueError(f"{job.input} is a stack or a large plane; --trace-out is for one plane.")
    return _run_stack(job, kernel_out, resume=resume, overwrite=overwrite, scheduler=scheduler)


def _run_plane(job: Job, image: Image, kernel_out: Path | None, trace_out: Path | None) -> int:
    from napari_blind_deconv.io.images import write_json
    from napari_blind_deconv.jobs import sidecar_of
    from napari_blind_deconv.task import Task

    task = Task(image.read(), job.settings, job.kernel_choice())
    result, interrupted = deblur(task, job.input.name)
    write(task, result, job.output, kernel_out, trace_out)
    write_json(
        sidecar_of(job.output),
        {"job": job.as_record(), **result.provenance(), "kernel": result.kernel.as_record()},
    )
    tell(result, job.output)
    return INTERRUPTED if interrupted else 0


def _run_stack(
    job: Job, kernel_out: Path | None, *, resume: bool, overwrite: bool, scheduler: str | None
) -> int:
    from napari_blind_deconv.jobs import run_job

    with progress_bar("planes") as progress, interrupt_flag() as interrupted:
        task = progress.add_task("finding the kernel", total=None)

        def opened(found: OpenImage) -> None:
            errors.print(f"{job.input.name}: {found.described}", soft_wrap=True)
            progress.update(task, total=found.image.blocks)

        steps = run_job(
            job,
            resume=resume,
            overwrite=overwrite,
            scheduler=scheduler,
            kernel_out=kernel_out,
            should_stop=interrupted,
            on_stack=opened,
            on_slice=lambda _: progress.update(task, advance=1, description=job.input.name),
        )
        summary = run_to_end(steps)
    for index, failure in summary.failures.items():
        errors.print(f"plane {index}: {failure}", soft_wrap=True)
    if not summary.finished:
        errors.print("Interrupted; the planes that are done are kept, and --resume goes on.")
        return INTERRUPTED
    errors.print(
        f"{job.output}: {summary.done} of {summary.planes} planes in {summary.seconds:.0f} s, "
        f"{len(summary.failures)} failed.",
        soft_wrap=True,
    )
    return SOME_FAILED if summary.failures else 0


def deblur(task: Task, name: str) -> tuple[Result, bool]:
    """Run with a progress bar; the result, and whether Ctrl-C ended it."""
    with errors.status("Loading PyTorch …"):
        from napari_blind_deconv.engine.deconvolve import run_task
        from napari_blind_deconv.engine.solver import Watch
    with progress_bar("iterations") as progress, interrupt_flag() as interrupted:
        progress.console.print(f"Sharpening {name}; Ctrl-C keeps the best so far.")
        bar = progress.add_task(name, total=task.settings.max_iterations)

        def show(snapshot: Snapshot) -> None:
            progress.update(
                bar, completed=snapshot.iteration, description=f"{name}: {snapshot.stage}"
            )

        result = run_to_end(mapped(run_task(task, Watch(interrupted)), show))
        return result, interrupted()


def write(
    task: Task, result: Result, output: Path, kernel_out: Path | None, trace_out: Path | None
) -> None:
    """Write a plane's estimate, kernel and trace, each to its path if it has one."""
    from napari_blind_deconv.image import Image
    from napari_blind_deconv.io.images import write_plane, write_trace

    provenance = result.provenance()
    write_plane(output, task.image.with_pixels(result.image), provenance)
    if kernel_out is not None:
        kernel = Image(result.kernel.weights, "YX", task.image.spacing, task.image.unit)
        write_plane(kernel_out, kernel, provenance)
    if trace_out is not None:
        write_trace(trace_out, result.trace)


def tell(result: Result, output: Path) -> None:
    """Say how a plane's run ended, and what gives reason to doubt it."""
    errors.print(
        f"{output}: picture of iteration {result.stop_iteration} kept of {len(result.trace)} "
        f"in {result.seconds:.0f} s on {result.device}. {result.stop_reason.sentence}",
        soft_wrap=True,
    )
    for flag in result.flags:
        errors.print(f"warning: {flag.sentence}", soft_wrap=True)


def check_distinct(*paths: Path | None) -> None:
    """Refuse two names of one file, before one output replaces what another holds."""
    # realpath, since Path.resolve raises on links that go round in circles
    named = [os.path.realpath(path) for path in paths if path is not None]
    for path in named:
        if named.count(path) > 1:
            raise ValueError(
                f"The file {path} is named twice; input and outputs must be different files."
            )
