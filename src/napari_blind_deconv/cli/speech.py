"""How the command line speaks: errors as one sentence, exit codes, and what Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = [
    "BAD_INPUT",
    "FAILED",
    "INTERRUPTED",
    "SOME_FAILED",
    "console",
    "errors",
    "interrupt_flag",
    "one_sentence_errors",
    "progress_bar",
]

BAD_INPUT = 2
FAILED = 1
SOME_FAILED = 3
INTERRUPTED = 130

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, markup=False)


def progress_bar() -> Progress:
    """Bars of what is done, how many of how many units, and the time left.

    Each task says its unit: ``progress.add_task(…, unit="files")``.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),  # names of files may have brackets
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
        console=errors,
    )


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Anything a user can cause ends as one sentence and an exit code, not as a traceback."""
    from napari_blind_deconv.errors import DeconvolutionError

    try:
        yield
    except (ValueError, TypeError) as error:  # what the user gave
        _fail(str(error), BAD_INPUT)
    except (ImportError, OSError) as error:
        from napari_blind_deconv.doctor import torch_trouble

        if sentence := torch_trouble(error):  # a library of its that is missing, or not for here
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
        _fail("Interrupted; of a stack, --resume goes on with the planes done.", INTERRUPTED)


def _fail(sentence: str, code: int) -> None:
    errors.print("error:", style="red", end=" ")
    errors.print(sentence, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def interrupt_flag() -> Iterator[Callable[[], bool]]:
    """A first Ctrl-C raises a flag; a second one interrupts as usual."""
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
