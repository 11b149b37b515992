"""Cosine transforms of a canvas, which has no border in them: it continues as its mirror image.

All functions work for any number of axes. Frequencies are in radians per pixel. On a CPU, scipy
transforms; elsewhere torch does, by Fourier transforms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn, fft, idctn
from torch import Tensor

from napari_blind_deconv.numerics.threads import threads

__all__ = ["cosine_frequencies", "cosines_of", "from_cosines", "power_of_kernel"]


def cosine_frequencies(shape: tuple[int, ...]) -> tuple[NDArray[np.float32], ...]:
    """Return the frequencies of the cosines on a canvas along each axis (broadcast)."""
    return np.ix_(*((np.pi * np.arange(side) / side).astype(np.float32) for side in shape))


def cosines_of(canvas: Tensor, *, overwrite: bool = False) -> Tensor:
    """Return the coefficients of the cosines of a canvas; their squares sum to those of it.

    A canvas that may be overwritten saves memory.
    """
    return _transformed(canvas, dctn, _cosines_along, overwrite)


def from_cosines(coefficients: Tensor, *, overwrite: bool = False) -> Tensor:
    """Return the canvas with the given coefficients, the inverse of :func:`cosines_of`."""
    return _transformed(coefficients, idctn, _from_cosines_along, overwrite)


def _transformed(
    values: Tensor,
    by_scipy: Callable[..., NDArray[np.float32]],
    along: Callable[[Tensor], Tensor],
    overwrite: bool,
) -> Tensor:
    """Transform by scipy, or along the last axis, for each axis in turn."""
    if _is_for_scipy(values):
        return torch.from_numpy(
            by_scipy(values.numpy(), norm="ortho", workers=threads(), overwrite_x=overwrite)
        )
    for axis in range(values.ndim):
        values = along(values.movedim(axis, -1)).movedim(-1, axis)
    return values.contiguous()


def _is_for_scipy(values: Tensor) -> bool:
    return values.device.type == "cpu"


def _cosines_along(values: Tensor) -> Tensor:
    """Return the coefficients along the last axis.

    They are the turned Fourier coefficients of the even pixels, followed by the odd ones in reverse
    order. Source: Makhoul, *A fast cosine transform in one and two dimensions* (1980).
    """
    side = values.shape[-1]
    ordered = torch.cat((values[..., ::2], values[..., 1::2].flip(-1)), -1)
    turned = torch.fft.rfft(ordered) * _turn(side, values.device)
    return torch.cat((turned.real, -turned.imag[..., 1 : (side + 1) // 2].flip(-1)), -1)


def _from_cosines_along(coefficients: Tensor) -> Tensor:
    side = coefficients.shape[-1]
    real, rest = coefficients[..., : side // 2 + 1], coefficients[..., side - side // 2 :].flip(-1)
    turned = torch.complex(real, -torch.cat((torch.zeros_like(real[..., :1]), rest), -1))
    ordered = torch.fft.irfft(turned / _turn(side, coefficients.device), n=side)
    values, even = torch.empty_like(coefficients), (side + 1) // 2
    values[..., ::2] = ordered[..., :even]
    values[..., 1::2] = ordered[..., even:].flip(-1)
    return values


@lru_cache(maxsize=16)
def _turn(side: int, device: torch.device) -> Tensor:
    """Return the factors of Fourier coefficients that make them coefficients of cosines."""
    angles = -math.pi / (2 * side) * torch.arange(side // 2 + 1)
    lengths = torch.full_like(angles, math.sqrt(2 / side))
    lengths[0] = math.sqrt(1 / side)
    return torch.polar(lengths, angles).to(device)


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
