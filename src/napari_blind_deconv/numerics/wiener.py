"""The best linear estimate of a scene whose kernel, noise and power spectrum are known.

Images and kernels have any number of axes, all of them space. Two solvers of one filter:
:func:`wiener` on the truncated model, exact up to the border, and :func:`wiener_periodic` in one
step, right but for a border of half the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn, fftn, idctn, irfftn, rfftn

from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.spectrum import (
    Spectrum,
    frequencies_of,
    lengths,
    periodic_component,
    scene_power,
)

__all__ = ["EXPONENT", "KERNEL_ERROR", "noise_to_signal", "wiener", "wiener_periodic"]

# The power of a sharp picture falls like the frequency to this power. Steeper than in the search
# for a blur: detail nobody is sure of is better left out.
EXPONENT = 3.5
# No kernel is known better than this (mean square error of its transfer function), and no image
# follows the model better than to this share of its strength.
KERNEL_ERROR = 1e-3
_LEAST_NOISE_TO_SIGNAL = 1e-3
_TOLERANCE = 1e-4
_MOST_ITERATIONS = 60
# Keeps the preconditioner tame where the borders make it a bad guess.
_LEAST_CURVATURE = 0.02


def wiener(
    observed: NDArray[np.float32],
    kernel: NDArray[np.float32],
    *,
    noise_to_signal: float,
    exponent: float,
    kernel_error: float = 0.0,
) -> Iterator[NDArray[np.float32]]:
    """Deconvolve linearly on the truncated model of Eq. 2, so that borders do not ring.

    Minimises ‖k ∗ x − y‖² + ‖x‖²_L, where L weighs a cosine of frequency ω by
    ``noise_to_signal / scene_power(ω, exponent) + kernel_error``: a Wiener filter that knows where
    the field of view ends.

    Parameters
    ----------
    observed : ndarray
        Blurred image ``(*image)``.
    kernel : ndarray
        ``(*kernel)``, sum 1.
    noise_to_signal : float
        Variance of white noise over the strength of the scene, see `Explanation`. Raising it gives
        a smoother picture.
    exponent : float
        How fast the power of the scene falls with the frequency.
    kernel_error : float
        Mean square error of the kernel's transfer function. What a wrong kernel gets wrong has the
        scene's own spectrum. Raising it rings less and sharpens less.

    Yields
    ------
    ndarray
        Canvas ``(*canvas)``, float32, after every step of conjugate gradients; the
        last is the answer.
    """
    level = observed.mean()
    convolution = Convolution(torch.from_numpy(kernel))
    wanted = convolution.adjoint(torch.from_numpy(observed - level)).numpy()
    shape = wanted.shape
    noise = noise_to_signal / scene_power(_radius(shape), exponent)
    penalty = (noise + kernel_error).astype(np.float32)
    curvature = _cosine_power(kernel, shape) + penalty + _LEAST_CURVATURE
    preconditioner = (1 / curvature).astype(np.float32)

    def normal(canvas: NDArray[np.float32]) -> NDArray[np.float32]:
        blurred = convolution.forward(torch.from_numpy(canvas))
        return np.asarray(convolution.adjoint(blurred).numpy() + _filtered(canvas, penalty))

    # Preconditioned conjugate gradients (Hestenes and Stiefel); scipy's tell nobody on their way.
    canvas, residual = np.zeros(shape, np.float32), wanted
    enough = _TOLERANCE**2 * _dot(wanted, wanted)
    direction, agreement = np.zeros(shape, np.float32), math.inf
    for _ in range(_MOST_ITERATIONS):
        better = _filtered(residual, preconditioner)
        before, agreement = agreement, _dot(residual, better)
        direction = better + np.float32(agreement / before) * direction
        curved = normal(direction)
        curvature_along = _dot(direction, curved)
        if curvature_along <= 0:  # nothing is left to do
            break
        step = np.float32(agreement / curvature_along)
        canvas, residual = canvas + step * direction, residual - step * curved
        yield canvas + level
        if _dot(residual, residual) <= enough:
            return
    yield canvas + level


def wiener_periodic(
    observed: NDArray[np.floating[Any]],
    kernel: NDArray[np.floating[Any]],
    *,
    noise_to_signal: float,
) -> NDArray[np.float64]:
    """The filter of :func:`wiener` in one step, on an image without the jumps at its border.

    What makes the jumps is so smooth that it stays as it is. The result has the shape of
    `observed`; what is within half a kernel of the border is not to be trusted.
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


def noise_to_signal(spectrum: Spectrum, kernel: NDArray[np.floating[Any]]) -> float:
    """What :func:`wiener` needs to know of an image, were this its kernel."""
    found = spectrum.explained_by(spectrum.transfer_of(kernel), EXPONENT)
    return spectrum.noise_variance / found.strength + _LEAST_NOISE_TO_SIGNAL


def _dot(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Inner product, without BLAS, whose threads disturb torch's."""
    return float((first * second).sum(dtype=np.float64))


def _filtered(canvas: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    filtered: NDArray[np.float32] = idctn(weights * dctn(canvas, norm="ortho"), norm="ortho")
    return filtered


def _radius(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Frequencies of the cosines on a canvas, in radians a pixel."""
    return lengths(np.ix_(*(np.pi * np.arange(side) / side for side in shape)))


def _cosine_power(kernel: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """|H|² at the frequencies of the cosines; exact for symmetric kernels, a guess for others."""
    power = np.abs(fftn(kernel, s=[2 * side for side in shape])) ** 2
    return power[tuple(slice(side) for side in shape)].astype(np.float32)
