"""How near an estimate comes to the truth, when a shift between them is nobody's fault."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["psnr_up_to_shift"]


def psnr_up_to_shift(
    truth: NDArray[np.floating],
    estimate: NDArray[np.floating],
    *,
    peak: float,
    border: int = 15,
    reach: int = 10,
    step: float = 0.25,
) -> float:
    """Peak signal-to-noise ratio after the best shift, in dB.

    Parameters
    ----------
    truth, estimate : ndarray
        Both ``(H, W)``, in the same intensity units; no gain is fitted.
    peak : float
        Intensity that counts as full scale, in those units.
    border : int
        Pixels left out on each side, at least `reach` + 1.
    reach : int
        Largest shift tried, in pixels, along each axis.
    step : float
        Fineness of the search, in pixels, with bilinear interpolation.
    """
    if border <= reach:
        raise ValueError(f"The border is {border} px; accepted is more than the reach of {reach}.")
    wanted = truth[border:-border, border:-border]
    height, width = wanted.shape

    def error_of_whole_shift(shift: tuple[int, int]) -> float:
        top, left = border - shift[0], border - shift[1]
        return float(np.mean((estimate[top : top + height, left : left + width] - wanted) ** 2))

    def error_of_shift(shift: tuple[float, float]) -> float:
        moved = ndimage.shift(estimate, shift, order=1, mode="nearest")
        return float(np.mean((moved[border:-border, border:-border] - wanted) ** 2))

    whole = range(-reach, reach + 1)
    start = min(itertools.product(whole, whole), key=error_of_whole_shift)
    fine = np.arange(-1 + step, 1, step)
    around = itertools.product(start[0] + fine, start[1] + fine)
    error = min(error_of_whole_shift(start), *map(error_of_shift, around))
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)
