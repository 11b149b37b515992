"""Deconvolution of a block in overlapping tiles, which share the kernel and what was found in it.

The tiles are parts of one inspected block: the intensity range and the pixels that are no image are
those of the block, so that the estimates of the tiles fit one another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.quality import judge
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stages import run_task
from napari_blind_deconv.engine.tiles import Tiling
from napari_blind_deconv.errors import DeconvolutionError, OutOfMemoryError, first_line
from napari_blind_deconv.image import Image, Region
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import Result, Snapshot
from napari_blind_deconv.settings import SolverName
from napari_blind_deconv.steps import Run
from napari_blind_deconv.task import Task

__all__ = ["deconvolve_tiles", "with_shared_range", "within_memory"]

_MIN_TILE_SIDE = 64  # pixels
# Tiles overlap by this multiple of the kernel, so that artefacts of their borders are blended away.
_OVERLAP_IN_KERNELS = 1.5
_MIN_OVERLAP = 32  # pixels

_Run: TypeAlias = Generator[Snapshot, None, Result]


def within_memory(run: Callable[[Task, RunControl], _Run], task: Task, control: RunControl) -> _Run:
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


def with_shared_range(task: Task, inspection: Inspection) -> Task:
    """Return a task with an intensity range, so that the intensities of its tiles agree."""
    if task.intensity_range is not None:
        return task
    intensity = IntensityMap.of(inspection.channels)
    return replace(task, intensity_range=(intensity.low, intensity.high))


def deconvolve_tiles(
    task: Task, inspection: Inspection, estimate: NDArray[Any], control: RunControl
) -> _Run:
    """Deconvolve a block in tiles and blend them; they replace the `estimate` so far.

    Snapshots carry no estimates of single tiles. If estimates are requested, a snapshot with the
    block so far follows each tile.

    Parameters
    ----------
    task : Task
        A task with a held kernel, an intensity range and a tile side.
    inspection : Inspection
        What was found in the block.
    estimate : ndarray
        What is kept where no tile is finished when the run is stopped, in the layout of the block.
    control : RunControl

    Returns
    -------
    Result
        Result of the tile with the longest run, with the image and quality of the block.

    Raises
    ------
    ValueError, DeconvolutionError
        As `deconvolve`.
    """
    started = time.monotonic()
    block, kernel = task.image, task.kernel.kernel
    assert kernel is not None
    assert task.tile_side is not None
    used = kernel.scaled(task.settings.strength)
    overlaps = [max(_MIN_OVERLAP, int(_OVERLAP_IN_KERNELS * side)) for side in used.shape]
    tiling = Tiling(block.block_shape, [max(task.tile_side, 2 * o) for o in overlaps], overlaps)
    image = np.array(estimate, np.float32)
    results: list[Result] = []
    for region in _by_contrast(tiling, inspection):
        inspected = inspection.part(region)
        if inspected is not None:
            alone = replace(task, image=inspected.block, tile_side=None)
            run = Run(run_task(alone, RunControl(control.should_stop), inspected))
            for snapshot in run:
                yield snapshot
            results.append(run.result())
            weights = tiling.weights(region)
            _blend(image, estimate, region, results[-1].image, _with_colour_axis(weights, block))
            task = _with_equal_iterations(task, results[0])
        if control.should_stop():  # the rest stays as it was estimated before
            break
        if results and not math.isinf(control.preview_seconds):
            # Iteration 0, because a part of the block is not finished.
            yield replace(snapshot, iteration=0, image=image.copy(), kernel=kernel.weights)
    result = _combined_result(inspection, image, results)
    return replace(result, seconds=time.monotonic() - started)


def _by_contrast(tiling: Tiling, inspection: Inspection) -> list[Region]:
    """Return the tiles, the one with the most contrast first, which tells most about the block."""
    return sorted(tiling, key=lambda tile: float(inspection.luminance[tile].var()), reverse=True)


def _blend(
    image: NDArray[np.float32],
    estimate: NDArray[Any],
    region: Region,
    tile: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    """Replace the share `weights` of an estimate in an image by a tile."""
    before = estimate[region].astype(np.float32)
    # Pixels that are no finite numbers are kept in all tiles.
    change = np.subtract(tile, before, out=np.zeros_like(before), where=np.isfinite(before))
    image[region] += weights * change


def _with_equal_iterations(task: Task, first: Result) -> Task:
    """Return a task that takes as many Richardson-Lucy iterations as the first tile did.

    They do not converge: with more of them, an estimate is sharper and noisier, and a dim tile
    would end before a bright one.
    """
    if task.settings.solver is not SolverName.RICHARDSON_LUCY:
        return task
    changes = {"stop_at_noise": False, "early_stopping": False}
    settings = task.settings.with_changes(max_iterations=len(first.trace), **changes)
    return replace(task, settings=settings)


def _combined_result(
    inspection: Inspection, image: NDArray[np.float32], results: list[Result]
) -> Result:
    """Return the result of the tile with the longest run, with the image and quality of the block.

    The block counts as stopped or diverged if any tile does.
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
            microscope=longest.settings.microscope_with(inspection.block.optics),
        )
    except (RuntimeError, MemoryError) as error:  # smaller tiles would not help
        sides = " × ".join(map(str, inspection.block.block_shape))
        kind = inspection.block.block_kind
        raise DeconvolutionError(
            f"The quality of a {kind} of {sides} {kind.element}s could not be computed "
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
