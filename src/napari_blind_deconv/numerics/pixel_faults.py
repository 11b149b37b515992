"""Find the pixels of a plane that are no image, and fill them smoothly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from functools import reduce
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from napari_blind_deconv.numerics.flat_areas import flat_areas
from napari_blind_deconv.numerics.threads import gaussian_smoothed, in_threads

__all__ = ["PixelFault", "counted", "fill", "find_faults", "pixel_noise"]

# A hot or dead pixel: its distance from the median around it is more than this multiple of the
# noise, and the second highest of its neighbours reaches less than this share of that distance.
_MIN_SPIKE, _MAX_NEIGHBOUR_SHARE = 8.0, 0.25
_MAX_SPIKE_SHARE = 0.1  # of all pixels; more of them are what was imaged
# Saturation: the highest value is this many times as frequent as each of the values below it.
_MIN_SATURATED, _SATURATION_SPIKE = 9, 5.0
_TOP_SHARE = 0.02  # of the range of values, in which those values are counted
# Areas of one value are not left out if less than this share of the image would remain.
_MIN_VALID_SHARE = 0.02
_FILL_SIGMA, _FILL_WEIGHT = 1.0, 0.02  # pixels; weight of what is known at a coarser scale only
_FILL_REACH = 4  # pixels, at which the Gaussian is cut off
_PLACES_AT_ONCE = 2000  # that are filled, so that their surroundings take little memory
_AROUND = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)]
_NEXT = [max(abs(i), abs(j)) == 1 for i, j in _AROUND]
_QUARTILES = 1.349  # distance between the quartiles of a normal distribution, in deviations


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
    values = fill(plane, finite)
    noise = pixel_noise(values, finite)
    flat = flat_areas(values, noise) & finite
    if flat.any() and (finite & ~flat).mean() >= _MIN_VALID_SHARE:
        faults[flat] = PixelFault.FLAT
        valid = faults == PixelFault.NONE
        values = fill(plane, valid)
        noise = pixel_noise(values, valid)
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
    gaps = np.nonzero(~valid)
    if not len(gaps[0]):
        return known
    near = _smooth_at(gaps, known, valid)
    known[gaps] = _smooth(known, valid.astype(np.float64))[gaps] if near is None else near
    return known


def pixel_noise(plane: NDArray[np.floating[Any]], valid: NDArray[np.bool_] | None = None) -> float:
    """Return a robust estimate of the noise from differences of adjacent valid pixels.

    Equal pixels are left out: where an image was clipped, or where no photon was counted, there is
    no noise left.
    """
    differences = np.abs(np.diff(plane, axis=-1))
    used = differences > 0
    if valid is not None:
        used &= valid[..., 1:] & valid[..., :-1]
    return float(np.median(differences[used])) * 1.4826 / math.sqrt(2) if used.any() else 0.0


def _smooth_at(
    places: tuple[NDArray[np.intp], ...], values: NDArray[np.float64], valid: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Return what `_smooth` has at a few places; None if these are many, or far from valid pixels.

    Values are 0 where they are not valid.
    """
    offsets = np.arange(-_FILL_REACH, _FILL_REACH + 1)
    profile = np.exp(-np.square(offsets / _FILL_SIGMA) / 2)
    weights = reduce(np.multiply.outer, [profile / profile.sum()] * values.ndim)
    if len(places[0]) * weights.size > values.size:
        return None
    mean = values.sum() / np.count_nonzero(valid)
    around = [
        sliding_window_view(np.pad(image, _FILL_REACH, mode="symmetric"), weights.shape)
        for image in (valid, values)
    ]

    def smooth(some: tuple[NDArray[np.intp], ...]) -> NDArray[np.float64]:
        total, summed = (np.tensordot(each[some], weights, values.ndim) for each in around)
        summed += _FILL_WEIGHT * mean
        return np.where(total > _FILL_WEIGHT, summed / (total + _FILL_WEIGHT), np.nan)

    count = len(places[0]) // _PLACES_AT_ONCE + 1
    parts = zip(*(np.array_split(along, count) for along in places), strict=True)
    smoothed = np.concatenate(in_threads(smooth, parts))
    return None if np.isnan(smoothed).any() else smoothed


