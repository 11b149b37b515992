"""Deconvolution of a block. A large plane is deconvolved in tiles with one kernel.

The networks take most memory, but few images need them. A plane that is too large only for them is
therefore deconvolved as a whole first, and in tiles only if it needs networks.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.sampling import on_sampled_grid
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stages import run_task
from napari_blind_deconv.engine.tiled import deconvolve_tiles, with_shared_range, within_memory
from napari_blind_deconv.engine.volumes import deconvolve_volume
from napari_blind_deconv.errors import OutOfMemoryError, TooLargeForNetworksError
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.plan import warm_started
from napari_blind_deconv.results import Result, Snapshot
from napari_blind_deconv.task import Task

__all__ = ["deconvolve_plane", "find_kernel"]

# The kernel of a large plane is fitted on the region with the most contrast.
_KERNEL_REGION_SIDE = 512  # pixels
# Without networks, a plane takes a sixth of the memory, so that its sides may be longer by this.
_LONGER_WITHOUT_NETWORKS = 2.4

_Run: TypeAlias = Generator[Snapshot, None, Result]


def find_kernel(task: Task, control: RunControl) -> Generator[Snapshot, None, Kernel]:
    """Find the kernel of a plane on its region with the most contrast.

    If memory is not sufficient, smaller regions are tried.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        As `deconvolve`.
    """
    region = yield from on_sampled_grid(partial(within_memory, _fit_region), task, control)
    return region.kernel


def deconvolve_plane(task: Task, control: RunControl) -> _Run:
    """Deconvolve a block, in tiles if it is too large for its networks or for memory.

    If memory is not sufficient, smaller tiles are tried.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        As `deconvolve`.
    """
    return (yield from on_sampled_grid(_deconvolve_plane, task, control))


def _deconvolve_plane(task: Task, control: RunControl) -> _Run:
    if task.image.block_kind is BlockKind.VOLUME:
        return (yield from deconvolve_volume(task, control))
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
    return (yield from within_memory(run, task, control))


def _deconvolve_in_tiles(task: Task, control: RunControl, estimate: NDArray[Any]) -> _Run:
    """Deconvolve a plane in tiles, which replace the estimate so far; a small one is one tile."""
    if task.tile_side is None or math.prod(task.image.block_shape) <= task.tile_side**2:
        return (yield from run_task(task, control))  # checks the block
    inspection = Inspection.of(task.image)
    requested, task = task, with_shared_range(task, inspection)
    if not requested.kernel.is_held:
        # Without previews, because those of a region do not have the shape of the plane.
        region = yield from _fit_region_of(task, inspection, RunControl(control.should_stop))
        kernel, settings = KernelChoice.hold(region.kernel), warm_started(task.settings)
        task = replace(task, kernel=kernel, settings=settings)
    result = yield from deconvolve_tiles(task, inspection, estimate, control)
    return replace(result, settings=requested.settings, kernel_is_held=requested.kernel.is_held)


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
