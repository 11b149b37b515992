"""The kernel (PSF): its weights and its source; and the choice of a kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.stored_weights import stored_weights, weights_in

__all__ = ["Kernel", "KernelChoice", "KernelScope", "KernelSource"]

# The weights sum to 1 up to the rounding of single precision and of the networks.
_SUM_TOLERANCE = 1e-2
_SPLINE_ORDER = 5  # of the splines through the root of a kernel that is scaled


class KernelSource(StrEnum):
    """Source of a kernel, before a network corrects it."""

    NO_BLUR = "none"  # found in the image: a point
    GAUSSIAN = "Gaussian"  # found in the image: a round Gaussian
    ELLIPTIC = "elliptic Gaussian"  # found in the image: an elliptic Gaussian
    WIDEFIELD = "widefield"  # found in a volume: the PSF of a widefield microscope
    CONFOCAL = "confocal"  # found in a volume: that of a confocal microscope
    LIGHT_SHEET = "light sheet"  # found in a volume: that of a microscope with a light sheet
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
    def is_microscope(self) -> bool:
        """Whether the kernel is the PSF of a kind of microscope that was found in a volume."""
        return self in (KernelSource.WIDEFIELD, KernelSource.CONFOCAL, KernelSource.LIGHT_SHEET)

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
            raise ValueError(
                "Expected a 2D PSF (rows, columns) or a 3D one (planes, rows, columns), got shape "
                f"{array.shape}."
            )
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

        A large share means that the kernel may reach beyond the window. A point has none.
        """
        if np.count_nonzero(self.weights) == 1:
            return 0.0
        inner = self.weights[(slice(1, -1),) * self.weights.ndim].sum()
        return float(1 - inner / self.weights.sum())

    def with_weights(self, weights: NDArray[np.float32]) -> Self:
        """Return a copy with other weights, such as the estimate of a network."""
        return replace(self, weights=weights)

    def scaled(self, factor: float) -> Self:
        """Return a kernel that is so many times as wide, scaled about the central element.

        Parameters
        ----------
        factor : float
            Raising it gives a wider kernel. The half sides of the window grow with it, rounded up.

        Returns
        -------
        Kernel
            The same object for a factor of 1, and for a kernel with one weight: a point has no
            width.
        """
        if factor == 1 or np.count_nonzero(self.weights) == 1:
            return self
        return self.with_weights(_scaled(self.weights, factor))

    def as_record(self) -> dict[str, Any]:
        """Return the kernel as a dictionary for JSON, with its weights as `stored_weights`."""
        return {
            "source": self.source.value,
            "fwhm": list(self.widths.along_axes),
            "pixel_size": self.pixel_size and list(self.pixel_size),
            "unit": self.unit,
            "misfit": self.misfit,
            "width_deviation": self.width_deviation,
            "weights": stored_weights(self.weights),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return the kernel of :meth:`as_record`; attributes that older records lack are None."""
        size = record.get("pixel_size")
        return cls(
            weights_in(record["weights"]),
            KernelSource(record["source"]),
            None if size is None else tuple(map(float, size)),
            record.get("unit", "pixel"),
            record.get("misfit"),
            record.get("width_deviation"),
        )


def _scaled(weights: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Return k(x / factor), with sum 1."""
    # The root of a narrow kernel is smoother than the kernel itself, and its square is not
    # negative. Of Gaussians from 1.5 pixels at half maximum on, the transfer function is then
    # wrong by at most 0.01, in place of 0.03 by cubic splines through the weights.
    root = np.pad(np.sqrt(weights.astype(np.float64)), _SPLINE_ORDER)
    # Rounded, because 1.1 * 10 is more than 11.
    halves = [math.ceil(round(factor * (side // 2), 6)) for side in weights.shape]
    offsets = [side // 2 - half / factor for side, half in zip(root.shape, halves, strict=True)]
    wide = ndimage.affine_transform(
        root,
        np.full(weights.ndim, 1 / factor),
        offsets,
        tuple(2 * half + 1 for half in halves),
        order=_SPLINE_ORDER,
    )
    squares = np.square(wide.clip(0))
    return (squares / squares.sum()).astype(np.float32)


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
