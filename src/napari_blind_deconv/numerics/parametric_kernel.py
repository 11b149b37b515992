"""Estimate a parametric kernel from the power spectrum: a point, Gaussian, ellipse or line.

The search works in two dimensions only, because a direction is an angle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.anisotropy import Anisotropy
from napari_blind_deconv.numerics.location import crop_or_pad
from napari_blind_deconv.numerics.optics import elliptic_gaussian, gaussian_kernel, line_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.steps import mapped

__all__ = [
    "WIDEST_POINT",
    "draw_ellipse",
    "draw_gaussian",
    "find_gaussian",
    "misfit",
    "search_parametric",
]

# σ in pixels. A narrower Gaussian is due to the pixels of the camera and does not count as blur.
WIDEST_POINT = 0.7
# The power of sharp images falls with the square of the frequency, or faster. Widths are fitted
# with the steepest exponent, which gives the narrowest kernel, because a kernel that is too narrow
# costs less than one that is too wide.
_EXPONENTS = (2.0, 2.5, 3.0)
_STEEPEST = max(_EXPONENTS)
_SIGMAS = np.geomspace(0.3, 14.0, 30)  # pixels
_GAUSSIAN_EXTENT = 3.5  # standard deviations at which a Gaussian is cut off
# Nats by which directional blur must explain the angles better than texture alone. Of 600 made
# scenes with a round kernel, 2 % are above it.
_MIN_EVIDENCE = 20.0
# Pixels. A shorter line cannot be told from an ellipse, nor from texture if there is no other blur.
_MIN_LENGTH = 5.0
_LENGTH_RATIOS = (0.6, 0.8, 1.0, 1.25, 1.6)  # of a line to the ellipse, at the start of its fit
_MIN_SIGMA = 0.3  # σ of an ellipse across its direction, in pixels; about that of a pixel itself
_DRAWN_VARIANCE = 1 / 6  # pixel², which bilinear interpolation adds to a line between pixels
# Required improvement in misfit of a line over an ellipse, in nats per frequency. They differ only
# at the frequencies that a line erases, so that it is small.
_LINE_PENALTY = 0.002
# Ratio of length to width, which the PSF of a microscope hardly exceeds. It was chosen when the
# exposures with a drift in the suite "fluorescence" had been seen.
_OPTICAL_RATIO = 2.0
_STEPS = (1.0, 8.0, 0.3)  # of the initial simplex: length (pixels), angle (degrees), σ (pixels)

Transfer = Callable[[float, float, float], NDArray[np.float64]]


def search_parametric(
    spectrum: Spectrum, anisotropy: Anisotropy, max_side: int
) -> Generator[Kernel, None, Kernel]:
    """Search for the parametric kernel that explains a spectrum best.

    Parameters
    ----------
    spectrum : Spectrum
        Power spectrum of the blurred image.
    anisotropy : Anisotropy
        The elliptic Gaussian that explains the angles of this spectrum.
    max_side : int
        Maximum side of the kernel in pixels, odd.

    Yields
    ------
    Kernel
        The best kernel so far, so that the caller can report progress or stop.

    Returns
    -------
    Kernel
        A directional kernel if the power at different angles tells of one; else a Gaussian or a
        point.
    """
    round_kernel = find_gaussian(spectrum, max_side)
    yield round_kernel
    if anisotropy.evidence < _MIN_EVIDENCE:
        return round_kernel
    if round_kernel.source is KernelSource.NO_BLUR and anisotropy.length < _MIN_LENGTH:
        return round_kernel
    yield round_kernel
    search = _search_directional(spectrum, anisotropy)
    kernel = yield from mapped(search, lambda _: round_kernel)
    return round_kernel if max(kernel.shape) > max_side else kernel


def misfit(spectrum: Spectrum, transfer: NDArray[np.float64]) -> float:
    """Return the misfit in nats per frequency of a kernel with |H|² `transfer` ``(n,)``."""
    return min(spectrum.explained_by(transfer, exponent).misfit for exponent in _EXPONENTS)


def find_gaussian(spectrum: Spectrum, max_side: int) -> Kernel:
    """Return the round Gaussian that explains a spectrum best, or a point if it is that narrow."""

    def transfer(log_sigma: float) -> NDArray[np.float64]:
        return spectrum.transfer_of_gaussian(math.exp(log_sigma))

    def steepest_misfit(log_sigma: float) -> float:
        return spectrum.explained_by(transfer(log_sigma), _STEEPEST).misfit

    grid = np.log(_SIGMAS)
    best = int(np.argmin([steepest_misfit(log_sigma) for log_sigma in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    minimum = optimize.minimize_scalar(steepest_misfit, bounds=bounds, method="bounded")
    sigma, best_misfit = math.exp(minimum.x), misfit(spectrum, transfer(minimum.x))
    if sigma <= WIDEST_POINT:
        return Kernel.point(source=KernelSource.NO_BLUR, misfit=best_misfit)
    return draw_gaussian(sigma, max_side, misfit=best_misfit)


def draw_gaussian(sigma: float, max_side: int, **options: Any) -> Kernel:
    """Return the kernel of a round Gaussian with σ in pixels, with other attributes if given."""
    side = min(2 * math.ceil(_GAUSSIAN_EXTENT * sigma) + 1, max_side)
    return Kernel(gaussian_kernel((side, side), sigma), KernelSource.GAUSSIAN, **options)


def draw_ellipse(variances: tuple[float, float], angle: float, **options: Any) -> Kernel:
    """Return the kernel of an elliptic Gaussian, with other attributes if given.

    Parameters
    ----------
    variances : tuple of float
        Variances along and across the direction, in pixel².
    angle : float
        Direction in degrees, as in `elliptic_gaussian`.
    **options
        Attributes of the kernel.
    """
    along, across = (max(math.sqrt(variance), _MIN_SIGMA) for variance in variances)
    side = 2 * math.ceil(_GAUSSIAN_EXTENT * along) + 1
    weights = elliptic_gaussian(side, (along, across), angle)
    return Kernel(weights, KernelSource.ELLIPTIC, **options)


def _search_directional(
    spectrum: Spectrum, anisotropy: Anisotropy
) -> Generator[None, None, Kernel]:
    """Search for a directional kernel: an elliptic Gaussian, a blurred line, or the mean of both.

    A line erases some frequencies and leaves others, whereas an ellipse weakens all of them
    smoothly. If noise hides the erased frequencies, the two cannot be distinguished. A kernel that
    is short for its width is taken for an ellipse then, because that of a microscope is. Of others,
    the mean is returned, because it costs less than the wrong one of the two.
    """

    def line(length: float, angle: float, sigma: float) -> NDArray[np.float64]:
        along, _ = _rotated(spectrum, angle)
        # |H|² of a line is a squared sinc: it is zero at multiples of 2π / length.
        erased = np.square(np.sinc(length * along / (2 * np.pi)))
        return erased * spectrum.transfer_of_gaussian(sigma)

    def ellipse(length: float, angle: float, sigma: float) -> NDArray[np.float64]:
        along, across = _rotated(spectrum, angle)
        variance = length**2 / 12 + sigma**2  # a uniform line of length L has variance L² / 12
        return np.exp(-variance * np.square(along) - np.square(sigma * across))

    drawn = draw_ellipse(anisotropy.variances, anisotropy.angle)
    start = (anisotropy.length, anisotropy.angle, math.sqrt(anisotropy.variances[1]))
    as_ellipse, ellipse_misfit = _refine(spectrum, ellipse, start)
    yield
    starts = [(ratio * as_ellipse[0], *as_ellipse[1:]) for ratio in _LENGTH_RATIOS]
    start = min(starts, key=lambda values: spectrum.explained_by(line(*values), _STEEPEST).misfit)
    yield
    as_line, line_misfit = _refine(spectrum, line, start)
    is_line = line_misfit < ellipse_misfit - _LINE_PENALTY and as_line[0] >= _MIN_LENGTH
    best_misfit = misfit(spectrum, line(*as_line) if is_line else ellipse(*as_ellipse))
    if is_line:
        return Kernel(_draw_line(*as_line), KernelSource.LINEAR_MOTION, misfit=best_misfit)
    along, across = anisotropy.variances
    if line_misfit > ellipse_misfit + _LINE_PENALTY or along <= _OPTICAL_RATIO**2 * across:
        return replace(drawn, misfit=best_misfit)
    weights = _mean(drawn.weights, _draw_line(*as_line))
    return Kernel(weights, KernelSource.ELONGATED, misfit=best_misfit)


def _draw_line(length: float, angle: float, sigma: float) -> NDArray[np.float32]:
    """Draw a line convolved with a Gaussian."""
    drawn = np.pad(line_kernel(length, angle), math.ceil(_GAUSSIAN_EXTENT * sigma))
    kernel = ndimage.gaussian_filter(drawn, math.sqrt(max(sigma**2 - _DRAWN_VARIANCE, 0.0)))
    line: NDArray[np.float32] = kernel / kernel.sum()
    return line


def _mean(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of two centred kernels, in the larger window of the two."""
    side = max(len(first), len(second))
    both = np.stack([crop_or_pad(each, (side, side)) for each in (first, second)])
    mean: NDArray[np.float32] = both.mean(axis=0)
    return mean


def _rotated(spectrum: Spectrum, angle: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the frequencies along and across `angle`, in degrees as in `line_kernel`."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rows, columns = spectrum.frequencies
    along, across = columns * cosine - rows * sine, columns * sine + rows * cosine
    return along, across


def _refine(
    spectrum: Spectrum, transfer: Transfer, start: tuple[float, float, float]
) -> tuple[tuple[float, float, float], float]:
    """Return the parameters of a transfer function with the smallest misfit, and that misfit."""

    def steepest_misfit(values: tuple[float, float, float]) -> float:
        return spectrum.explained_by(transfer(*values), _STEEPEST).misfit

    simplex = np.array(start) + np.vstack([np.zeros(3), np.diag(_STEPS)])
    options = {"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-4, "maxfev": 60}
    minimum = optimize.minimize(steepest_misfit, start, method="Nelder-Mead", options=options)
    length, angle, sigma = (float(value) for value in minimum.x)
    return (abs(length), angle, abs(sigma)), float(minimum.fun)
