"""Deconvolution of a volume with one kernel, in tiles if it is too large for memory.

No network refines the kernel of a volume, so that it is found before, within seconds, and then held
like one that is given.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import check_solver, check_voxel_size, fitted_kernel
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.kernel_stage import find_kernel_start
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.sampling import grid_for
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stages import explained_failures, run_task
from napari_blind_deconv.engine.tiled import deconvolve_tiles, with_shared_range, within_memory
from napari_blind_deconv.engine.tiles import largest_volume_tile
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.results import Result, Snapshot
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.task import Task

__all__ = ["deconvolve_volume", "find_volume_kernel", "volume_tile_side"]

_Run: TypeAlias = Generator[Snapshot, None, Result]


def deconvolve_volume(task: Task, control: RunControl) -> _Run:
    """Deconvolve a volume, in tiles no longer than ``task.tile_side``.

    The task is checked by this call, before the first iteration. Without a tile side, the tiles are
    as large as free memory allows; a volume that fits is one tile. If memory is not sufficient
    nevertheless, smaller tiles are tried.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        As `deconvolve`.
    """
    check_solver(task.settings, task.kernel, task.image.space)
    check_voxel_size(task.image)
    inspection = Inspection.of(task.image)
    given = task.kernel.kernel
    fitted = None if given is None else fitted_kernel(given, task.image)
    task = with_shared_range(task, inspection)
    assert task.intensity_range is not None
    IntensityMap.given(task.intensity_range)  # raises if it is none
    return _deconvolve_volume(task, inspection, fitted, control)


def _deconvolve_volume(
    task: Task, inspection: Inspection, kernel: Kernel | None, control: RunControl
) -> _Run:
    held, settings = task.kernel.is_held, task.settings
    if kernel is None:
        kernel = yield from _find_kernel(task, inspection, control)
    side = task.tile_side or volume_tile_side(task.image, kernel, settings)
    task = replace(task, kernel=KernelChoice.hold(kernel), tile_side=side)
    run = partial(_in_tiles, inspection=inspection)
    result = yield from within_memory(run, task, control)
    return replace(result, settings=settings, kernel_is_held=held)


def find_volume_kernel(
    task: Task, control: RunControl, others: Iterable[Image] = ()
) -> Generator[Snapshot, None, Kernel]:
    """Find the kernel of a volume, on the grid of its samples if its voxels are repeated.

    Parameters
    ----------
    task : Task
    control : RunControl
    others : iterable of Image
        Other volumes of the same stack with the same kernel, as in `find_kernel_start`.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        As `deconvolve`; also if the volume tells too little about its kernel.
    """
    check_solver(task.settings, task.kernel, task.image.space)
    check_voxel_size(task.image)
    grid = grid_for(task.image, None)
    if grid is not None:
        task = replace(task, image=grid.reduced(task.image))
        others = map(grid.reduced, others)
    return (yield from _find_kernel(task, Inspection.of(task.image), control, others))


def _find_kernel(
    task: Task, inspection: Inspection, control: RunControl, others: Iterable[Image] = ()
) -> Generator[Snapshot, None, Kernel]:
    problem = Problem.of(task, inspection)
    with explained_failures(problem):
        problem = yield from find_kernel_start(problem, control, others)
    assert problem.kernel is not None
    return problem.estimated_kernel(problem.kernel.weights)


def volume_tile_side(image: Image, kernel: Kernel, settings: Settings) -> int:
    """Return the largest side of a tile of a volume for the free memory of this machine."""
    used = kernel.scaled(settings.strength)
    device = choose_device(settings.device)
    return largest_volume_tile(device, image.block_shape, used.shape, settings.solver)


def _in_tiles(task: Task, control: RunControl, inspection: Inspection) -> _Run:
    assert task.tile_side is not None
    if max(task.image.block_shape) <= task.tile_side:
        return (yield from run_task(task, control, inspection))
    return (yield from deconvolve_tiles(task, inspection, task.image.array, control))
