"""Measure how close an estimate is to the truth, up to a translation.

A translation is ignored because blind deconvolution cannot determine it.
"""

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

from napari_blind_deconv.kernel_widths import FINENESS, finely_sampled

__all__ = [
    "Aligned",
    "align",
    "kernel_similarity",
    "kernel_width",
    "psnr_up_to_shift",
]

# Pixels on each side that an interpolated value can depend on.
_TAPS = 2


@dataclass(frozen=True)
class Aligned:
    """A truth and an estimate, aligned and without their borders.

    Attributes
    ----------
    truth, estimate : ndarray
        Both of shape ``(h, w)``, float64, in the same intensity units; no gain is fitted.
    shift : tuple of float
        Rows and columns by which the estimate was shifted.
    """

    truth: NDArray[np.float64]
    estimate: NDArray[np.float64]
    shift: tuple[float, float]

    def psnr(self, peak: float) -> float:
        """Return the peak signal-to-noise ratio in dB; `peak` is the full scale."""
        error = float(np.mean((self.estimate - self.truth) ** 2))
        return math.inf if error == 0 else 10 * math.log10(peak**2 / error)

    def ssim(self, peak: float) -> float:
        """Return the structural similarity; `peak` is the full scale.

        The window is a Gaussian with σ = 1.5 pixels.
        """
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
    """Align an estimate with the truth by the shift with the smallest squared error.

    Parameters
    ----------
    truth, estimate : ndarray
        Both of shape ``(H, W)``, in the same intensity units.
    border : int
        Number of pixels left out on each side, at least ``reach + 2``.
    reach : int
        Largest shift along each axis, in pixels. Raising it finds larger shifts and takes longer.
    step : float
        Step of the subpixel search around the best shift by whole pixels, in pixels.
    moved : str
        Which of the two is shifted. ``"truth"``: the truth is interpolated by cubic convolution, so
        that the noise of the estimate does not change. ``"estimate"``: the estimate is interpolated
        linearly, as in the scores of Levin's benchmark; a shift of half a pixel then averages away
        up to 6 dB of its noise.

    Returns
    -------
    Aligned
        Both, cropped to the same pixels.

    Raises
    ------
    ValueError
        If the border is too small for the reach.
    """
    if border < reach + _TAPS:
        raise ValueError(
            f"Expected a border of at least {reach + _TAPS} px for a reach of {reach} px, "
            f"got {border} px."
        )
    if moved == "estimate":
        fixed, moving, weights = truth, estimate, _linear
    else:
        fixed, moving, weights = estimate, truth, _cubic
    target = fixed[border:-border, border:-border].astype(np.float64)
    pixels = _best_pixel_shift(target, moving, border, reach)
    crops = _shifted_crops(moving, target, border, pixels)
    coefficients, subpixels = _best_subpixel_shift(target, crops, weights, step)
    interpolated = np.einsum("ij,ijhw->hw", coefficients, crops)
    shift = (pixels[0] + subpixels[0], pixels[1] + subpixels[1])
    if moved == "estimate":
        return Aligned(target, interpolated, shift)
    return Aligned(interpolated, target, (-shift[0], -shift[1]))


def psnr_up_to_shift(
    truth: NDArray[np.floating], estimate: NDArray[np.floating], *, peak: float, **search: Any
) -> float:
    """Return the PSNR in dB after the best shift; `search` are the options of :func:`align`."""
    return align(truth, estimate, **search).psnr(peak)


def kernel_similarity(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the best normalised correlation of two kernels over all pixel shifts, from 0 to 1."""
    correlation = fftconvolve(first, second[::-1, ::-1])
    return float(correlation.max() / (np.linalg.norm(first) * np.linalg.norm(second)))


def kernel_width(kernel: NDArray[np.floating]) -> float:
    """Return the full width at half maximum of a kernel of any shape, in pixels.

    This is the diameter of a disc with the same area as the part of the kernel, interpolated
    linearly, that lies above half its maximum. The part may consist of several pieces. For a
    Gaussian the width is 2.355 σ.
    """
    area = np.count_nonzero(finely_sampled(kernel) >= kernel.max() / 2) / FINENESS**2
    return 2 * math.sqrt(area / math.pi)


def _best_pixel_shift(
    target: NDArray[np.float64], moving: NDArray[np.floating], border: int, reach: int
) -> tuple[int, int]:
    """Return the shift by whole pixels with the smallest squared error."""
    margin = border - reach
    rows, columns = moving.shape
    # The mean is subtracted because the errors are small differences of large sums.
    mean = target.mean()
    searched = moving[margin : rows - margin, margin : columns - margin] - mean
    products = fftconvolve(searched, (target - mean)[::-1, ::-1], mode="valid")
    energy = fftconvolve(searched**2, np.ones_like(target), mode="valid")
    # Σ(m − t)² = Σm² − 2 Σmt + Σt², and the last term is the same for all shifts.
    top, left = np.unravel_index(np.argmin(energy - 2 * products), products.shape)
    return reach - int(top), reach - int(left)


def _shifted_crops(
    moving: NDArray[np.floating], target: NDArray[np.float64], border: int, pixels: tuple[int, int]
) -> NDArray[np.float64]:
    """Return crops of the moving image ``(5, 5, h, w)``, shifted by `pixels` ± up to 2 pixels."""
    windows = np.lib.stride_tricks.sliding_window_view(moving, target.shape)
    top, left = border - pixels[0], border - pixels[1]
    nearby = windows[top - _TAPS : top + _TAPS + 1, left - _TAPS : left + _TAPS + 1]
    # A shift by one more pixel is a crop that begins one pixel earlier.
    return nearby[::-1, ::-1].astype(np.float64)


def _best_subpixel_shift(
    target: NDArray[np.float64],
    crops: NDArray[np.float64],
    weights: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    step: float,
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return the interpolation coefficients of the best subpixel shift, and that shift.

    The squared error is a quadratic form of the coefficients. Its matrix is computed once, so that
    each shift costs a few hundred multiplications instead of a pass over the image.
    """
    errors = (crops - target).reshape(len(crops) ** 2, -1)
    products = np.einsum("ap,bp->ab", errors, errors)  # not BLAS: its threads slow torch's down
    offsets = np.arange(-_TAPS, _TAPS + 1.0)

    def coefficients(shift: tuple[float, float]) -> NDArray[np.float64]:
        return np.outer(*(weights(offsets - t) for t in shift))

    def error(shift: tuple[float, float]) -> float:
        flat = coefficients(shift).ravel()
        return float(flat @ products @ flat)

    candidates = np.concatenate([[0.0], np.arange(-1 + step, 1, step)])
    best = min(itertools.product(candidates.tolist(), repeat=2), key=error)
    return coefficients(best), best


def _linear(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight of a pixel at this distance in linear interpolation."""
    return np.clip(1 - np.abs(distance), 0, None)


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight of a pixel at this distance in cubic convolution (Keys, 1981, a = -1/2)."""
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
