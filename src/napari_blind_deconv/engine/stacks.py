"""Stacks: one intensity range and one kernel a channel, then every block on its own.

A block is a plane; a single plane is a stack of one. A block depends on its pixels and on the
`StackPlan` alone. So blocks may be computed in any order, by any executor, or be left out because
they are there already: the result is the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_blind_deconv.engine.channel_statistics import ChannelStatistics, channel_statistics
from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import check_block, check_kernel
from napari_blind_deconv.engine.planes import deconvolve_plane, find_kernel
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.tiles import largest_tile
from napari_blind_deconv.errors import DeconvolutionError, first_line
from napari_blind_deconv.image import Image, Index, PixelArray
from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelScope
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.results import BlockResult, Snapshot, StackResult
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.steps import Run, mapped
from napari_blind_deconv.task import Task

__all__ = ["deconvolve_stack", "make_plan", "run_stack"]

# Blocks on their way to an executor: two for each core here, so that no worker waits.
_AHEAD = 2 * (os.cpu_count() or 1)
_SECONDS_BETWEEN_LOOKS = 0.25  # at whether to stop
# What may be wrong with one block and is no reason to give up the others.
_OF_A_BLOCK = (ValueError, TypeError, DeconvolutionError)


def deconvolve_stack(
    data: Image | PixelArray,
    settings: Settings | None = None,
    *,
    axes: str | None = None,
    kernel: KernelChoice | Kernel | NDArray[Any] | str | None = None,
    reference: Index | None = None,
    warm_start: bool = True,
    plan: StackPlan | None = None,
    finished: Collection[Index] = (),
    collect: bool = True,
    executor: Executor | None = None,
    should_stop: Callable[[], bool] | None = None,
    **changes: Any,
) -> Run[BlockResult, StackResult]:
    """Sharpen every plane of a stack.

    Parameters
    ----------
    data : Image or array_like
        Of numpy, dask or zarr; read plane by plane, never as a whole.
    settings : Settings, optional
        Default: the preset ``"fast"``.
    axes : str
        What the axes of an array are, such as ``"TCZYX"``: letters T, C and Z, each once at most,
        then Y and X, then S if the last axis is colour (3 or 4 samples).
    kernel : KernelChoice, Kernel, array_like or str, optional
        Where the kernel comes from. ``"per-channel"``, the default: found on the sharpest plane of
        every channel, then held; ``"shared"``: on the sharpest of all; ``"per-slice"``: each
        plane's own, which is slower and follows a blur that changes with depth; a kernel or an
        array: a known PSF, held.
    reference : tuple of int, optional
        The plane the kernel is found on, as a position along the axes before Y (its place along C
        is ignored for ``"per-channel"``), in place of the sharpest.
    warm_start : bool
        Planes whose kernel is known already get a fifth of the iterations.
    plan : StackPlan, optional
        That of an earlier run on the same data; replaces all choices above.
    finished : collection of tuple
        Planes to leave out.
    collect : bool
        Whether the result holds the estimate of all planes. Off, memory stays flat.
    executor : concurrent.futures.Executor, optional
        What computes the planes, such as a process pool or dask's; they then come in any order.
        Default: one after the other, here.
    should_stop : callable, optional
        As in `deconvolve`. Stopping leaves out the plane in hand and those that follow; of a single
        plane, the best so far is kept.
    **changes
        Settings that are to differ, by their names, such as ``device="cpu"``.

    Returns
    -------
    Run
        An iterator of `BlockResult`, one for each plane once it is done; its ``result()`` is the
        `StackResult`.

    Raises
    ------
    ValueError, TypeError
        For axes, kernel or settings that cannot be; of many, a *plane* that cannot be sharpened is
        reported in `StackResult.failures`, filled with its input, and the others go on.
    DeconvolutionError
        If the search for the kernels fails.

    Examples
    --------
    >>> import numpy as np
    >>> stack = np.random.default_rng(0).random((2, 32, 32))
    >>> run = deconvolve_stack(stack, axes="ZYX", solver="wiener")
    >>> [block.index for block in run], run.result().image.shape
    ([(0,), (1,)], (2, 32, 32))
    """
    task = Task.of(data, settings, changes, axes=axes, kernel=kernel)
    steps = run_stack(
        task,
        RunControl() if should_stop is None else RunControl(should_stop),
        reference=reference,
        warm_start=warm_start,
        plan=plan,
        finished=finished,
        collect=collect,
        executor=executor,
    )
    return Run(_blocks_of(steps))


def _blocks_of(
    steps: Generator[Snapshot | BlockResult, None, StackResult],
) -> Generator[BlockResult, None, StackResult]:
    run = Run(steps)
    for step in run:
        if isinstance(step, BlockResult):
            yield step
    return run.result()


def run_stack(
    task: Task,
    control: RunControl,
    *,
    reference: Index | None = None,
    warm_start: bool = True,
    plan: StackPlan | None = None,
    finished: Collection[Index] = (),
    collect: bool = True,
    executor: Executor | None = None,
) -> Generator[Snapshot | BlockResult, None, StackResult]:
    """Run a task on all its blocks; yields what happens on the way, and each block once done.

    Parameters are those of `deconvolve_stack`.
    """
    image = task.image
    if plan is None:
        plan = yield from make_plan(task, control, reference=reference, warm_start=warm_start)
        if control.should_stop() and image.blocks > 1:  # with kernels that are half found
            plan = None
    estimate = np.zeros(image.pixels.shape, np.float32) if collect else None
    failures: dict[Index, str] = {}
    flags: Counter[Any] = Counter()
    done = 0
    waiting = _waiting(image, finished)
    steps: Iterator[Snapshot | BlockResult] = iter(())
    if plan is None:
        pass
    elif executor is None or image.blocks == 1:
        steps = _one_by_one(image, plan, waiting, control)
    else:
        steps = _by_executor(image, plan, waiting, control, executor)
    for step in steps:
        if isinstance(step, BlockResult):
            if estimate is not None:
                estimate[step.index] = step.image
            if step.failure is not None:
                failures[step.index] = step.failure
            flags.update(step.result.flags if step.result else ())
            done += 1
        yield step
    return StackResult(estimate, plan, failures, flags, done, missing=len(waiting) - done)


def _waiting(image: Image, finished: Collection[Index]) -> list[Index]:
    there = {tuple(index) for index in finished}
    return [index for index in image.indices() if index not in there]


def _one_by_one(
    image: Image, plan: StackPlan, waiting: Iterable[Index], control: RunControl
) -> Iterator[Snapshot | BlockResult]:
    for index in waiting:
        if control.should_stop() and image.blocks > 1:
            return
        run = Run(_compute(image, plan, index, control))
        yield from run
        # A plane half done would not be the one of an uninterrupted run.
        if control.should_stop() and image.blocks > 1:
            return
        yield run.result()


def _by_executor(
    image: Image,
    plan: StackPlan,
    waiting: Iterable[Index],
    control: RunControl,
    executor: Executor,
) -> Iterator[BlockResult]:
    """Blocks are read here and sent, a few ahead, so that neither side ever holds the stack."""
    ahead = getattr(executor, "ahead", _AHEAD)
    compute = _on_one_core if isinstance(executor, ProcessPoolExecutor) else compute_block
    places: dict[Future[BlockResult], Index] = {}
    todo = iter(waiting)
    try:
        while not control.should_stop():
            while len(places) < ahead and (index := next(todo, None)) is not None:
                try:
                    block = image.read(index)
                except ValueError as error:
                    yield _unread(index, image, error)
                    continue
                work = plan.task_of(block, image.channel_of(index))
                places[executor.submit(compute, work, index)] = index
            if not places:
                return
            ended, _ = wait(places, timeout=_SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
            for future in ended:
                yield _outcome(future, image, places.pop(future))
    except BrokenExecutor as error:
        raise DeconvolutionError(
            f"The workers are gone ({first_line(error)}); the planes that are done are good."
        ) from error
    finally:
        for future in places:
            future.cancel()


def compute_block(task: Task, index: Index) -> BlockResult:
    """Sharpen one block, in whatever process this is; what is wrong with it is in the result."""
    try:
        return Run(_sharpened(task, index, RunControl())).result()
    except _OF_A_BLOCK as error:
        return _failed(index, task.image, error)


def _on_one_core(task: Task, index: Index) -> BlockResult:
    """The same in a process of a pool, whose siblings have the other cores.

    A process that was forked would wait for ever for the threads it had before.
    """
    torch.set_num_threads(1)
    return compute_block(task, index)


def _outcome(future: Future[BlockResult], image: Image, index: Index) -> BlockResult:
    """What a worker has made of a block; one that failed is reported like any bad block."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, CancelledError):
        raise error
    told = DeconvolutionError(
        f"The worker failed on this plane ({type(error).__name__}: {first_line(error)})."
    )
    try:
        return _failed(index, image.read(index), told)
    except ValueError:
        return _unread(index, image, told)


