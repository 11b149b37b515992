"""The power of an image by frequency, and how well a blur explains it; for any number of axes.

The power of sharp pictures falls like a power of the frequency, from where their objects end. A
blur multiplies it by its |H|², noise adds a constant. How likely the power found is under that
(Whittle, 1953) compares blurs of any kind without the sharp picture: what a blur spares and what it
erases shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = [
    "Explanation",
    "Spectrum",
    "frequencies_of",
    "lengths",
    "periodic_component",
    "scene_power",
    "white_noise",
]

# The slowest frequencies, in radians a pixel, hold shading more than detail.
_SLOWEST = 0.05
# Objects end: slower than this, in radians a pixel, the power of a picture rises no further.
_OBJECTS = 0.1
# Power of so many times the noise is no noise.
_CLEAR = 4.0
_SCORING_STEPS = 10
_LARGEST_STEP = 2.0


@dataclass(frozen=True)
class Explanation:
    """How a blur explains a spectrum.

    Attributes
    ----------
    misfit : float
        Mean negative log-likelihood a frequency, in nats, where noise alone of its own level has 1.
    strength : float
        Power of the sharp picture, as a multiple of :func:`scene_power`.
    """

    misfit: float
    strength: float


@dataclass(frozen=True)
class Spectrum:
    """Power of an image up to π radians a pixel, border effects removed.

    Attributes
    ----------
    power : ndarray
        ``(n,)``; white noise has its variance everywhere.
    frequencies : tuple of ndarray
        ``(n,)`` along each axis, in radians a pixel.
    shape : tuple of int
        Of the image.
    noise_variance : float
        Of white noise, as in :func:`white_noise`.
    """

    power: NDArray[np.float64]
    frequencies: tuple[NDArray[np.float64], ...]
    shape: tuple[int, ...]
    noise_variance: float

    @classmethod
    def of(cls, image: NDArray[np.floating]) -> Spectrum:
        """Spectrum of an image of any number of axes, all of them space."""
        shape = image.shape
        power = _power(image)
        used = _used(shape)
        frequencies = tuple(along[used] for along in frequencies_of(shape))
        noise = max(_corner_power(power, shape), _rounding(image))
        return cls(power[used], frequencies, shape, noise)

    @cached_property
    def radius(self) -> NDArray[np.float64]:
        """Frequencies ``(n,)`` whatever their direction, in radians a pixel."""
        return lengths(self.frequencies)

    @cached_property
    def frequencies_seen(self) -> float:
        """How many frequencies show more than noise, were all as strong as in sharp pictures.

        Stripes have one or two, a plain or a ramp none: no blur can be told from them.
        """
        seen = np.clip(self.power - _CLEAR * self.noise_variance, 0, None) * self.radius**3
        squares = float(np.square(seen).sum())
        return float(seen.sum()) ** 2 / squares if squares else 0.0

    def transfer_of(self, kernel: NDArray[np.floating]) -> NDArray[np.float64]:
        """|H|² ``(n,)`` of a kernel of as many axes."""
        transfer = fft.rfftn(kernel.astype(np.float64), s=self.shape)
        return np.abs(transfer[_used(self.shape)]) ** 2

    def transfer_of_gaussian(self, sigma: float) -> NDArray[np.float64]:
        """|H|² ``(n,)`` of a Gaussian, `sigma` in pixels."""
        return np.exp(-np.square(sigma * self.radius))

    def explained_by(self, transfer: NDArray[np.float64], exponent: float) -> Explanation:
        """Fit the strength of a sharp picture whose power falls as :func:`scene_power` says.

        Parameters
        ----------
        transfer : ndarray
            |H|² ``(n,)`` of the blur.
        exponent : float
            Higher means a smoother sharp picture, which asks for less blur.
        """
        shape = transfer * scene_power(self.radius, exponent) / self.noise_variance
        power = self.power / self.noise_variance
        strength = math.log(max(power.sum(), 1.0) / shape.sum())
        for _ in range(_SCORING_STEPS):  # Fisher scoring on the logarithm
            model = 1 + math.exp(strength) * shape
            signal = 1 - 1 / model
            information = np.mean(signal**2)
            if information == 0:  # nothing but noise
                break
            step = np.mean(signal * (power / model - 1)) / information
            strength += float(np.clip(step, -_LARGEST_STEP, _LARGEST_STEP))
        model = 1 + math.exp(strength) * shape
        misfit = float(np.mean(np.log(model) + power / model))
        return Explanation(misfit, math.exp(strength))


def scene_power(radius: NDArray[np.floating], exponent: float) -> NDArray[np.float64]:
    """Power a sharp picture is expected to have at a frequency, 1 at one radian a pixel or nearly.

    Parameters
    ----------
    radius : ndarray
        Frequencies in radians a pixel, of any shape.
    exponent : float
        The power falls like ``radius ** -exponent``. Higher means a smoother picture.
    """
    power: NDArray[np.float64] = (np.square(radius) + _OBJECTS**2) ** (-exponent / 2)
    return power


def white_noise(image: NDArray[np.floating]) -> float:
    """Standard deviation of white noise in an image, in its own units; all its axes are space.

    Noise is what is left where blur leaves nothing: beyond π radians a pixel, the corners of the
    spectrum. Photon noise, whose strength follows the picture, is white on average. A sharp
    picture's own detail counts as noise, so that this is an upper bound.
    """
    return math.sqrt(Spectrum.of(image).noise_variance)


def periodic_component(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """What is left of an image without the jumps from border to opposite border; any axes.

    Moisan, *Periodic plus smooth image decomposition*, JMIV 39 (2011). Its spectrum has no cross.
    """
    values = image.astype(np.float64)
    jumps = np.zeros_like(values)
    for axis in range(values.ndim):
        first, last = (np.moveaxis(values, axis, 0)[end] for end in (0, -1))
        borders = np.moveaxis(jumps, axis, 0)  # a view
        borders[0] += last - first
        borders[-1] -= last - first
    laplacian = np.sum([2 * np.cos(along) - 2 for along in frequencies_of(image.shape)], axis=0)
    laplacian.flat[0] = 1
    smooth = fft.rfftn(jumps) / laplacian
    smooth.flat[0] = 0
    return values - fft.irfftn(smooth, s=values.shape)


def _power(image: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.abs(fft.rfftn(periodic_component(image))) ** 2 / image.size


def _corner_power(power: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    return float(power[lengths(frequencies_of(shape)) > math.pi].mean())


def _rounding(image: NDArray[np.floating]) -> float:
    """Variance that single precision adds to an image; the least that counts as noise."""
    step = float(np.finfo(np.float32).eps * np.abs(image).max())
    return max(step**2 / 12, float(np.finfo(np.float32).tiny))


def frequencies_of(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    """Radians a pixel along each axis, each in the shape of a real image's transform."""
    sides = [fft.fftfreq(side) for side in shape[:-1]] + [fft.rfftfreq(shape[-1])]
    return tuple(np.meshgrid(*(2 * np.pi * side for side in sides), indexing="ij"))


def lengths(frequencies: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Lengths of the vectors whose components along each axis are these; they are broadcast."""
    return reduce(np.hypot, frequencies, np.zeros(()))


def _used(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    radius = lengths(frequencies_of(shape))
    return (radius > _SLOWEST) & (radius <= math.pi)
