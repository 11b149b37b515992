"""Fourier transforms of real images, by the library that is faster for them.

For a volume on a CPU, scipy takes about half the time of torch, which copies the volume several
times. For planes, on a GPU, and where gradients are needed, torch transforms.
"""

from __future__ import annotations

from collections.abc import Sequence

import scipy.fft
import torch
from torch import Tensor

from napari_blind_deconv.numerics.threads import threads

__all__ = ["inverse_real_transform", "real_transform"]

_VOLUME_AXES = 3


def real_transform(values: Tensor, sides: Sequence[int]) -> Tensor:
    """Return the spectrum of real values, padded with zeros to `sides` along the last axes."""
    axes = _last_axes(sides)
    if not _is_for_scipy(values, sides):
        spectrum: Tensor = torch.fft.rfftn(values, s=tuple(sides), dim=axes)
        return spectrum
    return torch.from_numpy(
        scipy.fft.rfftn(values.numpy(), s=tuple(sides), axes=axes, workers=threads())
    )


def inverse_real_transform(spectrum: Tensor, sides: Sequence[int]) -> Tensor:
    """Return the real values ``(..., *sides)`` of a spectrum, which may be overwritten."""
    axes = _last_axes(sides)
    if not _is_for_scipy(spectrum, sides):
        values: Tensor = torch.fft.irfftn(spectrum, s=tuple(sides), dim=axes)
        return values
    # Axis by axis as far as possible in place, for which irfftn would need memory.
    rows = scipy.fft.ifftn(spectrum.numpy(), axes=axes[:-1], workers=threads(), overwrite_x=True)
    return torch.from_numpy(scipy.fft.irfft(rows, n=sides[-1], workers=threads()))


def _last_axes(sides: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(sides), 0))


def _is_for_scipy(values: Tensor, sides: Sequence[int]) -> bool:
    is_plain = values.device.type == "cpu" and not values.requires_grad
    return is_plain and len(sides) >= _VOLUME_AXES
