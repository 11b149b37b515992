"""Deconvolution on the grid on which an image was sampled, if its pixels are repeated.

Some programs store an image on a finer grid by repeating each pixel. The repetition is no blur of
the microscope, and the repeated pixels carry no information.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.image import Image
from napari_blind_deconv.reasons import Finding
from napari_blind_deconv.results import Result, Snapshot
from napari_blind_deconv.task import Task

__all__ = ["SampledGrid", "on_sampled_grid"]

_Run: TypeAlias = Generator[Snapshot, None, Result]


@dataclass(frozen=True, eq=False)
class SampledGrid:
    """The samples of a block whose pixels are repeated.

    Attributes
    ----------
    factors : tuple of int
        How often each pixel is repeated along each axis of the block.
    samples : tuple of ndarray
        For each axis, the number of the sample ``(side,)`` that each pixel repeats.
    """

    factors: tuple[int, ...]
    samples: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, block: Image) -> Self | None:
        """Find the samples of a block in memory; None if its pixels are not repeated."""
        axes = range(len(block.block_shape))
        found = [_samples(block.array, axis) for axis in axes]
        factors = tuple(factor for factor, _ in found)
        return None if max(factors) == 1 else cls(factors, tuple(samples for _, samples in found))

    def reduced(self, block: Image) -> Image:
        """Return a block with one pixel for each sample, and with the pixel size of the samples."""
        firsts = [np.unique(samples, return_index=True)[1] for samples in self.samples]
        spacing = dict(block.spacing)
        for axis, factor in zip(block.space, self.factors, strict=True):
            if axis in spacing:
                spacing[axis] *= factor
        masked = None if block.masked is None else block.masked[np.ix_(*firsts)]
        return replace(block, pixels=block.array[np.ix_(*firsts)], spacing=spacing, masked=masked)

    def expanded(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Repeat the pixels of a block ``(*space)`` or ``(*space, samples)``."""
        return np.ascontiguousarray(pixels[np.ix_(*self.samples)])


def on_sampled_grid(
    run: Callable[[Task, RunControl], _Run], task: Task, control: RunControl
) -> _Run:
    """Run a task on the grid of its samples, and return a result with the pixels of its image.

    A kernel that was given, and not found in an image, is on the grid of the pixels. The task then
    runs on that grid.
    """
    known = task.kernel.kernel
    grid = None if known is not None and not known.source.is_found else SampledGrid.of(task.image)
    if grid is None:
        return (yield from run(task, control))
    steps = run(replace(task, image=grid.reduced(task.image)), control)
    while True:
        try:
            snapshot = next(steps)
        except StopIteration as end:
            return _expanded(end.value, grid)
        image = None if snapshot.image is None else grid.expanded(snapshot.image)
        yield replace(snapshot, image=image)


def _expanded(result: Result, grid: SampledGrid) -> Result:
    trust = replace(result.trust, residual=grid.expanded(result.trust.residual))
    return replace(
        result,
        image=grid.expanded(result.image),
        trust=trust,
        findings={**result.findings, Finding.REPEATED: max(grid.factors)},
    )


def _samples(pixels: NDArray[Any], axis: int) -> tuple[int, NDArray[np.int64]]:
    """Return how often pixels are repeated along an axis, and the sample of each of them."""
    lines = np.moveaxis(pixels, axis, 0)
    changes = 1 + np.flatnonzero((lines[1:] != lines[:-1]).reshape(len(lines) - 1, -1).any(axis=1))
    factor = math.gcd(*np.diff(changes).tolist()) if len(changes) > 1 else 1
    if factor == 1:
        return 1, np.arange(len(lines))
    start = int(changes[0]) % factor
    samples = (np.arange(len(lines)) - start) // factor
    return factor, samples - samples[0]
