"""The pipeline of stages on one block, without tiles."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_blind_deconv.engine.double_dip import DoubleDip
from napari_blind_deconv.engine.inputs import check_solver
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.kernel_stage import find_kernel_start
from napari_blind_deconv.engine.log_gaussian import LogGaussian
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.quality import judge
from napari_blind_deconv.engine.richardson_lucy import START_ITERATIONS, RichardsonLucy
from napari_blind_deconv.engine.solver import RunControl, SolverOutcome, run_solver
from napari_blind_deconv.engine.tiles import volume_bytes
from napari_blind_deconv.engine.wiener import Wiener, noise_to_signal_of
from napari_blind_deconv.errors import (
    DeconvolutionError,
    OutOfMemoryError,
    TooLargeForNetworksError,
    first_line,
)
from napari_blind_deconv.numerics.noise_shape import NoiseColour
from napari_blind_deconv.numerics.wiener import is_limited_by_noise
from napari_blind_deconv.reasons import SkipReason, StopReason
from napari_blind_deconv.results import Result, Snapshot, Stage, versions
from napari_blind_deconv.settings import ImageStart, SolverName
from napari_blind_deconv.task import Task

__all__ = ["explained_failures", "run_stages", "run_task"]

# Phrases in the messages of libraries that ran out of memory. "memory" alone is not enough: access
# to illegal memory is another fault.
_OUT_OF_MEMORY_PHRASES = ("out of memory", "not enough memory", "allocate memory", "alloc_failed")


def run_task(
    task: Task, control: RunControl, inspection: Inspection | None = None
) -> Generator[Snapshot, None, Result]:
    """Run a task on one block, without tiles.

    The task is checked by this call, before the first iteration, as by :func:`iterate`. A caller
    that has inspected the block passes the `inspection`. The run raises `TooLargeForNetworksError`
    if the block needs networks and has more than ``task.tile_side ** 2`` pixels.
    """
    check_solver(task.settings, task.kernel, task.image.space)
    return _run(Problem.of(task, inspection), control)


def _run(problem: Problem, control: RunControl) -> Generator[Snapshot, None, Result]:
    started = time.monotonic()
    with explained_failures(problem):
        _check_memory(problem)
        skipped: dict[Stage, SkipReason] = {}
        problem, end = yield from run_stages(problem, control, skipped)
        image, weights = problem.to_output(
            end.best.canvas, end.best.kernel, converges=end.converges
        )
        kernel = problem.estimated_kernel(weights)
        judgement = judge(
            problem.inspection,
            image,
            kernel,
            strength=problem.settings.strength,
            reason=end.reason,
            slowed_at=end.slowed_at,
            microscope=problem.settings.microscope_with(problem.task.image.optics),
        )
    low, high = problem.intensity.low, problem.intensity.high
    return Result(
        image=image,
        kernel=kernel,
        kernel_is_held=problem.is_held,
        trace=end.trace,
        stop_reason=end.reason,
        stop_iteration=end.best.iteration,
        settings=problem.settings,
        device=str(problem.device),
        noise=problem.noise * (high - low),
        intensity_range=(low, high),
        versions=versions(),
        seconds=time.monotonic() - started,
        slowed_at=end.slowed_at,
        skipped=skipped,
        **judgement._asdict(),
    )


@contextmanager
def explained_failures(problem: Problem) -> Iterator[None]:
    """Raise a failure of a computation as a `DeconvolutionError` that says what to try."""
    try:
        yield
    # torch.OutOfMemoryError is a RuntimeError.
    except (RuntimeError, MemoryError, FloatingPointError) as error:
        raise _deconvolution_error(error, problem) from error


def run_stages(
    problem: Problem, control: RunControl, skipped: dict[Stage, SkipReason]
) -> Generator[Snapshot, None, tuple[Problem, SolverOutcome]]:
    """Run the stages: kernel, first estimate, log-gaussian estimate, double-DIP.

    A stage that the image does not need is left out and added to `skipped`.
    """
    if problem.settings.solver is SolverName.RICHARDSON_LUCY:
        return problem, (yield from run_solver(problem, RichardsonLucy(problem), control))
    problem = yield from find_kernel_start(problem, control)
    settings, kernel = problem.settings, problem.kernel_start
    before, start = None, None
    has_networks = settings.solver is SolverName.AUTO and not problem.is_volume
    if kernel is not None and (not has_networks or settings.image_start is ImageStart.WIENER):
        ratio = noise_to_signal_of(problem, kernel)
        solver: Wiener | RichardsonLucy | LogGaussian = _first_solver(problem, kernel, ratio)
        before = yield from run_solver(problem, solver, control)
        if settings.solver is SolverName.WIENER or before.reason is StopReason.STOPPED:
            return problem, _ended(problem, before)
        reason = _reason_against_log_gaussian(problem, ratio)
        if reason is None or settings.solver is SolverName.LOG_GAUSSIAN:
            solver = LogGaussian(problem, solver.canvas, ratio)
            before = yield from run_solver(problem, solver, control, before)
        else:
            skipped[Stage.LOG_GAUSSIAN] = reason
        before = _ended(problem, before)
        if settings.solver is SolverName.AUTO and not has_networks:
            skipped[Stage.DOUBLE_DIP] = SkipReason.VOLUME
        if not has_networks or before.reason is StopReason.STOPPED:
            return problem, before
        if before.reason is StopReason.NOISE:
            skipped[Stage.DOUBLE_DIP] = SkipReason.ONLY_NOISE_LEFT
            return problem, before
        if settings.stop_at_noise and not problem.inspection.noise.is_white:
            skipped[Stage.DOUBLE_DIP] = SkipReason.FILTERED_NOISE
            return problem, before
        if settings.strength != 1:
            skipped[Stage.DOUBLE_DIP] = SkipReason.STRENGTH
            return problem, before
        start = solver.canvas
    if problem.is_too_large_for_networks:
        raise TooLargeForNetworksError(_estimate_so_far(problem, before))
    # The networks are made only now, because to prepare them takes longer than the estimates above.
    network = DoubleDip(problem, start)
    return problem, (yield from run_solver(problem, network, control, before))


def _estimate_so_far(problem: Problem, outcome: SolverOutcome | None) -> NDArray[Any]:
    """Return the estimate of an outcome in the units of the input; without it, the input."""
    if outcome is None:
        return problem.task.image.array
    best = outcome.best
    return problem.to_output(best.canvas, best.kernel, converges=outcome.converges)[0]


def _first_solver(
    problem: Problem, kernel: NDArray[np.float32], ratio: float
) -> Wiener | RichardsonLucy:
    """Return the solver of the estimate from which the log-gaussian one starts.

    In a volume, a few iterations of Richardson-Lucy come closer to it than the linear estimate, in
    a tenth of the time: objects are surrounded by dark space, where light cannot be negative.
    """
    solver = problem.settings.solver
    is_refined = solver is SolverName.LOG_GAUSSIAN or (
        solver is SolverName.AUTO and not _has_processed_noise(problem)
    )
    if problem.is_volume and is_refined:
        return RichardsonLucy(problem, START_ITERATIONS)
    return Wiener(problem, kernel, ratio)


def _has_processed_noise(problem: Problem) -> bool:
    return problem.inspection.noise.colour is NoiseColour.PROCESSED


def _reason_against_log_gaussian(problem: Problem, ratio: float) -> SkipReason | None:
    """Return why the log-gaussian estimate would be no better than the linear one, if so."""
    if _has_processed_noise(problem):
        return SkipReason.PROCESSED_NOISE
    # In volumes, positivity matters at any noise.
    if not problem.is_volume and not is_limited_by_noise(ratio):
        return SkipReason.LITTLE_NOISE
    return None


def _ended(problem: Problem, outcome: SolverOutcome) -> SolverOutcome:
    """Return an outcome with the reason that only noise is left, if one of its stages says so."""
    last_of_stage = {row["stage"]: float(row["data"]) for row in outcome.trace}
    is_explained = any(map(problem.is_explained_by, last_of_stage.values()))
    if outcome.reason is StopReason.COMPLETED and is_explained:
        return replace(outcome, reason=StopReason.NOISE)
    return outcome


def _check_memory(problem: Problem) -> None:
    """Raise `MemoryError` for a volume that is too large; the system would end the process."""
    if problem.is_volume and problem.device.type == "cpu":
        needed = volume_bytes(problem.canvas_shape, problem.settings.solver)
        if needed > psutil.virtual_memory().available:
            raise MemoryError


def _deconvolution_error(error: BaseException, problem: Problem) -> DeconvolutionError:
    sides, device = " × ".join(map(str, problem.canvas_shape)), problem.device
    units = f"{problem.task.image.block_kind.element}s"
    window = "PSF" if problem.is_volume else "kernel window"
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(phrase in text for phrase in _OUT_OF_MEMORY_PHRASES):
        return OutOfMemoryError(
            f"There is not enough memory on {device} for a canvas of {sides} {units}; "
            f"try a smaller region, a smaller {window} or device 'cpu'."
        )
    return DeconvolutionError(f"The computation on {device} failed: {first_line(error)}.")
