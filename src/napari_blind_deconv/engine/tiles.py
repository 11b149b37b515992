"""Planes too large to be fitted at once: overlapping tiles, blended where they meet."""

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

# What a fit takes by pixel of its canvas, from the benchmark's peaks at 512² and 1024².
_BYTES_PER_PIXEL = 2400
# A fit leaves this share of the free memory to others, and never takes more than so many bytes:
# larger tiles are no faster.
_SHARE = 0.5
_MOST_BYTES = 2 * 2**30
_SMALLEST_SIDE = 128


def largest_tile(device: torch.device) -> int:
    """Side in pixels of the largest square canvas the free memory of a device is good for."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    pixels = min(_SHARE * free, _MOST_BYTES) / _BYTES_PER_PIXEL
    return max(_SMALLEST_SIDE, math.isqrt(int(pixels)))


def tiles(shape: tuple[int, ...], side: int, overlap: int) -> Iterator[tuple[slice, ...]]:
    """Cover a plane with tiles of at most `side` pixels that overlap by at least `overlap`.

    Each is a slice for each axis, overlap included. All have the same size or nearly; a plane no
    larger than `side` is one tile.
    """
    yield from itertools.product(*(_spans(length, side, overlap) for length in shape))


def _spans(length: int, side: int, overlap: int) -> list[slice]:
    if length <= side:
        return [slice(0, length)]
    step = max(side - overlap, 1)
    count = 1 + math.ceil((length - side) / step)
    starts = np.linspace(0, length - side, count).round().astype(int)
    return [slice(int(start), int(start) + side) for start in starts]


def blend_weights(
    tile: tuple[slice, ...], shape: tuple[int, ...], overlap: int
) -> NDArray[np.float32]:
    """Weights of a tile's pixels: 1 inside, falling to nearly 0 over the overlap with others.

    Weights at the border of the plane stay 1; sums over tiles are to be divided by.
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
