"""Made exposures with known kernels, and the features and targets for training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.width_features import width_features
from napari_blind_deconv.numerics.width_posterior import LEVELS
from training.scenes import log_uniform, scene

__all__ = ["Blur", "Exposure", "draw_blur", "exposure", "frequencies", "log_widths", "sample"]

_CANVAS = 320  # pixels per side of a scene, wider than its exposure
_SIDES = (256, 256, 256, 192, 128)
_down = 2 * np.pi * fft.fftfreq(_CANVAS)[:, None]
_right = 2 * np.pi * fft.rfftfreq(_CANVAS)
_RADIUS = np.hypot(_down, _right)
_EDGES = np.linspace(0, math.pi, 161)  # radians per pixel


class Blur(NamedTuple):
    """A blur that was drawn.

    Attributes
    ----------
    transfer : ndarray
        Transfer function at the `frequencies` of a canvas.
    kind : str
    sigma : float or None
        Geometric mean of its standard deviations in pixels, for an elliptic Gaussian.
    """

    transfer: NDArray[np.float64]
    kind: str
    sigma: float | None = None


@dataclass(frozen=True, eq=False)
class Exposure:
    """A made exposure.

    Attributes
    ----------
    image : ndarray
        Counts ``(side, side)``.
    truth : ndarray
        Expected counts without blur, same shape.
    blur : Blur
    photons : float
        Counts at brightness 1.
    """

    image: NDArray[np.float64]
    truth: NDArray[np.float64]
    blur: Blur
    photons: float


def frequencies() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the frequencies of a canvas along rows and columns, in radians per pixel."""
    return _down, _right


def draw_blur(random: np.random.Generator) -> Blur:
    """Draw a Gaussian, or an objective in focus or out of it."""
    kind = random.random()
    if kind < 0.45:
        sigma = log_uniform(random, 0.35, 5.5)
        return Blur(np.exp(-np.square(sigma * _RADIUS) / 2), "Gaussian")
    cutoff = log_uniform(random, 0.7, 3.1)  # radians per pixel
    waves = 0.0 if kind < 0.75 else random.uniform(0.2, 2.0)  # at the edge of the pupil
    full = np.hypot(_down, 2 * np.pi * fft.fftfreq(_CANVAS)) / (cutoff / 2)
    pupil = (full <= 1) * np.exp(2j * np.pi * waves * np.square(full))
    psf = np.abs(fft.ifft2(pupil)) ** 2
    softness = random.uniform(0, 0.6)
    transfer = fft.rfft2(psf / psf.sum()).real * np.exp(-np.square(softness * _RADIUS) / 2)
    return Blur(transfer, "defocused" if waves else "in focus")


def exposure(
    seed: int,
    sorts: tuple[str, ...] | None = None,
    draw: Callable[[np.random.Generator], Blur] = draw_blur,
) -> Exposure:
    """Draw an exposure of a scene of some sorts, blurred by what `draw` returns."""
    random = np.random.default_rng(seed)
    sharp = scene(random, _CANVAS, sorts)
    blur = draw(random)
    blurred = fft.irfft2(fft.rfft2(sharp) * blur.transfer, sharp.shape)
    side = int(random.choice(_SIDES))
    start = (_CANVAS - side) // 2
    field = np.s_[start : start + side, start : start + side]
    photons = log_uniform(random, 25, 20_000)
    background = log_uniform(random, 0.005, 0.5)
    counts = random.poisson(photons * (np.clip(blurred[field], 0, None) + background))
    image = counts + random.normal(0, random.uniform(0.5, 3), counts.shape)
    return Exposure(image, photons * (sharp[field] + background), blur, photons)


def sample(
    seed: int, sorts: tuple[str, ...] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the features of an exposure, and the targets: log widths at each level."""
    made = exposure(seed, sorts)
    unit = IntensityMap.of(made.image[np.newaxis]).to_unit(made.image)
    return width_features(unit, Spectrum.of(unit)), log_widths(made.blur.transfer)


def log_widths(transfer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln σ of the Gaussians whose |H|² falls to each level where that of a blur does."""
    rings = np.digitize(_RADIUS, _EDGES) - 1
    used = rings < len(_EDGES) - 1
    count = np.bincount(rings[used], minlength=len(_EDGES) - 1)
    power = np.bincount(rings[used], np.square(transfer[used]), len(_EDGES) - 1) / count
    centres = (_EDGES[1:] + _EDGES[:-1]) / 2
    widths = []
    for level in LEVELS:
        below = np.flatnonzero(power < level)
        if len(below):
            first = max(int(below[0]), 1)
            inner, outer = np.log(power[first - 1 : first + 1] + 1e-12)
            share = (inner - math.log(level)) / max(inner - outer, 1e-9)
            at = centres[first - 1] + float(np.clip(share, 0, 1)) * (centres[1] - centres[0])
        else:  # beyond the limit of the pixels: continue like a Gaussian
            at = centres[-1] * math.sqrt(math.log(level) / math.log(min(power[-1], 0.999)))
        widths.append(math.log(math.sqrt(-math.log(level)) / at))
    return np.array(widths)
