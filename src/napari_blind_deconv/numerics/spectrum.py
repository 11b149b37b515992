"""The power spectrum of an image, and how well a kernel explains it.

The power of a sharp image falls like a power law above the frequency that belongs to the size of
its objects. A kernel multiplies the power by its |H|², and noise adds a constant. The likelihood of
the measured spectrum under this model (Whittle, 1953) compares kernels of any kind without knowing
the sharp image. All functions work for any number of spatial axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_blind_deconv.numerics.noise_shape import WHITE_NOISE, NoiseShape
from napari_blind_deconv.numerics.threads import threads
from napari_blind_deconv.numerics.whittle import fit_strength

__all__ = [
    "Explanation",
    "Spectrum",
    "border_window",
    "frequencies_of",
    "lengths",
    "noise_deviation",
    "periodic_component",
    "scene_frequency",
    "scene_power",
    "windowed",
]

# Radians per pixel. Lower frequencies are left out, because they show shading, not detail.
_MIN_FREQUENCY = 0.05
# Radians per pixel. The power of a scene levels off below this frequency, because objects have a
# finite size.
_OBJECT_FREQUENCY = 0.1
_CLEAR_POWER = 4.0  # multiple of the noise variance above which power counts as signal
# Radians per pixel. The level of filtered noise is measured between these frequencies: lower ones
# show structures, and interpolation leaves little at higher ones.
_NOISE_BAND = (0.22 * 2 * math.pi, 0.4 * 2 * math.pi)
_RING_WIDTH = 0.1  # radians per pixel


@dataclass(frozen=True)
class Explanation:
    """How well a kernel explains a spectrum.

    Attributes
    ----------
    misfit : float
        Mean negative log-likelihood in nats per frequency; 1 for an image of noise alone.
    strength : float
        Power of the sharp image, as a multiple of :func:`scene_power`.
    """

    misfit: float
    strength: float


@dataclass(frozen=True)
class Spectrum:
    """Power spectrum of an image up to π radians per pixel, without border effects.

    Attributes
    ----------
    power : ndarray
        Power ``(n,)``, scaled so that white noise has a power equal to its variance.
    frequencies : tuple of ndarray
        Frequency components ``(n,)`` along each axis, in radians per pixel.
    shape : tuple of int
        Shape of the image.
    noise_variance : float
        Variance of the noise, as in :func:`noise_deviation`.
    noise_power : ndarray
        Expected power of the noise ``(n,)``; equal to its variance if the noise is white.
    used : ndarray
        Mask of these frequencies among those of the real Fourier transform of the image.
    sampling : tuple of float
        Pixel size along each axis, as a multiple of the smallest.
    """

    power: NDArray[np.float64]
    frequencies: tuple[NDArray[np.float64], ...]
    shape: tuple[int, ...]
    noise_variance: float
    noise_power: NDArray[np.float64]
    used: NDArray[np.bool_]
    sampling: tuple[float, ...]

    @classmethod
    def of(
        cls,
        image: NDArray[np.floating],
        valid_share: float = 1.0,
        noise: NoiseShape = WHITE_NOISE,
        sampling: Sequence[float] | None = None,
    ) -> Spectrum:
        """Compute the spectrum of an image whose axes are all spatial.

        Parameters
        ----------
        image : ndarray
            Image without jumps: pixels that are not valid are filled smoothly.
        valid_share : float
            Share of the pixels that are not filled; only these have power.
        noise : NoiseShape
            How the power of the noise depends on frequency. Default: it does not.
        sampling : sequence of float, optional
            As the attribute. Default: the pixels are as high as wide, and as deep.
        """
        shape = image.shape
        everywhere = frequencies_of(shape)
        power = _power(image) / valid_share
        used = _is_used(everywhere, noise)
        frequencies = tuple(np.broadcast_to(along, used.shape)[used] for along in everywhere)
        variance = max(_noise_variance(power, everywhere, noise), _rounding(image))
        noise_power = variance * noise.power(frequencies) if not noise.is_white else variance
        return cls(
            power[used],
            frequencies,
            shape,
            variance,
            np.broadcast_to(noise_power, frequencies[0].shape),
            used,
            tuple(sampling or (1.0,) * image.ndim),
        )

    @cached_property
    def scene_radius(self) -> NDArray[np.float64]:
        """Magnitude of the frequencies ``(n,)``, in radians per smallest side of a pixel."""
        return scene_frequency(self.frequencies, self.sampling)

    @cached_property
    def radius(self) -> NDArray[np.float64]:
        """Magnitude of the frequencies ``(n,)``, in radians per pixel."""
        return lengths(self.frequencies)

    @cached_property
    def frequencies_seen(self) -> float:
        """Effective number of frequencies with more power than noise.

        Each frequency is weighted by the power expected in a sharp image. Stripes have one or two
        such frequencies, and a constant image or a ramp has none. The blur cannot be determined
        from so few.
        """
        # Participation ratio: (Σ s)² / Σ s² is the number of terms if all are equal.
        signal = np.clip(self.power - _CLEAR_POWER * self.noise_power, 0, None) * self.radius**3
        squares = float(np.square(signal).sum())
        return float(signal.sum()) ** 2 / squares if squares else 0.0

    @cached_property
    def information(self) -> float:
        """How much the image tells about its kernel: its frequencies, weighted by their signal.

        The weight is the square of the share of signal in the mean power of all frequencies of
        nearly the same magnitude. It is 1 for clear signal and 0 for noise, whatever the brightness
        of the image.
        """
        rings = np.digitize(self.radius, np.arange(0, math.pi, _RING_WIDTH))
        counts = np.bincount(rings)
        relative = np.bincount(rings, self.power / self.noise_power) / np.maximum(counts, 1)
        share = np.clip(1 - 1 / np.maximum(relative, 1), 0, None)
        return float(counts @ np.square(share))

    def transfer_of(self, kernel: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return |H|² ``(n,)`` of a kernel with as many axes as the image."""
        transfer = fft.rfftn(kernel.astype(np.float64), s=self.shape)
        return np.abs(transfer[self.used]) ** 2

    def transfer_of_gaussian(self, sigma: float) -> NDArray[np.float64]:
        """Return |H|² ``(n,)`` of a Gaussian, with `sigma` in pixels."""
        return np.exp(-np.square(sigma * self.radius))

    def explained_by(self, transfer: NDArray[np.float64], exponent: float) -> Explanation:
        """Fit the strength of a sharp image whose power follows :func:`scene_power`.

        Parameters
        ----------
        transfer : ndarray
            |H|² ``(n,)`` of the kernel.
        exponent : float
            Exponent of the power law. Raising it means a smoother sharp image, so that a narrower
            kernel explains the spectrum.
        """
        shape = transfer * scene_power(self.scene_radius, exponent) / self.noise_power
        power = self.power / self.noise_power
        fit = fit_strength(shape, power, np.ones_like(power))
        return Explanation(float(fit.misfit) / power.size, math.exp(fit.log_strength))


