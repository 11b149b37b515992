"""Estimate the offsets of the rows or columns of a camera or of a scanning microscope."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_blind_deconv.numerics.pixel_faults import pixel_noise

__all__ = ["line_offsets"]

_SMOOTHING = 3.0  # σ in pixels across the lines; slower changes are image, not offsets
# Offsets of lines are independent, so that their profile has as much power at high frequencies as
# at medium ones. An image has less than a sixth of it. Bands in cycles per line:
_MEDIUM, _HIGH = (0.1, 0.2), (0.4, 0.5)
_MIN_WHITENESS = 0.4  # power of the high band relative to that of the medium one
_MIN_POWER = 3.0  # relative to the power that the noise of the pixels gives the profile
_MIN_LINES = 32  # and valid pixels per line
_MEDIAN_VARIANCE = math.pi / 2  # of the median of normal variables, relative to their mean


def line_offsets(
    plane: NDArray[np.floating[Any]], axis: int, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the offset of each line that an axis counts, such as the rows for axis 0.

    Parameters
    ----------
    plane : ndarray
        Image ``(H, W)``; pixels that are not valid are filled smoothly.
    axis : int
        0 for the offsets of rows, 1 for those of columns.
    valid : ndarray, optional
        Mask ``(H, W)`` of the valid pixels. Default: all.

    Returns
    -------
    ndarray
        Offsets ``(plane.shape[axis],)`` with a mean near 0, in the units of the image. All are 0
        unless they are significant against the noise and independent of each other. That of a line
        with too few valid pixels is 0.
    """
    lines = np.moveaxis(plane, axis, 0)
    known = np.ones(lines.shape, bool) if valid is None else np.moveaxis(valid, axis, 0)
    offsets = np.zeros(len(lines))
    counts = known.sum(axis=1)
    measured = counts >= _MIN_LINES
    if measured.sum() < _MIN_LINES:
        return offsets
    # The median ignores structures that cross a line in less than half of its length.
    fine = (lines - ndimage.gaussian_filter1d(lines, _SMOOTHING, axis=0))[measured]
    fine[~known[measured]] = np.nan
    median = np.median if known.all() else np.nanmedian  # which is slower
    profile = median(fine, axis=1)
    # Differences along the lines do not contain the offsets. If most of the pixels are equal, as in
    # an image of few photons, the deviation from their median is no measure of its error.
    deviation = 1.4826 * float(median(np.abs(fine - profile[:, np.newaxis])))
    noise = max(deviation, pixel_noise(lines, known))
    if _is_independent(profile, _MEDIAN_VARIANCE * noise**2 * float((1 / counts[measured]).mean())):
        offsets[measured] = profile
    return offsets


def _is_independent(profile: NDArray[np.float64], noise_variance: float) -> bool:
    """Return whether a profile is more than noise, and as strong at high frequencies."""
    power = np.abs(fft.rfft(profile - profile.mean())) ** 2 / len(profile)
    frequency = fft.rfftfreq(len(profile))
    medium, high = (
        float(power[(frequency > low) & (frequency <= up)].mean()) for low, up in (_MEDIUM, _HIGH)
    )
    return high > _MIN_POWER * noise_variance and high > _MIN_WHITENESS * medium
