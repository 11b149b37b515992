"""Stacks: a plan for all blocks, then every block by itself.

A block is a plane, and a single plane is a stack of one. The result of a block depends on its
pixels and on the `StackPlan` only. Therefore blocks can be computed in any order, by any executor,
or be skipped if they are complete, and the result is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_blind_deconv.engine.blocks import compute_blocks, submit_blocks
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stack_plan import make_plan
from napari_blind_deconv.findings import Findings, added_up
from napari_blind_deconv.image import BlockKind, Image, Index, PixelArray
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.results import BlockResult, StackResult, StackStep
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.steps import Run
from napari_blind_deconv.task import Task

__all__ = ["deconvolve_stack", "run_stack"]


def deconvolve_stack(
    data: Image | PixelArray,
    settings: Settings | None = None,
    *,
    axes: str | None = None,
    kernel: KernelChoice | Kernel | NDArray[Any] | str | None = None,
    block: BlockKind | str = BlockKind.PLANE,
    pixel_size: Sequence[float] | None = None,
    unit: str = "µm",
    mask: ArrayLike | None = None,
    reference: Index | None = None,
    warm_start: bool = True,
    plan: StackPlan | None = None,
    finished: Collection[Index] = (),
    collect: bool = True,
    executor: Executor | None = None,
    should_stop: Callable[[], bool] | None = None,
    **changes: Any,
) -> Run[BlockResult, StackResult]:
    """Deconvolve every plane of a stack.

    Parameters
    ----------
    data : Image or array_like
        A numpy, dask or zarr array. It is read one plane at a time.
    settings : Settings, optional
        Default: the preset ``"fast"``.
    axes : str
        Axes of an array, such as ``"TCZYX"``: the letters T, C and Z, each at most once, then Y and
        X, then S if the last axis is colour (3 or 4 samples).
    kernel : KernelChoice, Kernel, array_like or str, optional
        Choice of the kernel. ``"per-channel"`` (default): found on the sharpest plane of each
        channel, then held. ``"shared"``: found on the sharpest plane of the stack, then held.
        Of volumes, the four sharpest are searched together. ``"per-slice"``: found on each plane,
        which is slower and follows a blur that changes with depth. A kernel or an array: a known
        PSF, held.
    block : str
        What is deconvolved at once: each ``"plane"`` (default) or each ``"volume"``, along Z, Y and
        X, whose PSF has three axes. The result of volumes has Z before Y.
    pixel_size, unit
        As in `deconvolve`.
    mask : array_like, optional
        Pixels to leave out, as in `deconvolve`: of the shape of a plane, and then used for every
        plane, or of the stack. Of a dask array, one plane at a time is read.
    reference : tuple of int, optional
        Index of the plane on which the kernel is found, along the axes before Y, instead of the
        sharpest plane. With ``"per-channel"`` its index along C is ignored.
    warm_start : bool
        Whether planes with a kernel found on another plane take a fifth of the iterations.
    plan : StackPlan, optional
        Plan of an earlier run on the same data. It replaces the settings, the kernel, the reference
        and the warm start.
    finished : collection of tuple
        Indices of planes to leave out.
    collect : bool
        Whether the result holds the estimates of all planes. If False, memory does not grow with
        the number of planes.
    executor : concurrent.futures.Executor, optional
        Executor that computes the planes, such as a process pool or a dask client's executor. The
        planes then arrive in any order. Default: one plane after the other, in this thread.
    should_stop : callable, optional
        As in `deconvolve`. Stopping leaves out the current plane and the planes after it. For a
        single plane, the best estimate so far is kept.
    **changes
        Changed settings by name, such as ``device="cpu"``.

    Returns
    -------
    Run
        An iterator of `BlockResult`, one for each plane when it is complete; its ``result()`` is
        the `StackResult`.

    Raises
    ------
    ValueError, TypeError
        If the axes, the kernel, the mask or a setting is not valid, or if no plane can be
        deconvolved. One of several planes that cannot be deconvolved raises no error: it keeps its
        input and is reported in `StackResult.failures`.
    DeconvolutionError
        If the search for a kernel fails.

    Examples
    --------
    >>> import numpy as np
    >>> stack = np.random.default_rng(0).random((2, 32, 32))
    >>> run = deconvolve_stack(stack, axes="ZYX", solver="wiener")
    >>> [block.index for block in run], run.result().image.shape
    ([(0,), (1,)], (2, 32, 32))
    """
    task = Task.of(
        data,
        settings,
        changes,
        axes=axes,
        kernel=kernel,
        pixel_size=pixel_size,
        unit=unit,
        mask=mask,
        block=BlockKind.named(block),
    )
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
    return Run(_without_snapshots(steps))


def _without_snapshots(
    steps: Generator[StackStep, None, StackResult],
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
) -> Generator[StackStep, None, StackResult]:
    """Run a task on all its blocks.

    Parameters other than `task` and `control` are those of `deconvolve_stack`.

    Yields
    ------
    Snapshot, BlockResult or Notice
        Snapshots of the searches and fits, each block when it is complete, and notices.

    Returns
    -------
    StackResult
    """
    image = task.image
    if plan is None:
        plan = yield from make_plan(task, control, reference=reference, warm_start=warm_start)
        # A stopped search leaves unfinished kernels, which must not be used for any plane.
        if control.should_stop() and image.blocks > 1:
            plan = None
    estimate = np.zeros(image.pixels.shape, np.float32) if collect else None
    failures: dict[Index, str] = {}
    flags: Counter[Any] = Counter()
    findings: list[Findings] = []
    done = 0
    remaining = _remaining(image, finished)
    steps: Iterator[StackStep] = iter(())
    if plan is None:
        pass
    elif executor is None or image.blocks == 1:
        steps = compute_blocks(image, plan, remaining, control)
    else:
        steps = submit_blocks(image, plan, remaining, control, executor)
    for step in steps:
        if isinstance(step, BlockResult):
            if estimate is not None:
                estimate[step.index] = step.image
            if step.failure is not None:
                failures[step.index] = step.failure
            flags.update(step.result.flags if step.result else ())
            findings.extend([step.result.findings] if step.result else ())
            done += 1
        yield step
    missing = len(remaining) - done
    return StackResult(estimate, plan, failures, flags, done, missing, added_up(findings))


def _remaining(image: Image, finished: Collection[Index]) -> list[Index]:
    complete = {tuple(index) for index in finished}
    return [index for index in image.indices() if index not in complete]
