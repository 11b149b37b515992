"""One plane of any size: at once if it is small, else its kernel first and then its tiles."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.deconvolve import run_task
from napari_blind_deconv.engine.inputs import check_block, has_contrast
from napari_blind_deconv.engine.quality import judge
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.tiles import blend_weights, tiles
from napari_blind_deconv.errors import DeconvolutionError, OutOfMemoryError, first_line
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import KernelChoice
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.plan import warm_started
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import Result, Snapshot
from napari_blind_deconv.steps import Run
from napari_blind_deconv.task import Task

__all__ = ["deconvolve_plane", "find_kernel"]

# The kernel of a large plane is fitted on the region of most contrast, this many pixels a side.
_KERNEL_REGION = 512
_SMALLEST_TILE = 64
# Tiles overlap by so many kernels: what a border does wrong must not be seen.
_OVERLAP = 1.5
_LEAST_OVERLAP = 32
_LEAST_WEIGHT = np.float32(1e-12)  # only where there is no tile

_Run: TypeAlias = Generator[Snapshot, None, Result]


def find_kernel(task: Task, control: RunControl) -> _Run:
    """Fit the region of most contrast; its result has the kernel.

    Where memory does not suffice, smaller regions are tried. Raises as `deconvolve_plane`.
    """
    return (yield from _within_memory(_fit_region, task, control))


def deconvolve_plane(task: Task, control: RunControl) -> _Run:
    """Sharpen a plane, in tiles if it is larger than the task's, within the memory there is.

    Where it does not suffice, smaller tiles are tried.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        As `deconvolve`.
    """
    return (yield from _within_memory(_deconvolve_plane, task, control))


def _within_memory(
    run: Callable[[Task, RunControl], _Run], task: Task, control: RunControl
) -> _Run:
    """Run, and again with tiles half as long for as long as there is not enough memory."""
    while True:
        try:
            return (yield from run(task, control))
        except OutOfMemoryError:
            longest = max(task.image.block_shape)
            side = min(task.tile_side or longest, longest) // 2
            if side < _SMALLEST_TILE:
                raise
            task = replace(task, tile_side=side)


def _deconvolve_plane(task: Task, control: RunControl) -> _Run:
    rows, columns = task.image.block_shape
    if task.tile_side is None or rows * columns <= task.tile_side**2:
        return (yield from run_task(task, control))  # which checks it
    check_block(task.image)
    return (yield from _deconvolve_tiles(task, control))


def _fit_region(task: Task, control: RunControl) -> _Run:
    # A window that was set, or a guess, must fit in.
    guess = task.kernel.kernel
    least = int(
        np.max([*np.ravel(task.settings.kernel_size or 0), *(guess.shape if guess else ())])
    )
    side = max(min(_KERNEL_REGION, task.tile_side or _KERNEL_REGION), least)
    region = region_with_contrast(task.image.luminance(), side)
    return (yield from run_task(replace(task, image=task.image.part(region)), control))


def _deconvolve_tiles(task: Task, control: RunControl) -> _Run:
    started = time.monotonic()
    if task.intensity_range is None:
        whole = IntensityMap.of(task.image.by_channel())
        task = replace(task, intensity_range=(whole.low, whole.high))
    asked = task
    if not asked.kernel.is_held:
        found = yield from _fit_region(task, control)
        kernel, settings = KernelChoice.hold(found.kernel), warm_started(task.settings)
        task = replace(task, kernel=kernel, settings=settings)
    image, results = yield from _blended_tiles(task, control)
    return replace(
        _of_the_whole(task.image, image, results),
        settings=asked.settings,
        kernel_is_held=asked.kernel.is_held,
        seconds=time.monotonic() - started,
    )


def _blended_tiles(
    task: Task, control: RunControl
) -> Generator[Snapshot, None, tuple[NDArray[np.float32], list[Result]]]:
    """The plane from its tiles, and the results of those in which there is something.

    Snapshots carry no pictures of tiles; where pictures are wanted, one of the plane with the tiles
    done so far follows each tile.
    """
    block, kernel = task.image, task.kernel.kernel
    assert kernel is not None
    assert task.tile_side is not None
    overlap = max(_LEAST_OVERLAP, int(_OVERLAP * max(kernel.shape)))
    side = max(task.tile_side, 2 * overlap)
    image = np.zeros(block.pixels.shape, np.float32)
    weights = np.zeros(block.block_shape, np.float32)
    results: list[Result] = []
    unseen = RunControl(control.should_stop)
    for region in tiles(block.block_shape, side, overlap):
        tile = block.part(region)
        sharp = tile.array
        if has_contrast(tile):  # else there is nothing to sharpen
            snapshots = Run(run_task(replace(task, image=tile), unseen))
            for last in snapshots:
                yield last
            results.append(snapshots.result())
            sharp = results[-1].image
        weight = blend_weights(region, block.block_shape, overlap)
        image[region] += sharp * _spread(weight, block)
        weights[region] += weight
        if control.should_stop():  # what is left stays as it is
            break
        if results and not math.isinf(control.preview_seconds):
            so_far = _blended(image, weights, block)
            # Not one of an iteration: half of the plane is still the input.
            yield replace(last, iteration=0, image=so_far, kernel=kernel.weights)
    return _blended(image, weights, block), results


def _blended(
    image: NDArray[np.float32], weights: NDArray[np.float32], block: Image
) -> NDArray[np.float32]:
    """Weighted sums of tiles over their weights; the input where there is no tile yet."""
    spread = _spread(weights, block)
    return np.where(spread > 0, image / np.maximum(spread, _LEAST_WEIGHT), block.array).astype(
        np.float32
    )


def _of_the_whole(block: Image, image: NDArray[np.float32], results: list[Result]) -> Result:
    """One result of many tiles: the run of the longest, judged by the plane as a whole."""
    if not results:
        raise ValueError(
            "No part of the image has more contrast than single precision tells apart; take an "
            "offset off."
        )
    longest = max(results, key=lambda result: len(result.trace))
    reasons = {result.stop_reason for result in results}
    gravest = [reason for reason in (StopReason.STOPPED, StopReason.DIVERGED) if reason in reasons]
    reason = gravest[0] if gravest else longest.stop_reason
    slowed_at = next((each.slowed_at for each in results if each.slowed_at is not None), None)
    try:
        judgement = judge(block, image, longest.kernel, reason=reason, slowed_at=slowed_at)
    except (RuntimeError, MemoryError) as error:  # smaller tiles would be no help
        rows, columns = block.block_shape
        raise DeconvolutionError(
            f"The plane of {rows} × {columns} pixels is too large to be judged "
            f"({first_line(error)}); try a part of it."
        ) from error
    return replace(
        longest,
        image=image,
        stop_reason=reason,
        slowed_at=slowed_at,
        tiles=len(results),
        **judgement._asdict(),
    )


def _spread(weights: NDArray[np.float32], block: Image) -> NDArray[np.float32]:
    return weights[..., np.newaxis] if block.is_colour else weights
