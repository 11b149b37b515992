"""Which part of a large image is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["region_with_contrast"]


def region_with_contrast(image: NDArray[np.floating[Any]], side: int) -> tuple[slice, ...]:
    """Where an image has the strongest contrast: `side` pixels along each axis, or fewer."""
    steps = ndimage.gaussian_gradient_magnitude(image, 1.0)
    sides = [min(have, side) for have in image.shape]
    sums = ndimage.uniform_filter(steps, sides, mode="constant")
    place = np.unravel_index(sums.argmax(), sums.shape)
    starts = [
        min(max(int(centre) - length // 2, 0), have - length)
        for centre, length, have in zip(place, sides, image.shape, strict=True)
    ]
    return tuple(slice(s, s + length) for s, length in zip(starts, sides, strict=True))
