"""Deconvolution of a block. A large plane is deconvolved in tiles with one kernel.

The networks take most memory, but few images need them. A plane that is too large only for them is
therefore deconvolved as a whole first, and in tiles only if it needs networks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.deconvolve import run_task
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.quality import judge
from napari_blind_deconv.engine.sampling import on_sampled_grid
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.tiles import blend_weights, tiles
from napari_blind_deconv.errors import (
    DeconvolutionError,
    OutOfMemoryError,
    TooLargeForNetworksError,
    first_line,
)
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

# The kernel of a large plane is fitted on the region with the most contrast.
_KERNEL_REGION_SIDE = 512  # pixels
_MIN_TILE_SIDE = 64  # pixels
# Tiles overlap by this multiple of the kernel, so that artefacts of their borders are blended away.
_OVERLAP_IN_KERNELS = 1.5
_MIN_OVERLAP = 32  # pixels
# Without networks, a plane takes a sixth of the memory, so that its sides may be longer by this.
_LONGER_WITHOUT_NETWORKS = 2.4
_MIN_WEIGHT = np.float32(1e-12)  # avoids a division by 0 where there is no tile

_Run: TypeAlias = Generator[Snapshot, None, Result]


def find_kernel(task: Task, control: RunControl) -> _Run:
    """Find the kernel of a plane on its region with the most contrast.

    If memory is not sufficient, smaller regions are tried.

    Returns
    -------
    Result
        Result of the region, with the kernel.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        As `deconvolve`.
    """
    return (yield from on_sampled_grid(partial(_within_memory, _fit_region), task, control))


def deconvolve_plane(task: Task, control: RunControl) -> _Run:
    """Deconvolve a plane, in tiles if it is too large for its networks or for memory.

    If memory is not sufficient, smaller tiles are tried.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        As `deconvolve`.
    """
    return (yield from on_sampled_grid(_deconvolve_plane, task, control))


def _within_memory(
    run: Callable[[Task, RunControl], _Run], task: Task, control: RunControl
) -> _Run:
    """Run a function, and halve the side of the tiles while memory is not sufficient."""
    while True:
        try:
            return (yield from run(task, control))
        except OutOfMemoryError:
            longest = max(task.image.block_shape)
            side = min(task.tile_side or longest, longest) // 2
            if side < _MIN_TILE_SIDE:
                raise
            task = replace(task, tile_side=side)


def _deconvolve_plane(task: Task, control: RunControl) -> _Run:
    if len(task.image.space) == 3:  # a volume has no networks, which tiles are made for
        return (yield from run_task(task, control))
    side, pixels = task.tile_side, math.prod(task.image.block_shape)
    estimate = task.image.array
    if side is not None and side**2 < pixels <= (_LONGER_WITHOUT_NETWORKS * side) ** 2:
        try:
            return (yield from run_task(task, control))
        except TooLargeForNetworksError as error:
            estimate = error.image
        except OutOfMemoryError:
            pass  # the tiles may fit
    run = partial(_deconvolve_in_tiles, estimate=estimate)
    return (yield from _within_memory(run, task, control))


def _deconvolve_in_tiles(task: Task, control: RunControl, estimate: NDArray[Any]) -> _Run:
    """Deconvolve a plane in tiles, which replace the estimate so far; a small one is one tile."""
    if task.tile_side is None or math.prod(task.image.block_shape) <= task.tile_side**2:
        return (yield from run_task(task, control))  # checks the block
    return (yield from _deconvolve_tiles(task, Inspection.of(task.image), estimate, control))


def _fit_region(task: Task, control: RunControl) -> _Run:
    return (yield from _fit_region_of(task, Inspection.of(task.image), control))


def _fit_region_of(task: Task, inspection: Inspection, control: RunControl) -> _Run:
    # The region must hold the kernel window that was set, or the guess.
    guess = task.kernel.kernel
    min_side = int(
        np.max([*np.ravel(task.settings.kernel_size or 0), *(guess.shape if guess else ())])
    )
    side = max(min(_KERNEL_REGION_SIDE, task.tile_side or _KERNEL_REGION_SIDE), min_side)
    region = region_with_contrast(inspection.luminance, side)
    # The kernel is found as it is reported, by all stages that a strength leaves out.
    settings = task.settings.with_changes(strength=1.0)
    part = replace(task, image=task.image.part(region), settings=settings, tile_side=None)
    return (yield from run_task(part, control))


def _deconvolve_tiles(
    task: Task, inspection: Inspection, estimate: NDArray[Any], control: RunControl
) -> _Run:
    started = time.monotonic()
    if task.intensity_range is None:
        # One range for all tiles, so that their intensities agree.
        intensity = IntensityMap.of(inspection.channels)
        task = replace(task, intensity_range=(intensity.low, intensity.high))
    requested = task
    if not requested.kernel.is_held:
        # Without previews, because those of a region do not have the shape of the plane.
        region = yield from _fit_region_of(task, inspection, RunControl(control.should_stop))
        kernel, settings = KernelChoice.hold(region.kernel), warm_started(task.settings)
        task = replace(task, kernel=kernel, settings=settings)
    image, results = yield from _blended_tiles(task, estimate, control)
    return replace(
        _combined_result(inspection, image, results),
        settings=requested.settings,
        kernel_is_held=requested.kernel.is_held,
        seconds=time.monotonic() - started,
    )


def _blended_tiles(
    task: Task, estimate: NDArray[Any], control: RunControl
) -> Generator[Snapshot, None, tuple[NDArray[np.float32], list[Result]]]:
    """Deconvolve the tiles of a plane and blend them; they replace the `estimate` so far.

    Snapshots carry no estimates of single tiles. If estimates are requested, a snapshot with the
    plane so far follows each tile.

    Returns
    -------
    image : ndarray
        The blended plane.
    results : list of Result
        Results of the tiles that have contrast.
    """
    block, kernel = task.image, task.kernel.kernel
    assert kernel is not None
    assert task.tile_side is not None
    used = kernel.scaled(task.settings.strength)
    overlap = max(_MIN_OVERLAP, int(_OVERLAP_IN_KERNELS * max(used.shape)))
    side = max(task.tile_side, 2 * overlap)
    image = np.zeros(block.pixels.shape, np.float32)
    weights = np.zeros(block.block_shape, np.float32)
    results: list[Result] = []
    without_previews = RunControl(control.should_stop)
    for region in tiles(block.block_shape, side, overlap):
        tile = block.part(region)
        deconvolved = tile.array
        inspection = _inspected(tile)
        if inspection is not None:
            alone = replace(task, image=tile, tile_side=None)
            run = Run(run_task(alone, without_previews, inspection))
            for snapshot in run:
                yield snapshot
            results.append(run.result())
            deconvolved = results[-1].image
        weight = blend_weights(region, block.block_shape, overlap)
        image[region] += deconvolved * _with_colour_axis(weight, block)
        weights[region] += weight
        if control.should_stop():  # the rest stays as it was estimated before
            break
        if results and not math.isinf(control.preview_seconds):
            blended = _blended(image, weights, estimate, block)
            # Iteration 0, because a part of the plane is not finished.
            yield replace(snapshot, iteration=0, image=blended, kernel=kernel.weights)
    return _blended(image, weights, estimate, block), results


def _inspected(tile: Image) -> Inspection | None:
    """Inspect a tile; return None without contrast or valid pixels: it is left unchanged."""
    try:
        return Inspection.of(tile)
    except ValueError:
        return None


def _blended(
    image: NDArray[np.float32],
    weights: NDArray[np.float32],
    estimate: NDArray[Any],
    block: Image,
) -> NDArray[np.float32]:
    """Divide the weighted sum of tiles by the weights; keep the estimate where there is no tile."""
    weights = _with_colour_axis(weights, block)
    blended = np.where(weights > 0, image / np.maximum(weights, _MIN_WEIGHT), estimate)
    return blended.astype(np.float32)


def _combined_result(
    inspection: Inspection, image: NDArray[np.float32], results: list[Result]
) -> Result:
    """Return the result of the tile with the longest run, with the image and quality of the plane.

    The plane counts as stopped or diverged if any tile does.
    """
    if not results:
        raise ValueError(
            "Expected an image with contrast that single precision resolves, got none in any tile; "
            "try to subtract the offset."
        )
    longest = max(results, key=lambda result: len(result.trace))
    reasons = {result.stop_reason for result in results}
    serious = [reason for reason in (StopReason.STOPPED, StopReason.DIVERGED) if reason in reasons]
    reason = serious[0] if serious else longest.stop_reason
    slowed_at = next((result.slowed_at for result in results if result.slowed_at is not None), None)
    try:
        judgement = judge(
            inspection,
            image,
            longest.kernel,
            reason=reason,
            strength=longest.settings.strength,
            slowed_at=slowed_at,
        )
    except (RuntimeError, MemoryError) as error:  # smaller tiles would not help
        rows, columns = inspection.block.block_shape
        raise DeconvolutionError(
            f"The quality of a plane of {rows} × {columns} pixels could not be computed "
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


def _with_colour_axis(weights: NDArray[np.float32], block: Image) -> NDArray[np.float32]:
    return weights[..., np.newaxis] if block.is_colour else weights
