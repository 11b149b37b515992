"""The computation in its thread: a task in, progress out, a result at the end. No Qt in here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import Index
from napari_blind_deconv.plugin.torch_loading import load_torch
from napari_blind_deconv.results import TRACE_DTYPE, BlockResult, Snapshot, StackResult, Stage
from napari_blind_deconv.steps import Run
from napari_blind_deconv.task import Task

__all__ = ["Failure", "Progress", "attempted", "work"]

_Progress = TypeVar("_Progress")
_Result = TypeVar("_Result")

# Each report crosses to the GUI thread; more often than this a person does not see.
_SECONDS_BETWEEN_REPORTS = 0.4


@dataclass(frozen=True)
class Progress:
    """What the screen shows next: what is being done, and pictures once there are any.

    Attributes
    ----------
    stage : str
        In words.
    device : str
        Kind of device that computes; empty until it is known.
    iteration, max_iterations : int
        Of the fit; 0 before it.
    best_iteration : int or None
        That early stopping would keep.
    image, kernel : ndarray or None
        Of a single plane, as it sharpens.
    trace : ndarray
        Since the last one.
    block : BlockResult or None
        A plane that is done.
    """

    stage: str
    device: str = ""
    iteration: int = 0
    max_iterations: int = 0
    best_iteration: int | None = None
    image: NDArray[np.float32] | None = None
    kernel: NDArray[np.float32] | None = None
    trace: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, TRACE_DTYPE))
    block: BlockResult | None = None


@dataclass(frozen=True)
class Failure:
    """What a computation in a thread hands over in place of a result."""

    error: BaseException

    def __str__(self) -> str:
        reason = str(self.error) or type(self.error).__name__
        if isinstance(self.error, Exception) and not isinstance(self.error, RuntimeError):
            return reason
        return f"The computation failed: {reason.rstrip('.')}."


def attempted(
    work: Callable[..., Generator[_Progress, None, _Result]], *arguments: Any
) -> Generator[_Progress, None, _Result | Failure]:
    """Do a work of which no error reaches the worker.

    A worker of napari tells nobody of a `RuntimeError`, what is no `Exception` would end napari,
    and with PySide6 any error does.
    """
    try:
        return (yield from work(*arguments))
    except GeneratorExit:
        raise
    except BaseException as error:
        return Failure(error)


def work(task: Task, stop: Event) -> Generator[Progress, None, StackResult]:
    """Run a task; `stop` ends it soon, with the best so far of a plane, or the planes done."""
    yield Progress("Loading PyTorch …")
    load_torch()
    from napari_blind_deconv.engine.devices import choose_device
    from napari_blind_deconv.engine.solver import RunControl
    from napari_blind_deconv.engine.stacks import run_stack

    is_stack = bool(task.image.stack_axes)
    reporter = _Reporter(choose_device(task.settings.device).type, is_stack)
    control = RunControl(stop.is_set, math.inf if is_stack else _SECONDS_BETWEEN_REPORTS)
    run = Run(run_stack(task, control, collect=False))
    for step in run:
        yield from reporter.reports_of(step)
    return run.result()


class _Reporter:
    """Turns what a run reports into what the screen can follow: not too often, in words."""

    def __init__(self, device: str, is_stack: bool) -> None:
        self._device, self._is_stack = device, is_stack
        self._rows: list[tuple[Any, ...]] = []
        self._said = ""
        self._due = -math.inf

    def reports_of(self, step: Snapshot | BlockResult) -> Generator[Progress, None, None]:
        """What to show of a step; often nothing."""
        if isinstance(step, BlockResult):
            yield Progress(self._said, self._device, block=step)
            return
        words = self._words(step.stage, step.index)
        if step.iteration and step.stage not in (Stage.KERNEL, Stage.WIENER):
            self._rows.append(tuple(getattr(step, name) for name in TRACE_DTYPE.names or ()))
        if step.image is not None:
            yield self._picture(words, step)
        elif words != self._said and time.monotonic() >= self._due:
            yield Progress(words, self._device)
        else:
            return
        self._said, self._due = words, time.monotonic() + _SECONDS_BETWEEN_REPORTS

    def _picture(self, words: str, step: Snapshot) -> Progress:
        progress = Progress(words, self._device, image=step.image, kernel=step.kernel)
        if not self._rows:  # seconds before the iterations begin
            return progress
        trace = np.array(self._rows, dtype=TRACE_DTYPE)
        self._rows.clear()
        return replace(
            progress,
            iteration=step.iteration,
            max_iterations=step.max_iterations,
            best_iteration=step.best_iteration,
            trace=trace,
        )

    def _words(self, stage: Stage, index: Index) -> str:
        if self._is_stack:
            where = f"plane {', '.join(map(str, index))}"
            doing = "Looking for the blur of" if stage is Stage.KERNEL else "Sharpening"
            return f"{doing} {where} …"
        if stage is Stage.KERNEL:
            return "Looking for the blur …"
        if stage is Stage.WIENER:
            return "Making the first picture …"
        return f"Sharpening on the {self._device.upper()} …"
