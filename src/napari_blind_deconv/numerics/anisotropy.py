"""Tell directional blur from directional texture, by the power at different angles.

Frequencies are compared only with others of the same magnitude, so that nothing is assumed about
how the power of the scene falls. Texture such as fibres has less power along one direction at *all*
frequencies, whereas blur reduces high frequencies more than low ones. This works in two dimensions
only, because a direction is an angle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.whittle import fit_strength
from napari_blind_deconv.numerics.width_features import most_probable_transfer

__all__ = ["Anisotropy"]

Array = NDArray[np.float64]

_EDGES = np.concatenate([np.linspace(0.1, 0.6, 8), np.linspace(0.6, math.pi, 36)[1:]])  # of rings
_ANGLES = 24  # sectors of half a turn
# The outermost ring that is used has a signal of at least this number of standard deviations, and
# this part of that of the brightest ring, because the borders of the image spread some of it.
_MIN_SIGNAL, _LEAKAGE = 4.0, 1e-5
# The powers of an image that was blurred by an ellipse vary around the model nearly as by chance.
# From this dispersion on, there is as much of other variation. It is 2.6 to 81 in the images whose
# camera shake is found, at 128² pixels and more.
_MIN_DISPERSION = 2.0
_MAX_EXPONENT = 30.0  # of the power at an angle relative to its ring, so that it stays finite
_LOWEST_VARIANCES = np.geomspace(0.05, 60, 60)  # pixel², across the direction
_NONE = np.zeros(2)  # neither texture nor blur
_BLURS = [
    size * np.array([math.cos(turn), math.sin(turn)])
    for size in (0.25, 0.5, 1.0, 2.0, 4.0)  # pixel²
    for turn in np.arange(8) * math.pi / 4
]


@dataclass(frozen=True)
class Anisotropy:
    """The elliptic Gaussian that explains the power at different angles.

    Attributes
    ----------
    variances : tuple of float
        Variances of the Gaussian along and across its direction, in pixel².
    angle : float
        Direction of the longer axis in degrees, as in `elliptic_gaussian`.
    evidence : float
        By how much directional blur explains the angles better than texture alone: nats, divided by
        the dispersion of the powers around the model. No scene follows the model exactly, and
        periodic texture departs far from it (quasi-likelihood, McCullagh and Nelder, *Generalized
        linear models*, 1989).
    dispersion: float
        Variance of the powers around the model, relative to that of chance; at least 1.
    """

    variances: tuple[float, float]
    angle: float
    evidence: float
    dispersion: float

    @property
    def length(self) -> float:
        """Length in pixels of the line whose variance is that along minus that across."""
        along, across = self.variances
        return math.sqrt(12 * (along - across))  # a uniform line of length L has variance L² / 12

    @property
    def is_ellipse(self) -> bool:
        """Whether an elliptic Gaussian explains the power at different angles, texture aside."""
        return self.dispersion < _MIN_DISPERSION

    @classmethod
    def of(cls, spectrum: Spectrum) -> Self:
        """Fit directional texture, with and without directional blur, to a spectrum."""
        sectors = _Sectors.of(spectrum)
        if not len(sectors.count):  # noise alone has no direction
            lowest = float(_LOWEST_VARIANCES[0])
            return cls((lowest, lowest), angle=0.0, evidence=0.0, dispersion=1.0)
        texture, without = _minimum(lambda t: sectors.misfit(t, _NONE), [_NONE])
        # The misfit has several minima, so that the joint fit starts from those of both alone.
        start = min(_BLURS, key=lambda blur: sectors.misfit(_NONE, blur))
        blur, _ = _minimum(lambda blur: sectors.misfit(_NONE, blur), [start])
        starts = [np.concatenate(pair) for pair in ((texture, _NONE), (_NONE, blur))]
        both, with_blur = _minimum(lambda both: sectors.misfit(both[:2], both[2:]), starts)
        blur = both[2:]
        half = math.hypot(*blur)
        mean = half + _LOWEST_VARIANCES[sectors.most_probable(_LOWEST_VARIANCES, blur)]
        angle = -math.degrees(math.atan2(blur[1], blur[0])) / 2 % 180
        dispersion = sectors.dispersion(both[:2], blur)
        evidence = (without - with_blur) / dispersion
        return cls((mean + half, mean - half), angle, evidence, dispersion)


@dataclass(frozen=True)
class _Sectors:
    """Number and mean of the frequencies in each sector of each ring ``(rings, sectors)``."""

    count: Array
    power: Array  # relative to the noise
    squared: Array  # frequency²
    cosine: Array  # of twice the angle
    sine: Array

    @classmethod
    def of(cls, spectrum: Spectrum) -> Self:
        down, right = spectrum.frequencies
        twice = 2 * np.arctan2(down, right)
        rings = np.digitize(spectrum.radius, _EDGES) - 1
        used = (rings >= 0) & (rings < len(_EDGES) - 1)
        sectors = (twice[used] / (2 * math.pi) * _ANGLES).astype(int) % _ANGLES
        index, size = rings[used] * _ANGLES + sectors, (len(_EDGES) - 1) * _ANGLES
        count = np.bincount(index, minlength=size).reshape(-1, _ANGLES).astype(float)

        def mean(values: Array) -> Array:
            total = np.bincount(index, values[used], size).reshape(-1, _ANGLES)
            return np.asarray(total / np.maximum(count, 1))

        power = mean(spectrum.power / spectrum.noise_power)
        number = count.sum(axis=1)
        excess = (count * power).sum(axis=1) / np.maximum(number, 1) - 1
        limit = np.maximum(_MIN_SIGNAL / np.sqrt(np.maximum(number, 1)), _LEAKAGE * excess.max())
        filled = np.flatnonzero(number > 0)  # a small image has no frequency in some rings
        hidden = np.flatnonzero(excess[filled] < limit[filled])
        seen = filled[: hidden[0]] if len(hidden) else filled
        means = (mean(values) for values in (spectrum.radius**2, np.cos(twice), np.sin(twice)))
        return cls(*(values[seen] for values in (count, power, *means)))

    def misfit(self, texture: Array, blur: Array) -> float:
        """Return the negative log-likelihood, with the best power for each ring.

        Parameters
        ----------
        texture : ndarray
            Half the change of the logarithm of the power with the angle: the factors ``(2,)`` of
            cosine and sine.
        blur : ndarray
            Half the difference of the variances along and across, times cosine and sine ``(2,)`` of
            twice the angle.
        """
        return float(fit_strength(self._shape(texture, blur), self.power, self.count).misfit.sum())

    def dispersion(self, texture: Array, blur: Array) -> float:
        """Return the variance of the powers around the model, relative to that of chance; ≥ 1."""
        shape = self._shape(texture, blur)
        strength = fit_strength(shape, self.power, self.count).log_strength
        model = 1 + np.exp(strength)[:, np.newaxis] * shape
        signal = (1 - 1 / model) * (self.count > 0)
        squares = signal * self.count * np.square(self.power / model - 1)
        return max(float(squares.sum() / max(signal.sum(), 1e-9)), 1.0)

    def most_probable(self, lowest: Array, blur: Array) -> int:
        """Return which of some variances ``(n,)`` across the direction is most probable."""
        used = self.count > 0
        squared = self.squared[used]
        mean = lowest[:, np.newaxis] + math.hypot(*blur)
        transfers = np.exp(-mean * squared - self._decay(blur)[used])
        return most_probable_transfer(transfers, squared, self.power[used], self.count[used])

    def _shape(self, texture: Array, blur: Array) -> Array:
        """Return the power of the signal by angle, up to its strength in each ring."""
        exponent = texture[0] * self.cosine + texture[1] * self.sine - self._decay(blur)
        return np.exp(np.clip(exponent, -_MAX_EXPONENT, _MAX_EXPONENT))

    def _decay(self, blur: Array) -> Array:
        return np.asarray(self.squared * (blur[0] * self.cosine + blur[1] * self.sine))


def _minimum(function: Any, starts: list[Array]) -> tuple[Array, float]:
    """Return the best of the minima found from several starts, and its value."""
    found = []
    for start in starts:
        simplex = start + 0.25 * np.vstack([np.zeros(len(start)), np.eye(len(start))])
        options = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 0.1, "maxfev": 250}
        found.append(optimize.minimize(function, start, method="Nelder-Mead", options=options))
    best = min(found, key=lambda result: result.fun)
    return best.x, float(best.fun)
