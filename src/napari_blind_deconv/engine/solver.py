"""What a solver is, and the one loop around all of them.

A solver makes one step at a time and knows neither files nor layers nor threads. The loop owns what
is the same for all: when to stop, the trace, previews and the best estimate so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_blind_deconv.engine.best_estimate import BestEstimate, Iterate
from napari_blind_deconv.engine.objective import Terms
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import TRACE_DTYPE, Snapshot, Stage

__all__ = ["RunControl", "Solver", "SolverOutcome", "Step", "run_solver"]

# Pictures on the way take no more than this share of the time, where not all are asked for.
_PREVIEW_SHARE = 0.2


class Step(NamedTuple):
    """The estimates a step started from, and the terms of the objective there."""

    canvas: Tensor
    kernel: Tensor
    loss: float
    data: float
    regulariser: float

    @classmethod
    def of(cls, canvas: Tensor, kernel: Tensor, terms: Terms) -> Self:
        """A step with its terms as numbers; a GPU is waited for."""
        return cls(canvas.detach(), kernel.detach(), *(term.item() for term in terms))


class Solver(Protocol):
    """What starts from a problem, a kernel and perhaps an estimate, and makes one step at a time.

    Attributes
    ----------
    stage : Stage
        Its name.
    limit : int
        Most steps it makes.
    at_the_limit : StopReason
        Why it ends there.
    averaging : float
        Weight of the past in the running mean of its pictures; 0 for none.
    slowed_at : int or None
        As in `Result`.
    """

    @property
    def stage(self) -> Stage: ...  # noqa: D102 (said above)
    @property
    def limit(self) -> int: ...  # noqa: D102
    @property
    def at_the_limit(self) -> StopReason: ...  # noqa: D102
    @property
    def averaging(self) -> float: ...  # noqa: D102
    @property
    def slowed_at(self) -> int | None: ...  # noqa: D102

    def prepare(self) -> Iterable[None]:
        """What is to be done before the first step, in small parts; it may be broken off."""

    def step(self, iteration: int) -> Step:
        """One step; `FloatingPointError` if there are no finite numbers to be had."""


@dataclass(frozen=True)
class RunControl:
    """Who watches a run, and may end it.

    Attributes
    ----------
    should_stop : callable
        Asked after every report; True ends the run with the best estimate so far.
    preview_seconds : float
        Least time between snapshots that carry pictures; 0 puts them into each, infinity, the
        default, into none.
    """

    should_stop: Callable[[], bool] = lambda: False
    preview_seconds: float = math.inf


@dataclass(frozen=True)
class SolverOutcome:
    """What a stage leaves: the estimate to return, its trace, and how it went."""

    best: Iterate
    trace: NDArray[np.void]
    reason: StopReason
    slowed_at: int | None


def run_solver(
    problem: Problem, solver: Solver, control: RunControl, before: SolverOutcome | None = None
) -> Generator[Snapshot, None, SolverOutcome]:
    """Run a solver to its end; lines 1 to 14 of Algorithm 1 for double-DIP.

    A run that is stopped while the solver prepares itself ends with what was there `before`, or
    else with its first step.
    """
    for _ in solver.prepare():
        yield Snapshot.waiting(solver.stage, solver.limit)
        if control.should_stop():
            if before is not None:
                return replace(before, reason=StopReason.STOPPED)
            break
    estimates = BestEstimate(problem, solver.averaging)
    trace = np.zeros(solver.limit, dtype=TRACE_DTYPE)
    reason = solver.at_the_limit
    preview_due = math.inf if math.isinf(control.preview_seconds) else -math.inf
    for iteration in range(1, solver.limit + 1):
        try:
            step = solver.step(iteration)
        except FloatingPointError:
            if iteration == 1:
                raise
            reason = StopReason.DIVERGED
            break
        variance = estimates.update(iteration, step.canvas, step.kernel)
        row = (iteration, step.loss, step.data, step.regulariser, variance)
        trace[iteration - 1] = row
        steps = iteration
        image, kernel = None, None
        if control.preview_seconds == 0 or time.monotonic() >= preview_due:
            begun, latest = time.monotonic(), estimates.latest
            image, kernel = problem.to_output(latest.canvas, latest.kernel, search=False)
            spent = time.monotonic() - begun
            preview_due = begun + max(control.preview_seconds, spent / _PREVIEW_SHARE)
        best_iteration = estimates.stopping.best_iteration
        yield Snapshot(solver.stage, *row, best_iteration, solver.limit, image, kernel)
        if control.should_stop():
            reason = StopReason.STOPPED
            break
        if problem.is_explained_by(step.data):
            reason = StopReason.NOISE
            estimates.best = estimates.latest
            break
        if estimates.stopping.exhausted:
            reason = StopReason.EARLY_STOPPING
            break
    return SolverOutcome(estimates.best, trace[:steps].copy(), reason, solver.slowed_at)
