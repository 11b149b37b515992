"""Estimate the resolution of a single plane by decorrelation analysis.

Descloux, Grußmayer and Radenovic, *Parameter-free image resolution estimation based on
decorrelation analysis*, Nature Methods 16 (2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal.windows import tukey

__all__ = ["resolution"]

_RADII = 200  # number of radii at which the correlation is evaluated
# High-pass filters: σ in pixels of the narrowest and the widest Gaussian, and number of filters.
_MIN_SIGMA, _MAX_SIGMA, _FILTERS = 0.15, 30.0, 40
# A maximum counts as a peak if the curve drops by at least this much beyond it. With 1e-3, as in
# the paper, noise in images of 96² is mistaken for detail.
_MIN_DROP = 5e-3
_BORDER = 0.1  # fraction of each side over which the image is faded out


def resolution(image: NDArray[np.floating[Any]]) -> float | None:
    """Return the smallest period in an image that is not noise.

    The spectrum of the image is correlated with its own phases, up to a radius in frequency. Signal
    raises this correlation, noise lowers it. The cut-off is the largest radius at which the
    correlation has a peak, over several high-pass filters of the image.

    Parameters
    ----------
    image : ndarray
        Image ``(H, W)``.

    Returns
    -------
    float or None
        Period in pixels, at least 2, the limit of the camera. None if all is noise.
    """
    magnitude, radius = _spectrum(image)
    order = np.argsort(radius)
    magnitude, radius = magnitude[order], radius[order]
    ends = np.searchsorted(radius, np.linspace(0, 1, _RADII + 1)[1:], side="right")
    cutoffs = []
    for sigma in [None, *np.geomspace(_MIN_SIGMA, _MAX_SIGMA, _FILTERS)]:
        filtered = magnitude
        if sigma is not None:
            filtered = magnitude * -np.expm1(-((np.pi * sigma * radius) ** 2) / 2)
        total = np.square(filtered).sum()
        if total == 0:
            continue
        sums = np.concatenate([[0.0], np.cumsum(filtered)])[ends]
        curve = sums / np.sqrt(total * np.maximum(ends, 1))
        peak = _last_peak(curve)
        if peak is not None:
            cutoffs.append((peak + 1) / _RADII)
    return 2 / max(cutoffs) if cutoffs else None


def _spectrum(image: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the magnitudes within the Nyquist circle, without the mean, and their radii.

    A radius of 1 is the Nyquist frequency.
    """
    values = image - image.mean()
    values = values / max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    for axis, side in enumerate(image.shape):
        values = values * np.expand_dims(tukey(side, 2 * _BORDER), 1 - axis)
    magnitude = np.abs(fft.rfft2(values))
    rows, columns = fft.fftfreq(image.shape[0])[:, None], fft.rfftfreq(image.shape[1])[None, :]
    radius = 2 * np.hypot(rows, columns)
    inside = (radius <= 1) & (radius > 0)
    return magnitude[inside], radius[inside]


def _last_peak(curve: NDArray[np.float64]) -> int | None:
    """Return the index of the peak of a curve, or None if it has none.

    A maximum at the end of the curve is not a peak. As in the paper, the curve is shortened at its
    end until the maximum lies before it.
    """
    for end in range(len(curve), 1, -1):
        peak = int(np.argmax(curve[:end]))
        if peak == end - 1:
            continue
        if curve[peak] - curve[peak:end].min() >= _MIN_DROP:
            return peak
        return None
    return None
