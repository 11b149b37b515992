"""Find areas of one value that were not imaged: borders and gaps without data, bars, text, lines.

A microscope blurs everything that it images, so that the intensity changes gradually from pixel to
pixel. An area that ends from one pixel to the next was not imaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

__all__ = ["flat_areas"]

_MIN_AREA = 8  # pixels; chance seldom makes larger areas of one value in an image with noise
# The end of an area is abrupt if the step there exceeds this multiple of the next one outwards plus
# this multiple of the noise, and some steps of the digitisation.
_STEP_RATIO, _STEPS_OF_NOISE, _DIGITAL_STEPS = 4.0, 3.0, 3.0
_MIN_ABRUPT_SHARE = 0.6  # of the boundary of an area
# A large area that ends gradually was not imaged either if it is amid noise. Neither are all pixels
# around it brighter nor all darker, as around saturated or clipped pixels; and elsewhere, pixels of
# nearly the same value seldom equal a neighbour, as they do where the digitisation is coarse.
_LARGE_AREA, _MIN_SIDE_SHARE = 64, 0.15  # pixels; share of the boundary
_SAME_VALUE, _MAX_EQUAL_SHARE = 2.0, 0.3  # digital steps; share of these pixels
_GROWTH = 1  # pixels around an area, which interpolation or compression mixed with it
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
_SAMPLE = 4096  # pixels among which the step of the digitisation is measured


def flat_areas(plane: NDArray[np.floating[Any]], noise: float) -> NDArray[np.bool_]:
    """Return the mask of areas of one value that were not imaged, with the pixels beside them.

    Parameters
    ----------
    plane : ndarray
        Image ``(H, W)`` of finite values.
    noise : float
        Standard deviation of its noise.
    """
    areas, is_repeated = _equal_areas(plane)
    if not areas.any():
        return np.zeros(plane.shape, bool)
    step = _digital_step(plane)
    least = max(_STEPS_OF_NOISE * noise, _DIGITAL_STEPS * step)
    abrupt, boundary, above = _boundaries(plane, areas, least)
    is_flat = abrupt > _MIN_ABRUPT_SHARE * boundary
    size = np.bincount(areas.ravel(), minlength=len(boundary))
    is_amid = (above > _MIN_SIDE_SHARE * boundary) & (above < (1 - _MIN_SIDE_SHARE) * boundary)
    is_flat[0] = is_amid[0] = False  # the rest of the image
    large = np.flatnonzero(~is_flat & is_amid & (size >= _LARGE_AREA))
    if large.size:
        values = np.zeros(len(size))
        values[areas] = plane  # all pixels of an area have its value
        limits = [values[large] + sign * _SAME_VALUE * step for sign in (-1, 1)]
        same, equal = (
            _count(pixels, *limits) - size[large] for pixels in (plane, plane[is_repeated])
        )
        is_flat[large] = equal < _MAX_EQUAL_SHARE * np.maximum(same, 1)
    if not is_flat.any():
        return np.zeros(plane.shape, bool)
    return ndimage.binary_dilation(is_flat[areas], np.ones((3, 3)), iterations=_GROWTH)


def _count(pixels: NDArray[Any], lowest: NDArray[Any], highest: NDArray[Any]) -> NDArray[np.int64]:
    """Count the pixels within each of several ranges of values."""
    ordered = np.sort(pixels, axis=None)
    up_to = np.searchsorted(ordered, highest, "right")
    return np.asarray(up_to - np.searchsorted(ordered, lowest, "left"))


def _boundaries(
    plane: NDArray[np.floating[Any]], areas: NDArray[np.int64], least: float
) -> tuple[NDArray[np.int64], ...]:
    """Count the ends of each area: those that are abrupt, all, and those with a brighter pixel."""
    padded = np.pad(plane.astype(np.float64), 3, constant_values=np.nan)
    labels = np.pad(areas, 3)
    rows, columns = np.nonzero(labels)
    counts = np.zeros((3, int(areas.max()) + 1), np.int64)
    # Beside saturated pixels, an image of sharp optics darkens gradually, but within two pixels: at
    # the highest value, only a step to the very next pixel counts.
    highest = plane.max()
    for down, right in _DIRECTIONS:
        inside, first, second, third = (
            padded[rows + distance * down, columns + distance * right] for distance in range(4)
        )
        label_here = labels[rows, columns]
        at_end = (labels[rows + down, columns + right] != label_here) & np.isfinite(first)
        is_abrupt = _is_abrupt(inside, first, second, least)
        is_abrupt |= _is_abrupt(inside, second, third, least) & (inside < highest)
        for total, which in zip(counts, (is_abrupt, True, first > inside), strict=True):
            total += np.bincount(label_here[at_end & which], minlength=len(total))
    return tuple(counts)


def _is_abrupt(
    inside: NDArray[Any], outside: NDArray[Any], beyond: NDArray[Any], least: float
) -> NDArray[np.bool_]:
    following = np.nan_to_num(np.abs(outside - beyond))
    is_abrupt: NDArray[np.bool_] = np.abs(inside - outside) > _STEP_RATIO * following + least
    return is_abrupt


def _equal_areas(
    plane: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Label the large enough areas of one value; also return which pixels equal a neighbour."""
    # Bits instead of numbers, because the labelling is fast for integers only. Zero has two signs.
    bits = (plane.astype(np.float64) + 0.0).view(np.int64)
    is_repeated = np.zeros(plane.shape, bool)
    for axis in (0, 1):
        same = np.moveaxis(np.diff(bits, axis=axis) == 0, axis, 0)
        along = np.moveaxis(is_repeated, axis, 0)  # a view
        along[1:] |= same
        along[:-1] |= same
    background = np.iinfo(np.int64).min  # the bits of -0.0, which do not occur
    numbered = np.where(is_repeated, bits, background)
    areas = label(numbered, background=background, connectivity=1)
    is_large = np.bincount(areas.ravel()) >= _MIN_AREA
    is_large[0] = False
    return np.asarray((np.cumsum(is_large) * is_large)[areas], np.int64), is_repeated


def _digital_step(plane: NDArray[np.floating[Any]]) -> float:
    """Return the smallest difference between values, among a sample of the pixels."""
    levels = np.unique(plane.ravel()[:: max(1, plane.size // _SAMPLE)])
    return float(np.diff(levels).min()) if len(levels) > 1 else 0.0
