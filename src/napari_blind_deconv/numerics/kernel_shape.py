"""How wide a kernel is, along which direction, and whether its window holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["FINENESS", "KernelShape", "border_share", "finely_sampled"]

# Samples to a pixel at which the half maximum is drawn.
FINENESS = 8


@dataclass(frozen=True)
class KernelShape:
    """Full widths of a kernel at half its maximum, in the unit of the pixel size given.

    Attributes
    ----------
    rows, columns : float
        Along the image's axes (y and x).
    longest, shortest : float
        Along the kernel's own axes.
    angle : float
        Of the longest, in degrees from 0 to 180: 0 along the columns (to the right), 90 upwards.
    """

    rows: float
    columns: float
    longest: float
    shortest: float
    angle: float

    @classmethod
    def of(
        cls, kernel: NDArray[np.floating[Any]], pixel_size: tuple[float, float] = (1.0, 1.0)
    ) -> Self:
        """Widths of a kernel ``(rows, columns)``, with the height and width of a pixel.

        They are those of the ellipse that has the moments of what lies above half the maximum and
        hangs together with it: a Gaussian gives its own 2.355 σ in every direction.
        """
        fine = finely_sampled(kernel)
        pieces, _ = ndimage.label(fine >= fine.max() / 2)
        points = np.argwhere(pieces == pieces.flat[fine.argmax()]) / FINENESS * pixel_size
        # A sample stands for a square around it.
        square = np.diag(np.square(pixel_size)) / (12 * FINENESS**2)
        covariance = np.cov(points.T, bias=True) + square
        variances, axes = np.linalg.eigh(covariance)
        down, right = axes[:, 1]
        return cls(
            rows=4 * math.sqrt(covariance[0, 0]),
            columns=4 * math.sqrt(covariance[1, 1]),
            longest=4 * math.sqrt(variances[1]),
            shortest=4 * math.sqrt(variances[0]),
            angle=math.degrees(math.atan2(-down, right)) % 180,
        )


def finely_sampled(kernel: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """A kernel with a border of zeros, interpolated linearly, `FINENESS` samples to a pixel."""
    padded = np.pad(kernel.astype(np.float64), 1)
    samples = [np.linspace(0, side - 1, FINENESS * (side - 1) + 1) for side in padded.shape]
    fine: NDArray[np.float64] = ndimage.map_coordinates(
        padded, np.meshgrid(*samples, indexing="ij"), order=1
    )
    return fine


def border_share(kernel: NDArray[np.floating[Any]]) -> float:
    """Share of a kernel's mass on the outermost pixels of its window."""
    inner = kernel[1:-1, 1:-1].sum()
    return float(1 - inner / kernel.sum())
