"""Which blur a picture has, from the picture alone: none, Gaussian, drift, or of any shape.

Each kind gives its best kernel; the kernel that explains the picture's spectrum best is taken.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel
from napari_blind_deconv.numerics.optics import line_kernel
from napari_blind_deconv.numerics.sparse_kernel import sparse_gradient_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum

__all__ = ["Blur", "BlurKind", "find_blur", "placed", "region_with_contrast"]

BlurKind = Literal["none", "Gaussian", "drift", "free", "guess"]

# Power spectra of sharp pictures fall with the square of the frequency, or faster. Widths are
# fitted with the steepest, which makes them least: too narrow a kernel costs less than too wide a
# one.
_EXPONENTS = (2.0, 2.5, 3.0)
_STEEPEST = max(_EXPONENTS)
# A Gaussian no wider than this, in pixels, is what the camera does, not the blur.
_WIDEST_POINT = 0.7
_SIGMAS = np.geomspace(0.3, 14.0, 30)
_SIGMAS_OUT = 3.5  # where a Gaussian ends
# Drifts shorter than this, in pixels, are told from a Gaussian by texture as often as by blur.
_SHORTEST_DRIFT = 5.0
_LENGTHS = (5.0, 7.0, 10.0, 14.0, 20.0)
_ANGLES = np.arange(0.0, 180.0, 15.0)
_DRIFT_SIGMA = 0.5
_DRAWN_VARIANCE = 1 / 6  # of a line between pixels, shared out among its neighbours
_FREE_SIGMAS = (0.0, 0.4, 0.8)
# Windows a shape is searched in. The larger one holds longer drifts, the smaller one finds short
# ones more often.
_FREE_SIDES = (31, 61)
# Turns of the search: enough to tell whether there is a shape, and to find it. Halfway the kernel
# still changes, and rounding decides which it is.
_FEW_TURNS, _TURNS = 16, 32
# The search looks along rows and columns in one direction: a mirror image leads elsewhere.
_AS_IT_IS = np.s_[:, :]
_VIEWS = (_AS_IT_IS, np.s_[::-1, :], np.s_[:, ::-1], np.s_[::-1, ::-1])
# Nats a frequency a kind with more parameters must explain the spectrum better by.
_WORTH_A_DRIFT = 0.01
_TIE = 3e-4
_WORTH_A_SHAPE = 0.025
# Share of a kernel at the border of its window that says that it ought to reach beyond.
_TOUCH = 1e-3
# Pixels a side of the region that is looked at.
_REGION = 384


@dataclass(frozen=True)
class Blur:
    """A blur that a picture may have.

    Attributes
    ----------
    kind : str
        Its family; ``"guess"`` is not found but told.
    kernel : ndarray
        ``(side, side)``, odd, ≥ 0, sum 1, centred.
    misfit : float
        How badly it explains the picture's spectrum, in nats a frequency, see `Explanation`.
    """

    kind: BlurKind
    kernel: NDArray[np.float32]
    misfit: float


def find_blur(image: NDArray[np.floating[Any]], largest: int) -> Blur:
    """Find the blur of an image ``(H, W)`` in [0, 1].

    Parameters
    ----------
    image : ndarray
        The blurred image. Of a large one, the 384² with the strongest contrast are looked at.
    largest : int
        Longest side of the kernel in pixels, odd.
    """
    region = image[region_with_contrast(image, _REGION)]
    spectrum = Spectrum.of(region)
    best = _gaussian(spectrum, largest)
    drift = _drift(spectrum)
    if drift is not None and len(drift.kernel) <= largest:
        best = drift if drift.misfit < best.misfit - _WORTH_A_DRIFT else best
    # Both odd; at half the image there is little left that the kernel could be seen in.
    largest = min(largest, (min(region.shape) // 2 - 1) | 1)
    sides = {min(side, largest) for side in _FREE_SIDES}
    free = _least(_free(region, spectrum, side, _FEW_TURNS) for side in sides)
    if free is None or free.misfit >= best.misfit - _WORTH_A_SHAPE:
        return best
    side = len(free.kernel)
    return _least(_free(region, spectrum, side, _TURNS, view) for view in _VIEWS) or free


def _least(blurs: Iterable[Blur | None]) -> Blur | None:
    return min(filter(None, blurs), key=lambda blur: blur.misfit, default=None)


def placed(kernel: NDArray[np.float32], window: tuple[int, int]) -> NDArray[np.float32]:
    """A centred kernel in another window, both of odd sides: cut off or surrounded by zeros."""
    cut = kernel[
        tuple(
            slice(max(have - want, 0) // 2, have - max(have - want, 0) // 2)
            for have, want in zip(kernel.shape, window, strict=True)
        )
    ]
    pads = [((want - have) // 2,) * 2 for have, want in zip(cut.shape, window, strict=True)]
    return np.pad(cut / cut.sum(), pads)


def _gaussian(spectrum: Spectrum, largest: int) -> Blur:
    def transfer(log_sigma: float) -> NDArray[np.float64]:
        return spectrum.transfer_of_gaussian(math.exp(log_sigma))

    def misfit(log_sigma: float) -> float:
        return spectrum.explained_by(transfer(log_sigma), _STEEPEST).misfit

    tried = np.log(_SIGMAS)
    best = int(np.argmin([misfit(log_sigma) for log_sigma in tried]))
    around = (tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)])
    found = optimize.minimize_scalar(misfit, bounds=around, method="bounded")
    sigma, least = math.exp(found.x), _misfit(spectrum, transfer(found.x))
    if sigma <= _WIDEST_POINT:
        return Blur("none", np.ones((1, 1), np.float32), least)
    side = min(2 * math.ceil(_SIGMAS_OUT * sigma) + 1, largest)
    return Blur("Gaussian", gaussian_kernel((side, side), sigma).numpy(), least)


def _drift(spectrum: Spectrum) -> Blur | None:
    """A straight line, convolved with a Gaussian; None if it is too short to tell, or texture.

    Texture with a grain (bricks, fibres) lacks frequencies of one direction as a drift does, but
    smoothly, where a drift erases some and spares others: an elliptic Gaussian explains it better.
    """

    def line(length: float, angle: float, sigma: float) -> NDArray[np.float64]:
        along, _ = _turned(spectrum, angle)
        erased = np.square(np.sinc(length * along / (2 * np.pi)))
        return erased * spectrum.transfer_of_gaussian(sigma)

    def ellipse(length: float, angle: float, sigma: float) -> NDArray[np.float64]:
        along, across = _turned(spectrum, angle)
        variance = length**2 / 12 + sigma**2  # along the line
        return np.exp(-variance * np.square(along) - np.square(sigma * across))

    grid = itertools.product(_LENGTHS, _ANGLES, (_DRIFT_SIGMA,))
    start = min(grid, key=lambda tried: spectrum.explained_by(line(*tried), _STEEPEST).misfit)
    found, misfit = _refined(spectrum, line, start)
    _, as_texture = _refined(spectrum, ellipse, found)
    length, angle, sigma = abs(found[0]), found[1], abs(found[2])
    if length < _SHORTEST_DRIFT or as_texture < misfit - _TIE:
        return None
    drawn = np.pad(line_kernel(length, angle), math.ceil(_SIGMAS_OUT * sigma))
    kernel = ndimage.gaussian_filter(drawn, math.sqrt(max(sigma**2 - _DRAWN_VARIANCE, 0.0)))
    return Blur("drift", kernel / kernel.sum(), misfit)


def _turned(spectrum: Spectrum, angle: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies along a line at `angle` degrees, as in `line_kernel`, and across it."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along = spectrum.columns * cosine - spectrum.rows * sine
    across = spectrum.columns * sine + spectrum.rows * cosine
    return along, across


def _refined(
    spectrum: Spectrum,
    transfer: Callable[[float, float, float], NDArray[np.float64]],
    start: tuple[float, float, float],
) -> tuple[tuple[float, float, float], float]:
    """The best length, angle and σ near `start`, and their misfit."""

    def misfit(tried: tuple[float, float, float]) -> float:
        return spectrum.explained_by(transfer(*tried), _STEEPEST).misfit

    simplex = np.array(start) + np.array([[0, 0, 0], [1.0, 0, 0], [0, 8.0, 0], [0, 0, 0.3]])
    options = {"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-4, "maxfev": 60}
    found = optimize.minimize(misfit, start, method="Nelder-Mead", options=options)
    length, angle, sigma = (float(value) for value in found.x)
    return (length, angle, sigma), _misfit(spectrum, transfer(length, angle, sigma))


def _free(
    image: NDArray[np.floating[Any]],
    spectrum: Spectrum,
    side: int,
    turns: int,
    view: tuple[slice, slice] = _AS_IT_IS,
) -> Blur | None:
    """Any shape, searched in a view of the image; None if a point, or at its window's border.

    Where noise or the want of edges hides the kernel, what is found instead sprawls, and explains
    the spectrum all the better. What the camera itself blurs is no fault of the shape.
    """
    kernel = sparse_gradient_kernel(image[view], side, turns)[view]
    if kernel[1:-1, 1:-1].sum() < kernel.sum() * (1 - _TOUCH) or _sigma(kernel) <= _WIDEST_POINT:
        return None
    transfer = spectrum.transfer_of(kernel)
    softened = (transfer * spectrum.transfer_of_gaussian(sigma) for sigma in _FREE_SIGMAS)
    misfit = min(_misfit(spectrum, each) for each in softened)
    return Blur("free", kernel, misfit)


def _sigma(kernel: NDArray[np.float32]) -> float:
    """Standard deviation along an axis, in pixels, of both together."""
    places = np.indices(kernel.shape) - np.reshape(ndimage.center_of_mass(kernel), (2, 1, 1))
    return math.sqrt((kernel * np.square(places)).sum() / kernel.sum() / 2)


def _misfit(spectrum: Spectrum, transfer: NDArray[np.float64]) -> float:
    return min(spectrum.explained_by(transfer, exponent).misfit for exponent in _EXPONENTS)


def region_with_contrast(image: NDArray[np.floating[Any]], side: int) -> tuple[slice, slice]:
    """Where an image ``(H, W)`` has the strongest contrast: a square of a side, or less."""
    steps = ndimage.gaussian_gradient_magnitude(image, 1.0)
    sides = [min(have, side) for have in image.shape]
    sums = ndimage.uniform_filter(steps, sides, mode="constant")
    place = np.unravel_index(sums.argmax(), sums.shape)
    starts = [
        min(max(int(centre) - length // 2, 0), have - length)
        for centre, length, have in zip(place, sides, image.shape, strict=True)
    ]
    rows, columns = (slice(s, s + length) for s, length in zip(starts, sides, strict=True))
    return rows, columns
