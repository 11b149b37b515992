"""The Wiener filter: the best linear estimate for a known kernel, noise and power spectrum.

There are two solvers for the same filter. :func:`wiener` is iterative, works on the truncated model
and is exact up to the border. :func:`wiener_periodic` works in one step, but its result is wrong
within half a kernel of the border. Images and kernels have any number of axes, all spatial.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import irfftn, rfftn
from torch import Tensor

from napari_blind_deconv.numerics.convolution import Convolution, Fitted
from napari_blind_deconv.numerics.cosines import (
    cosine_frequencies,
    cosines_of,
    from_cosines,
    power_of_kernel,
)
from napari_blind_deconv.numerics.noise_shape import WHITE_NOISE, NoiseShape
from napari_blind_deconv.numerics.spectrum import (
    Spectrum,
    frequencies_of,
    lengths,
    periodic_component,
    scene_frequency,
    scene_power,
)

__all__ = [
    "EXPONENT",
    "KERNEL_ERROR",
    "MIN_CURVATURE",
    "is_limited_by_noise",
    "noise_to_signal",
    "scene_penalty",
    "wiener",
    "wiener_periodic",
]

# Exponent with which the power of a sharp image falls. It is steeper than in the search for the
# kernel, so that uncertain detail is left out of the estimate.
EXPONENT = 3.5
# Mean squared error of the transfer function, because no kernel is known exactly.
KERNEL_ERROR = 1e-3
# Added to the noise-to-signal ratio, because no image follows the model exactly.
_MODEL_ERROR = 1e-3
# Relative norm of the residual at which the iterations end: without noise, and with noise, which
# hides the change of further iterations and lets a third of them do.
_TOLERANCE, _TOLERANCE_WITH_NOISE = 1e-4, 1e-3
_MAX_ITERATIONS = 60
# Bounds the preconditioner where the borders make it a poor approximation.
MIN_CURVATURE = 0.02


def wiener(
    observed: Tensor,
    kernel: NDArray[np.float32],
    *,
    noise_to_signal: float,
    exponent: float,
    kernel_error: float = 0.0,
    valid: Tensor | None = None,
    noise: NoiseShape = WHITE_NOISE,
    sampling: Sequence[float] | None = None,
) -> Iterator[Fitted]:
    """Deconvolve linearly on the truncated model of Eq. 2, which avoids ringing at the borders.

    The estimate minimises ‖T(k ∗ x) − y‖² + ‖x‖²_L, where L weights a cosine of frequency ω by
    ``noise_to_signal / scene_power(ω, exponent) + kernel_error``. This is a Wiener filter that
    accounts for the end of the field of view.

    Parameters
    ----------
    observed : Tensor
        Blurred image ``(*image)``, on the device that computes.
    kernel : ndarray
        Kernel ``(*kernel)`` with sum 1.
    noise_to_signal : float
        Variance of the white noise divided by the strength of the scene (`Explanation`). Raising it
        gives a smoother estimate.
    exponent : float
        Exponent with which the power of the scene falls. Raising it gives a smoother estimate.
    kernel_error : float
        Mean squared error of the transfer function. The error of a wrong kernel has the spectrum of
        the scene, so that this term does not depend on ω. Raising it gives less ringing and a less
        sharp estimate.
    valid : Tensor, optional
        Mask ``(*image)`` of the pixels that the estimate has to explain. Default: all.
    noise : NoiseShape
        How the power of the noise depends on frequency. Default: the noise is white.
    sampling : sequence of float, optional
        As in `Spectrum`.

    Yields
    ------
    Fitted
        Estimate and its blur after every iteration of conjugate gradients. The last one is the
        linear estimate.
    """
    on_device = partial(torch.as_tensor, device=observed.device)
    level = observed.mean() if valid is None else observed[valid].mean()
    weights = torch.ones_like(observed) if valid is None else valid.to(observed.dtype)
    convolution = Convolution(on_device(kernel))
    right_side = convolution.adjoint(weights * (observed - level))
    shape = tuple(right_side.shape)
    penalties = scene_penalty(
        shape,
        noise_to_signal=noise_to_signal,
        exponent=exponent,
        kernel_error=kernel_error,
        noise=noise,
        sampling=sampling,
    )
    penalty = on_device(penalties)
    curvature = on_device(power_of_kernel(kernel, shape)) + penalty + MIN_CURVATURE

    # Preconditioned conjugate gradients (Hestenes and Stiefel) for (KᵀTK + L) x = right side, where
    # T leaves out what is not valid. They run on the coefficients of the cosines, where L and the
    # preconditioner are diagonal. The solver of scipy is not used, because it cannot yield the
    # estimate after each iteration.
    canvas, blurred = torch.zeros_like(right_side), torch.zeros_like(observed)
    residual = cosines_of(right_side)
    has_noise = is_limited_by_noise(noise_to_signal)
    tolerance = _TOLERANCE_WITH_NOISE if has_noise else _TOLERANCE
    target = tolerance**2 * _dot(residual, residual)
    direction, alignment = torch.zeros_like(residual), math.inf
    for _ in range(_MAX_ITERATIONS):
        preconditioned = residual / curvature
        previous, alignment = alignment, _dot(residual, preconditioned)
        direction = preconditioned + alignment / previous * direction
        change = from_cosines(direction)
        blurred_change = convolution.forward(change)
        explained = convolution.adjoint(weights * blurred_change)
        normal_direction = cosines_of(explained) + penalty * direction
        curvature_along = _dot(direction, normal_direction)
        if curvature_along <= 0:  # the residual is zero
            break
        step = alignment / curvature_along
        residual -= step * normal_direction
        canvas += step * change
        blurred += step * blurred_change
        yield Fitted(canvas + level, blurred + level)
        if _dot(residual, residual) <= target:
            return
    yield Fitted(canvas + level, blurred + level)


def wiener_periodic(
    observed: NDArray[np.floating[Any]],
    kernel: NDArray[np.floating[Any]],
    *,
    noise_to_signal: float,
) -> NDArray[np.float64]:
    """Apply the filter of :func:`wiener` in one step, to the periodic component of an image.

    The remaining smooth component, which causes jumps at the border, is added back unchanged.

    Parameters
    ----------
    observed : ndarray
        Blurred image ``(*image)``.
    kernel : ndarray
        Kernel ``(*kernel)`` with sum 1, no larger than the image.
    noise_to_signal : float
        As for :func:`wiener`.

    Returns
    -------
    ndarray
        Estimate, same shape as `observed`. It is unreliable within half a kernel of the border.
    """
    shape = observed.shape
    origin = [-(side // 2) for side in kernel.shape]
    padded = np.pad(kernel, [(0, n - k) for n, k in zip(shape, kernel.shape, strict=True)])
    transfer = rfftn(np.roll(padded, origin, range(kernel.ndim)))
    radius = lengths(frequencies_of(shape))
    penalty = noise_to_signal / scene_power(radius, EXPONENT) + KERNEL_ERROR
    periodic = periodic_component(observed)
    weights = transfer.conj() / (np.abs(transfer) ** 2 + penalty)
    estimate: NDArray[np.float64] = irfftn(weights * rfftn(periodic), s=shape)
    return estimate + (observed - periodic)


def scene_penalty(
    shape: tuple[int, ...],
    *,
    noise_to_signal: float,
    exponent: float = EXPONENT,
    kernel_error: float = 0.0,
    noise: NoiseShape = WHITE_NOISE,
    sampling: Sequence[float] | None = None,
) -> NDArray[np.float32]:
    """Return the weight L of the squared cosines of a scene, as :func:`wiener` describes it."""
    frequencies = cosine_frequencies(shape)
    ratio = _with_shape(noise_to_signal, noise, frequencies)
    radius = scene_frequency(frequencies, sampling or (1.0,) * len(shape))
    penalty = ratio / scene_power(radius, exponent) + kernel_error
    return np.asarray(penalty, np.float32)


def noise_to_signal(spectrum: Spectrum, kernel: NDArray[np.floating[Any]]) -> float:
    """Return the noise-to-signal ratio that :func:`wiener` needs for an image and a kernel."""
    explanation = spectrum.explained_by(spectrum.transfer_of(kernel), EXPONENT)
    return spectrum.noise_variance / explanation.strength + _MODEL_ERROR


def is_limited_by_noise(ratio: float) -> bool:
    """Return whether noise is a larger part of the ratio than the error of the model.

    Parameters
    ----------
    ratio : float
        Result of :func:`noise_to_signal`.
    """
    return ratio > 2 * _MODEL_ERROR


def _dot(first: Tensor, second: Tensor) -> float:
    return float(torch.dot(first.flatten(), second.flatten()))


def _with_shape(
    noise_to_signal: float, noise: NoiseShape, frequencies: Sequence[NDArray[np.float32]]
) -> float | NDArray[np.float64]:
    """Return the noise-to-signal ratio at each frequency, before division by the scene's power."""
    if noise.is_white:
        return noise_to_signal
    # The error of the model has the spectrum of the scene, whatever the noise looks like.
    return np.maximum(noise_to_signal * noise.power(frequencies), _MODEL_ERROR)
