"""The computation in its thread: it takes a task, yields progress and returns a result. No Qt."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from threading import Event
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import BlockKind, Index
from napari_blind_deconv.plugin.torch_loading import load_torch
from napari_blind_deconv.results import (
    TRACE_DTYPE,
    BlockResult,
    Notice,
    Snapshot,
    StackResult,
    StackStep,
    Stage,
)
from napari_blind_deconv.steps import Run
from napari_blind_deconv.task import Task

__all__ = ["Failure", "Progress", "catch_errors", "work"]

_Progress = TypeVar("_Progress")
_Result = TypeVar("_Result")

# Each report is a queued signal to the GUI thread, and copying an estimate synchronises a GPU.
# More frequent reports would cost time without being visible to a person.
_SECONDS_BETWEEN_REPORTS = 0.4


@dataclass(frozen=True)
class Progress:
    """What the panel shows next: the current stage, and an estimate once there is one.

    Attributes
    ----------
    stage : str
        Description of the current stage.
    device : str
        Type of the device that computes; empty until it is known.
    iteration, max_iterations : int
        Iteration of the run, and the last that its stage can have; 0 before there is an estimate.
    best_iteration : int or None
        Iteration that early stopping would keep.
    image, kernel : ndarray or None
        Current estimate and kernel of a single plane or volume.
    trace : ndarray
        Rows of the trace since the previous report.
    block : BlockResult or None
        A plane or volume that is finished.
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
    """The error that a computation in a thread returns in place of a result."""

    error: BaseException

    def __str__(self) -> str:
        reason = str(self.error) or type(self.error).__name__
        # Errors of this package are sentences for a person; a RuntimeError comes from torch.
        if isinstance(self.error, Exception) and not isinstance(self.error, RuntimeError):
            return reason
        return f"The computation failed: {reason.rstrip('.')}."


def catch_errors(
    work: Callable[..., Generator[_Progress, None, _Result]], *arguments: Any
) -> Generator[_Progress, None, _Result | Failure]:
    """Run a generator and return any error as a `Failure`, so that none reaches the worker.

    A napari worker emits no signal for a `RuntimeError`. An error that is not an `Exception` would
    end napari, and with PySide6 any error would.
    """
    try:
        return (yield from work(*arguments))
    except GeneratorExit:
        raise
    except BaseException as error:
        return Failure(error)


def work(task: Task, stop: Event) -> Generator[Progress, None, StackResult]:
    """Run a task and yield its progress.

    Setting `stop` ends the run soon. The result is then the best estimate so far of a single
    plane or volume, or the blocks of a stack that are finished.
    """
    yield Progress("Loading PyTorch …")
    load_torch()
    from napari_blind_deconv.engine.devices import choose_device
    from napari_blind_deconv.engine.solver import RunControl
    from napari_blind_deconv.engine.stacks import run_stack

    is_stack = bool(task.image.stack_axes)
    reporter = _Reporter(
        choose_device(task.settings.device).type, task.image.block_kind if is_stack else None
    )
    # A stack shows only finished planes, so its interval between previews is infinite.
    control = RunControl(stop.is_set, math.inf if is_stack else _SECONDS_BETWEEN_REPORTS)
    run = Run(run_stack(task, control, collect=False))
    for step in run:
        yield from reporter.reports(step)
    return run.result()


class _Reporter:
    """Converts the reports of a run to `Progress` for the panel, at a limited rate."""

    def __init__(self, device: str, stack_of: BlockKind | None) -> None:
        self._device, self._stack_of = device, stack_of
        self._rows: list[tuple[Any, ...]] = []
        self._last_text = ""
        self._next_report = -math.inf  # seconds on the monotonic clock

    def reports(self, step: StackStep) -> Generator[Progress, None, None]:
        """Yield what the panel shows after a report of the run; often nothing."""
        if isinstance(step, Notice):
            self._last_text = step.text
            yield Progress(step.text, self._device)
            return
        if isinstance(step, BlockResult):
            yield Progress(self._last_text, self._device, block=step)
            return
        text = self._describe(step.stage, step.index)
        if step.iteration:
            self._rows.append(tuple(getattr(step, name) for name in TRACE_DTYPE.names or ()))
        if step.image is not None:
            yield self._with_estimate(text, step)
        elif text != self._last_text and time.monotonic() >= self._next_report:
            yield Progress(text, self._device)
        else:
            return
        self._last_text = text
        self._next_report = time.monotonic() + _SECONDS_BETWEEN_REPORTS

    def _with_estimate(self, text: str, step: Snapshot) -> Progress:
        trace = np.array(self._rows, dtype=TRACE_DTYPE)
        self._rows.clear()
        return Progress(
            text,
            self._device,
            iteration=step.iteration,
            max_iterations=step.max_iterations,
            best_iteration=step.best_iteration,
            image=step.image,
            kernel=step.kernel,
            trace=trace,
        )

    def _describe(self, stage: Stage, index: Index) -> str:
        if self._stack_of is not None:
            block = f"{self._stack_of} {', '.join(map(str, index))}"
            if stage is Stage.KERNEL:
                return f"Estimating the kernel of {block} …"
            return f"Deconvolving {block} …"
        if stage is Stage.KERNEL:
            return "Estimating the kernel …"
        if stage is Stage.WIENER:
            return "Computing the linear estimate …"
        if stage is Stage.LOG_GAUSSIAN:
            return "Computing the log-gaussian estimate …"
        return f"Deconvolving on the {self._device.upper()} …"
