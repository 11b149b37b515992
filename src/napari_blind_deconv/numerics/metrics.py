"""How near an estimate comes to the truth, when a shift between them is nobody's fault."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from skimage.metrics import structural_similarity

from napari_blind_deconv.kernel import FINENESS, finely_sampled

__all__ = [
    "Aligned",
    "align",
    "kernel_similarity",
    "kernel_width",
    "psnr_up_to_shift",
]

# Neighbours to each side that an interpolated value may depend on.
_TAPS = 2


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
    moved: Literal["truth", "estimate"] = "truth",
) -> Aligned:
    """Lay an estimate on its truth by the shift of least squared error.

    Parameters
    ----------
    truth, estimate : ndarray
        Both ``(H, W)``, in the same intensity units.
    border : int
        Pixels left out on each side, at least `reach` + 2.
    reach : int
        Largest whole shift tried, in pixels, along each axis.
    step : float
        Fineness of the search around the best whole shift.
    moved : str
        ``"truth"``: it is interpolated by cubic convolution, and the estimate, noise and all, stays
        as it is. ``"estimate"``: that is interpolated linearly, as scores of Levin's benchmark are;
        half a pixel then averages away up to 6 dB of its noise.
    """
    if border < reach + _TAPS:
        raise ValueError(
            f"The border is {border} px; accepted are {_TAPS} more than the reach of {reach}."
        )
    if moved == "estimate":
        fixed, moving, weights = truth, estimate, _linear
    else:
        fixed, moving, weights = estimate, truth, _cubic
    wanted = fixed[border:-border, border:-border].astype(np.float64)
    whole = _best_whole_shift(wanted, moving, border, reach)
    neighbours = _crops(moving, wanted, border, whole)
    shares, fine = _best_fine_shift(wanted, neighbours, weights, step)
    laid = np.einsum("ij,ijhw->hw", shares, neighbours)
    shift = (whole[0] + fine[0], whole[1] + fine[1])
    if moved == "estimate":
        return Aligned(wanted, laid, shift)
    return Aligned(laid, wanted, (-shift[0], -shift[1]))


def psnr_up_to_shift(
    truth: NDArray[np.floating], estimate: NDArray[np.floating], *, peak: float, **search: Any
) -> float:
    """Peak signal-to-noise ratio in dB after the best shift; `search` as in :func:`align`."""
    return align(truth, estimate, **search).psnr(peak)


def kernel_similarity(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Best normalised cross-correlation of two kernels over all whole shifts, from 0 to 1."""
    correlation = fftconvolve(first, second[::-1, ::-1])
    return float(correlation.max() / (np.linalg.norm(first) * np.linalg.norm(second)))


def kernel_width(kernel: NDArray[np.floating]) -> float:
    """Full width at half maximum in pixels: diameter of a disc as large as the kernel's upper half.

    The area where the kernel, interpolated linearly, is above half its maximum serves any shape, of
    several pieces even. A Gaussian gives its own 2.355 σ.
    """
    area = np.count_nonzero(finely_sampled(kernel) >= kernel.max() / 2) / FINENESS**2
    return 2 * math.sqrt(area / math.pi)


def _best_whole_shift(
    wanted: NDArray[np.float64], moving: NDArray[np.floating], border: int, reach: int
) -> tuple[int, int]:
    margin = border - reach
    rows, columns = moving.shape
    # About the mean, so that the small differences of large sums stay exact.
    mean = wanted.mean()
    seen = moving[margin : rows - margin, margin : columns - margin] - mean
    products = fftconvolve(seen, (wanted - mean)[::-1, ::-1], mode="valid")
    energy = fftconvolve(seen**2, np.ones_like(wanted), mode="valid")
    top, left = np.unravel_index(np.argmin(energy - 2 * products), products.shape)
    return reach - int(top), reach - int(left)


def _crops(
    moving: NDArray[np.floating], wanted: NDArray[np.float64], border: int, whole: tuple[int, int]
) -> NDArray[np.float64]:
    """The picture moved by the best whole shift and up to two less and more, ``(5, 5, h, w)``."""
    windows = np.lib.stride_tricks.sliding_window_view(moving, wanted.shape)
    top, left = border - whole[0], border - whole[1]
    around = windows[top - _TAPS : top + _TAPS + 1, left - _TAPS : left + _TAPS + 1]
    # A shift by one more pixel is a crop that begins one pixel earlier.
    return around[::-1, ::-1].astype(np.float64)


def _best_fine_shift(
    wanted: NDArray[np.float64],
    neighbours: NDArray[np.float64],
    weights: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    step: float,
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Shares of the neighbours in the best shift by less than a pixel, and that shift.

    Its squared error is a quadratic form of the shares, so that each shift tried costs a few
    hundred products of numbers, not of pictures.
    """
    errors = (neighbours - wanted).reshape(len(neighbours) ** 2, -1)
    products = np.einsum("ap,bp->ab", errors, errors)  # not BLAS: its threads disturb torch's
    whole = np.arange(-_TAPS, _TAPS + 1.0)

    def shares(shift: tuple[float, float]) -> NDArray[np.float64]:
        return np.outer(*(weights(whole - t) for t in shift))

    def error(shift: tuple[float, float]) -> float:
        flat = shares(shift).ravel()
        return float(flat @ products @ flat)

    tried = np.concatenate([[0.0], np.arange(-1 + step, 1, step)])
    best = min(itertools.product(tried.tolist(), repeat=2), key=error)
    return shares(best), best


def _linear(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a pixel at this distance in a value interpolated linearly."""
    return np.clip(1 - np.abs(distance), 0, None)


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same for cubic convolution (Keys, 1981, a = -1/2)."""
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
