"""The likelihood of a power spectrum (Whittle, 1953) under a model of known shape.

The model of a power is 1 + strength · shape: noise of unit variance, and a signal whose strength is
fitted. Every power is exponentially distributed around its model. The mean power of several
frequencies with the same model is sufficient, so that frequencies can be counted together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["StrengthFit", "fit_strength"]

_MAX_SCORING_STEPS = 12
_MAX_STEP = 2.0  # maximum change per step of the logarithm of the strength
_NEGLIGIBLE_STEP = 1e-5  # the misfit is flat at its minimum: it changes by the square of this
_MIN_INFORMATION = 1e-9


class StrengthFit(NamedTuple):
    """Logarithm of the best strength, and the negative log-likelihood in nats; each ``(...)``."""

    log_strength: NDArray[np.float64]
    misfit: NDArray[np.float64]


def fit_strength(
    shape: NDArray[np.float64], power: NDArray[np.float64], count: NDArray[np.float64]
) -> StrengthFit:
    """Fit the strength of the signal to powers relative to the noise.

    Parameters
    ----------
    shape : ndarray
        Expected power of the signal, up to its strength ``(..., n)``, > 0.
    power : ndarray
        Mean power at frequencies with the same model ``(..., n)``; noise alone has 1.
    count : ndarray
        Number of these frequencies ``(..., n)``.
    """
    total = np.maximum((count * power).sum(axis=-1), 1.0)
    strength = np.log(total / (count * shape).sum(axis=-1))
    for _ in range(_MAX_SCORING_STEPS):  # Fisher scoring of the logarithm of the strength
        model = 1 + np.exp(strength)[..., np.newaxis] * shape
        signal = 1 - 1 / model
        information = np.maximum((count * signal**2).sum(axis=-1), _MIN_INFORMATION)
        step = (count * signal * (power / model - 1)).sum(axis=-1) / information
        strength = strength + np.clip(step, -_MAX_STEP, _MAX_STEP)
        if np.abs(step).max() < _NEGLIGIBLE_STEP:
            break
    model = 1 + np.exp(strength)[..., np.newaxis] * shape
    misfit = (count * (np.log(model) + power / model)).sum(axis=-1)
    return StrengthFit(strength, misfit)
