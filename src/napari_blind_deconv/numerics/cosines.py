"""Cosine transforms of a canvas, which has no border in them: it continues as its mirror image.

All functions work for any number of axes. Frequencies are in radians per pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, fft, idctn

from napari_blind_deconv.numerics.fourier import threads

__all__ = ["cosine_frequencies", "cosines_of", "from_cosines", "power_of_kernel"]


def cosine_frequencies(shape: tuple[int, ...]) -> tuple[NDArray[np.float32], ...]:
    """Return the frequencies of the cosines on a canvas along each axis (broadcast)."""
    return np.ix_(*((np.pi * np.arange(side) / side).astype(np.float32) for side in shape))


def cosines_of(canvas: NDArray[np.float32], *, overwrite: bool = False) -> NDArray[np.float32]:
    """Return the coefficients of the cosines of a canvas; their squares sum to those of it.

    A canvas that may be overwritten saves memory.
    """
    coefficients: NDArray[np.float32] = dctn(
        canvas, norm="ortho", workers=threads(), overwrite_x=overwrite
    )
    return coefficients


def from_cosines(
    coefficients: NDArray[np.float32], *, overwrite: bool = False
) -> NDArray[np.float32]:
    """Return the canvas with the given coefficients, the inverse of :func:`cosines_of`."""
    canvas: NDArray[np.float32] = idctn(
        coefficients, norm="ortho", workers=threads(), overwrite_x=overwrite
    )
    return canvas


def power_of_kernel(kernel: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return |H|² at the frequencies of the cosines: exact for symmetric kernels only."""
    transfer: NDArray[np.complex64] = kernel.astype(np.complex64)
    for axis in range(kernel.ndim - 1):
        transfer = _positive_frequencies(transfer, shape[axis], axis)
    power = np.empty(shape, np.float32)
    # Plane by plane, because the transform of a whole volume takes eight times its memory.
    planes = (values.reshape(-1, *values.shape[-2:]) for values in (power, transfer))
    for part, along in zip(*planes, strict=True):
        last = _positive_frequencies(along, shape[-1], -1)
        np.add(np.square(last.real), np.square(last.imag), out=part)
    return power


def _positive_frequencies(
    values: NDArray[np.complex64], side: int, axis: int
) -> NDArray[np.complex64]:
    full: NDArray[np.complex64] = fft(values, 2 * side, axis=axis, workers=threads())
    return full.take(range(side), axis=axis)
