"""Estimate how the power of the noise depends on frequency, from the flattest parts of a plane.

Noise that is independent from pixel to pixel has the same power at all frequencies. Smoothing,
interpolation and enlargement remove noise together with detail, so that it can no longer be
measured where blur leaves no signal. In the flattest parts of an image, however, there is little
but noise. It is told from texture by what its power depends on: brightness, but not structure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, stats
from scipy.signal.windows import hann

__all__ = ["WHITE_NOISE", "NoiseColour", "NoiseShape"]

_PATCH, _STEP = 16, 8  # side of a patch and distance between patches, in pixels
_MIN_PATCHES = 40
_FLAT_SHARE = 0.2  # of the patches; the flattest and the busiest are compared
_MAX_PATCHES = 4096  # more do not make the estimate better
# Bands of frequencies, in cycles per pixel: structures; the lower and upper part of what is noise.
_STRUCTURES, _LOWER, _UPPER = (0.04, 0.16), (0.22, 0.34), (0.4, 0.75)
# Noise counts as white if its power in the upper band, relative to the lower one, is more than
# this.
_MIN_WHITE = 0.6
# Noise depends on brightness alone. Among patches of one brightness, the power of its lower band is
# hardly correlated with that of structures and of the upper band. Limit of the sum of the two
# correlations; measured on made exposures: up to 0.60 for filtered noise; from 0.71 for photographs
# and adaptive filters.
_BRIGHTNESS_BINS = 8
_MAX_CORRELATIONS = 0.65
# Change of the ratio of busy to flat parts from the lower to the upper band. Noise of any colour
# has the same in both. It falls where blurred detail ends in white noise. It grows where processing
# removed noise from flat parts.
_MIN_TREND, _MIN_PROCESSED_TREND = 0.55, 1.17
_BINOMIAL = np.outer((1, 2, 1), (1, 2, 1)) / 16  # smooths a spectrum over adjacent frequencies
# Relative to the highest power of the lower band: lower bound, and power above which frequencies
# count as recorded.
_FLOOR, _EMPTY = 0.01, 0.03


class NoiseColour(StrEnum):
    """What the noise of an image looks like."""

    WHITE = "white"  # independent from pixel to pixel, or too weak to tell
    FILTERED = "filtered"  # smoothed, interpolated or enlarged after the exposure
    PROCESSED = "processed"  # reduced in flat parts: denoised, compressed or deconvolved before


@dataclass(frozen=True, eq=False)
class NoiseShape:
    """Power of the noise by frequency, relative to its mean over all frequencies.

    Attributes
    ----------
    colour : NoiseColour
    spectrum : ndarray or None
        Relative power ``(side, side)`` at the frequencies of a discrete Fourier transform; None for
        white noise.
    """

    colour: NoiseColour = NoiseColour.WHITE
    spectrum: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, plane: NDArray[np.floating[Any]], valid: NDArray[np.bool_] | None = None) -> Self:
        """Estimate the shape from a plane ``(H, W)``; parts that are not `valid` are left out."""
        spectra, brightness = _patch_spectra(plane, valid)
        if len(spectra) < _MIN_PATCHES:
            return cls()
        structures, lower, upper = (
            spectra[:, _band(*limits)].mean(axis=1) for limits in (_STRUCTURES, _LOWER, _UPPER)
        )
        count = max(int(_FLAT_SHARE * len(spectra)), 8)
        order = np.argsort(structures)
        flat, busy = order[:count], order[-count:]
        if lower[flat].mean() == 0 or upper[flat].mean() > _MIN_WHITE * lower[flat].mean():
            return cls()
        trend = upper[busy].mean() * lower[flat].mean() / (lower[busy].mean() * upper[flat].mean())
        dependence = sum(_correlation(lower, other, brightness) for other in (structures, upper))
        if trend > _MIN_TREND and dependence < _MAX_CORRELATIONS:
            return cls(NoiseColour.FILTERED, _noise_spectrum(spectra[flat].mean(axis=0)))
        if trend > _MIN_PROCESSED_TREND:
            return cls(NoiseColour.PROCESSED, _noise_spectrum(spectra.mean(axis=0), plateau=True))
        return cls()

    @property
    def is_white(self) -> bool:
        """Whether the power does not depend on frequency."""
        return self.spectrum is None

    def power(self, frequencies: Sequence[NDArray[np.floating[Any]]]) -> NDArray[np.float64]:
        """Return the relative power at frequencies in radians per pixel.

        The arrays for the axes are broadcast. The power has a lower bound, because it cannot be
        measured where filtering left nothing.
        """
        along = np.broadcast_arrays(*frequencies)
        if self.spectrum is None:
            return np.ones(along[0].shape)
        places = [_PATCH * f / (2 * np.pi) for f in along]
        logarithm = ndimage.map_coordinates(
            np.log(self.spectrum), places, order=1, mode="grid-wrap"
        )
        return np.exp(logarithm)

    def is_recorded(self, frequencies: Sequence[NDArray[np.floating[Any]]]) -> NDArray[np.bool_]:
        """Return the mask of the frequencies at which filtering left more than the lower bound."""
        power = self.power(frequencies)
        if self.spectrum is None:
            return np.ones(power.shape, bool)
        return power > _EMPTY * float(self.spectrum[_band(*_LOWER)].max())

    @property
    def neighbour_correlation(self) -> float:
        """Correlation of the noise of adjacent pixels, averaged over both axes; 0 if white."""
        if self.spectrum is None:
            return 0.0
        cosine = np.cos(2 * np.pi * fft.fftfreq(_PATCH))
        return float((self.spectrum * (cosine[:, None] + cosine) / 2).mean())

    def response(self, mask: NDArray[np.float64]) -> float:
        """Return the variance of the noise after convolution with a mask, relative to before."""
        power = np.abs(fft.fft2(mask, (_PATCH, _PATCH))) ** 2
        return float((power if self.spectrum is None else power * self.spectrum).mean())


WHITE_NOISE = NoiseShape()


def _noise_spectrum(spectrum: NDArray[np.float64], *, plateau: bool = False) -> NDArray[np.float64]:
    """Return the shape of the noise from the mean spectrum of flat patches.

    At low frequencies, structures dominate even there. The shape is continued from the lower band
    like that of a Gaussian filter, to which every smoothing filter is similar at low frequencies.
    """
    smooth = ndimage.convolve(spectrum, _BINOMIAL, mode="wrap")
    frequency = fft.fftfreq(_PATCH)
    down, right = np.meshgrid(frequency, frequency, indexing="ij")
    radius = np.hypot(down, right)
    band = _band(*_LOWER)
    logarithm = np.log(np.maximum(smooth, _FLOOR * smooth[band].max()))
    decay = -np.polyfit(np.square(radius[band]), logarithm[band], 1)[0]
    low = (radius > 0) & (radius < _LOWER[0])
    edge = [_PATCH * along[low] * _LOWER[0] / radius[low] for along in (down, right)]
    at_edge = ndimage.map_coordinates(logarithm, edge, order=1, mode="grid-wrap")
    slope = 0.0 if plateau else max(decay, 0.0)
    logarithm[low] = at_edge + slope * (_LOWER[0] ** 2 - np.square(radius[low]))
    logarithm[0, 0] = (logarithm[0, 1] + logarithm[1, 0]) / 2  # it has no direction
    power = np.exp(logarithm)
    return np.asarray(power / power.mean())


def _patch_spectra(
    plane: NDArray[np.floating[Any]], valid: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return power spectra ``(n, side, side)`` and brightness ``(n,)`` of patches.

    The mean and the slope of each patch are subtracted first.
    """
    patches = _patches(plane)
    if valid is not None and not valid.all():
        patches = patches[_patches(valid).all(axis=(1, 2))]
    patches = patches[:: math.ceil(max(len(patches), 1) / _MAX_PATCHES)]
    brightness = patches.mean(axis=(1, 2))
    ramp = np.linspace(-1, 1, _PATCH)
    squares = np.square(ramp).sum() * _PATCH
    down = patches.sum(axis=2) @ ramp / squares
    right = patches.sum(axis=1) @ ramp / squares
    flat = patches - brightness[:, None, None]
    flat = flat - down[:, None, None] * ramp[:, None] - right[:, None, None] * ramp
    window = hann(_PATCH, sym=False)
    spectra = fft.fft2(flat * (np.outer(window, window) / np.square(window).mean()))
    return np.abs(spectra) ** 2 / _PATCH**2, brightness


