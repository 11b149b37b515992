"""How near an estimate comes to the truth, when a shift between them is nobody's fault."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import fftconvolve
from skimage.metrics import structural_similarity

__all__ = [
    "Aligned",
    "align",
    "kernel_similarity",
    "kernel_width",
    "psnr_up_to_shift",
]

# Samples a pixel for the area inside a kernel's half maximum.
_FINENESS = 8


@dataclass(frozen=True)
class Aligned:
    """A truth and an estimate laid upon each other, borders cut off.

    Attributes
    ----------
    truth, estimate : ndarray
        Both ``(h, w)``, float64, in the same intensity units; no gain is fitted.
    shift : tuple of float
        Rows and columns the estimate was moved by.
    """

    truth: NDArray[np.float64]
    estimate: NDArray[np.float64]
    shift: tuple[float, float]

    def psnr(self, peak: float) -> float:
        """Peak signal-to-noise ratio in dB, `peak` being full scale."""
        error = float(np.mean((self.estimate - self.truth) ** 2))
        return math.inf if error == 0 else 10 * math.log10(peak**2 / error)

    def ssim(self, peak: float) -> float:
        """Structural similarity in a Gaussian window of σ = 1.5 pixels, `peak` being full scale."""
        similarity: float = structural_similarity(
            self.truth,
            self.estimate,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=peak,
        )
        return similarity


def align(
    truth: NDArray[np.floating],
    estimate: NDArray[np.floating],
    *,
    border: int = 15,
    reach: int = 10,
    step: float = 0.25,
) -> Aligned:
    """Lay an estimate on its truth by the shift of least squared error.

    Parameters
    ----------
    truth, estimate : ndarray
        Both ``(H, W)``, in the same intensity units.
    border : int
        Pixels left out on each side, at least `reach` + 1.
    reach : int
        Largest whole shift tried, in pixels, along each axis.
    step : float
        Fineness of the search around the best whole shift, with bilinear interpolation.
    """
    if border <= reach:
        raise ValueError(f"The border is {border} px; accepted is more than the reach of {reach}.")
    wanted = truth[border:-border, border:-border].astype(np.float64)
    whole = _best_whole_shift(wanted, estimate, border, reach)
    neighbours = _crops(estimate, wanted, border, whole)
    shares, fine = _best_fine_shift(wanted, neighbours, step)
    moved = np.einsum("ij,ijhw->hw", shares, neighbours)
    return Aligned(wanted, moved, (whole[0] + fine[0], whole[1] + fine[1]))


def psnr_up_to_shift(
    truth: NDArray[np.floating], estimate: NDArray[np.floating], *, peak: float, **search: float
) -> float:
    """Peak signal-to-noise ratio in dB after the best shift; `search` as in :func:`align`."""
    return align(truth, estimate, **search).psnr(peak)  # type: ignore[arg-type]


def kernel_similarity(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Best normalised cross-correlation of two kernels over all whole shifts, from 0 to 1."""
    correlation = fftconvolve(first, second[::-1, ::-1])
    return float(correlation.max() / (np.linalg.norm(first) * np.linalg.norm(second)))


def kernel_width(kernel: NDArray[np.floating]) -> float:
    """Full width at half maximum in pixels: diameter of a disc as large as the kernel's upper half.

    The area where the kernel, interpolated linearly, is above half its maximum serves any shape, of
    several pieces even. A Gaussian gives its own 2.355 σ.
    """
    padded = np.pad(kernel.astype(np.float64), 1)
    samples = [np.linspace(0, side - 1, _FINENESS * (side - 1) + 1) for side in padded.shape]
    fine = ndimage.map_coordinates(padded, np.meshgrid(*samples, indexing="ij"), order=1)
    area = np.count_nonzero(fine >= kernel.max() / 2) / _FINENESS**2
    return 2 * math.sqrt(area / math.pi)


def _best_whole_shift(
    wanted: NDArray[np.float64], estimate: NDArray[np.floating], border: int, reach: int
) -> tuple[int, int]:
    margin = border - reach
    rows, columns = estimate.shape
    # About the mean, so that the small differences of large sums stay exact.
    mean = wanted.mean()
    seen = estimate[margin : rows - margin, margin : columns - margin] - mean
    products = fftconvolve(seen, (wanted - mean)[::-1, ::-1], mode="valid")
    energy = fftconvolve(seen**2, np.ones_like(wanted), mode="valid")
    top, left = np.unravel_index(np.argmin(energy - 2 * products), products.shape)
    return reach - int(top), reach - int(left)


def _crops(
    estimate: NDArray[np.floating], wanted: NDArray[np.float64], border: int, whole: tuple[int, int]
) -> NDArray[np.float64]:
    """The estimate moved by the best whole shift, one less and one more, ``(3, 3, h, w)``."""
    windows = np.lib.stride_tricks.sliding_window_view(estimate, wanted.shape)
    top, left = border - whole[0], border - whole[1]
    # A shift by one more pixel is a crop that begins one pixel earlier.
    return windows[top - 1 : top + 2, left - 1 : left + 2][::-1, ::-1].astype(np.float64)


def _best_fine_shift(
    wanted: NDArray[np.float64], neighbours: NDArray[np.float64], step: float
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Shares of the nine neighbours in the best bilinear shift, and that shift.

    Its squared error is a quadratic form of the shares, so that each shift tried costs nine
    numbers, not a picture.
    """
    errors = (neighbours - wanted).reshape(9, -1)
    products = np.einsum("ap,bp->ab", errors, errors)  # not BLAS: its threads disturb torch's

    def shares(shift: tuple[float, float]) -> NDArray[np.float64]:
        rows, columns = ([max(-t, 0), 1 - abs(t), max(t, 0)] for t in shift)
        return np.outer(rows, columns)

    def error(shift: tuple[float, float]) -> float:
        weights = shares(shift).ravel()
        return float(weights @ products @ weights)

    tried = np.concatenate([[0.0], np.arange(-1 + step, 1, step)])
    best = min(itertools.product(tried.tolist(), repeat=2), key=error)
    return shares(best), best