def _compute(
    image: Image, plan: StackPlan, index: Index, control: RunControl
) -> Generator[Snapshot, None, BlockResult]:
    try:
        block = image.read(index)
    except ValueError as error:
        return _unread(index, image, error)
    try:
        task = plan.task_of(block, image.channel_of(index))
        return (yield from _sharpened(task, index, control))
    except _OF_A_BLOCK as error:
        if image.blocks == 1:  # there are no others to go on with
            raise
        return _failed(index, block, error)


def _sharpened(
    task: Task, index: Index, control: RunControl
) -> Generator[Snapshot, None, BlockResult]:
    result = yield from _indexed(index, deconvolve_plane(task, control))
    return BlockResult(index, result.image, result)


def _failed(index: Index, block: Image, error: Exception) -> BlockResult:
    """The result of a block that cannot be sharpened: its input."""
    with np.errstate(over="ignore"):  # beyond single precision is infinite
        pixels = block.array.astype(np.float32)
    return BlockResult(index, pixels, failure=str(error))


def _unread(index: Index, image: Image, error: Exception) -> BlockResult:
    """The result of a block that cannot be read: zeros."""
    shape = tuple(image.pixels.shape[len(index) :])
    return BlockResult(index, np.zeros(shape, np.float32), failure=str(error))


