"""The computation in its thread: a job in, progress out, a result at the end. No Qt in here."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.results import TRACE_DTYPE, DeconvolutionError, Result
from napari_blind_deconv.settings import Settings

__all__ = ["Job", "Progress", "work"]

# Each picture crosses to the GUI thread; more often than this a person does not see.
_SECONDS_BETWEEN_PICTURES = 0.4


@dataclass(frozen=True)
class Job:
    """Copies of all that a run needs: never a widget or a layer."""

    pixels: NDArray[Any]
    rgb: bool
    settings: Settings
    device: str
    seed: int


@dataclass(frozen=True)
class Progress:
    """What the screen shows next: a picture, and the trace since the last one."""

    iteration: int
    max_iterations: int
    best_iteration: int | None
    image: NDArray[np.float32]
    trace: NDArray[np.void]


def work(job: Job, stop: Event) -> Generator[Progress, None, Result]:
    """Run a job; `stop` ends it after the iteration in hand, with the best so far.

    Raises no `RuntimeError`: a generator worker would report it to nobody.
    """
    try:
        return (yield from _work(job, stop))
    except RuntimeError as error:
        raise DeconvolutionError(f"The computation failed: {error}") from error


def _work(job: Job, stop: Event) -> Generator[Progress, None, Result]:
    from napari_blind_deconv.engine.optimise import iterate  # torch takes seconds to load

    run = iterate(
        job.pixels,
        job.settings,
        device=job.device,
        seed=job.seed,
        rgb=job.rgb,
        should_stop=stop.is_set,
        preview_seconds=_SECONDS_BETWEEN_PICTURES,
    )
    rows = []
    while True:
        try:
            snapshot = next(run)
        except StopIteration as finished:
            result: Result = finished.value
            return result
        rows.append(tuple(getattr(snapshot, name) for name in TRACE_DTYPE.names or ()))
        if snapshot.image is not None:
            yield Progress(
                snapshot.iteration,
                snapshot.max_iterations,
                snapshot.best_iteration,
                snapshot.image,
                np.array(rows, dtype=TRACE_DTYPE),
            )
            rows.clear()
