"""What the command line prints: errors as one sentence, progress bars, and summaries of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from napari_blind_deconv.verdict import verdict

if TYPE_CHECKING:
    from napari_blind_deconv.jobs import Summary
    from napari_blind_deconv.results import Result

__all__ = [
    "BAD_INPUT",
    "FAILED",
    "INTERRUPTED",
    "SOME_FAILED",
    "console",
    "errors",
    "one_sentence_errors",
    "print_lines",
    "print_result_summary",
    "print_stack_summary",
    "progress_bar",
]

# Exit codes.
FAILED = 1
BAD_INPUT = 2
SOME_FAILED = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, markup=False)


def progress_bar() -> Progress:
    """A progress bar with the number of units done, and the time left.

    Each task names its unit: ``progress.add_task(…, unit="files")``.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),  # file names may contain brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
        console=errors,
    )


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Print an error that a user can cause as one sentence, and exit with its code."""
    from napari_blind_deconv.errors import DeconvolutionError

    try:
        yield
    except (ValueError, TypeError) as error:  # invalid input
        _fail(str(error), BAD_INPUT)
    except (ImportError, OSError) as error:
        from napari_blind_deconv.doctor import torch_trouble

        # A library that PyTorch needs is missing, or was built for another system.
        if sentence := torch_trouble(error):
            _fail(sentence, FAILED)
        if isinstance(error, ImportError):
            raise
        where = f": {error.filename}." if error.filename else ""
        _fail(f"{error.strerror or error}{where}", BAD_INPUT)
    except DeconvolutionError as error:
        _fail(str(error), FAILED)
    except MemoryError:
        _fail("There is not enough memory for this image; try a part of it.", FAILED)
    except KeyboardInterrupt:
        _fail("Interrupted; for a stack, --resume continues with the other planes.", INTERRUPTED)


def _fail(sentence: str, code: int) -> None:
    errors.print("error:", style="red", end=" ")
    errors.print(sentence, soft_wrap=True)
    raise typer.Exit(code)


def print_result_summary(result: Result, output: Path) -> None:
    """Print what became of a single plane, and how its run ended."""
    errors.print(f"{output}: {verdict(result).sentence}", soft_wrap=True)
    errors.print(
        f"{output}: kept iteration {result.stop_iteration} of {len(result.trace)}, "
        f"{result.seconds:.0f} s on {result.device}. {result.stop_reason.sentence} "
        f"Stages: {result.stages}.",
        soft_wrap=True,
    )


def print_lines(kind: str, lines: Iterable[str], name: Path | None = None) -> None:
    """Print lines that begin with their kind, such as "warning", after the name of their file."""
    where = "" if name is None else f"{name}: "
    for line in lines:
        errors.print(f"{where}{kind}: {line}", soft_wrap=True)


def print_stack_summary(summary: Summary, output: Path) -> None:
    """Print how many planes of a stack were deconvolved, and which failed and why."""
    kind = summary.block
    for index, failure in summary.failures.items():
        errors.print(f"{kind} {index}: {failure}", soft_wrap=True)
    if not summary.finished:
        errors.print(f"Interrupted; finished {kind}s are kept, and --resume continues.")
        return
    if not summary.done:
        errors.print(f"{output} is complete already.", soft_wrap=True)
        return
    errors.print(
        f"{output}: {summary.done} of {summary.planes} {kind}s in {summary.seconds:.0f} s, "
        f"{len(summary.failures)} failed.",
        soft_wrap=True,
    )
