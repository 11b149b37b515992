"""Stacks: one intensity range and one kernel a channel, then every plane on its own.

A plane depends on its pixels and on the `StackPlan` alone. So planes may be computed in any order,
on any machine, or be left out because they are there already: the result is the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.channel_statistics import ChannelStatistics, channel_statistics
from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import check_kernel
from napari_blind_deconv.engine.planes import find_kernel, sharpen
from napari_blind_deconv.engine.solver import Watch
from napari_blind_deconv.engine.tiles import largest_tile
from napari_blind_deconv.errors import DeconvolutionError
from napari_blind_deconv.image import Image, Index, PixelArray
from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelScope
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.results import SliceResult, Snapshot, StackResult
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.steps import mapped
from napari_blind_deconv.task import Task

__all__ = ["deconvolve_slice", "deconvolve_stack", "failed_slice", "make_plan", "unread_slice"]

_Outcome = TypeVar("_Outcome")


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
    on_slice: Callable[[SliceResult], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **changes: Any,
) -> Generator[tuple[Index, Snapshot], None, StackResult]:
    """Sharpen every plane of a stack; yields ``(index, snapshot)``, *returns* a `StackResult`.

    Snapshots carry no pictures.

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
    on_slice : callable, optional
        Called with the `SliceResult` of each plane before the next is begun. With it the result
        holds no image, so that memory stays flat.
    should_stop : callable, optional
        As in `deconvolve`. Stopping leaves out the plane in hand and those that follow.
    **changes
        Settings that are to differ, by their names, such as ``device="cpu"``.

    Raises
    ------
    ValueError, TypeError
        For axes, kernel or settings that cannot be; a *plane* that cannot be sharpened is reported
        in `StackResult.failures`, filled with its input, and the others go on.
    DeconvolutionError
        If the search for the kernels fails.
    """
    task = Task.of(data, settings, changes, axes=axes, kernel=kernel)
    image = task.image
    watch = Watch() if should_stop is None else Watch(should_stop)
    if plan is None:
        plan = yield from make_plan(task, watch, reference=reference, warm_start=warm_start)
    estimate = np.zeros(image.pixels.shape, np.float32) if on_slice is None else None
    failures: dict[Index, str] = {}
    done = 0
    for index in image.indices():
        if index in finished:
            continue
        result = yield from _outcome(image, plan, index, watch)
        if watch.should_stop():  # a plane half done would not be the one of an uninterrupted run
            break
        if estimate is not None:
            estimate[index] = result.image
        if on_slice is not None:
            on_slice(result)
        if result.failure is not None:
            failures[index] = result.failure
        done += 1
    missing = image.blocks - done - len(finished)
    return StackResult(image=estimate, plan=plan, failures=failures, done=done, missing=missing)


def deconvolve_slice(
    task: Task, index: Index, watch: Watch
) -> Generator[tuple[Index, Snapshot], None, SliceResult]:
    """Sharpen one plane of a stack; what is wrong with it is in the result."""
    started = time.monotonic()
    try:
        result = yield from _indexed(index, sharpen(task, watch))
    except (ValueError, TypeError, DeconvolutionError) as error:
        return failed_slice(index, task.image, error)
    return SliceResult(
        index, result.image, result.kernel, result.provenance(), None, time.monotonic() - started
    )


def failed_slice(index: Index, plane: Image, error: Exception) -> SliceResult:
    """The result of a plane that cannot be sharpened: its input."""
    return SliceResult(index, plane.array.astype(np.float32), None, {}, str(error), 0.0)


def unread_slice(index: Index, image: Image, error: Exception) -> SliceResult:
    """The result of a plane that cannot be read: zeros."""
    shape = tuple(image.pixels.shape[len(index) :])
    return SliceResult(index, np.zeros(shape, np.float32), None, {}, str(error), 0.0)


def _outcome(
    image: Image, plan: StackPlan, index: Index, watch: Watch
) -> Generator[tuple[Index, Snapshot], None, SliceResult]:
    try:
        block = image.read(index)
    except ValueError as error:
        return unread_slice(index, image, error)
    task = plan.task_of(block, image.channel_of(index))
    return (yield from deconvolve_slice(task, index, watch))


def make_plan(
    task: Task, watch: Watch, *, reference: Index | None = None, warm_start: bool = True
) -> Generator[tuple[Index, Snapshot], None, StackPlan]:
    """Read a stack once for its intensities and sharpest planes, and find the kernels there.

    Parameters are those of `deconvolve_stack`.
    """
    image, choice = task.image, task.kernel
    if choice.kernel is not None:
        check_kernel(choice.kernel, image)
        if not choice.is_held:
            raise ValueError("Got a guess of the PSF for a stack; accepted is a PSF to hold.")
    tile_side = largest_tile(choose_device(task.settings.device))
    if image.blocks == 1 and choice.is_found and math.prod(image.block_shape) <= tile_side**2:
        choice = KernelChoice.find(KernelScope.PLANE)  # neither neighbours nor tiles to hold it for
    statistics = channel_statistics(image)
    if all(seen.sharpest is None for seen in statistics):
        image.read((0,) * len(image.stack_shape))  # says why, if it cannot be read
        raise ValueError(
            "No plane of the stack can be sharpened; accepted are planes with some contrast and "
            "finite pixels only."
        )
    plan = StackPlan(
        settings=task.settings,
        choice=choice,
        warm_start=warm_start,
        tile_side=tile_side,
        intensity_ranges=tuple(seen.intensity_range for seen in statistics),
        kernels=(choice.kernel,) * len(statistics),
    )
    if not choice.is_found or choice.scope is KernelScope.PLANE:
        return plan
    if reference is not None:
        image.check_index(reference)
    kernels = yield from _find_kernels(image, plan, statistics, reference, watch)
    return replace(plan, kernels=kernels)


def _find_kernels(
    image: Image,
    plan: StackPlan,
    statistics: Sequence[ChannelStatistics],
    reference: Index | None,
    watch: Watch,
) -> Generator[tuple[Index, Snapshot], None, tuple[Kernel | None, ...]]:
    if plan.choice.scope is KernelScope.STACK:
        best = max(statistics, key=lambda seen: seen.contrast)
        kernel = yield from _kernel_on(image, plan, reference or best.sharpest, watch)
        return (kernel,) * len(statistics)
    kernels = []
    for channel, seen in enumerate(statistics):
        place = None if watch.should_stop() else seen.sharpest
        if reference is not None and place is not None:
            place = tuple(
                channel if letter == "C" else at
                for letter, at in zip(image.stack_axes, reference, strict=True)
            )
        kernels.append((yield from _kernel_on(image, plan, place, watch)))
    return tuple(kernels)


def _kernel_on(
    image: Image, plan: StackPlan, index: Index | None, watch: Watch
) -> Generator[tuple[Index, Snapshot], None, Kernel | None]:
    """None without a plane to find it on: those of its channel will say why, or are left out."""
    if index is None:
        return None
    task = plan.task_of(image.read(index), image.channel_of(index))
    return (yield from _indexed(index, find_kernel(task, watch))).kernel


def _indexed(
    index: Index, run: Generator[Snapshot, None, _Outcome]
) -> Generator[tuple[Index, Snapshot], None, _Outcome]:
    return mapped(run, lambda snapshot: (index, snapshot))
