"""Estimate the offsets of the rows or columns of a camera or of a scanning microscope."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

__all__ = ["line_offsets"]

_SMOOTHING = 3.0  # σ in pixels across the lines; slower changes are image, not offsets
# Offsets of lines are independent, so that their profile has as much power at high frequencies as
# at medium ones. An image has less than a sixth of it. Bands in cycles per line:
_MEDIUM, _HIGH = (0.1, 0.2), (0.4, 0.5)
_MIN_WHITENESS = 0.4  # power of the high band relative to that of the medium one
_MIN_POWER = 3.0  # relative to the power that the noise of the pixels gives the profile
_MIN_LINES = 32
_MEDIAN_VARIANCE = math.pi / 2  # of the median of normal variables, relative to their mean


def line_offsets(plane: NDArray[np.floating[Any]], axis: int) -> NDArray[np.float64]:
    """Return the offset of each line that an axis counts, such as the rows for axis 0.

    Parameters
    ----------
    plane : ndarray
        Image ``(H, W)``.
    axis : int
        0 for the offsets of rows, 1 for those of columns.

    Returns
    -------
    ndarray
        Offsets ``(plane.shape[axis],)`` with a mean near 0, in the units of the image. All are 0
        unless they are significant against the noise and independent of each other.
    """
    lines = np.moveaxis(plane, axis, 0)
    none = np.zeros(len(lines))
    if min(lines.shape) < _MIN_LINES:
        return none
    # The median ignores structures that cross a line in less than half of its length.
    fine = lines - ndimage.gaussian_filter1d(lines, _SMOOTHING, axis=0)
    profile = np.median(fine, axis=1)
    noise = 1.4826 * float(np.median(np.abs(fine - profile[:, np.newaxis])))
    power = np.abs(fft.rfft(profile - profile.mean())) ** 2 / len(profile)
    frequency = fft.rfftfreq(len(profile))
    medium, high = (
        float(power[(frequency > low) & (frequency <= up)].mean()) for low, up in (_MEDIUM, _HIGH)
    )
    expected = _MEDIAN_VARIANCE * noise**2 / lines.shape[1]
    if high > _MIN_POWER * expected and high > _MIN_WHITENESS * medium:
        return profile
    return none
