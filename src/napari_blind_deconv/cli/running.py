"""Runs started from the command line: with a progress bar, and stopped by Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from napari_blind_deconv.cli.output import (
    INTERRUPTED,
    SOME_FAILED,
    errors,
    print_lines,
    print_result_summary,
    print_stack_summary,
    progress_bar,
)
from napari_blind_deconv.verdict import strength_notes

if TYPE_CHECKING:
    from napari_blind_deconv.io.stacks import OpenImage
    from napari_blind_deconv.jobs import Job
    from napari_blind_deconv.results import BlockResult, Result, Snapshot
    from napari_blind_deconv.settings import Settings
    from napari_blind_deconv.steps import Run

__all__ = ["check_distinct", "deconvolve_with_progress", "run_job_with_progress"]


def run_job_with_progress(
    job: Job, kernel_out: Path | None, trace_out: Path | None, **options: Any
) -> int:
    """Run a job, of one plane or many, and return the exit code.

    `options` are passed to `run_job`.
    """
    from napari_blind_deconv.jobs import run_job

    check_distinct(job.input, job.psf, job.psf_guess, job.mask, job.output, kernel_out, trace_out)
    with progress_bar() as progress, _interrupt_flag() as interrupted:
        bar = _RunBar(progress, job.input.name)
        run = run_job(
            job,
            kernel_out=kernel_out,
            trace_out=trace_out,
            should_stop=interrupted,
            on_open=bar.show_image,
            **options,
        )
        bar.follow(run)
        summary = run.result()
    if bar.last is not None and bar.last.result is not None and summary.planes == 1:
        print_result_summary(bar.last.result, job.output)
    else:
        print_stack_summary(summary, job.output)
        print_lines("note", strength_notes(job.settings.strength))
    if summary.scaling is not None:
        errors.print(f"The pixels are 16-bit integers: {summary.scaling.equation}.", soft_wrap=True)
    print_lines("note", summary.finding_lines())
    print_lines("warning", summary.warning_lines())
    if summary.stopped or not summary.finished:
        return INTERRUPTED
    return SOME_FAILED if summary.failures else 0


def deconvolve_with_progress(pixels: Any, settings: Settings, name: str) -> tuple[Result, bool]:
    """Deconvolve an image in memory; return the result, and whether Ctrl-C ended the run."""
    with errors.status("Loading PyTorch …"):
        from napari_blind_deconv.engine.deconvolve import iterate
    with progress_bar() as progress, _interrupt_flag() as interrupted:
        errors.print(f"Deconvolving {name}; Ctrl-C keeps the best estimate so far.")
        run = iterate(pixels, settings, should_stop=interrupted)
        _RunBar(progress, name).follow(run)
        return run.result(), interrupted()


class _RunBar:
    """A progress bar for a run: planes of a stack, or iterations of a single plane."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name
        self._bar = progress.add_task(name, total=None, unit="iterations")
        self._planes = 1  # or volumes
        self.last: BlockResult | None = None

    def show_image(self, opened: OpenImage) -> None:
        """Print which image is deconvolved, and what is known and assumed about it."""
        self._planes = opened.image.blocks
        errors.print(f"{self._name}: {opened.described}", soft_wrap=True)
        if self._planes == 1:
            errors.print(f"Deconvolving {self._name}; Ctrl-C keeps the best estimate so far.")
            return
        self._progress.update(self._bar, total=self._planes, unit=f"{opened.image.block_kind}s")

    def follow(self, run: Run[Any, Any]) -> None:
        """Show the progress of a run until it ends."""
        from napari_blind_deconv.results import BlockResult, Notice

        for step in run:
            if isinstance(step, Notice):
                errors.print(step.text, soft_wrap=True)
            elif isinstance(step, BlockResult):
                self.last = step
                self._progress.advance(self._bar, 1 if self._planes > 1 else 0)
            else:
                self._show(step)

    def _show(self, snapshot: Snapshot) -> None:
        description = f"{self._name}: {snapshot.stage}"
        if self._planes > 1:
            self._progress.update(self._bar, description=description)
            return
        self._progress.update(
            self._bar,
            description=description,
            completed=snapshot.iteration,
            total=snapshot.max_iterations or None,
        )


@contextmanager
def _interrupt_flag() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed; a second Ctrl-C interrupts."""
    pressed = False

    def press(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def check_distinct(*paths: Path | None) -> None:
    """Raise ValueError if two names are the same file: one output would replace another."""
    # realpath, since Path.resolve raises on circular links
    named = [os.path.realpath(path) for path in paths if path is not None]
    for path in named:
        if named.count(path) > 1:
            raise ValueError(
                f"Expected different files for input and outputs, got {path} more than once."
            )
