"""Prepare a PSF that was recorded: its background, its noise and its voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from napari_blind_deconv.numerics.location import kernel_centroid

__all__ = ["border", "has_background", "light_of", "resampled", "without_dark_rim"]

# A rim is flat if this fraction of its median exceeds at most the share `_LOW` of its values. The
# wings of a PSF are fainter in the corners, unless the window ends within the PSF, where they are
# brighter than this share of its peak.
_FLATNESS, _LOW = 0.6, 0.05
_BRIGHTEST_BACKGROUND = 0.2
# Light is told from noise by this many standard deviations, after smoothing by `_SMOOTHING` voxels.
_SIGNIFICANT, _SMOOTHING = 3.0, 1.0
_CLOSING = 2
_MAD_PER_SIGMA = 0.6745


def border(values: NDArray[Any]) -> NDArray[Any]:
    """Return the outermost values of an array."""
    inner = np.zeros(values.shape, bool)
    inner[(slice(1, -1),) * values.ndim] = True
    return values[~inner]


def has_background(values: NDArray[Any]) -> bool:
    """Whether a PSF lies on a background: its rim is flat, above 0 and far below its peak."""
    rim = border(values)
    level = float(np.median(rim))
    is_background = 0 < level < _BRIGHTEST_BACKGROUND * float(values.max())
    return is_background and float(np.quantile(rim, _LOW)) > _FLATNESS * level


def light_of(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the light of a point that was recorded, without background and noise.

    The background is the median of the rim. Light is what exceeds the noise of the rim and is
    connected with the brightest voxel; all else is set to 0, because noise that is only clipped at
    0 adds up to more light than the point has.

    Parameters
    ----------
    values : ndarray
        The recorded PSF, with any number of axes.

    Returns
    -------
    ndarray
        Same shape, ≥ 0.
    """
    rim = border(values).astype(np.float64)
    level = float(np.median(rim))
    light = values.astype(np.float64) - level
    smooth, smooth_rim = (_smooth(each) for each in (light, _noise_like(light, rim - level)))
    noise = float(np.median(np.abs(smooth_rim))) / _MAD_PER_SIGMA
    every_neighbour = np.ones((3,) * values.ndim)
    pieces, _ = ndimage.label(smooth > _SIGNIFICANT * noise, every_neighbour)
    piece = pieces[np.unravel_index(smooth.argmax(), smooth.shape)]
    if piece == 0:
        return np.zeros(light.shape)
    # Closed, so that dark rings are no holes.
    lit = ndimage.binary_closing(np.pad(pieces == piece, _CLOSING), every_neighbour, _CLOSING)
    inner = (slice(_CLOSING, -_CLOSING),) * values.ndim
    return np.where(lit[inner], np.maximum(light, 0), 0)


def _noise_like(light: NDArray[np.float64], rim: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an array with the noise of the rim in random order, to see how smoothing lowers it."""
    shape = [min(side, 32) for side in light.shape]
    return np.random.default_rng(0).choice(rim, shape)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return ndimage.gaussian_filter(values, _SMOOTHING, mode="constant")


def without_dark_rim(kernel: NDArray[Any]) -> NDArray[Any]:
    """Crop a kernel symmetrically about its origin where all values at its rim are 0."""
    window = []
    for indices, side in zip(np.nonzero(kernel), kernel.shape, strict=True):
        reach = int(np.abs(indices - side // 2).max())
        window.append(slice(side // 2 - reach, side // 2 + reach + 1))
    return kernel[tuple(window)]


def resampled(kernel: NDArray[Any], ratios: Sequence[float]) -> NDArray[np.float64]:
    """Resample a kernel to other voxels and move its centroid to its origin.

    The new voxels hold the light of the old ones: along each axis, the sum of all light up to a
    position is interpolated by a cubic spline, and a voxel gets its increase. This integrates over
    larger voxels and interpolates smoothly between smaller ones.

    Parameters
    ----------
    kernel : ndarray
        Kernel with odd sides, ≥ 0.
    ratios : sequence of float
        Size of the new voxels, in old voxels, along each axis.

    Returns
    -------
    ndarray
        Odd sides, which cover the old ones; ≥ 0, sum 1.
    """
    values = kernel.astype(np.float64)
    for axis, (ratio, centre) in enumerate(zip(ratios, kernel_centroid(values), strict=True)):
        values = _resampled_along(values, axis, ratio, centre)
    values = np.maximum(values, 0)  # a spline overshoots a little
    return values / values.sum()


def _resampled_along(
    values: NDArray[np.float64], axis: int, ratio: float, centre: float
) -> NDArray[np.float64]:
    side = values.shape[axis]
    padded = np.moveaxis(
        np.pad(values, [(2, 2) if n == axis else (0, 0) for n in range(values.ndim)]), axis, 0
    )
    sums = np.concatenate([np.zeros((1, *padded.shape[1:])), np.cumsum(padded, axis=0)])
    edges = np.arange(len(sums)) - len(padded) / 2 - centre
    spline = CubicSpline(edges, sums, bc_type="clamped")
    half = math.ceil(max((side / 2 + abs(centre)) / ratio - 0.5, 0))
    new_edges = ratio * (np.arange(2 * half + 2) - half - 0.5)
    return np.moveaxis(np.diff(spline(np.clip(new_edges, edges[0], edges[-1])), axis=0), 0, axis)