def scene_frequency(
    frequencies: Sequence[NDArray[np.floating]], sampling: Sequence[float]
) -> NDArray[Any]:
    """Return the magnitude of frequencies in the scene, where all directions are alike.

    Parameters
    ----------
    frequencies : sequence of ndarray
        Components along each axis in radians per pixel (broadcast).
    sampling : sequence of float
        Pixel size along each axis, as a multiple of the smallest.
    """
    return lengths([along / step for along, step in zip(frequencies, sampling, strict=True)])


def scene_power(radius: NDArray[np.floating], exponent: float) -> NDArray[np.float64]:
    """Return the expected power of a sharp image, scaled to nearly 1 at one radian per pixel.

    Parameters
    ----------
    radius : ndarray
        Frequencies in radians per pixel, any shape.
    exponent : float
        The power falls like ``radius ** -exponent``. Raising it means a smoother image.
    """
    power: NDArray[np.float64] = (np.square(radius) + _OBJECT_FREQUENCY**2) ** (-exponent / 2)
    return power


def noise_deviation(
    image: NDArray[np.floating], valid_share: float = 1.0, noise: NoiseShape = WHITE_NOISE
) -> float:
    """Estimate the standard deviation of the noise in an image, in the units of the image.

    The parameters are those of `Spectrum.of`.

    White noise is measured in the corners of the spectrum, beyond π radians per pixel, where blur
    leaves no signal; filtered noise, at lower frequencies. Photon noise, which depends on
    brightness, is white on average. The detail of a sharp image counts as noise, so that the
    estimate is an upper bound. All axes are spatial.
    """
    variance = _noise_variance(_power(image) / valid_share, frequencies_of(image.shape), noise)
    return math.sqrt(max(variance, _rounding(image)))


