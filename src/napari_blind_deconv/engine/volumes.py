"""Deconvolution of a volume, in tiles if it is too large for memory."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import check_solver, fitted_kernel
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stages import run_task
from napari_blind_deconv.engine.tiled import deconvolve_tiles, with_shared_range, within_memory
from napari_blind_deconv.engine.tiles import largest_volume_tile
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.results import Result, Snapshot
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.task import Task

__all__ = ["deconvolve_volume", "volume_tile_side"]

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
    image, given = task.image, task.kernel.kernel
    check_solver(task.settings, task.kernel, image.space)
    assert given is not None
    inspection = Inspection.of(image)
    kernel = fitted_kernel(given, image)
    side = task.tile_side or volume_tile_side(image, kernel, task.settings)
    task = replace(task, kernel=replace(task.kernel, kernel=kernel), tile_side=side)
    task = with_shared_range(task, inspection)
    assert task.intensity_range is not None
    IntensityMap.given(task.intensity_range)  # raises if it is none
    return within_memory(partial(_in_tiles, inspection=inspection), task, control)


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
