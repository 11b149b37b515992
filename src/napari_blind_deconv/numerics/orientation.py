"""Bring an image into the one of its eight orientations in which it is searched for a kernel.

Searches treat rows and columns in one direction. In a fixed orientation, a flipped or transposed
image has the flipped or transposed kernel. This works in two dimensions only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["AS_IT_IS", "Orientation"]


@dataclass(frozen=True)
class Orientation:
    """Flips of rows and columns, after which rows and columns may be exchanged.

    Attributes
    ----------
    flips : tuple of int
        Step along rows and columns, 1 or -1.
    is_transposed : bool
        Whether rows and columns are exchanged.
    """

    flips: tuple[int, int] = (1, 1)
    is_transposed: bool = False

    @classmethod
    def of(cls, image: NDArray[np.floating[Any]]) -> Self:
        """Choose the orientation in which an image ``(H, W)`` is brightest at its first pixels.

        The differences from pixel to pixel are larger along the rows than along the columns then.
        """
        values = image.astype(np.float64)
        profiles = (values.mean(axis=1), values.mean(axis=0))
        moments = [
            float((profile * (np.arange(len(profile)) - (len(profile) - 1) / 2)).sum())
            for profile in profiles
        ]
        energies = [float(np.square(np.diff(values, axis=axis)).mean()) for axis in (0, 1)]
        rows, columns = (-1 if moment > 0 else 1 for moment in moments)
        return cls((rows, columns), energies[0] > energies[1])

    def applied(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an image, mask or kernel ``(H, W)`` in this orientation."""
        rows, columns = self.flips
        flipped = array[::rows, ::columns]
        return np.ascontiguousarray(flipped.T if self.is_transposed else flipped)

    def undone(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array that is in this orientation as it was before."""
        rows, columns = self.flips
        turned = array.T if self.is_transposed else array
        return np.ascontiguousarray(turned[::rows, ::columns])


AS_IT_IS = Orientation()