def periodic_component(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the periodic component of an image, without jumps between opposite borders.

    The spectrum of this component has no cross, which such jumps would cause. Source: Moisan,
    *Periodic plus smooth image decomposition*, JMIV 39 (2011).
    """
    smooth = fft.irfftn(_smooth_component(image), s=image.shape, workers=threads())
    return image - smooth


def _smooth_component(image: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Return the spectrum of what differs between an image and its periodic component."""
    jumps = np.zeros(image.shape)
    for axis in range(image.ndim):
        first, last = (np.moveaxis(image, axis, 0)[end].astype(np.float64) for end in (0, -1))
        borders = np.moveaxis(jumps, axis, 0)  # a view
        borders[0] += last - first
        borders[-1] -= last - first
    laplacian = reduce(np.add, [2 * np.cos(along) - 2 for along in frequencies_of(image.shape)])
    laplacian.flat[0] = 1  # avoids 0 / 0; the mean of the smooth component is set to 0 below
    smooth: NDArray[np.complex128] = fft.rfftn(jumps, workers=threads())
    smooth /= laplacian
    smooth.flat[0] = 0
    return smooth


def windowed(
    image: NDArray[np.floating], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return an image that fades to its borders along all axes, with the same power per pixel.

    Light from beyond the borders then leaves less trace in the spectrum than in that of the
    periodic component. Neighbouring frequencies are no longer independent. It is for volumes, whose
    borders are a large part of them. The weights are those of :func:`border_window` by default.
    """
    if weights is None:
        weights = border_window(image.shape)
    mean = float((weights * image).sum() / weights.sum())
    faded: NDArray[np.float64] = weights * (image - mean) / math.sqrt(np.square(weights).mean())
    return faded


def border_window(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return weights that fall to 0 at all borders (Hann's window; Harris, Proc. IEEE 66, 1978)."""
    profiles = [np.square(np.sin(np.pi * (np.arange(side) + 0.5) / side)) for side in shape]
    return reduce(np.multiply, np.meshgrid(*profiles, indexing="ij", sparse=True))


def _power(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the power of all frequencies, scaled to the variance of white noise."""
    spectrum = fft.rfftn(image.astype(np.float64), workers=threads())
    spectrum -= _smooth_component(image)
    power: NDArray[np.float64] = np.square(spectrum.real) + np.square(spectrum.imag)
    return power / image.size


def _noise_variance(
    power: NDArray[np.float64], frequencies: Sequence[NDArray[np.float64]], noise: NoiseShape
) -> float:
    """Return the mean power of the noise, measured where there is little else."""
    radius = lengths(frequencies)
    low, up = _NOISE_BAND
    high = noise.is_recorded(frequencies) & (radius > low) & (radius <= up)
    if noise.is_white or not high.any():
        return float(power[radius > math.pi].mean())
    relative = power[high] / noise.power(frequencies)[high]
    return float(np.median(relative)) / math.log(2)  # the median of an exponential distribution


def _rounding(image: NDArray[np.floating]) -> float:
    """Return the variance of single-precision rounding, the smallest possible noise."""
    step = float(np.finfo(np.float32).eps * np.abs(image).max())
    return max(step**2 / 12, float(np.finfo(np.float32).tiny))


def frequencies_of(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    """Return the frequencies along each axis in radians per pixel.

    The arrays are broadcast to the shape of the real Fourier transform of an image of that shape.
    """
    sides = [fft.fftfreq(side) for side in shape[:-1]] + [fft.rfftfreq(shape[-1])]
    return np.ix_(*(2 * np.pi * side for side in sides))


def lengths(frequencies: Sequence[NDArray[np.floating]]) -> NDArray[Any]:
    """Return the lengths of vectors, given their components along each axis (broadcast)."""
    return np.sqrt(reduce(np.add, map(np.square, frequencies)))


def _is_used(frequencies: Sequence[NDArray[np.float64]], noise: NoiseShape) -> NDArray[np.bool_]:
    """Return the mask of the frequencies that are compared with the model."""
    radius = lengths(frequencies)
    used = (radius > _MIN_FREQUENCY) & (radius <= math.pi)
    return used & noise.is_recorded(frequencies) if not noise.is_white else used
