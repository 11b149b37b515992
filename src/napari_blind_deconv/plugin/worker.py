"""The computation in its thread: a task in, progress out, a result at the end. No Qt in here."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from threading import Event
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.plugin.torch_loading import load_torch
from napari_blind_deconv.results import TRACE_DTYPE, Result, Stage
from napari_blind_deconv.task import Task

__all__ = ["Failure", "Progress", "attempted", "work"]

_Progress = TypeVar("_Progress")
_Result = TypeVar("_Result")

# Each picture crosses to the GUI thread; more often than this a person does not see.
_SECONDS_BETWEEN_PICTURES = 0.4


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
    trace : ndarray
        Since the last one.
    """

    stage: str
    device: str = ""
    iteration: int = 0
    max_iterations: int = 0
    best_iteration: int | None = None
    image: NDArray[np.float32] | None = None
    kernel: NDArray[np.float32] | None = None
    trace: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, TRACE_DTYPE))


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


def work(task: Task, stop: Event) -> Generator[Progress, None, Result]:
    """Run a task; `stop` ends it after the iteration in hand, with the best so far."""
    yield Progress("Loading PyTorch …")
    load_torch()
    from napari_blind_deconv.engine.deconvolve import run_task
    from napari_blind_deconv.engine.devices import choose_device
    from napari_blind_deconv.engine.solver import Watch

    place = choose_device(task.settings.device).type
    run = run_task(task, Watch(stop.is_set, _SECONDS_BETWEEN_PICTURES))
    yield Progress(
        "Looking for the blur …" if task.kernel.is_found else "Making the first picture …"
    )
    rows = []
    while True:
        try:
            snapshot = next(run)
        except StopIteration as finished:
            result: Result = finished.value
            return result
        if snapshot.stage in (Stage.KERNEL, Stage.WIENER) or not snapshot.iteration:
            # Seconds before the iterations begin: only pictures cross to the screen.
            if snapshot.image is not None:
                yield Progress(
                    "Making the first picture …",
                    place,
                    image=snapshot.image,
                    kernel=snapshot.kernel,
                )
            continue
        rows.append(tuple(getattr(snapshot, name) for name in TRACE_DTYPE.names or ()))
        if snapshot.image is not None:
            yield Progress(
                f"Sharpening on the {place.upper()} …",
                place,
                snapshot.iteration,
                snapshot.max_iterations,
                snapshot.best_iteration,
                snapshot.image,
                snapshot.kernel,
                np.array(rows, dtype=TRACE_DTYPE),
            )
            rows.clear()
