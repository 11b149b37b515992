"""The kernel (the PSF): its weights, how it was found, how wide it is; and where one comes from."""

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

# Samples to a pixel at which the half maximum is drawn.
FINENESS = 8
# A sum of weights is 1 but for the rounding of single precision, and of networks.
_OFF_ONE = 1e-2


class KernelSource(StrEnum):
    """How a kernel came about, before any network corrected it."""

    NO_BLUR = "none"  # found: a point
    GAUSSIAN = "Gaussian"  # found: a round one
    ELONGATED = "elongated"  # found: a line or an ellipse, noise hides which
    LINEAR_MOTION = "drift"  # found: a line, convolved with a Gaussian
    FREE = "free"  # found: of any shape
    GIVEN = "given"  # by the caller, to be held
    GUESS = "guess"  # by the caller, to start from
    SET = "set"  # by `Settings.kernel_start`

    @property
    def is_found(self) -> bool:
        """Whether it was looked for in the image."""
        return self not in (KernelSource.GIVEN, KernelSource.GUESS, KernelSource.SET)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel, also known as the point spread function (PSF).

    It may be given wherever an array is expected.

    Attributes
    ----------
    weights : ndarray
        ``(rows, columns)``, or ``(planes, rows, columns)`` for a volume; float32, odd sides, ≥ 0,
        sum 1. The origin is the central element.
    source : KernelSource
        How it came about.
    pixel_size : tuple of float or None
        Sides of a pixel along each axis, in `unit`; None if nobody says.
    unit : str
        Of the pixel size.
    misfit : float or None
        Of one that was found: how badly it explains the image's power spectrum, in nats a
        frequency; 1 is noise alone.
    """

    weights: NDArray[np.float32]
    source: KernelSource = KernelSource.GIVEN
    pixel_size: tuple[float, ...] | None = None
    unit: str = "pixel"
    misfit: float | None = None

    def __post_init__(self) -> None:
        total = float(self.weights.sum())
        if any(side % 2 == 0 for side in self.weights.shape) or abs(total - 1) > _OFF_ONE:
            raise ValueError(
                f"The kernel has shape {self.weights.shape} and sum {total:.3g}; accepted are odd "
                "sides and a sum of 1, which Kernel.of makes of any PSF."
            )

    @classmethod
    def of(cls, weights: ArrayLike, **options: Any) -> Self:
        """A kernel of any non-negative numbers: made odd, float32, and of sum 1.

        An even side gets one row of zeros, so that element ``side // 2`` becomes the centre.

        Parameters
        ----------
        weights : array_like
            Two or three axes.
        **options
            As the other attributes.

        Raises
        ------
        ValueError, TypeError
            In one sentence, for what cannot be a kernel.
        """
        array = np.asarray(weights)
        if array.dtype == bool or array.dtype.kind not in "uif":
            raise TypeError(f"The PSF has values of type {array.dtype}; accepted are real numbers.")
        if array.ndim not in (2, 3) or array.size == 0:
            raise ValueError(
                f"The PSF has shape {array.shape}; accepted is one plane (rows, columns)."
            )
        if not np.isfinite(array).all():
            raise ValueError(
                "The PSF has NaN or infinite values; accepted are finite numbers only."
            )
        if array.min() < 0:
            raise ValueError(
                f"The PSF has values down to {array.min()}; accepted are none below 0."
            )
        if not array.any():
            raise ValueError("The PSF sums to 0; accepted is a PSF with a positive sum.")
        odd = np.pad(array, [(0, 1 - side % 2) for side in array.shape]).astype(np.float64)
        return cls((odd / odd.sum()).astype(np.float32), **options)

    @classmethod
    def point(cls, axes: int = 2, **options: Any) -> Self:
        """The kernel that blurs nothing."""
        return cls(np.ones((1,) * axes, np.float32), **options)

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        return np.array(self.weights, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sides of its window in pixels."""
        return self.weights.shape

    @cached_property
    def widths(self) -> KernelWidths:
        """How wide it is, in pixels."""
        return KernelWidths.of(self.weights)

    @property
    def border_share(self) -> float:
        """Share of its sum on the outermost pixels of its window."""
        inner = self.weights[(slice(1, -1),) * self.weights.ndim].sum()
        return float(1 - inner / self.weights.sum())

    def with_weights(self, weights: NDArray[np.float32]) -> Self:
        """The same with other weights, such as those a network has made of it."""
        return replace(self, weights=weights)

    def as_record(self) -> dict[str, Any]:
        """Ready for JSON, weights and all."""
        return {
            "source": self.source.value,
            "fwhm": list(self.widths.along_axes),
            "pixel_size": self.pixel_size and list(self.pixel_size),
            "unit": self.unit,
            "misfit": self.misfit,
            "weights": self.weights.tolist(),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """The kernel of :meth:`as_record`; pixel size and misfit may be missing."""
        size = record.get("pixel_size")
        return cls(
            np.array(record["weights"], np.float32),
            KernelSource(record["source"]),
            None if size is None else tuple(map(float, size)),
            record.get("unit", "pixel"),
            record.get("misfit"),
        )


@dataclass(frozen=True)
class KernelWidths:
    """Full widths of a kernel at half its maximum, in the unit of the pixel size given.

    Attributes
    ----------
    along_axes : tuple of float
        Along the image's axes, such as y and x.
    principal : tuple of float
        Along the kernel's own axes, the longest first.
    angle : float or None
        Of the longest, in degrees from 0 to 180: 0 along the columns (to the right), 90 upwards.
        Two-dimensional by nature: None for a volume.
    """

    along_axes: tuple[float, ...]
    principal: tuple[float, ...]
    angle: float | None

    @classmethod
    def of(cls, kernel: ArrayLike, pixel_size: tuple[float, ...] | None = None) -> Self:
        """Widths of a kernel, with the sides of a pixel along each axis (default: 1).

        They are those of the ellipsoid that has the moments of what lies above half the maximum and
        hangs together with it: a Gaussian gives its own 2.355 σ in every direction.
        """
        weights = np.asarray(kernel)
        sides = np.ones(weights.ndim) if pixel_size is None else np.array(pixel_size)
        fine = finely_sampled(weights)
        pieces, _ = ndimage.label(fine >= fine.max() / 2)
        points = np.argwhere(pieces == pieces.flat[fine.argmax()]) / FINENESS * sides
        # A sample stands for a small cube around it.
        covariance = np.cov(points.T, bias=True) + np.diag(np.square(sides)) / (12 * FINENESS**2)
        variances, axes = np.linalg.eigh(covariance)
        # An ellipsoid of n axes with a semi-axis r has the variance r² / (n + 2) along it.
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
        """Shortest width over longest: 1 is round."""
        return self.principal[-1] / self.principal[0]


def finely_sampled(kernel: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """A kernel with a border of zeros, interpolated linearly, `FINENESS` samples to a pixel."""
    padded = np.pad(kernel.astype(np.float64), 1)
    samples = [np.linspace(0, side - 1, FINENESS * (side - 1) + 1) for side in padded.shape]
    fine: NDArray[np.float64] = ndimage.map_coordinates(
        padded, np.meshgrid(*samples, indexing="ij"), order=1
    )
    return fine


class KernelScope(StrEnum):
    """What part of a stack shares a kernel that is found."""

    CHANNEL = "per-channel"  # found on one plane of each channel, then held
    STACK = "shared"  # found on one plane of the stack, then held
    PLANE = "per-slice"  # each plane finds its own


@dataclass(frozen=True)
class KernelChoice:
    """Where the kernel comes from: found, started from, or held.

    Make one with :meth:`find`, :meth:`start_from` or :meth:`hold`.

    Attributes
    ----------
    kernel : Kernel or None
        One that is known; None: it is found in the image.
    is_held : bool
        Whether a known kernel stays as it is and only the image is estimated (non-blind
        deconvolution). If not, it is what the fit starts from.
    scope : KernelScope
        What part of a stack shares a kernel that is found.
    """

    kernel: Kernel | None = None
    is_held: bool = False
    scope: KernelScope = KernelScope.CHANNEL

    @classmethod
    def find(cls, scope: KernelScope | str = KernelScope.CHANNEL) -> Self:
        """Find it in the image; of a stack, once for each part of this scope."""
        if scope not in list(KernelScope):
            names = ", ".join(repr(str(known)) for known in KernelScope)
            raise ValueError(f"The kernel is {scope!r}; accepted are {names} and a known PSF.")
        return cls(scope=KernelScope(scope))

    @classmethod
    def start_from(
        cls, kernel: Kernel | ArrayLike, scope: KernelScope | str = KernelScope.CHANNEL
    ) -> Self:
        """Start from a guess, in place of one found in the image; the fit corrects it."""
        guess = replace(_kernel(kernel), source=KernelSource.GUESS)
        return replace(cls.find(scope), kernel=guess)

    @classmethod
    def hold(cls, kernel: Kernel | ArrayLike) -> Self:
        """Hold a known kernel. One found in another image keeps its source, and its warnings."""
        return cls(_kernel(kernel), is_held=True)

    @classmethod
    def of(cls, value: KernelChoice | Kernel | ArrayLike | None) -> KernelChoice:
        """A choice; a kernel or an array, to hold; a scope to find it in; or None, to find it."""
        if isinstance(value, KernelChoice):
            return value
        if value is None or isinstance(value, str):
            return cls.find(value or KernelScope.CHANNEL)
        return cls.hold(value)

    @property
    def is_found(self) -> bool:
        """Whether nobody says what it is."""
        return self.kernel is None

    def as_record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "kernel": self.kernel and self.kernel.as_record(),
            "is_held": self.is_held,
            "scope": self.scope.value,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """The choice of :meth:`as_record`."""
        known = record["kernel"]
        kernel = None if known is None else Kernel.from_record(known)
        return cls(kernel, bool(record["is_held"]), KernelScope(record["scope"]))


def _kernel(value: Kernel | ArrayLike) -> Kernel:
    return value if isinstance(value, Kernel) else Kernel.of(value)
