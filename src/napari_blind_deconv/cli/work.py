"""Jobs run from the command line: with a progress bar, and told of at their end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from napari_blind_deconv.cli.speech import (
    INTERRUPTED,
    SOME_FAILED,
    errors,
    interrupt_flag,
    progress_bar,
)

if TYPE_CHECKING:
    from napari_blind_deconv.io.stacks import OpenImage
    from napari_blind_deconv.jobs import Job, Summary
    from napari_blind_deconv.results import BlockResult, Result, Snapshot
    from napari_blind_deconv.settings import Settings
    from napari_blind_deconv.steps import Run

__all__ = ["check_distinct", "deblur", "sharpen", "tell"]


def sharpen(job: Job, kernel_out: Path | None, trace_out: Path | None, **options: Any) -> int:
    """Run a job, of one plane or many; the exit code. `options` are those of `run_job`."""
    from napari_blind_deconv.jobs import run_job

    check_distinct(job.input, job.psf, job.psf_guess, job.output, kernel_out, trace_out)
    with progress_bar() as progress, interrupt_flag() as interrupted:
        bar = _Bar(progress, job.input.name)
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
        tell(bar.last.result, job.output)
    else:
        _tell_of_stack(summary, job.output)
    for line in summary.warning_lines():
        errors.print(f"warning: {line}", soft_wrap=True)
    if summary.stopped or not summary.finished:
        return INTERRUPTED
    return SOME_FAILED if summary.failures else 0


class _Bar:
    """A progress bar for a run: of planes if there are many, of iterations if there is one."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name
        self._bar = progress.add_task(name, total=None, unit="iterations")
        self._planes = 1
        self.last: BlockResult | None = None

    def show_image(self, found: OpenImage) -> None:
        """Say what is sharpened."""
        self._planes = found.image.blocks
        if self._planes == 1:
            errors.print(f"Sharpening {self._name}; Ctrl-C keeps the best so far.")
            return
        errors.print(f"{self._name}: {found.described}", soft_wrap=True)
        self._progress.update(self._bar, total=self._planes, unit="planes")

    def follow(self, run: Run[Any, Any]) -> None:
        """Show a run until its end."""
        from napari_blind_deconv.results import BlockResult

        for step in run:
            if isinstance(step, BlockResult):
                self.last = step
                self._progress.advance(self._bar, 1 if self._planes > 1 else 0)
            else:
                self._show(step)

    def _show(self, snapshot: Snapshot) -> None:
        told = f"{self._name}: {snapshot.stage}"
        if self._planes > 1:
            self._progress.update(self._bar, description=told)
            return
        self._progress.update(
            self._bar,
            description=told,
            completed=snapshot.iteration,
            total=snapshot.max_iterations or None,
        )


def _tell_of_stack(summary: Summary, output: Path) -> None:
    for index, failure in summary.failures.items():
        errors.print(f"plane {index}: {failure}", soft_wrap=True)
    if not summary.finished:
        errors.print("Interrupted; the planes that are done are kept, and --resume goes on.")
        return
    if not summary.done:
        errors.print(f"{output} is there already.", soft_wrap=True)
        return
    errors.print(
        f"{output}: {summary.done} of {summary.planes} planes in {summary.seconds:.0f} s, "
        f"{len(summary.failures)} failed.",
        soft_wrap=True,
    )


def deblur(pixels: Any, settings: Settings, name: str) -> tuple[Result, bool]:
    """Sharpen pixels with a progress bar; the result, and whether Ctrl-C ended it."""
    with errors.status("Loading PyTorch …"):
        from napari_blind_deconv.engine.deconvolve import iterate
    with progress_bar() as progress, interrupt_flag() as interrupted:
        errors.print(f"Sharpening {name}; Ctrl-C keeps the best so far.")
        run = iterate(pixels, settings, should_stop=interrupted)
        _Bar(progress, name).follow(run)
        return run.result(), interrupted()


def tell(result: Result, output: Path) -> None:
    """Say how a plane's run ended."""
    errors.print(
        f"{output}: picture of iteration {result.stop_iteration} kept of {len(result.trace)} "
        f"in {result.seconds:.0f} s on {result.device}. {result.stop_reason.sentence}",
        soft_wrap=True,
    )


def check_distinct(*paths: Path | None) -> None:
    """Refuse two names of one file, before one output replaces what another holds."""
    # realpath, since Path.resolve raises on links that go round in circles
    named = [os.path.realpath(path) for path in paths if path is not None]
    for path in named:
        if named.count(path) > 1:
            raise ValueError(
                f"The file {path} is named twice; input and outputs must be different files."
            )
