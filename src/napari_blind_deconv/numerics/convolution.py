"""The forward model: linear convolution truncated to the field of view (Eq. 2, Fig. 7).

Conventions used everywhere in this project, for any number of spatial axes:

* a canvas has shape ``(..., *canvas)`` and the field of view has shape ``(..., *image)``. Along
  each axis ``canvas = image + kernel - 1``, so that light from beyond the border is accounted for;
* kernels are stored for true convolution. The origin of a kernel is element ``side // 2`` of each
  axis;
* the field of view begins ``(side - 1) // 2`` pixels into the canvas (:mod:`.field_of_view`). A
  kernel with a single 1 at its origin therefore leaves the scene where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from scipy.fft import next_fast_len
from torch import Tensor

from napari_blind_deconv.numerics.field_of_view import (
    Pixels,
    canvas_shape,
    crop_to_field_of_view,
    is_fast_side,
)
from napari_blind_deconv.numerics.fourier import inverse_real_transform, real_transform

__all__ = ["Convolution", "Fitted"]


class Convolution:
    """T(k ∗ x) of Eq. 2: convolve a canvas with a kernel and keep the field of view.

    `forward` and `adjoint` use Fourier transforms, so that a large kernel costs little more than a
    small one. Gradients flow to the canvas and to the kernel.

    Parameters
    ----------
    kernel : Tensor
        The kernel k, shape ``(*kernel)``, with spatial axes only. An image can have leading axes,
        such as channels; the convolution is then applied to each channel separately.
    """

    def __init__(self, kernel: Tensor) -> None:
        self.kernel = kernel
        self._transfers: dict[tuple[bool, tuple[int, ...]], Tensor] = {}

    def forward(self, canvas: Tensor) -> Tensor:
        """Blur a canvas ``(..., *canvas)`` and return the field of view ``(..., *image)``."""
        sides = canvas.shape[-self.kernel.ndim :]
        shape = _fft_shape(sides)
        # A circular convolution of the size of the canvas is exact in its "valid" part: the values
        # that wrap around land in the first pixels along each axis, and the crop drops these.
        spectrum = _product(real_transform(canvas, shape), self._transfer(shape))
        full = inverse_real_transform(spectrum, shape)
        valid: Any = [slice(k - 1, n) for k, n in zip(self.kernel.shape, sides, strict=True)]
        return full[(..., *valid)]

    def adjoint(self, image: Tensor) -> Tensor:
        """Correlate an image ``(..., *image)`` with the kernel: the adjoint of `forward`.

        The result has the shape of the canvas, ``(..., *canvas)``.
        """
        sides = self.canvas_shape(image.shape[-self.kernel.ndim :])
        shape = _fft_shape(sides)
        # The convolution of the whole image with the flipped kernel has the size of the canvas.
        spectrum = _product(real_transform(image, shape), self._transfer(shape, is_flipped=True))
        full = inverse_real_transform(spectrum, shape)
        within: Any = [slice(n) for n in sides]
        return full[(..., *within)]

    def canvas_shape(self, image: Sequence[int]) -> tuple[int, ...]:
        """Return the canvas shape for an image of shape ``(*image)``."""
        return canvas_shape(image, self.kernel.shape)

    def field_of_view(self, canvas: Pixels) -> Pixels:
        """Cut the field of view ``(..., *image)`` out of a canvas."""
        return crop_to_field_of_view(canvas, self.kernel.shape)

    def _transfer(self, shape: tuple[int, ...], *, is_flipped: bool = False) -> Tensor:
        # Cached, because solvers apply one kernel many times.
        key = is_flipped, shape
        if key not in self._transfers:
            kernel = self.kernel.flip(*range(self.kernel.ndim)) if is_flipped else self.kernel
            self._transfers[key] = real_transform(kernel, shape)
        return self._transfers[key]


class Fitted(NamedTuple):
    """An estimate on its canvas ``(..., *canvas)``, and its blur in the field of view."""

    canvas: Tensor
    blurred: Tensor


def _product(spectrum: Tensor, transfer: Tensor) -> Tensor:
    # In place where no gradient is needed: memory for a volume takes longer than the product.
    needs_gradient = spectrum.requires_grad or transfer.requires_grad
    return spectrum * transfer if needs_gradient else spectrum.mul_(transfer)


def _fft_shape(sides: Sequence[int]) -> tuple[int, ...]:
    """Return the sides themselves where the FFT is fast for them, or larger ones."""
    return tuple(s if is_fast_side(s) else next_fast_len(s, real=True) for s in sides)
