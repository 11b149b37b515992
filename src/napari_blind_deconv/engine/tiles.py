"""Overlapping tiles for blocks that are too large to be deconvolved at once, and their memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from napari_blind_deconv.numerics.field_of_view import canvas_shape
from napari_blind_deconv.settings import SolverName

__all__ = ["Tiling", "largest_tile", "largest_volume_tile", "volume_bytes"]

# Memory of the networks per pixel of their canvas, from the peaks that the benchmark measured at
# 512² and 1024² pixels.
_BYTES_PER_PIXEL = 2400
# Memory of a volume per voxel of its canvas: of the linear and the log-gaussian estimate, and of
# Richardson-Lucy iterations.
_BYTES_PER_VOXEL, _BYTES_PER_VOXEL_RICHARDSON_LUCY = 250, 100
# A fit uses at most this share of the free memory. That of a plane never uses more than _MAX_BYTES,
# because larger tiles are no faster.
_MAX_SHARE = 0.5
_MAX_BYTES = 2 * 2**30
_MIN_SIDE = 128


def largest_tile(device: torch.device) -> int:
    """Return the side, in pixels, of the largest square whose networks fit in free memory."""
    pixels = min(_MAX_SHARE * _free_memory(device), _MAX_BYTES) / _BYTES_PER_PIXEL
    return max(_MIN_SIDE, math.isqrt(int(pixels)))


def largest_volume_tile(
    device: torch.device, volume: Sequence[int], kernel: Sequence[int], solver: SolverName
) -> int:
    """Return the side, in pixels, of the largest tile of a volume that fits in free memory.

    Parameters
    ----------
    device : torch.device
    volume, kernel : sequence of int
        Shapes of the volume and of its kernel. Tiles have all planes, if they then fit.
    solver : SolverName
        Solver, which determines the memory.

    Returns
    -------
    int
        Largest side along all axes; the longest side of the volume if it fits as a whole.
    """
    free = _MAX_SHARE * _free_memory(device)
    if volume_bytes(canvas_shape(volume, kernel), solver) <= free:
        return max(volume)
    voxels = free / volume_bytes((1,), solver)
    depth, margin = volume[0] + kernel[0] - 1, max(kernel) - 1
    side = math.isqrt(int(voxels / depth)) - margin
    return side if side >= volume[0] else max(1, int(voxels ** (1 / 3)) - margin)


def volume_bytes(canvas: Sequence[int], solver: SolverName) -> int:
    """Return the memory that a volume needs, for the shape of its canvas."""
    is_cheap = solver is SolverName.RICHARDSON_LUCY
    per_voxel = _BYTES_PER_VOXEL_RICHARDSON_LUCY if is_cheap else _BYTES_PER_VOXEL
    return per_voxel * math.prod(canvas)


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


class Tiling:
    """Overlapping tiles that cover a block, and the weights that blend them.

    A block that is no longer than `sides` is one tile. Along each axis all tiles have the same
    length, the smallest with which their number covers the block.

    Iterating yields the tiles, one slice for each axis.

    Parameters
    ----------
    shape : sequence of int
        Shape of the block.
    sides : sequence of int
        Largest sides of a tile in pixels, with its overlaps.
    overlaps : sequence of int
        Smallest overlaps of adjacent tiles in pixels.
    """

    def __init__(self, shape: Sequence[int], sides: Sequence[int], overlaps: Sequence[int]) -> None:
        self._spans = [_spans(*axis) for axis in zip(shape, sides, overlaps, strict=True)]
        self._ramps = [
            _ramps(spans, length, overlap)
            for spans, length, overlap in zip(self._spans, shape, overlaps, strict=True)
        ]

    def __iter__(self) -> Iterator[tuple[slice, ...]]:
        return itertools.product(*self._spans)

    def weights(self, tile: tuple[slice, ...]) -> NDArray[np.float32]:
        """Return the weights of the pixels of a tile; those of all tiles of a pixel have sum 1.

        They fall linearly to nearly 0 across the overlap with other tiles, and not at the border of
        the block.
        """
        numbers = [spans.index(span) for spans, span in zip(self._spans, tile, strict=True)]
        ramps = [ramps[number] for ramps, number in zip(self._ramps, numbers, strict=True)]
        weights: NDArray[np.float32] = reduce(np.multiply.outer, ramps)
        return weights


def _spans(length: int, side: int, overlap: int) -> list[slice]:
    if length <= side:
        return [slice(0, length)]
    step = max(side - overlap, 1)
    count = 1 + math.ceil((length - side) / step)
    smallest = math.ceil((length + (count - 1) * overlap) / count)
    starts = np.linspace(0, length - smallest, count).round().astype(int)
    return [slice(int(start), int(start) + smallest) for start in starts]


def _ramps(spans: list[slice], length: int, overlap: int) -> list[NDArray[np.float32]]:
    """Return the weights of each span along its axis; those of a pixel have sum 1."""
    ramps = [_ramp(span, length, overlap) for span in spans]
    total = np.zeros(length, np.float32)
    for span, ramp in zip(spans, ramps, strict=True):
        total[span] += ramp
    return [ramp / total[span] for span, ramp in zip(spans, ramps, strict=True)]


def _ramp(span: slice, length: int, overlap: int) -> NDArray[np.float32]:
    count = span.stop - span.start
    rising = np.minimum(np.arange(1, count + 1) / (overlap + 1), 1).astype(np.float32)
    weights = np.ones(count, np.float32)
    if span.start > 0:
        weights *= rising
    if span.stop < length:
        weights *= rising[::-1]
    return weights
