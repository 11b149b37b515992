"""The interface of a solver and the loop that runs it.

A solver computes one iteration at a time and does not use files, layers or threads. The loop does
what all solvers share: stopping, the trace, previews and the best estimate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_blind_deconv.engine.best_estimate import BestEstimate, Iterate
from napari_blind_deconv.engine.objective import Terms
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import TRACE_DTYPE, Snapshot, Stage

__all__ = ["MAX_PREVIEW_SHARE", "RunControl", "Solver", "SolverOutcome", "Step", "run_solver"]

# Previews take at most this share of the time, unless every iteration must have one.
MAX_PREVIEW_SHARE = 0.2


class Step(NamedTuple):
    """The estimates at the start of an iteration, and the terms of the objective for them."""

    canvas: Tensor
    kernel: Tensor
    loss: float
    data: float
    regulariser: float

    @classmethod
    def of(cls, canvas: Tensor, kernel: Tensor, terms: Terms) -> Self:
        """Return a step with its terms as numbers; this waits for the GPU."""
        return cls(canvas.detach(), kernel.detach(), *torch.stack(terms).tolist())


class Solver(Protocol):
    """A method that improves an estimate of image and kernel by one iteration at a time.

    Attributes
    ----------
    stage : Stage
        Stage of the pipeline.
    limit : int
        Maximum number of iterations.
    at_the_limit : StopReason
        Reason of the stop when the limit is reached.
    averaging : float
        Weight of the past in the running mean of the estimates; 0 switches averaging off.
    window : int
        Number of estimates over which their variance is computed.
    converges : bool
        Whether the estimates converge to the one that is wanted. If False, more iterations begin
        to fit the noise, so that the run ends at the noise or by early stopping.
    slowed_at : int or None
        As in `Result`, counted from the first iteration of the solver.
    """

    @property
    def stage(self) -> Stage: ...  # noqa: D102 (see Attributes)
    @property
    def limit(self) -> int: ...  # noqa: D102
    @property
    def at_the_limit(self) -> StopReason: ...  # noqa: D102
    @property
    def averaging(self) -> float: ...  # noqa: D102
    @property
    def window(self) -> int: ...  # noqa: D102
    @property
    def converges(self) -> bool: ...  # noqa: D102
    @property
    def slowed_at(self) -> int | None: ...  # noqa: D102

    def prepare(self) -> Iterable[None]:
        """Prepare the first iteration in small parts. The caller may stop after any of them."""

    def step(self, iteration: int) -> Step | None:
        """Run one iteration, counted from 1; return None if the estimate has converged.

        Raises
        ------
        FloatingPointError
            If the objective or a gradient is not finite.
        """


@dataclass(frozen=True)
class RunControl:
    """Control of a run by its caller: stopping and previews.

    Attributes
    ----------
    should_stop : callable
        Called after every snapshot. If it returns True, the run ends with the best estimate so far.
    preview_seconds : float
        Minimum time between snapshots that carry the estimates. 0 adds the estimates to every
        snapshot, infinity (the default) to none.
    preview_iterations : int
        Only iterations that are multiples of this number carry the estimates.
    """

    should_stop: Callable[[], bool] = lambda: False
    preview_seconds: float = math.inf
    preview_iterations: int = 1

    def wants_preview(self, iteration: int, due: float) -> bool:
        """Return whether an iteration carries the estimates, which are due at a time."""
        is_due = self.preview_seconds == 0 or time.monotonic() >= due
        return is_due and iteration % self.preview_iterations == 0


@dataclass(frozen=True)
class SolverOutcome:
    """Outcome of a solver.

    Attributes
    ----------
    best : Iterate
        Estimate to return; its iteration is that of the run.
    trace : ndarray
        One record of `TRACE_DTYPE` for each iteration of the run, those of earlier stages included.
    reason : StopReason
        Reason of the stop.
    converges : bool
        As in `Solver`.
    slowed_at : int or None
        As in `Result`.
    """

    best: Iterate
    trace: NDArray[np.void]
    reason: StopReason
    converges: bool
    slowed_at: int | None


def run_solver(
    problem: Problem, solver: Solver, control: RunControl, before: SolverOutcome | None = None
) -> Generator[Snapshot, None, SolverOutcome]:
    """Run a solver to its end. For double-DIP these are lines 1 to 14 of Algorithm 1.

    Parameters
    ----------
    problem : Problem
    solver : Solver
    control : RunControl
    before : SolverOutcome, optional
        Outcome of the stage before, such as the linear estimate, whose trace is continued. If the
        run is stopped while the solver prepares, it returns this outcome. Without it, the solver
        runs one iteration.

    Yields
    ------
    Snapshot

    Returns
    -------
    SolverOutcome

    Raises
    ------
    FloatingPointError
        If the first iteration is not finite. A later one ends the run as diverged.
    """
    earlier = np.zeros(0, TRACE_DTYPE) if before is None else before.trace
    done = len(earlier)
    for _ in solver.prepare():
        yield Snapshot.waiting(solver.stage, done + solver.limit)
        if control.should_stop():
            if before is not None:
                return replace(before, reason=StopReason.STOPPED)
            break
    estimates = BestEstimate(
        problem, solver.averaging, solver.window, stops_early=not solver.converges
    )
    rows: list[tuple[int | float | str, ...]] = []
    reason = solver.at_the_limit
    # The first iteration has a preview, unless previews are off.
    preview_due = math.inf if math.isinf(control.preview_seconds) else -math.inf
    for iteration in range(done + 1, done + solver.limit + 1):
        try:
            step = solver.step(iteration - done)
        except FloatingPointError:
            if not rows:
                raise
            reason = StopReason.DIVERGED
            break
        if step is None:
            break
        variance = estimates.update(iteration, step.canvas, step.kernel)
        measures = (step.loss, step.data, step.regulariser, variance)
        rows.append((iteration, solver.stage, *measures))
        image, kernel = None, None
        if control.wants_preview(iteration, preview_due):
            started, latest = time.monotonic(), estimates.latest
            image, kernel = problem.to_output(
                latest.canvas, latest.kernel, search=False, converges=solver.converges
            )
            elapsed = time.monotonic() - started
            preview_due = started + max(control.preview_seconds, elapsed / MAX_PREVIEW_SHARE)
        best_iteration = estimates.stopping.best_iteration
        limit = done + solver.limit
        yield Snapshot(solver.stage, iteration, *measures, best_iteration, limit, image, kernel)
        if control.should_stop():
            reason = StopReason.STOPPED
            break
        # Only noise is left to explain, and more iterations would fit the noise.
        if not solver.converges and problem.is_explained_by(step.data):
            reason = StopReason.NOISE
            estimates.best = estimates.latest
            break
        if estimates.stopping.exhausted:
            reason = StopReason.EARLY_STOPPING
            break
    trace = np.concatenate([earlier, np.array(rows, dtype=TRACE_DTYPE)])
    slowed_at = None if solver.slowed_at is None else done + solver.slowed_at
    return SolverOutcome(estimates.best, trace, reason, solver.converges, slowed_at)
