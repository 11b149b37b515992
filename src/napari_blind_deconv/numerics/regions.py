"""Select the parts of an image with the most contrast: regions, or a plane of a volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["plane_with_contrast", "region_with_contrast", "regions_with_contrast"]


def region_with_contrast(image: NDArray[np.floating[Any]], side: int) -> tuple[slice, ...]:
    """Return the slices of the region with the strongest contrast, as `regions_with_contrast`."""
    [region] = regions_with_contrast(image, side, 1)
    return region


def regions_with_contrast(
    image: NDArray[np.floating[Any]], side: int, most: int
) -> list[tuple[slice, ...]]:
    """Return the slices of regions that do not overlap, the one with the strongest contrast first.

    Parameters
    ----------
    image : ndarray
        Plane or volume.
    side : int
        Side of the regions in pixels, along each axis; they are as long as the image if that is
        smaller.
    most : int
        Number of regions, if so many are found.
    """
    gradients = ndimage.gaussian_gradient_magnitude(image, 1.0)
    sides = [min(total, side) for total in image.shape]
    sums = ndimage.uniform_filter(gradients, sides, mode="constant")
    # Where the region around each pixel begins, along each axis.
    starts = [
        np.clip(np.arange(total) - length // 2, 0, total - length)
        for length, total in zip(sides, image.shape, strict=True)
    ]
    regions: list[tuple[slice, ...]] = []
    while len(regions) < most and np.isfinite(sums).any():
        centre = np.unravel_index(sums.argmax(), sums.shape)
        first = [int(along[at]) for along, at in zip(starts, centre, strict=True)]
        regions.append(tuple(slice(s, s + side) for s, side in zip(first, sides, strict=True)))
        near = (abs(a - s) < side for a, s, side in zip(starts, first, sides, strict=True))
        sums[np.ix_(*near)] = -np.inf
    return regions


def plane_with_contrast(image: NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """Return the index of the plane of a volume with the most contrast; ``()`` for a plane."""
    is_known = np.isfinite(image)
    variances = np.where(is_known, image, image[is_known].mean()).var(axis=(-2, -1))
    return tuple(int(index) for index in np.unravel_index(variances.argmax(), variances.shape))