def _patches(plane: NDArray[Any]) -> NDArray[Any]:
    """Return overlapping patches ``(n, side, side)`` of a plane."""
    shape = (_PATCH, _PATCH)
    if min(plane.shape) < _PATCH:
        return np.empty((0, *shape), plane.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(plane, shape)[::_STEP, ::_STEP]
    return windows.reshape(-1, *shape)


def _correlation(
    first: NDArray[np.float64], second: NDArray[np.float64], brightness: NDArray[np.float64]
) -> float:
    """Return the rank correlation of two powers among patches of similar brightness."""
    bins = np.array_split(np.argsort(brightness), _BRIGHTNESS_BINS)
    return float(np.mean([_rank_correlation(first[b], second[b]) for b in bins]))


def _rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's correlation; 1 if a power is the same everywhere, as without noise."""
    ranks = [stats.rankdata(power) - (len(power) + 1) / 2 for power in (first, second)]
    norm = math.sqrt(float(np.square(ranks[0]).sum() * np.square(ranks[1]).sum()))
    return float(ranks[0] @ ranks[1]) / norm if norm else 1.0


def _band(low: float, high: float) -> NDArray[np.bool_]:
    """Return the mask ``(side, side)`` of the frequencies in a band, in cycles per pixel."""
    frequency = fft.fftfreq(_PATCH)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    mask: NDArray[np.bool_] = (radius > low) & (radius <= high)
    return mask
