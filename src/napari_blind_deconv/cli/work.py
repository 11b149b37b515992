"""A job run from the command line: checked, with a progress bar, its outputs written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_blind_deconv.cli.speech import (
    INTERRUPTED,
    SOME_FAILED,
    errors,
    interrupt_flag,
    progress_bar,
)
from napari_blind_deconv.settings import Settings

if TYPE_CHECKING:
    from napari_blind_deconv.io.stacks import Stack
    from napari_blind_deconv.jobs import Job
    from napari_blind_deconv.results import Result

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
    with job.open() as stack:
        if stack.is_small_plane and not is_zarr(job.output):
            with claimed(job.output):
                if resume:
                    publish(job.output)
                if resume and is_finished(job):
                    errors.print(f"{job.output} is there already.", soft_wrap=True)
                    return 0
                check_output(job.output, overwrite=overwrite, suffixes=OUTPUT_SUFFIXES)
                return _run_plane(job, stack, kernel_out, trace_out)
    if trace_out is not None:
        raise ValueError(f"{job.input} is a stack or a large plane; --trace-out is for one plane.")
    return _run_stack(job, kernel_out, resume=resume, overwrite=overwrite, scheduler=scheduler)


def _run_plane(job: Job, stack: Stack, kernel_out: Path | None, trace_out: Path | None) -> int:
    from napari_blind_deconv.engine.survey import read_slice
    from napari_blind_deconv.io.images import Plane, read_psf, write_json
    from napari_blind_deconv.jobs import sidecar_of

    rgb = stack.axes.endswith("S")
    result, interrupted = deblur(
        read_slice(stack.data, ()),
        job.settings,
        job.input.name,
        psf=None if job.psf is None else read_psf(job.psf),
        psf_guess=None if job.psf_guess is None else read_psf(job.psf_guess),
        rgb=rgb,
        device=job.device,
        seed=job.seed,
    )
    calibration: dict[str, Any] = {"pixel_size": stack.pixel_size, "unit": stack.unit}
    write(
        result,
        (Plane(result.image, rgb, **calibration), job.output),
        (Plane(result.kernel, **calibration), kernel_out),
        trace_out,
    )
    write_json(
        sidecar_of(job.output),
        {"job": job.as_record(), **result.provenance(), "kernel": result.kernel.tolist()},
    )
    tell(result, job.output)
    return INTERRUPTED if interrupted else 0


def _run_stack(
    job: Job, kernel_out: Path | None, *, resume: bool, overwrite: bool, scheduler: str | None
) -> int:
    from napari_blind_deconv.jobs import run_job
    from napari_blind_deconv.steps import run_to_end

    with progress_bar("planes") as progress, interrupt_flag() as interrupted:
        task = progress.add_task("finding the kernel", total=None)

        def opened(stack: Stack) -> None:
            errors.print(f"{job.input.name}: {stack.described}", soft_wrap=True)
            progress.update(task, total=stack.planes)

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


def deblur(image: Any, settings: Settings, name: str, **options: Any) -> tuple[Result, bool]:
    """Run with a progress bar; the result, and whether Ctrl-C ended it."""
    with errors.status("Loading PyTorch …"):
        from napari_blind_deconv.engine.deconvolve import deconvolve
    with progress_bar("iterations") as progress, interrupt_flag() as interrupted:
        progress.console.print(f"Sharpening {name}; Ctrl-C keeps the best so far.")
        task = progress.add_task(name, total=settings.max_iterations)
        result = deconvolve(
            image,
            settings,
            should_stop=interrupted,
            on_snapshot=lambda snapshot: progress.update(
                task, completed=snapshot.iteration, description=f"{name}: {snapshot.stage}"
            ),
            **options,
        )
        return result, interrupted()


def write(
    result: Result,
    image: tuple[Any, Path],
    kernel: tuple[Any, Path | None],
    trace_out: Path | None,
) -> None:
    """Write a plane's picture, kernel and trace, each to its path if it has one."""
    from napari_blind_deconv.io.images import write_plane, write_trace

    for plane, path in (image, kernel):
        if path is not None:
            write_plane(path, plane, result.provenance())
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
