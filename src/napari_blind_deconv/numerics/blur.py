"""The blur model: linear convolution truncated to the field of view (Eq. 2, Fig. 7).

Conventions used everywhere in this project:

* an image canvas has shape ``(..., H + kh - 1, W + kw - 1)``, the field of view ``(..., H, W)``;
* kernels are stored for true convolution, shape ``(kh, kw)``, with their origin at the array
  element ``(kh // 2, kw // 2)``;
* the field of view begins ``field_of_view_offset`` rows and columns into the canvas, which is where
  a kernel that is a single one at its origin puts the unblurred scene.
"""

from __future__ import annotations

import torch
from scipy.fft import next_fast_len
from torch import Tensor

__all__ = ["adjoint_blur", "blur", "crop_to_field_of_view", "field_of_view_offset"]


def field_of_view_offset(kernel_shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of canvas before the field of view, for a kernel of this shape."""
    return (kernel_shape[0] - 1) // 2, (kernel_shape[1] - 1) // 2


def crop_to_field_of_view(canvas: Tensor, kernel_shape: tuple[int, int]) -> Tensor:
    """Cut the field of view ``(..., H, W)`` out of a canvas ``(..., H + kh - 1, W + kw - 1)``."""
    top, left = field_of_view_offset(kernel_shape)
    height = canvas.shape[-2] - kernel_shape[0] + 1
    width = canvas.shape[-1] - kernel_shape[1] + 1
    return canvas[..., top : top + height, left : left + width]


def blur(canvas: Tensor, kernel: Tensor) -> Tensor:
    """Apply T(k ∗ x): convolve, then keep only what the field of view sees completely.

    Parameters
    ----------
    canvas : Tensor
        The scene x, shape ``(..., H + kh - 1, W + kw - 1)``, wider than the field of view so that
        light from beyond the border is accounted for.
    kernel : Tensor
        The kernel k, shape ``(kh, kw)``.

    Returns
    -------
    Tensor
        Shape ``(..., H, W)``.
    """
    kh, kw = kernel.shape
    height, width = canvas.shape[-2:]
    # A circular convolution of the canvas's own size already has an exact "valid" part: what wraps
    # around lands in the first kh - 1 rows and kw - 1 columns, which the crop drops.
    spectrum = _spectrum(canvas, canvas) * _spectrum(kernel, canvas)
    return torch.fft.irfft2(spectrum, s=_fft_shape(canvas))[..., kh - 1 : height, kw - 1 : width]


def adjoint_blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Apply the adjoint of :func:`blur` in x: correlate ``(..., H, W)`` back onto the canvas."""
    kh, kw = kernel.shape
    canvas = torch.nn.functional.pad(image, (kw - 1, 0, kh - 1, 0))
    spectrum = _spectrum(canvas, canvas) * _spectrum(kernel, canvas).conj()
    full: Tensor = torch.fft.irfft2(spectrum, s=_fft_shape(canvas))
    return full[..., : canvas.shape[-2], : canvas.shape[-1]]


def _fft_shape(canvas: Tensor) -> tuple[int, int]:
    """The next size up that the FFT is quick at."""
    return next_fast_len(canvas.shape[-2], real=True), next_fast_len(canvas.shape[-1], real=True)


def _spectrum(values: Tensor, canvas: Tensor) -> Tensor:
    return torch.fft.rfft2(values, s=_fft_shape(canvas))
