"""The forward model: linear convolution truncated to the field of view (Eq. 2, Fig. 7).

Conventions used everywhere in this project, for any number of spatial axes:

* a canvas has shape ``(..., *canvas)``, the field of view ``(..., *image)``, where along each axis
  ``canvas = image + kernel - 1``: light from beyond the border is accounted for;
* kernels are stored for true convolution, with their origin at the element ``side // 2`` of each
  axis;
* the field of view begins ``(side - 1) // 2`` pixels into the canvas, which is where a kernel that
  is a single one at its origin puts the unblurred scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

__all__ = ["Convolution", "canvas_shape", "crop_to_field_of_view", "field_of_view_origin"]

Pixels = TypeVar("Pixels", Tensor, NDArray[Any])


def canvas_shape(image: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Shape of the canvas of an image, both without leading axes (Eq. 16)."""
    return tuple(n + k - 1 for n, k in zip(image, kernel, strict=True))


def field_of_view_origin(kernel: Sequence[int]) -> tuple[int, ...]:
    """Pixels of canvas before the field of view, for a kernel of this shape."""
    return tuple((side - 1) // 2 for side in kernel)


def crop_to_field_of_view(canvas: Pixels, kernel: Sequence[int]) -> Pixels:
    """Cut the field of view ``(..., *image)`` out of a canvas, for a kernel of this shape."""
    sides = canvas.shape[-len(kernel) :]
    starts = field_of_view_origin(kernel)
    spans: Any = [
        slice(start, start + n - k + 1) for start, n, k in zip(starts, sides, kernel, strict=True)
    ]
    view: Pixels = canvas[(..., *spans)]
    return view


class Convolution:
    """T(k ∗ x): convolve a canvas with a kernel and keep what the field of view sees completely.

    Both directions go through Fourier transforms, so that the size of the kernel costs little.
    Gradients flow to the canvas and to the kernel.

    Parameters
    ----------
    kernel : Tensor
        The kernel k, shape ``(*kernel)``. It has as many axes as space has; axes of an image before
        those, such as channels, are convolved one by one.
    """

    def __init__(self, kernel: Tensor) -> None:
        self.kernel = kernel
        self._axes = tuple(range(-kernel.ndim, 0))
        self._transfers: dict[tuple[int, ...], Tensor] = {}

    def forward(self, canvas: Tensor) -> Tensor:
        """Blur a canvas ``(..., *canvas)``; the field of view ``(..., *image)``."""
        sides = canvas.shape[-self.kernel.ndim :]
        shape = _fft_shape(sides)
        # A circular convolution of the canvas's own size already has an exact "valid" part: what
        # wraps around lands in the first pixels along each axis, which the crop drops.
        spectrum = self._spectrum(canvas, shape) * self._transfer(shape)
        full: Tensor = torch.fft.irfftn(spectrum, s=shape, dim=self._axes)
        seen: Any = [slice(k - 1, n) for k, n in zip(self.kernel.shape, sides, strict=True)]
        return full[(..., *seen)]

    def adjoint(self, image: Tensor) -> Tensor:
        """Correlate an image ``(..., *image)`` back onto its canvas: the adjoint of `forward`."""
        before = [pad for side in reversed(self.kernel.shape) for pad in (side - 1, 0)]
        canvas = torch.nn.functional.pad(image, before)
        sides = canvas.shape[-self.kernel.ndim :]
        shape = _fft_shape(sides)
        spectrum = self._spectrum(canvas, shape) * self._transfer(shape).conj()
        full: Tensor = torch.fft.irfftn(spectrum, s=shape, dim=self._axes)
        whole: Any = [slice(n) for n in sides]
        return full[(..., *whole)]

    def canvas_shape(self, image: Sequence[int]) -> tuple[int, ...]:
        """Shape of the canvas of an image ``(*image)``."""
        return canvas_shape(image, self.kernel.shape)

    def field_of_view(self, canvas: Pixels) -> Pixels:
        """Cut the field of view ``(..., *image)`` out of a canvas."""
        return crop_to_field_of_view(canvas, self.kernel.shape)

    def _transfer(self, shape: tuple[int, ...]) -> Tensor:
        if shape not in self._transfers:
            self._transfers[shape] = self._spectrum(self.kernel, shape)
        return self._transfers[shape]

    def _spectrum(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        spectrum: Tensor = torch.fft.rfftn(values, s=shape, dim=self._axes)
        return spectrum


def _fft_shape(sides: Sequence[int]) -> tuple[int, ...]:
    """The next size up that the FFT is quick at."""
    return tuple(next_fast_len(side, real=True) for side in sides)
