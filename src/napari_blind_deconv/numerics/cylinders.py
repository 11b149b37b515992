"""The power spectrum of a volume, averaged around the optical axis.

Frequencies of a volume are counted together if they have the same component along the optical axis
and nearly the same magnitude across it. Kernels of microscopes are round across the axis, so that
this loses nothing by which they could be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.numerics.spectrum import Spectrum, lengths
from napari_blind_deconv.numerics.whittle import fit_strength

__all__ = ["CORNERS", "EXPONENTS", "CylinderMeans"]

Array = NDArray[np.float64]

# Edges of the rings across the axis, in radians per pixel.
_RINGS = np.concatenate([np.linspace(0, 0.6, 7)[:-1], np.linspace(0.6, math.pi, 19)])
# Periods of a frequency across the axis in the width of the volume. Fewer are left out: the window
# and light from beyond the borders fill the cone in which a widefield microscope sees nothing.
_LEAST_PERIODS = 2.5
_MOST_LAYERS = 16  # along the axis; frequencies of a deep volume are counted together
# Of the power of scenes: it falls with the frequency to the power of the exponent, above a corner
# in radians per smallest side of a voxel, which belongs to the size of the objects.
EXPONENTS = np.arange(1.0, 5.1)
CORNERS = np.array([0.02, 0.06, 0.15, 0.4])
_LEAST = 1e-30  # keeps the logarithm of a power finite where a kernel leaves nothing


@dataclass(frozen=True, eq=False)
class CylinderMeans:
    """Mean powers of frequencies around the optical axis.

    Attributes
    ----------
    across, along : ndarray
        Squared frequency across and along the axis ``(n,)``, in radians per smallest side of a
        voxel.
    power : ndarray
        Mean power relative to the noise ``(n,)``.
    count : ndarray
        Number of frequencies ``(n,)``, of all spectra.
    used : ndarray
        Mask of the frequencies of the spectrum that are counted.
    index : ndarray
        For each of them, which of these it belongs to.
    """

    across: Array
    along: Array
    power: Array
    count: Array
    used: NDArray[np.bool_]
    index: NDArray[np.intp]

    @classmethod
    def of(cls, spectra: Sequence[Spectrum]) -> Self:
        """Average the spectra of one or more volumes of the same shape and voxel size."""
        spectrum = spectra[0]
        planes, *sides = spectrum.shape
        across = lengths(spectrum.frequencies[1:])
        used = across > _LEAST_PERIODS * 2 * math.pi / min(sides)
        down, *lateral = (
            along[used] / step
            for along, step in zip(spectrum.frequencies, spectrum.sampling, strict=True)
        )
        layer = np.rint(np.abs(spectrum.frequencies[0][used]) * planes / (2 * math.pi))
        step = max(1, (planes // 2 + 1) / _MOST_LAYERS)
        ring = np.digitize(across[used], _RINGS)
        key = (layer / step).astype(int) * (len(_RINGS) + 1) + ring
        _, index, count = np.unique(key, return_inverse=True, return_counts=True)

        def mean(values: Array) -> Array:
            return np.bincount(index, values) / count

        relative = np.mean([each.power / each.noise_power for each in spectra], axis=0)
        return cls(
            mean(np.square(lengths(lateral))),
            mean(np.square(down)),
            mean(relative[used]),
            len(spectra) * count.astype(np.float64),
            used,
            index,
        )

    def mean(self, values: Array) -> Array:
        """Return the means ``(n,)`` of one value for each frequency of the spectrum."""
        return np.bincount(self.index, values[self.used]) / np.bincount(self.index)

    def gaussians(self, across: Array, along: Array) -> Array:
        """Return |H|² of Gaussians ``(across, along, n)``, with σ in smallest sides of a voxel."""
        lateral = np.square(across)[:, None, None] * self.across
        axial = np.square(along)[None, :, None] * self.along
        return np.asarray(np.exp(-lateral - axial))

    def scenes(self) -> Array:
        """Return the power of scenes ``(exponents, corners, n)``, up to their strength."""
        squared = self.across + self.along + np.square(CORNERS)[:, None]
        return np.asarray(squared ** (-EXPONENTS[:, None, None] / 2))

    def misfits(self, transfers: Array) -> Array:
        """Return the negative log-likelihoods ``(..., exponents, corners)`` of |H|² ``(..., n)``.

        They are in nats.
        """
        by_scene = [
            fit_strength(np.maximum(transfers * scene, _LEAST), self.power, self.count).misfit
            for scene in self.scenes().reshape(-1, len(self.power))
        ]
        shape = (*transfers.shape[:-1], len(EXPONENTS), len(CORNERS))
        return np.stack(by_scene, axis=-1).reshape(shape)

    def dispersion(self, shape: Array) -> float:
        """Return the variance of the powers around a model ``(n,)``, relative to chance; ≥ 1."""
        strength = fit_strength(shape, self.power, self.count).log_strength
        model = 1 + np.exp(strength) * shape
        signal = 1 - 1 / model
        squares = signal * self.count * np.square(self.power / model - 1)
        return max(float(squares.sum() / max(signal.sum(), 1e-9)), 1.0)
