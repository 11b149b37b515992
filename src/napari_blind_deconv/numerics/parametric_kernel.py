"""Kernels with a formula, from the power spectrum of an image: a point, Gaussian, ellipse, line.

Two-dimensional by nature: a direction is an angle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.location import crop_or_pad
from napari_blind_deconv.numerics.optics import elliptic_gaussian, gaussian_kernel, line_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum, scene_power
from napari_blind_deconv.steps import mapped

__all__ = ["WIDEST_POINT", "find_gaussian", "misfit", "search_parametric"]

# A Gaussian no wider than this, in pixels, is what the camera does, not the blur.
WIDEST_POINT = 0.7
# Power spectra of sharp pictures fall with the square of the frequency, or faster. Widths are
# fitted with the steepest, which makes them least: too narrow a kernel costs less than too wide a
# one.
_EXPONENTS = (2.0, 2.5, 3.0)
_STEEPEST = max(_EXPONENTS)
_SIGMAS = np.geomspace(0.3, 14.0, 30)
_SIGMAS_OUT = 3.5  # where a Gaussian ends
# A blur that is less longer in one direction than this, in pixels, is told from a round one by
# texture as often as by blur.
_SHORTEST_LINE = 5.0
_LENGTHS = (5.0, 7.0, 10.0, 14.0, 20.0)
_ANGLES = np.arange(0.0, 180.0, 15.0)
_LINE_SIGMA = 0.5
_NARROWEST = 0.3  # σ of an ellipse across, in pixels: a pixel is no narrower
_DRAWN_VARIANCE = 1 / 6  # of a line between pixels, shared out among its neighbours
# Nats a frequency a blur with a direction must explain the spectrum better by than a round one; a
# line than an ellipse or the ellipse than the line, which differ only by the frequencies the line
# erases; and texture with a grain than either of them.
_DIRECTION_PENALTY = 0.01
_LINE_PENALTY = 0.002
_GRAIN_PENALTY = 0.007
# Steps of the search for length in pixels, angle in degrees and σ in pixels; and for the stretch of
# a grain in place of the length.
_STEPS = (1.0, 8.0, 0.3)
_GRAIN_STEPS = (0.2, 8.0, 0.3)

Transfer = Callable[[float, float, float], NDArray[np.float64]]


def search_parametric(spectrum: Spectrum, largest: int) -> Generator[Kernel, None, Kernel]:
    """The blur with a formula that explains a spectrum best, in a window of `largest` at most.

    Yields the best so far every now and then, so that the caller may report and stop.
    """
    best = find_gaussian(spectrum, largest)
    yield best
    assert best.misfit is not None
    directed = yield from mapped(
        _directed(spectrum, best.misfit - _DIRECTION_PENALTY), lambda _: best
    )
    return best if directed is None or max(directed.shape) > largest else directed


def misfit(spectrum: Spectrum, transfer: NDArray[np.float64]) -> float:
    """How badly a blur of this |H|² ``(n,)`` explains a spectrum, in nats a frequency."""
    return min(spectrum.explained_by(transfer, exponent).misfit for exponent in _EXPONENTS)


def find_gaussian(spectrum: Spectrum, largest: int) -> Kernel:
    """The round Gaussian that explains a spectrum best, or none if that is a point."""

    def transfer(log_sigma: float) -> NDArray[np.float64]:
        return spectrum.transfer_of_gaussian(math.exp(log_sigma))

    def steepest_misfit(log_sigma: float) -> float:
        return spectrum.explained_by(transfer(log_sigma), _STEEPEST).misfit

    tried = np.log(_SIGMAS)
    best = int(np.argmin([steepest_misfit(log_sigma) for log_sigma in tried]))
    around = (tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)])
    found = optimize.minimize_scalar(steepest_misfit, bounds=around, method="bounded")
    sigma, least = math.exp(found.x), misfit(spectrum, transfer(found.x))
    if sigma <= WIDEST_POINT:
        return Kernel.point(source=KernelSource.NO_BLUR, misfit=least)
    side = min(2 * math.ceil(_SIGMAS_OUT * sigma) + 1, largest)
    return Kernel(gaussian_kernel((side, side), sigma), KernelSource.GAUSSIAN, misfit=least)


def _directed(spectrum: Spectrum, wanted: float) -> Generator[None, None, Kernel | None]:
    """A line convolved with a Gaussian, an elliptic Gaussian, or the mean of both.

    None if its misfit is not below the one wanted, it is nearly round, or it is not blur but
    texture: bricks or fibres have less power along one direction at *all* frequencies, blur the
    less the higher they are. A line erases some frequencies and spares others, an ellipse weakens
    them smoothly. Where noise hides what is erased they cannot be told apart, and their mean costs
    less than the wrong one.
    """

    def line(length: float, angle: float, sigma: float) -> NDArray[np.float64]:
        along, _ = _rotated(spectrum, angle)
        erased = np.square(np.sinc(length * along / (2 * np.pi)))
        return erased * spectrum.transfer_of_gaussian(sigma)

    def ellipse(length: float, angle: float, sigma: float) -> NDArray[np.float64]:
        along, across = _rotated(spectrum, angle)
        variance = length**2 / 12 + sigma**2  # along the line
        return np.exp(-variance * np.square(along) - np.square(sigma * across))

    def grain(stretch: float, angle: float, sigma: float) -> NDArray[np.float64]:
        along, across = _rotated(spectrum, angle)
        radius = np.hypot(along * math.exp(stretch), across * math.exp(-stretch))
        texture = scene_power(radius, _STEEPEST) / scene_power(spectrum.radius, _STEEPEST)
        return texture * spectrum.transfer_of_gaussian(sigma)

    grid = itertools.product(_LENGTHS, _ANGLES, (_LINE_SIGMA,))
    start = min(grid, key=lambda tried: spectrum.explained_by(line(*tried), _STEEPEST).misfit)
    yield
    as_line, line_misfit = _refined(spectrum, line, start, _STEPS)
    yield
    as_ellipse, ellipse_misfit = _refined(spectrum, ellipse, as_line, _STEPS)
    is_line = line_misfit < ellipse_misfit - _LINE_PENALTY
    length, angle, sigma = as_line if is_line else as_ellipse
    least = misfit(spectrum, line(*as_line) if is_line else ellipse(*as_ellipse))
    if length < _SHORTEST_LINE or least >= wanted:
        return None
    yield
    _, grain_misfit = _refined(spectrum, grain, (0.0, angle, sigma), _GRAIN_STEPS)
    is_texture = grain_misfit < min(line_misfit, ellipse_misfit) - _GRAIN_PENALTY
    if is_texture:
        return None
    if is_line:
        return Kernel(_drawn_line(*as_line), KernelSource.LINEAR_MOTION, misfit=least)
    kernel = _drawn_ellipse(*as_ellipse)
    if ellipse_misfit > line_misfit - _LINE_PENALTY:
        kernel = _mean(kernel, _drawn_line(*as_line))
    return Kernel(kernel, KernelSource.ELONGATED, misfit=least)


def _drawn_line(length: float, angle: float, sigma: float) -> NDArray[np.float32]:
    drawn = np.pad(line_kernel(length, angle), math.ceil(_SIGMAS_OUT * sigma))
    kernel = ndimage.gaussian_filter(drawn, math.sqrt(max(sigma**2 - _DRAWN_VARIANCE, 0.0)))
    line: NDArray[np.float32] = kernel / kernel.sum()
    return line


def _drawn_ellipse(length: float, angle: float, sigma: float) -> NDArray[np.float32]:
    """The elliptic Gaussian with the variances of a line convolved with a Gaussian."""
    longest = math.sqrt(length**2 / 12 + sigma**2)
    side = 2 * math.ceil(_SIGMAS_OUT * longest) + 1
    return elliptic_gaussian(side, (longest, max(sigma, _NARROWEST)), angle)


def _mean(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    side = max(len(first), len(second))
    both = np.stack([crop_or_pad(each, (side, side)) for each in (first, second)])
    mean: NDArray[np.float32] = both.mean(axis=0)
    return mean


def _rotated(spectrum: Spectrum, angle: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies along a line at `angle` degrees, as in `line_kernel`, and across it."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rows, columns = spectrum.frequencies
    along, across = columns * cosine - rows * sine, columns * sine + rows * cosine
    return along, across


def _refined(
    spectrum: Spectrum,
    transfer: Transfer,
    start: tuple[float, float, float],
    steps: tuple[float, float, float],
) -> tuple[tuple[float, float, float], float]:
    """The best numbers for a transfer function near `start`, and their misfit."""

    def steepest_misfit(tried: tuple[float, float, float]) -> float:
        return spectrum.explained_by(transfer(*tried), _STEEPEST).misfit

    simplex = np.array(start) + np.vstack([np.zeros(3), np.diag(steps)])
    options = {"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-4, "maxfev": 60}
    found = optimize.minimize(steepest_misfit, start, method="Nelder-Mead", options=options)
    length, angle, sigma = (float(value) for value in found.x)
    return (abs(length), angle, abs(sigma)), float(found.fun)
