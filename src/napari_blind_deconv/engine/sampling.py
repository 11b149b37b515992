"""Deconvolution on the grid on which an image was sampled, if its pixels are repeated.

Some programs store an image on a finer grid by repeating each pixel. The repetition is no blur of
the microscope, and the repeated pixels carry no information.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.inputs import MIN_SIDE
from napari_blind_deconv.engine.inspection import Inspection, fault_map
from napari_blind_deconv.engine.quality import Judgement, judge
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.findings import Findings
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.optics import MicroscopeKind
from napari_blind_deconv.reasons import Finding, StopReason
from napari_blind_deconv.results import Result, Snapshot, TrustReport
from napari_blind_deconv.task import Task

__all__ = ["SampledGrid", "faults_of", "grid_for", "judge_block", "on_sampled_grid"]

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
        samples = tuple(of_axis for _, of_axis in found)
        # A drawing with few edges has so few samples that they are no image.
        is_image = min(len(np.unique(of_axis)) for of_axis in samples) >= MIN_SIDE
        return cls(factors, samples) if is_image and max(factors) > 1 else None

    def reduced(self, block: Image) -> Image:
        """Return a block with one pixel for each sample, and with the pixel size of the samples."""
        spacing = dict(block.spacing)
        for axis, factor in zip(block.space, self.factors, strict=True):
            if axis in spacing:
                spacing[axis] *= factor
        masked = block.masked
        if masked is not None:
            for number, samples in enumerate(self.samples):  # no pixel of a sample may be masked
                firsts = np.unique(samples, return_index=True)[1]
                masked = np.logical_or.reduceat(masked, firsts, axis=number)
        return replace(block, pixels=self.sampled(block.array), spacing=spacing, masked=masked)

    def sampled(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the first pixel of each sample; the opposite of :meth:`expanded`."""
        firsts = [np.unique(samples, return_index=True)[1] for samples in self.samples]
        return np.asarray(pixels[np.ix_(*firsts)])

    def expanded(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Repeat the pixels of a block ``(*space)`` or ``(*space, samples)``."""
        return np.ascontiguousarray(pixels[np.ix_(*self.samples)])


def on_sampled_grid(
    run: Callable[[Task, RunControl], _Run], task: Task, control: RunControl
) -> _Run:
    """Run a task on the grid of its samples, and return a result with the pixels of its image.

    A kernel that was given, and not found in an image, is on the grid of the pixels. The task then
    runs on that grid. If `run` checks the task when it is called, so does this function.
    """
    grid = grid_for(task.image, task.kernel.kernel)
    if grid is None:
        return run(task, control)
    return _on_pixels(run(replace(task, image=grid.reduced(task.image)), control), grid)


def _on_pixels(steps: _Run, grid: SampledGrid) -> _Run:
    """Repeat the pixels of the snapshots and of the result of a run on the samples."""
    while True:
        try:
            snapshot = next(steps)
        except StopIteration as end:
            return _expanded(end.value, grid)
        image = None if snapshot.image is None else grid.expanded(snapshot.image)
        yield replace(snapshot, image=image)


def judge_block(
    block: Image,
    estimate: NDArray[np.floating[Any]],
    kernel: Kernel,
    *,
    reason: StopReason,
    strength: float = 1.0,
    slowed_at: int | None = None,
    microscope: MicroscopeKind | None = None,
) -> Judgement:
    """Judge an estimate of a block as :func:`judge`, on the grid of its samples."""
    grid = grid_for(block, kernel)
    judged = partial(
        judge, reason=reason, strength=strength, slowed_at=slowed_at, microscope=microscope
    )
    if grid is None:
        return judged(Inspection.of(block), estimate, kernel)
    inspection, samples = Inspection.of(grid.reduced(block)), grid.sampled(estimate)
    judgement = judged(inspection, samples, kernel)
    return judgement._replace(
        trust=_expanded_trust(judgement.trust, grid),
        findings=_with_repeats(judgement.findings, grid),
    )


def faults_of(block: Image, kernel: Kernel | None) -> NDArray[np.uint8]:
    """Return what :func:`fault_map` finds in a block on the grid that suits its kernel.

    Parameters
    ----------
    block : Image
        A block in memory.
    kernel : Kernel or None
        The kernel that it was deconvolved with, or that the run was given.

    Returns
    -------
    ndarray
        `PixelFault` of each pixel ``(*space)`` of the block.
    """
    grid = grid_for(block, kernel)
    return fault_map(block) if grid is None else grid.expanded(fault_map(grid.reduced(block)))


def grid_for(block: Image, kernel: Kernel | None) -> SampledGrid | None:
    """Return the grid for a block; None if it is that of the pixels, as with a given kernel."""
    is_given = kernel is not None and kernel.source in (KernelSource.GIVEN, KernelSource.GUESS)
    return None if is_given else SampledGrid.of(block)


def _expanded(result: Result, grid: SampledGrid) -> Result:
    return replace(
        result,
        image=grid.expanded(result.image),
        trust=_expanded_trust(result.trust, grid),
        findings=_with_repeats(result.findings, grid),
    )


def _expanded_trust(trust: TrustReport, grid: SampledGrid) -> TrustReport:
    return replace(trust, residual=grid.expanded(trust.residual))


def _with_repeats(findings: Findings, grid: SampledGrid) -> Findings:
    return {**findings, Finding.REPEATED: max(grid.factors)}


def _samples(pixels: NDArray[Any], axis: int) -> tuple[int, NDArray[np.int64]]:
    """Return how often pixels are repeated along an axis, and the sample of each of them."""
    lines = np.moveaxis(pixels, axis, 0)
    first, second = lines[1:], lines[:-1]
    is_number = (first == first) | (second == second)  # NaN repeats NaN
    differs = ((first != second) & is_number).any(axis=tuple(range(1, lines.ndim)))
    changes = 1 + np.flatnonzero(differs)
    factor = math.gcd(*np.diff(changes).tolist()) if len(changes) > 1 else 1
    if factor == 1:
        return 1, np.arange(len(lines))
    start = int(changes[0]) % factor
    samples = (np.arange(len(lines)) - start) // factor
    return factor, samples - samples[0]
