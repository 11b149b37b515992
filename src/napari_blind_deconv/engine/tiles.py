"""Overlapping tiles for planes that are too large to be fitted at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import reduce

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

__all__ = ["blend_weights", "largest_tile", "tiles"]

# Memory of the networks per pixel of their canvas, from the peaks that the benchmark measured at
# 512² and 1024² pixels.
_BYTES_PER_PIXEL = 2400
# A fit uses at most this share of the free memory, and never more than _MAX_BYTES, because larger
# tiles are no faster.
_MAX_SHARE = 0.5
_MAX_BYTES = 2 * 2**30
_MIN_SIDE = 128


def largest_tile(device: torch.device) -> int:
    """Return the side, in pixels, of the largest square whose networks fit in free memory."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    pixels = min(_MAX_SHARE * free, _MAX_BYTES) / _BYTES_PER_PIXEL
    return max(_MIN_SIDE, math.isqrt(int(pixels)))


def tiles(shape: tuple[int, ...], side: int, overlap: int) -> Iterator[tuple[slice, ...]]:
    """Cover a plane with overlapping tiles.

    A plane no larger than `side` is one tile. All other tiles have the same size, the smallest with
    which their number covers the plane.

    Parameters
    ----------
    shape : tuple of int
        Shape of the plane.
    side : int
        Largest side of a tile in pixels, with its overlap.
    overlap : int
        Smallest overlap of adjacent tiles in pixels.

    Yields
    ------
    tuple of slice
        One slice for each axis.
    """
    yield from itertools.product(*(_spans(length, side, overlap) for length in shape))


def _spans(length: int, side: int, overlap: int) -> list[slice]:
    if length <= side:
        return [slice(0, length)]
    step = max(side - overlap, 1)
    count = 1 + math.ceil((length - side) / step)
    smallest = math.ceil((length + (count - 1) * overlap) / count)
    starts = np.linspace(0, length - smallest, count).round().astype(int)
    return [slice(int(start), int(start) + smallest) for start in starts]


def blend_weights(
    tile: tuple[slice, ...], shape: tuple[int, ...], overlap: int
) -> NDArray[np.float32]:
    """Return the weights of the pixels of a tile.

    Weights are 1 inside the tile and fall linearly to nearly 0 across the overlap with other tiles.
    They stay 1 at the border of the plane. The weighted sum over tiles must be divided by the sum
    of the weights.
    """
    ramps = [_ramp(span, length, overlap) for span, length in zip(tile, shape, strict=True)]
    weights: NDArray[np.float32] = reduce(np.multiply.outer, ramps)
    return weights


def _ramp(span: slice, length: int, overlap: int) -> NDArray[np.float32]:
    count = span.stop - span.start
    rising = np.minimum(np.arange(1, count + 1) / (overlap + 1), 1).astype(np.float32)
    weights = np.ones(count, np.float32)
    if span.start > 0:
        weights *= rising
    if span.stop < length:
        weights *= rising[::-1]
    return weights
