"""Select the part of an image with the most contrast: a region, or a plane of a volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["plane_with_contrast", "region_with_contrast"]


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


def plane_with_contrast(image: NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """Return the index of the plane of a volume with the most contrast; ``()`` for a plane."""
    is_known = np.isfinite(image)
    variances = np.where(is_known, image, image[is_known].mean()).var(axis=(-2, -1))
    return tuple(int(index) for index in np.unravel_index(variances.argmax(), variances.shape))
