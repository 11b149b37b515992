"""Canvas and field of view of an image: how large one is, and where the other begins in it.

The conventions are those of :mod:`.convolution`. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Pixels",
    "canvas_shape",
    "crop_to_field_of_view",
    "fast_window",
    "field_of_view_origin",
    "is_fast_side",
]

# Cosine transforms of sides with a larger prime factor take three to five times as long.
_LARGEST_FACTOR = 13

Pixels = TypeVar("Pixels", "Tensor", NDArray[Any])


def canvas_shape(image: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Return the canvas shape for an image shape, both without leading axes (Eq. 16)."""
    return tuple(n + k - 1 for n, k in zip(image, kernel, strict=True))


def fast_window(image: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Return sides of a kernel, no smaller, with which the canvas is fast to transform.

    They grow by even numbers, so that a kernel that is padded with zeros keeps its origin.
    """
    return tuple(_fast_side(n, k) for n, k in zip(image, kernel, strict=True))


def _fast_side(image: int, kernel: int) -> int:
    while not is_fast_side(image + kernel - 1):
        kernel += 2
    return kernel


def is_fast_side(side: int) -> bool:
    """Return whether transforms of this length are fast: it has no large prime factors."""
    for factor in range(2, _LARGEST_FACTOR + 1):
        while side % factor == 0:
            side //= factor
    return side == 1


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
