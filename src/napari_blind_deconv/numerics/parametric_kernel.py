"""Estimate a parametric kernel from the power spectrum: a point, Gaussian, ellipse or line.

The search works in two dimensions only, because a direction is an angle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.location import crop_or_pad
from napari_blind_deconv.numerics.optics import elliptic_gaussian, gaussian_kernel, line_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum, scene_power
from napari_blind_deconv.steps import mapped

__all__ = ["WIDEST_POINT", "draw_gaussian", "find_gaussian", "misfit", "search_parametric"]

# σ in pixels. A narrower Gaussian is due to the pixels of the camera and does not count as blur.
WIDEST_POINT = 0.7
# The power of sharp images falls with the square of the frequency, or faster. Widths are fitted
# with the steepest exponent, which gives the narrowest kernel, because a kernel that is too narrow
# costs less than one that is too wide.
_EXPONENTS = (2.0, 2.5, 3.0)
_STEEPEST = max(_EXPONENTS)
_SIGMAS = np.geomspace(0.3, 14.0, 30)  # pixels
_GAUSSIAN_EXTENT = 3.5  # standard deviations at which a Gaussian is cut off
# Pixels. Shorter directional blur cannot be distinguished from texture.
_MIN_LENGTH = 5.0
_LENGTHS = (5.0, 7.0, 10.0, 14.0, 20.0)  # pixels
_ANGLES = np.arange(0.0, 180.0, 15.0)  # degrees
_LINE_SIGMA = 0.5  # pixels
_MIN_SIGMA = 0.3  # σ of an ellipse across its direction, in pixels; about that of a pixel itself
_DRAWN_VARIANCE = 1 / 6  # pixel², which bilinear interpolation adds to a line between pixels
# Required improvements in misfit, in nats per frequency: of a directional kernel over a round one,
# of a line over an ellipse or the reverse, and of texture over both. A line and an ellipse differ
# only at the frequencies that a line erases, so that the second difference is small.
_DIRECTION_PENALTY = 0.01
_LINE_PENALTY = 0.002
_GRAIN_PENALTY = 0.007
# Initial steps of the simplex: length (pixels), angle (degrees) and σ (pixels) of a kernel; for
# texture, the logarithm of its stretch takes the place of the length.
_STEPS = (1.0, 8.0, 0.3)
_GRAIN_STEPS = (0.2, 8.0, 0.3)

Transfer = Callable[[float, float, float], NDArray[np.float64]]


def search_parametric(spectrum: Spectrum, max_side: int) -> Generator[Kernel, None, Kernel]:
    """Search for the parametric kernel that explains a spectrum best.

    Parameters
    ----------
    spectrum : Spectrum
        Power spectrum of the blurred image.
    max_side : int
        Maximum side of the kernel in pixels, odd.

    Yields
    ------
    Kernel
        The best kernel so far, so that the caller can report progress or stop.

    Returns
    -------
    Kernel
        The kernel with the smallest misfit, with a penalty on directional kernels.
    """
    best = find_gaussian(spectrum, max_side)
    yield best
    assert best.misfit is not None
    directional = yield from mapped(
        _search_directional(spectrum, best.misfit - _DIRECTION_PENALTY), lambda _: best
    )
    return best if directional is None or max(directional.shape) > max_side else directional


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


def _search_directional(
    spectrum: Spectrum, max_misfit: float
) -> Generator[None, None, Kernel | None]:
    """Search for a directional kernel: a blurred line, an elliptic Gaussian, or the mean of both.

    A line erases some frequencies and leaves others, whereas an ellipse weakens all of them
    smoothly. If noise hides the erased frequencies, the two cannot be distinguished. Their mean is
    returned then, because it costs less than the wrong one of the two.

    Return None if the misfit is not below `max_misfit`, if the kernel is nearly round, or if
    texture explains the spectrum better. Texture such as bricks or fibres has less power along one
    direction at *all* frequencies, whereas blur reduces high frequencies more than low ones.
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

    def grain(stretch: float, angle: float, sigma: float) -> NDArray[np.float64]:
        along, across = _rotated(spectrum, angle)
        radius = np.hypot(along * math.exp(stretch), across * math.exp(-stretch))
        texture = scene_power(radius, _STEEPEST) / scene_power(spectrum.radius, _STEEPEST)
        return texture * spectrum.transfer_of_gaussian(sigma)

    grid = itertools.product(_LENGTHS, _ANGLES, (_LINE_SIGMA,))
    start = min(grid, key=lambda values: spectrum.explained_by(line(*values), _STEEPEST).misfit)
    yield
    as_line, line_misfit = _refine(spectrum, line, start, _STEPS)
    yield
    as_ellipse, ellipse_misfit = _refine(spectrum, ellipse, as_line, _STEPS)
    is_line = line_misfit < ellipse_misfit - _LINE_PENALTY
    length, angle, sigma = as_line if is_line else as_ellipse
    best_misfit = misfit(spectrum, line(*as_line) if is_line else ellipse(*as_ellipse))
    if length < _MIN_LENGTH or best_misfit >= max_misfit:
        return None
    yield
    _, grain_misfit = _refine(spectrum, grain, (0.0, angle, sigma), _GRAIN_STEPS)
    is_texture = grain_misfit < min(line_misfit, ellipse_misfit) - _GRAIN_PENALTY
    if is_texture:
        return None
    if is_line:
        return Kernel(_draw_line(*as_line), KernelSource.LINEAR_MOTION, misfit=best_misfit)
    kernel = _draw_ellipse(*as_ellipse)
    if ellipse_misfit > line_misfit - _LINE_PENALTY:
        kernel = _mean(kernel, _draw_line(*as_line))
    return Kernel(kernel, KernelSource.ELONGATED, misfit=best_misfit)


def _draw_line(length: float, angle: float, sigma: float) -> NDArray[np.float32]:
    """Draw a line convolved with a Gaussian."""
    drawn = np.pad(line_kernel(length, angle), math.ceil(_GAUSSIAN_EXTENT * sigma))
    kernel = ndimage.gaussian_filter(drawn, math.sqrt(max(sigma**2 - _DRAWN_VARIANCE, 0.0)))
    line: NDArray[np.float32] = kernel / kernel.sum()
    return line


def _draw_ellipse(length: float, angle: float, sigma: float) -> NDArray[np.float32]:
    """Draw the elliptic Gaussian with the same variances as a line convolved with a Gaussian."""
    along = math.sqrt(length**2 / 12 + sigma**2)
    side = 2 * math.ceil(_GAUSSIAN_EXTENT * along) + 1
    return elliptic_gaussian(side, (along, max(sigma, _MIN_SIGMA)), angle)


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
    spectrum: Spectrum,
    transfer: Transfer,
    start: tuple[float, float, float],
    steps: tuple[float, float, float],
) -> tuple[tuple[float, float, float], float]:
    """Return the parameters of a transfer function with the smallest misfit, and that misfit."""

    def steepest_misfit(values: tuple[float, float, float]) -> float:
        return spectrum.explained_by(transfer(*values), _STEEPEST).misfit

    simplex = np.array(start) + np.vstack([np.zeros(3), np.diag(steps)])
    options = {"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-4, "maxfev": 60}
    minimum = optimize.minimize(steepest_misfit, start, method="Nelder-Mead", options=options)
    length, angle, sigma = (float(value) for value in minimum.x)
    return (abs(length), angle, abs(sigma)), float(minimum.fun)
