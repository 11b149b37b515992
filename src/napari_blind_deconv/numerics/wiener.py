"""The best linear estimate of a scene whose kernel, noise and power spectrum are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn, fft2, idctn
from scipy.sparse.linalg import LinearOperator, cg

from napari_blind_deconv.numerics.blur import adjoint_blur, blur
from napari_blind_deconv.numerics.spectrum import scene_power

__all__ = ["wiener"]

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
) -> NDArray[np.float32]:
    """Deconvolve linearly on the truncated model of Eq. 2, so that borders do not ring.

    Minimises ‖k ∗ x − y‖² + ‖x‖²_L, where L weighs a cosine of frequency ω by
    ``noise_to_signal / scene_power(ω, exponent) + kernel_error``: a Wiener filter that knows where
    the field of view ends.

    Parameters
    ----------
    observed : ndarray
        Blurred image ``(H, W)``.
    kernel : ndarray
        ``(kh, kw)``, sum 1.
    noise_to_signal : float
        Variance of white noise over the strength of the scene, see `Explanation`. Raising it gives
        a smoother picture.
    exponent : float
        How fast the power of the scene falls with the frequency.
    kernel_error : float
        Mean square error of the kernel's transfer function. What a wrong kernel gets wrong has the
        scene's own spectrum. Raising it rings less and sharpens less.

    Returns
    -------
    ndarray
        Canvas ``(H + kh - 1, W + kw - 1)``, float32.
    """
    level = observed.mean()
    known = torch.from_numpy(kernel)
    wanted = adjoint_blur(torch.from_numpy(observed - level), known).numpy()
    shape = (wanted.shape[0], wanted.shape[1])
    noise = noise_to_signal / scene_power(_radius(shape), exponent)
    penalty = (noise + kernel_error).astype(np.float32)
    curvature = _cosine_power(kernel, shape) + penalty + _LEAST_CURVATURE
    preconditioner = (1 / curvature).astype(np.float32)

    def normal(flat: NDArray[Any]) -> NDArray[np.float32]:
        canvas = flat.reshape(shape).astype(np.float32)
        data = adjoint_blur(blur(torch.from_numpy(canvas), known), known).numpy()
        return np.asarray(data + _filtered(canvas, penalty)).ravel()

    def approximate_inverse(flat: NDArray[Any]) -> NDArray[np.float32]:
        return _filtered(flat.reshape(shape).astype(np.float32), preconditioner).ravel()

    size = (wanted.size, wanted.size)
    flat, _ = cg(
        LinearOperator(size, matvec=normal, dtype=np.float32),
        wanted.ravel(),
        M=LinearOperator(size, matvec=approximate_inverse, dtype=np.float32),
        rtol=_TOLERANCE,
        maxiter=_MOST_ITERATIONS,
    )
    solution: NDArray[np.float32] = (flat.reshape(shape) + level).astype(np.float32)
    return solution


def _filtered(canvas: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    filtered: NDArray[np.float32] = idctn(weights * dctn(canvas, norm="ortho"), norm="ortho")
    return filtered


def _radius(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Frequencies of the cosines on a canvas, in radians a pixel."""
    rows, columns = (np.pi * np.arange(side) / side for side in shape)
    return np.hypot(rows[:, None], columns[None, :])


def _cosine_power(kernel: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """|H|² at the frequencies of the cosines; exact for symmetric kernels, a guess for others."""
    power = np.abs(fft2(kernel, s=(2 * shape[0], 2 * shape[1]))) ** 2
    return power[: shape[0], : shape[1]].astype(np.float32)
