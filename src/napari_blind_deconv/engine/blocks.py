"""Computation of the blocks of a stack, one after the other or by an executor.

A block that fails gives a `BlockResult` with the reason, so that the other blocks continue.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from napari_blind_deconv.engine.executors import BlockExecutor
from napari_blind_deconv.engine.planes import deconvolve_plane
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.errors import DeconvolutionError, first_line
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.results import BlockResult, Notice, Snapshot
from napari_blind_deconv.steps import Run, mapped
from napari_blind_deconv.task import Task

__all__ = ["compute_block", "compute_blocks", "submit_blocks"]

_SECONDS_BETWEEN_CHECKS = 0.25  # of `RunControl.should_stop`
# Errors of one block, which do not stop the other blocks.
_BLOCK_ERRORS = (ValueError, TypeError, DeconvolutionError)


def compute_blocks(
    image: Image, plan: StackPlan, indices: Iterable[Index], control: RunControl
) -> Iterator[Snapshot | BlockResult]:
    """Compute blocks one after the other in this thread.

    Yields
    ------
    Snapshot or BlockResult
        The snapshots of each block, then its result.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        If the only block of an image fails.
    """
    for index in indices:
        if control.should_stop() and image.blocks > 1:
            return
        run = Run(_compute(image, plan, index, control))
        yield from run
        # A block of a stack that was stopped is left out: it differs from that of a complete run.
        if control.should_stop() and image.blocks > 1:
            return
        yield run.result()


def submit_blocks(
    image: Image,
    plan: StackPlan,
    indices: Iterable[Index],
    control: RunControl,
    executor: Executor,
) -> Iterator[BlockResult | Notice]:
    """Compute blocks by an executor and yield their results in the order of completion.

    Between them are notices, if the run has to wait for workers.

    Blocks are read here and submitted a few at a time, so that neither this process nor the workers
    hold the stack in memory. A block whose workers ended is computed once more, after the others
    and alone; if its workers end again, it is a block that failed.

    Raises
    ------
    DeconvolutionError
        If the workers end. Results yielded before are valid.
    """
    workers = executor if isinstance(executor, BlockExecutor) else BlockExecutor(executor)
    on_one_core = isinstance(executor, ProcessPoolExecutor)
    compute = _compute_on_one_core if on_one_core else compute_block
    submit = partial(_submit_blocks, image, plan, control, workers, compute)
    suspects: list[Index] = []
    try:
        yield from submit(indices, suspects)
        # One by one: a block that ends its workers then takes no other block with it.
        for index in suspects:
            yield from submit([index], None)
    except BrokenExecutor as error:
        raise DeconvolutionError(
            f"The workers ended ({first_line(error)}); the completed {image.block_kind}s are valid."
        ) from error


def _submit_blocks(
    image: Image,
    plan: StackPlan,
    control: RunControl,
    workers: BlockExecutor,
    compute: Callable[[Task, Index], BlockResult],
    indices: Iterable[Index],
    suspects: list[Index] | None,
) -> Iterator[BlockResult | Notice]:
    """Compute blocks; those whose workers ended are added to `suspects`, or fail if it is None."""
    submitted: dict[Future[BlockResult], Index] = {}
    remaining = iter(indices)
    try:
        while not control.should_stop():
            while len(submitted) < workers.ahead and (index := next(remaining, None)) is not None:
                try:
                    block = image.read(index)
                except ValueError as error:
                    yield _unreadable(index, image, error)
                    continue
                task = plan.task_of(block, image.channel_of(index))
                submitted[workers.submit(compute, task, index)] = index
            if not submitted:
                return
            done, _ = wait(submitted, timeout=_SECONDS_BETWEEN_CHECKS, return_when=FIRST_COMPLETED)
            if notice := workers.check():
                yield Notice(notice)
            for future in done:
                index = submitted.pop(future)
                if suspects is not None and isinstance(_error_of(future), workers.deaths):
                    suspects.append(index)
                else:
                    yield _result_of(future, image, index, workers)
    finally:
        for future in submitted:
            future.cancel()


def compute_block(task: Task, index: Index) -> BlockResult:
    """Compute one block in the current process; an error of the block is part of the result."""
    try:
        return Run(_deconvolve(task, index, RunControl())).result()
    except _BLOCK_ERRORS as error:
        return _failed(index, task.image, error)


def _compute_on_one_core(task: Task, index: Index) -> BlockResult:
    """Compute one block with one thread, because the other processes of the pool use the others.

    One thread also avoids a deadlock: a forked process would wait for torch's threads, which exist
    only in its parent.
    """
    torch.set_num_threads(1)
    return compute_block(task, index)


def _result_of(
    future: Future[BlockResult], image: Image, index: Index, workers: BlockExecutor
) -> BlockResult:
    """Return the result of a worker; an error of the worker becomes that of the block."""
    error, kind = _error_of(future), image.block_kind
    if error is None:
        return future.result()
    if isinstance(error, workers.fatal):
        raise error
    if isinstance(error, workers.deaths):
        reason = (
            f"Expected a result, but all workers that computed this {kind} ended, also when it was "
            "the only one; possibly out of memory: give the workers more."
        )
    else:
        reason = f"The worker failed on this {kind} ({type(error).__name__}: {first_line(error)})."
    failure = DeconvolutionError(reason)
    try:
        return _failed(index, image.read(index), failure)
    except ValueError:
        return _unreadable(index, image, failure)


def _error_of(future: Future[BlockResult]) -> BaseException | None:
    """Return the error of a future that is done, also that it was cancelled."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _compute(
    image: Image, plan: StackPlan, index: Index, control: RunControl
) -> Generator[Snapshot, None, BlockResult]:
    try:
        block = image.read(index)
    except ValueError as error:
        return _unreadable(index, image, error)
    try:
        task = plan.task_of(block, image.channel_of(index))
        return (yield from _deconvolve(task, index, control))
    except _BLOCK_ERRORS as error:
        if image.blocks == 1:  # there are no other blocks to continue with
            raise
        return _failed(index, block, error)


def _deconvolve(
    task: Task, index: Index, control: RunControl
) -> Generator[Snapshot, None, BlockResult]:
    run = deconvolve_plane(task, control)
    result = yield from mapped(run, lambda snapshot: replace(snapshot, index=index))
    return BlockResult(index, result.image, result)


def _failed(index: Index, block: Image, error: Exception) -> BlockResult:
    """Return the input as the result of a block that cannot be deconvolved."""
    with np.errstate(over="ignore"):  # values beyond single precision become infinite
        pixels = block.array.astype(np.float32)
    return BlockResult(index, pixels, failure=str(error))


def _unreadable(index: Index, image: Image, error: Exception) -> BlockResult:
    """Return zeros as the result of a block that cannot be read."""
    shape = tuple(image.pixels.shape[len(index) :])
    return BlockResult(index, np.zeros(shape, np.float32), failure=str(error))
