"""The kernel (PSF): its weights, its source and its widths; and the choice of a kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

__all__ = [
    "FINENESS",
    "Kernel",
    "KernelChoice",
    "KernelScope",
    "KernelSource",
    "KernelWidths",
    "finely_sampled",
]

# Samples per pixel at which the contour at half maximum is drawn.
FINENESS = 8
# The weights sum to 1 up to the rounding of single precision and of the networks.
_SUM_TOLERANCE = 1e-2


class KernelSource(StrEnum):
    """Source of a kernel, before a network corrects it."""

    NO_BLUR = "none"  # found in the image: a point
    GAUSSIAN = "Gaussian"  # found in the image: a round Gaussian
    ELLIPTIC = "elliptic Gaussian"  # found in the image: an elliptic Gaussian
    NARROWEST = "narrowest"  # the narrowest that the optics allow; the image shows none wider
    ELONGATED = "elongated"  # found in the image: a line or an ellipse; noise hides which
    LINEAR_MOTION = "linear motion"  # found in the image: a line, convolved with a Gaussian
    FREE = "free"  # found in the image: any shape
    GIVEN = "given"  # given by the caller, held
    GUESS = "guess"  # given by the caller as the start of the fit
    SET = "set"  # set by `Settings.kernel_start`

    @classmethod
    def _missing_(cls, value: object) -> KernelSource | None:
        return cls.LINEAR_MOTION if value == "drift" else None  # its value in version 0.1.0

    @property
    def is_gaussian(self) -> bool:
        """Whether the kernel is a Gaussian that was found, round or elliptic."""
        return self in (KernelSource.GAUSSIAN, KernelSource.ELLIPTIC)

    @property
    def is_found(self) -> bool:
        """Whether the kernel was found in the image."""
        return self not in (KernelSource.GIVEN, KernelSource.GUESS, KernelSource.SET)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel, also known as the point spread function (PSF).

    numpy converts a kernel to the array of its weights, so it can stand wherever an array can.

    Attributes
    ----------
    weights : ndarray
        ``(rows, columns)``, or ``(planes, rows, columns)`` for a volume; float32, odd sides,
        non-negative, sum 1. The origin is the central element.
    source : KernelSource
        How the kernel was found or given.
    pixel_size : tuple of float or None
        Pixel size along each axis, in `unit`; None if unknown.
    unit : str
        Unit of the pixel size.
    misfit : float or None
        For a kernel that was found: the mismatch between the power spectrum that it predicts and
        that of the image, in nats per frequency. Noise alone gives 1; a larger value means a worse
        fit.
    width_deviation : float or None
        Standard deviation of the logarithm of the widths of a kernel that was found, which is about
        their relative error; None if it is unknown.

    Raises
    ------
    ValueError
        If a side is even or the sum is not 1.
    """

    weights: NDArray[np.float32]
    source: KernelSource = KernelSource.GIVEN
    pixel_size: tuple[float, ...] | None = None
    unit: str = "pixel"
    misfit: float | None = None
    width_deviation: float | None = None

    def __post_init__(self) -> None:
        total = float(self.weights.sum())
        if any(side % 2 == 0 for side in self.weights.shape) or abs(total - 1) > _SUM_TOLERANCE:
            raise ValueError(
                "Expected a kernel with odd sides and a sum of 1, got shape "
                f"{self.weights.shape} and sum {total:.3g}; try Kernel.of, which converts any PSF."
            )

    @classmethod
    def of(cls, weights: ArrayLike, **options: Any) -> Self:
        """Make a kernel from any non-negative numbers.

        The weights are converted to float32 and divided by their sum. An even side is padded with
        zeros at its end, so that element ``side // 2`` becomes the centre.

        Parameters
        ----------
        weights : array_like
            Non-negative finite numbers with two or three axes and a positive sum.
        **options
            Other attributes of the kernel, such as ``pixel_size``.

        Raises
        ------
        TypeError
            If the weights are not real numbers.
        ValueError
            If the weights have another number of axes, are empty, negative or not finite, or sum
            to 0.
        """
        array = np.asarray(weights)
        if array.dtype == bool or array.dtype.kind not in "uif":
            raise TypeError(f"Expected a PSF of real numbers, got values of type {array.dtype}.")
        if array.ndim not in (2, 3) or array.size == 0:
            raise ValueError(f"Expected a 2D PSF (rows, columns), got shape {array.shape}.")
        if not np.isfinite(array).all():
            raise ValueError("Expected a PSF of finite numbers, got NaN or infinite values.")
        if array.min() < 0:
            raise ValueError(f"Expected a PSF without negative values, got {array.min()}.")
        if not array.any():
            raise ValueError("Expected a PSF with a positive sum, got a sum of 0.")
        odd = np.pad(array, [(0, 1 - side % 2) for side in array.shape]).astype(np.float64)
        return cls((odd / odd.sum()).astype(np.float32), **options)

    @classmethod
    def point(cls, axes: int = 2, **options: Any) -> Self:
        """Return the kernel that does not blur: one pixel of weight 1."""
        return cls(np.ones((1,) * axes, np.float32), **options)

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        return np.array(self.weights, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sides of the kernel window in pixels."""
        return self.weights.shape

    @cached_property
    def widths(self) -> KernelWidths:
        """Widths of the kernel in pixels."""
        return KernelWidths.of(self.weights)

    @property
    def border_share(self) -> float:
        """Share of the sum of the weights on the outermost pixels of the window.

        A large share means that the kernel may reach beyond the window.
        """
        inner = self.weights[(slice(1, -1),) * self.weights.ndim].sum()
        return float(1 - inner / self.weights.sum())

    def with_weights(self, weights: NDArray[np.float32]) -> Self:
        """Return a copy with other weights, such as the estimate of a network."""
        return replace(self, weights=weights)

    def as_record(self) -> dict[str, Any]:
        """Return the kernel, with its weights, as a dictionary for JSON."""
        return {
            "source": self.source.value,
            "fwhm": list(self.widths.along_axes),
            "pixel_size": self.pixel_size and list(self.pixel_size),
            "unit": self.unit,
            "misfit": self.misfit,
            "width_deviation": self.width_deviation,
            "weights": self.weights.tolist(),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return the kernel of :meth:`as_record`; attributes that older records lack are None."""
        size = record.get("pixel_size")
        return cls(
            np.array(record["weights"], np.float32),
            KernelSource(record["source"]),
            None if size is None else tuple(map(float, size)),
            record.get("unit", "pixel"),
            record.get("misfit"),
            record.get("width_deviation"),
        )


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
        fine = finely_sampled(weights)
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


def finely_sampled(kernel: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Interpolate a zero-padded kernel linearly at `FINENESS` samples per pixel."""
    padded = np.pad(kernel.astype(np.float64), 1)
    samples = [np.linspace(0, side - 1, FINENESS * (side - 1) + 1) for side in padded.shape]
    fine: NDArray[np.float64] = ndimage.map_coordinates(
        padded, np.meshgrid(*samples, indexing="ij"), order=1
    )
    return fine


class KernelScope(StrEnum):
    """Part of a stack that shares one kernel found in the image."""

    CHANNEL = "per-channel"  # found on one plane of each channel, then held
    STACK = "shared"  # found on one plane of the stack, then held
    PLANE = "per-slice"  # found on each plane


@dataclass(frozen=True)
class KernelChoice:
    """Choice of the kernel: found in the image, fitted from a guess, or held.

    Make a choice with :meth:`find`, :meth:`start_from` or :meth:`hold`.

    Attributes
    ----------
    kernel : Kernel or None
        Known kernel; None if the kernel is found in the image.
    is_held : bool
        Whether the known kernel stays unchanged, so that only the image is estimated (non-blind
        deconvolution). If False, the fit starts from the known kernel.
    scope : KernelScope
        Part of a stack that shares one kernel found in the image.
    """

    kernel: Kernel | None = None
    is_held: bool = False
    scope: KernelScope = KernelScope.CHANNEL

    @classmethod
    def find(cls, scope: KernelScope | str = KernelScope.CHANNEL) -> Self:
        """Find the kernel in the image; for a stack, once for each part of the scope."""
        if scope not in list(KernelScope):
            names = ", ".join(repr(str(known)) for known in KernelScope)
            raise ValueError(f"Expected {names} or a known PSF as the kernel, got {scope!r}.")
        return cls(scope=KernelScope(scope))

    @classmethod
    def start_from(
        cls, kernel: Kernel | ArrayLike, scope: KernelScope | str = KernelScope.CHANNEL
    ) -> Self:
        """Start from a guess instead of a kernel found in the image; the fit corrects the guess."""
        guess = replace(_as_kernel(kernel), source=KernelSource.GUESS)
        return replace(cls.find(scope), kernel=guess)

    @classmethod
    def hold(cls, kernel: Kernel | ArrayLike) -> Self:
        """Hold a known kernel.

        A kernel that was found in another image keeps its source and therefore its warnings.
        """
        return cls(_as_kernel(kernel), is_held=True)

    @classmethod
    def of(cls, value: KernelChoice | Kernel | ArrayLike | None) -> KernelChoice:
        """Convert a value to a choice.

        Parameters
        ----------
        value : KernelChoice, Kernel, array_like, str or None
            A choice is returned unchanged. A kernel or an array is held. The name of a
            `KernelScope` means to find a kernel for each part of this scope. None means to find a
            kernel for each channel.
        """
        if isinstance(value, KernelChoice):
            return value
        if value is None or isinstance(value, str):
            return cls.find(value or KernelScope.CHANNEL)
        return cls.hold(value)

    @property
    def is_found(self) -> bool:
        """Whether the kernel is to be found in the image."""
        return self.kernel is None

    def as_record(self) -> dict[str, Any]:
        """Return the choice as a dictionary for JSON."""
        return {
            "kernel": self.kernel and self.kernel.as_record(),
            "is_held": self.is_held,
            "scope": self.scope.value,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return the choice of :meth:`as_record`."""
        known = record["kernel"]
        kernel = None if known is None else Kernel.from_record(known)
        return cls(kernel, bool(record["is_held"]), KernelScope(record["scope"]))


def _as_kernel(value: Kernel | ArrayLike) -> Kernel:
    return value if isinstance(value, Kernel) else Kernel.of(value)
