"""Numbers of an image from which the width of its kernel is predicted.

None of them depends on the offset, contrast or size of the image: the power by frequency relative
to that of the noise, statistics of the gradients at several scales, and the widths that explain the
spectrum best under several assumptions about the scene.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_blind_deconv.numerics.spectrum import Spectrum, frequencies_of, periodic_component
from napari_blind_deconv.numerics.whittle import fit_strength

__all__ = [
    "FEATURES",
    "MOST_PROBABLE",
    "explained_widths",
    "most_probable_transfer",
    "width_features",
]

# Edges of the rings of frequencies, in radians per pixel.
_RINGS = np.concatenate([np.geomspace(0.06, 0.6, 13), np.linspace(0.6, math.pi, 27)[1:]])
_FINE_RINGS = np.concatenate([np.geomspace(0.05, 0.6, 25), np.linspace(0.6, math.pi, 60)[1:]])
_LOWEST_POWER = 0.2  # relative to the noise; the logarithm of less would be chance
_SCALES = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)  # σ in pixels at which gradients are taken
_LEAST_ENERGY = 1e-3  # of gradients, relative to that of the noise
_SIGMAS = np.geomspace(0.3, 8.0, 48)  # pixels
_EXPONENTS = np.arange(1.0, 5.01, 0.5)
_CORNERS = np.array([0.02, 0.06, 0.15, 0.4])  # radians per pixel; size of the objects
# The likelihood is too sure of itself, because no scene follows a power law exactly. A prior on the
# exponent with this mean and deviation therefore counts with this weight.
_PRIOR_MEAN, _PRIOR_DEVIATION, _PRIOR_WEIGHT = 3.0, 0.3, 10.0
_ASSUMED = (2.0, 3.0, 4.0)  # exponents for which a width is a feature

FEATURES = len(_RINGS) - 1 + 3 * len(_SCALES) + len(_ASSUMED) + 2
MOST_PROBABLE = -2  # index of the width for the most probable exponent, from the end


def width_features(image: NDArray[np.floating[Any]], spectrum: Spectrum) -> NDArray[np.float64]:
    """Return the features ``(FEATURES,)`` of an image ``(H, W)`` with its spectrum."""
    return np.concatenate(
        [_ring_features(spectrum), _gradient_features(image, spectrum), explained_widths(spectrum)]
    )


def explained_widths(spectrum: Spectrum) -> NDArray[np.float64]:
    """Return the logarithms of the Gaussian widths that explain a spectrum best.

    Returns
    -------
    ndarray
        For scenes with each of the assumed exponents, then for the most probable exponent, and
        that exponent.
    """
    radius, power, count = _ring_means(spectrum, _FINE_RINGS)
    used = count > 0
    squared = np.square(radius[used])
    transfers = np.exp(-np.square(_SIGMAS[:, np.newaxis]) * squared)
    misfits = _misfits(transfers, squared, power[used], count[used])
    logarithms = np.log(_SIGMAS)
    assumed = [
        logarithms[misfits[:, int(np.argmin(np.abs(_EXPONENTS - e)))].min(axis=1).argmin()]
        for e in _ASSUMED
    ]
    width, exponent = _most_probable(misfits)
    return np.array([*assumed, logarithms[width], _EXPONENTS[exponent]])


def most_probable_transfer(
    transfers: NDArray[np.float64],
    squared: NDArray[np.float64],
    power: NDArray[np.float64],
    count: NDArray[np.float64],
) -> int:
    """Return which of some kernels explains a spectrum best, for the most probable scene.

    Parameters
    ----------
    transfers : ndarray
        |H|² of the kernels ``(kernels, n)``.
    squared, power, count : ndarray
        Squared frequency, mean power relative to the noise, and number of the frequencies that are
        counted together ``(n,)``.
    """
    return _most_probable(_misfits(transfers, squared, power, count))[0]


def _most_probable(misfits: NDArray[np.float64]) -> tuple[int, int]:
    """Return the indices of kernel and exponent, with the prior on the exponent."""
    prior = np.square((_EXPONENTS - _PRIOR_MEAN) / _PRIOR_DEVIATION) / 2
    posterior = misfits + _PRIOR_WEIGHT * prior[:, np.newaxis]
    kernel, exponent, _ = np.unravel_index(posterior.argmin(), posterior.shape)
    return int(kernel), int(exponent)


def _misfits(
    transfers: NDArray[np.float64],
    squared: NDArray[np.float64],
    power: NDArray[np.float64],
    count: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the negative log-likelihoods ``(kernels, exponents, corners)`` of a spectrum."""
    scenes = (squared + np.square(_CORNERS)[:, np.newaxis]) ** (
        -_EXPONENTS[:, np.newaxis, np.newaxis] / 2
    )
    return fit_strength(transfers[:, np.newaxis, np.newaxis] * scenes, power, count).misfit


def _ring_means(
    spectrum: Spectrum, edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean frequency, mean power over the noise, and number of frequencies by ring."""
    rings = np.clip(np.digitize(spectrum.radius, edges) - 1, 0, len(edges) - 2)
    count = np.bincount(rings, minlength=len(edges) - 1).astype(np.float64)
    sums = [
        np.bincount(rings, weights, len(edges) - 1)
        for weights in (spectrum.radius, spectrum.power / spectrum.noise_power)
    ]
    radius, power = (total / np.maximum(count, 1) for total in sums)
    return radius, power, count


def _ring_features(spectrum: Spectrum) -> NDArray[np.float64]:
    _, power, count = _ring_means(spectrum, _RINGS)
    logarithm = np.log(np.maximum(power, _LOWEST_POWER))
    known = np.flatnonzero(count > 0)  # a small image has no frequency in some rings
    return np.interp(np.arange(len(count)), known, logarithm[known])


def _gradient_features(image: NDArray[np.floating[Any]], spectrum: Spectrum) -> NDArray[np.float64]:
    """Return kurtosis, energy and sparsity of the gradients at several scales."""
    transformed = fft.rfft2(periodic_component(image).astype(np.float32))
    down, right = (along.astype(np.float32) for along in frequencies_of(image.shape))
    squared = down**2 + right**2
    features = []
    for scale in _SCALES:
        smooth = np.exp(-(scale**2) * squared / 2)
        gradients = [
            fft.irfft2(1j * along * smooth * transformed, image.shape) for along in (down, right)
        ]
        strength = np.square(gradients[0]) + np.square(gradients[1])
        energy = float(strength.mean())
        noise = spectrum.noise_variance * float((squared * smooth**2).mean())
        if energy <= 0:
            features += [0.0, math.log(_LEAST_ENERGY), 0.0]
            continue
        features += [
            math.log(float(np.square(strength).mean()) / energy**2),
            math.log(max(energy / noise, _LEAST_ENERGY)),
            math.log(float(np.sqrt(strength).mean()) ** 2 / energy),
        ]
    return np.array(features)
