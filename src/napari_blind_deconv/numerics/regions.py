"""Select the part of a large image from which the kernel is estimated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["region_with_contrast"]


def region_with_contrast(image: NDArray[np.floating[Any]], side: int) -> tuple[slice, ...]:
    """Return the slices of the region with the strongest contrast.

    The region is `side` pixels long along each axis, or as long as the image if that is smaller.
    """
    gradients = ndimage.gaussian_gradient_magnitude(image, 1.0)
    sides = [min(total, side) for total in image.shape]
    sums = ndimage.uniform_filter(gradients, sides, mode="constant")
    centre_index = np.unravel_index(sums.argmax(), sums.shape)
    starts = [
        min(max(int(centre) - length // 2, 0), total - length)
        for centre, length, total in zip(centre_index, sides, image.shape, strict=True)
    ]
    return tuple(slice(s, s + length) for s, length in zip(starts, sides, strict=True))