def _smooth(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a smooth image close to the values where they have weight; coarser elsewhere."""
    total = gaussian_smoothed(weights, _FILL_SIGMA)
    summed = gaussian_smoothed(weights * values, _FILL_SIGMA)
    if total.min() > _FILL_WEIGHT or max(total.shape) <= 2:
        mean = (weights * values).sum() / weights.sum()
        return (summed + _FILL_WEIGHT * mean) / (total + _FILL_WEIGHT)
    half = (slice(None, None, 2),) * values.ndim
    known = summed / np.maximum(total, math.ulp(0.0) ** 0.5)
    coarse = _smooth(known[half], np.minimum(total[half], 1.0))
    for axis in range(values.ndim):
        coarse = coarse.repeat(2, axis)
    coarse = gaussian_smoothed(coarse[tuple(map(slice, values.shape))], _FILL_SIGMA)
    return (summed + _FILL_WEIGHT * coarse) / (total + _FILL_WEIGHT)


def _spikes(plane: NDArray[np.floating[Any]], noise: float) -> NDArray[np.bool_]:
    """Return the mask of hot and dead pixels.

    Blur spreads light to neighbouring pixels, so that a single bright pixel is no light. A second
    bright neighbour is tolerated, because defects often come in pairs.
    """
    found = np.zeros(plane.shape, bool)
    for sign in (1, -1):
        values = sign * plane
        padded = np.pad(values, 2, mode="reflect")
        # A candidate exceeds all but one of the pixels above, below and beside it.
        second = _second_highest_beside(padded[1:-1, 1:-1])
        rows, columns = np.nonzero(values - second > _MIN_SPIKE * noise)
        if not len(rows):
            continue
        around = np.array([padded[rows + 2 + i, columns + 2 + j] for i, j in _AROUND])
        # The noise beside the pixel, which is stronger where the image is brighter.
        low, centre, high = np.percentile(around, (25, 50, 75), axis=0)
        height = values[rows, columns] - centre
        is_spike = height > _MIN_SPIKE * np.maximum(noise, (high - low) / _QUARTILES)
        is_spike &= np.sort(around[_NEXT], axis=0)[-2] - centre < _MAX_NEIGHBOUR_SHARE * height
        found[rows[is_spike], columns[is_spike]] = True
    return found if found.mean() <= _MAX_SPIKE_SHARE else np.zeros_like(found)


def _second_highest_beside(padded: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Return the second highest of the pixels above, below, left and right of each pixel.

    The image is padded by a pixel. Minima and maxima of pairs take a tenth of the time of a filter
    that ranks all four.
    """
    above, below = padded[:-2, 1:-1], padded[2:, 1:-1]
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    lower = np.minimum(np.maximum(above, below), np.maximum(left, right))
    return np.maximum(lower, np.maximum(np.minimum(above, below), np.minimum(left, right)))


def _saturated(plane: NDArray[np.floating[Any]], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask of the valid pixels at the upper limit of the detector."""
    values = plane[valid]
    none = np.zeros(plane.shape, bool)
    if not values.size:
        return none
    highest, lowest = values.max(), values.min()
    at_limit = int((values == highest).sum())
    below = values[values < highest]
    if not below.size:
        return none
    # At least the next value, because an image of few photons has few values.
    top = below[below >= min(highest - _TOP_SHARE * (highest - lowest), below.max())]
    mean_count = len(top) / len(np.unique(top))
    if at_limit < max(_MIN_SATURATED, _SATURATION_SPIKE * mean_count):
        return none
    return np.asarray(valid & (plane == highest))


def counted(faults: Sequence[int] | NDArray[np.uint8]) -> dict[PixelFault, int]:
    """Return the number of pixels of each fault that occurs."""
    counts = np.bincount(np.ravel(faults), minlength=len(PixelFault))
    return {fault: int(counts[fault]) for fault in PixelFault if fault and counts[fault]}
