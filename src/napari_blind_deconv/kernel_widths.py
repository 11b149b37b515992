"""The widths of a kernel at half of its maximum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

__all__ = ["FINENESS", "KernelWidths", "finely_sampled"]

# Samples per pixel at which the contour at half maximum is drawn.
FINENESS = 8


@dataclass(frozen=True)
class KernelWidths:
    """Full widths at half maximum (FWHM) of a kernel, in the unit of the pixel size.

    Attributes
    ----------
    along_axes : tuple of float
        Widths along the axes of the image, such as Y and X.
    principal : tuple of float
        Widths along the principal axes of the kernel, the longest first.
    angle : float or None
        Direction of the longest principal axis in degrees, from 0 to 180: 0 points to the right,
        90 points up. None for a volume.
    """

    along_axes: tuple[float, ...]
    principal: tuple[float, ...]
    angle: float | None

    @classmethod
    def of(cls, kernel: ArrayLike, pixel_size: tuple[float, ...] | None = None) -> Self:
        """Measure the widths of a kernel.

        The region above half the maximum that is connected to the maximum is replaced by the
        ellipsoid with the same second moments; the widths are the diameters of this ellipsoid. For
        a Gaussian they are 2.355 σ in every direction.

        Parameters
        ----------
        kernel : array_like
            Weights with two or three axes.
        pixel_size : tuple of float, optional
            Pixel size along each axis. Default: 1.
        """
        weights = np.asarray(kernel)
        sides = np.ones(weights.ndim) if pixel_size is None else np.array(pixel_size)
        fine = finely_sampled(_around_maximum(weights))
        pieces, _ = ndimage.label(fine >= fine.max() / 2)
        points = np.argwhere(pieces == pieces.flat[fine.argmax()]) / FINENESS * sides
        # Each sample stands for a cube of 1 / FINENESS pixels, whose variance is its side² / 12.
        covariance = np.cov(points.T, bias=True) + np.diag(np.square(sides)) / (12 * FINENESS**2)
        variances, axes = np.linalg.eigh(covariance)
        # A solid ellipsoid in n dimensions has the variance r² / (n + 2) along a semi-axis r.
        diameter = 2 * math.sqrt(weights.ndim + 2)
        angle = None
        if weights.ndim == 2:
            down, right = axes[:, 1]
            angle = math.degrees(math.atan2(-down, right)) % 180
        return cls(
            along_axes=tuple(diameter * math.sqrt(variance) for variance in np.diag(covariance)),
            principal=tuple(diameter * math.sqrt(variance) for variance in variances[::-1]),
            angle=angle,
        )

    @property
    def roundness(self) -> float:
        """Shortest width divided by the longest; 1 for a round kernel."""
        return self.principal[-1] / self.principal[0]


def _around_maximum(weights: NDArray[Any]) -> NDArray[Any]:
    """Return the window of what is above half the maximum; a whole volume has too many samples."""
    bright = np.nonzero(weights >= weights.max() / 2)
    window = [slice(max(int(i.min()) - 1, 0), int(i.max()) + 2) for i in bright]
    return weights[tuple(window)]


def finely_sampled(kernel: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Interpolate a zero-padded kernel linearly at `FINENESS` samples per pixel."""
    padded = np.pad(kernel.astype(np.float64), 1)
    samples = [np.linspace(0, side - 1, FINENESS * (side - 1) + 1) for side in padded.shape]
    fine: NDArray[np.float64] = ndimage.map_coordinates(
        padded, np.meshgrid(*samples, indexing="ij"), order=1
    )
    return fine
