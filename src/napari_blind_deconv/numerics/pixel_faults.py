"""Find the pixels of a plane that are no image, and fill them smoothly.

A microscope blurs everything that it images, so that the intensity changes gradually from pixel to
pixel. Something that ends from one pixel to the next was not imaged: borders and gaps without data,
bars and text that were drawn into the pixels, stuck lines, hot and dead pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

__all__ = ["PixelFault", "fill", "find_faults", "pixel_noise"]

_MIN_AREA = 8  # pixels; chance seldom makes larger areas of one value in an image with noise
# The end of an area of one value is abrupt if the step there exceeds this multiple of the
# next one outwards plus this multiple of the noise, and some steps of the digitisation.
_STEP_RATIO, _STEPS_OF_NOISE, _DIGITAL_STEPS = 4.0, 3.0, 3.0
_MIN_ABRUPT_SHARE = 0.6  # of the boundary of an area
# A large area of one value is no image either if it is amid noise, and neither its surroundings are
# all brighter nor all darker, as around saturated or clipped pixels.
_LARGE_AREA, _NOISY_STEPS, _MIN_SIDE_SHARE = 64, 2.0, 0.15  # pixels, digital steps, of the boundary
_GROWTH = 1  # pixels around an area of one value, which interpolation or compression mixed with it
# A hot or dead pixel: its distance from the median of its eight neighbours is more than this
# multiple of the noise, and the second of the neighbours reaches less than this share of it.
_MIN_SPIKE, _MAX_NEIGHBOUR_SHARE = 8.0, 0.25
_MAX_SPIKE_SHARE = 0.1  # of all pixels; more of them are what was imaged
# Saturation: the highest value is this many times as frequent as each of the values below it.
_MIN_SATURATED, _SATURATION_SPIKE = 9, 5.0
_TOP_SHARE = 0.02  # of the range of values, in which those values are counted
# Areas of one value are not left out if less than this share of the image would remain.
_MIN_VALID_SHARE = 0.02
_FILL_SIGMA, _FILL_WEIGHT = 1.0, 0.02  # pixels; weight of what is known at a coarser scale only
_RING = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


class PixelFault(IntEnum):
    """Why a pixel is not part of the image; 0 if it is."""

    NONE = 0
    NOT_FINITE = 1  # NaN or infinite
    MASKED = 2  # left out by the user
    FLAT = 3  # an area of one value that ends abruptly: no data, a drawn bar or text, a stuck line
    HOT = 4  # a hot or dead pixel
    SATURATED = 5  # at the upper limit of the detector


def find_faults(plane: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Find the pixels of a plane that are no image.

    Parameters
    ----------
    plane : ndarray
        Image ``(H, W)``; NaN and infinite pixels are faults.

    Returns
    -------
    ndarray
        `PixelFault` of each pixel ``(H, W)``.
    """
    finite = np.isfinite(plane)
    faults = np.where(finite, np.uint8(PixelFault.NONE), np.uint8(PixelFault.NOT_FINITE))
    if not finite.any():
        return faults
    values = plane if finite.all() else fill(plane, finite)
    noise = pixel_noise(values)
    flat = _flat_areas(values, noise) & finite
    if flat.any() and (finite & ~flat).mean() >= _MIN_VALID_SHARE:
        faults[flat] = PixelFault.FLAT
        values = fill(plane, faults == PixelFault.NONE)
        noise = pixel_noise(values)
    hot = _spikes(values, noise) & (faults == PixelFault.NONE)
    faults[hot] = PixelFault.HOT
    faults[_saturated(plane, faults == PixelFault.NONE)] = PixelFault.SATURATED
    return faults