def make_plan(
    task: Task, control: RunControl, *, reference: Index | None = None, warm_start: bool = True
) -> Generator[Snapshot, None, StackPlan]:
    """Read a stack once for its intensities and sharpest planes, and find the kernels there.

    Parameters are those of `deconvolve_stack`.
    """
    image, choice = task.image, task.kernel
    if choice.kernel is not None:
        check_kernel(choice.kernel, image)
    if reference is not None:
        image.check_index(reference)
    tile_side = task.tile_side or largest_tile(choose_device(task.settings.device))
    if image.blocks == 1:
        choice = replace(choice, scope=KernelScope.PLANE)  # there are no neighbours to share it
    statistics = channel_statistics(image)
    if all(seen.sharpest is None for seen in statistics):
        _say_why(image)
    plan = StackPlan(
        settings=task.settings,
        choice=choice,
        warm_start=warm_start,
        tile_side=tile_side,
        intensity_ranges=tuple(task.intensity_range or seen.intensity_range for seen in statistics),
        kernels=(choice.kernel if choice.is_held else None,) * len(statistics),
    )
    if choice.is_held or choice.scope is KernelScope.PLANE:
        return plan
    kernels = yield from _find_kernels(image, plan, statistics, reference, control)
    return replace(plan, kernels=kernels)


def _say_why(image: Image) -> None:
    """Refuse a stack of which no plane can be sharpened."""
    first = image.read((0,) * len(image.stack_shape))  # says why, if it cannot be read
    if image.blocks == 1:
        check_block(first)
    raise ValueError(
        "No plane of the stack can be sharpened; accepted are planes with some contrast and "
        "finite pixels only."
    )


def _find_kernels(
    image: Image,
    plan: StackPlan,
    statistics: Sequence[ChannelStatistics],
    reference: Index | None,
    control: RunControl,
) -> Generator[Snapshot, None, tuple[Kernel | None, ...]]:
    if plan.choice.scope is KernelScope.STACK:
        best = max(statistics, key=lambda seen: seen.contrast)
        kernel = yield from _kernel_on(image, plan, reference or best.sharpest, control)
        return (kernel,) * len(statistics)
    kernels = []
    for channel, seen in enumerate(statistics):
        place = None if control.should_stop() else seen.sharpest
        if reference is not None and place is not None:
            place = tuple(
                channel if letter == "C" else at
                for letter, at in zip(image.stack_axes, reference, strict=True)
            )
        kernels.append((yield from _kernel_on(image, plan, place, control)))
    return tuple(kernels)


def _kernel_on(
    image: Image, plan: StackPlan, index: Index | None, control: RunControl
) -> Generator[Snapshot, None, Kernel | None]:
    """None without a plane to find it on: those of its channel will say why, or are left out."""
    if index is None:
        return None
    task = plan.task_of(image.read(index), image.channel_of(index))
    found = yield from _indexed(index, find_kernel(task, RunControl(control.should_stop)))
    return found.kernel


def _indexed(index: Index, run: Generator[Snapshot, None, Any]) -> Generator[Snapshot, None, Any]:
    return mapped(run, lambda snapshot: replace(snapshot, index=index))
