"""Canvas and field of view of an image: how large one is, and where the other begins in it.

The conventions are those of :mod:`.convolution`. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Pixels", "canvas_shape", "crop_to_field_of_view", "field_of_view_origin"]

Pixels = TypeVar("Pixels", "Tensor", NDArray[Any])


def canvas_shape(image: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Return the canvas shape for an image shape, both without leading axes (Eq. 16)."""
    return tuple(n + k - 1 for n, k in zip(image, kernel, strict=True))


def field_of_view_origin(kernel: Sequence[int]) -> tuple[int, ...]:
    """Return the index on the canvas at which the field of view begins, for a kernel shape."""
    return tuple((side - 1) // 2 for side in kernel)


def crop_to_field_of_view(canvas: Pixels, kernel: Sequence[int]) -> Pixels:
    """Cut the field of view ``(..., *image)`` out of a canvas, for a kernel shape."""
    sides = canvas.shape[-len(kernel) :]
    starts = field_of_view_origin(kernel)
    spans: Any = [
        slice(start, start + n - k + 1) for start, n, k in zip(starts, sides, kernel, strict=True)
    ]
    view: Pixels = canvas[(..., *spans)]
    return view