def fill(plane: NDArray[np.floating[Any]], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Replace the pixels that are not valid by a smooth continuation of the others.

    The continuation adds no edges, so that it does not count as detail.

    Parameters
    ----------
    plane : ndarray
        Image with spatial axes only.
    valid : ndarray
        Mask of the valid pixels, same shape; at least one is True.
    """
    known = np.where(valid, plane, 0.0)
    if valid.all():
        return known
    return np.where(valid, known, _smooth(known, valid.astype(np.float64)))


def pixel_noise(plane: NDArray[np.floating[Any]]) -> float:
    """Return a robust estimate of the noise from differences of adjacent pixels."""
    differences = np.abs(np.diff(plane, axis=-1))
    return float(np.median(differences)) * 1.4826 / math.sqrt(2)


def _smooth(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a smooth image close to the values where they have weight; coarser elsewhere."""
    total = ndimage.gaussian_filter(weights, _FILL_SIGMA)
    summed = ndimage.gaussian_filter(weights * values, _FILL_SIGMA)
    if total.min() > _FILL_WEIGHT or max(total.shape) <= 2:
        mean = (weights * values).sum() / weights.sum()
        return (summed + _FILL_WEIGHT * mean) / (total + _FILL_WEIGHT)
    half = (slice(None, None, 2),) * values.ndim
    known = summed / np.maximum(total, math.ulp(0.0) ** 0.5)
    coarse = _smooth(known[half], np.minimum(total[half], 1.0))
    for axis in range(values.ndim):
        coarse = coarse.repeat(2, axis)
    coarse = ndimage.gaussian_filter(coarse[tuple(map(slice, values.shape))], _FILL_SIGMA)
    return (summed + _FILL_WEIGHT * coarse) / (total + _FILL_WEIGHT)


def _flat_areas(plane: NDArray[np.floating[Any]], noise: float) -> NDArray[np.bool_]:
    """Return the mask of areas of one value that end abruptly."""
    areas = _equal_areas(plane)
    if not areas.any():
        return np.zeros(plane.shape, bool)
    step = _digital_step(plane)
    least = max(_STEPS_OF_NOISE * noise, _DIGITAL_STEPS * step)
    abrupt, boundary, above, noisy = np.zeros((4, areas.max() + 1))
    for axis in (0, 1):
        for direction in (1, -1):
            here, *outwards = (_shifted(plane, axis, direction * distance) for distance in range(4))
            there = _shifted(areas, axis, direction)
            at_end = (areas > 0) & (there != areas) & np.isfinite(outwards[0])
            labels = areas[at_end]
            first, second, third = (step[at_end] for step in outwards)
            inside = here[at_end]
            is_abrupt = _is_abrupt(inside, first, second, least)
            is_abrupt |= _is_abrupt(inside, second, third, least)
            is_noisy = np.abs(first - second) >= _NOISY_STEPS * step
            for counts, which in (
                (boundary, slice(None)),
                (abrupt, is_abrupt),
                (above, first > inside),
                (noisy, is_noisy),
            ):
                counts += np.bincount(labels[which], minlength=len(counts))
    is_flat = abrupt > _MIN_ABRUPT_SHARE * boundary
    # A large area without noise amid noise, with brighter and darker pixels around it.
    is_inside = (above > _MIN_SIDE_SHARE * boundary) & (above < (1 - _MIN_SIDE_SHARE) * boundary)
    is_large = np.bincount(areas.ravel(), minlength=len(boundary)) >= _LARGE_AREA
    is_flat |= is_large & is_inside & (noisy > boundary / 2)
    is_flat[0] = False
    found = is_flat[areas]
    return (
        ndimage.binary_dilation(found, np.ones((3, 3)), iterations=_GROWTH)
        if found.any()
        else found
    )


def _is_abrupt(
    inside: NDArray[Any], outside: NDArray[Any], beyond: NDArray[Any], least: float
) -> NDArray[np.bool_]:
    following = np.nan_to_num(np.abs(outside - beyond))
    is_abrupt: NDArray[np.bool_] = np.abs(inside - outside) > _STEP_RATIO * following + least
    return is_abrupt


def _equal_areas(plane: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Label the connected areas of one value that are large enough; 0 elsewhere."""
    # Bits instead of numbers, because the labelling is fast for integers only. Zero has two signs.
    bits = (plane.astype(np.float64) + 0.0).view(np.int64)
    repeated = np.zeros(plane.shape, bool)
    for axis in (0, 1):
        same = np.diff(bits, axis=axis) == 0
        ends = [(0, 0), (0, 0)]
        for end in ((0, 1), (1, 0)):
            ends[axis] = end
            repeated |= np.pad(same, ends)
    if not repeated.any():
        return np.zeros(plane.shape, np.int64)
    background = np.iinfo(np.int64).min  # the bits of -0.0, which do not occur
    areas = label(np.where(repeated, bits, background), background=background, connectivity=1)
    large = np.bincount(areas.ravel()) >= _MIN_AREA
    large[0] = False
    renumbered = np.cumsum(large) * large
    return np.asarray(renumbered[areas], np.int64)


def _digital_step(plane: NDArray[np.floating[Any]]) -> float:
    """Return the smallest difference between values, of a sample of the pixels."""
    levels = np.unique(plane.ravel()[:: max(1, plane.size // 4096)])
    return float(np.diff(levels).min()) if len(levels) > 1 else 0.0


def _shifted(values: NDArray[Any], axis: int, distance: int) -> NDArray[Any]:
    """Return the values at a distance along an axis; NaN or 0 beyond the border."""
    if not distance:
        return values
    beyond = np.nan if values.dtype.kind == "f" else 0
    moved = np.full(values.shape, beyond, values.dtype)
    size = values.shape[axis]
    target, source = [slice(None)] * 2, [slice(None)] * 2
    target[axis] = slice(max(-distance, 0), size - max(distance, 0))
    source[axis] = slice(max(distance, 0), size + min(distance, 0))
    moved[tuple(target)] = values[tuple(source)]
    return moved


def _spikes(plane: NDArray[np.floating[Any]], noise: float) -> NDArray[np.bool_]:
    """Return the mask of hot and dead pixels.

    Blur spreads light to neighbouring pixels, so that a single bright pixel is no light. A second
    bright neighbour is tolerated, because defects often come in pairs.
    """
    found = np.zeros(plane.shape, bool)
    for sign in (1, -1):
        values = sign * plane
        padded = np.pad(values, 1, mode="reflect")
        cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
        third = ndimage.percentile_filter(values, 50, footprint=cross)
        rows, columns = np.nonzero(values - third > _MIN_SPIKE * noise)
        if not len(rows):
            continue
        around = np.sort([padded[rows + 1 + i, columns + 1 + j] for i, j in _RING], axis=0)
        centre = (around[3] + around[4]) / 2
        height = values[rows, columns] - centre
        spread = around[5] - around[2]  # contains half of the neighbours
        is_spike = height > _MIN_SPIKE * np.maximum(noise, spread)
        is_spike &= around[-2] - centre < _MAX_NEIGHBOUR_SHARE * height
        found[rows[is_spike], columns[is_spike]] = True
    return found if found.mean() <= _MAX_SPIKE_SHARE else np.zeros_like(found)


def _saturated(plane: NDArray[np.floating[Any]], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask of the valid pixels at the upper limit of the detector."""
    values = plane[valid]
    none = np.zeros(plane.shape, bool)
    if not values.size:
        return none
    highest, lowest = values.max(), values.min()
    at_limit = int((values == highest).sum())
    top = values[(values >= highest - _TOP_SHARE * (highest - lowest)) & (values < highest)]
    mean_count = len(top) / max(len(np.unique(top)), 1)
    if at_limit < max(_MIN_SATURATED, _SATURATION_SPIKE * mean_count):
        return none
    return np.asarray(valid & (plane == highest))


def counted(faults: Sequence[int] | NDArray[np.uint8]) -> dict[PixelFault, int]:
    """Return the number of pixels of each fault that occurs."""
    counts = np.bincount(np.ravel(faults), minlength=len(PixelFault))
    return {fault: int(counts[fault]) for fault in PixelFault if fault and counts[fault]}
