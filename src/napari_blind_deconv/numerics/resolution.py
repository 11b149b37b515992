"""Resolution of a single plane by decorrelation analysis.

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

# Radii, and Gaussians whose high-passes are looked at; in pixels from the widest that leaves
# anything to a narrow one.
_RADII = 200
_NARROWEST, _WIDEST, _FILTERS = 0.15, 30.0, 40
# A peak counts if the curve falls by so much behind it; with the paper's 1e-3, noise in pictures of
# 96² passes for detail.
_LEAST_DROP = 5e-3
_BORDER = 0.1  # share of the sides that is faded out


def resolution(image: NDArray[np.floating[Any]]) -> float | None:
    """Smallest period in an image ``(H, W)`` that is not noise, in pixels; None if all is.

    The spectrum is compared with its own phases up to a radius: signal raises the correlation,
    noise lowers it. The largest radius at which it peaks, over all high-passes, is the cut-off.

    Returns
    -------
    float or None
        At least 2, the camera's own limit.
    """
    strength, radius = _spectrum(image)
    order = np.argsort(radius)
    strength, radius = strength[order], radius[order]
    ends = np.searchsorted(radius, np.linspace(0, 1, _RADII + 1)[1:], side="right")
    cutoffs = []
    for sigma in [None, *np.geomspace(_NARROWEST, _WIDEST, _FILTERS)]:
        passed = strength
        if sigma is not None:
            passed = strength * -np.expm1(-((np.pi * sigma * radius) ** 2) / 2)
        total = np.square(passed).sum()
        if total == 0:
            continue
        sums = np.concatenate([[0.0], np.cumsum(passed)])[ends]
        curve = sums / np.sqrt(total * np.maximum(ends, 1))
        peak = _last_peak(curve)
        if peak is not None:
            cutoffs.append((peak + 1) / _RADII)
    return 2 / max(cutoffs) if cutoffs else None


def _spectrum(image: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Magnitudes within Nyquist's circle and their radii, 1 at its rim; without the mean."""
    values = image - image.mean()
    values = values / max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    for axis, side in enumerate(image.shape):
        values = values * np.expand_dims(tukey(side, 2 * _BORDER), 1 - axis)
    strength = np.abs(fft.rfft2(values))
    rows, columns = fft.fftfreq(image.shape[0])[:, None], fft.rfftfreq(image.shape[1])[None, :]
    radius = 2 * np.hypot(rows, columns)
    inside = (radius <= 1) & (radius > 0)
    return strength[inside], radius[inside]


def _last_peak(curve: NDArray[np.float64]) -> int | None:
    """Place of a curve's maximum, if it falls behind it; its rise up to the rim is no peak.

    As in the paper, the rim is given up step by step until the maximum stands out.
    """
    for end in range(len(curve), 1, -1):
        peak = int(np.argmax(curve[:end]))
        if peak == end - 1:
            continue
        if curve[peak] - curve[peak:end].min() >= _LEAST_DROP:
            return peak
        return None
    return None
