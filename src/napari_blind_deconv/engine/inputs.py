"""What a run accepts, and the one intensity map it computes in. No torch in here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_blind_deconv.settings import Settings

__all__ = [
    "IntensityMap",
    "check_image",
    "check_kernel",
    "has_contrast",
    "kernel_window",
    "local_median",
    "luminance",
    "to_channels",
    "without_hot_pixels",
]

SMALLEST_SIDE = 16
# A range of fewer steps of single precision than this is not worth a picture.
_FEWEST_STEPS = 16


@dataclass(frozen=True)
class IntensityMap:
    """The affine map between the input's units and the [0, 1] of the fit.

    Attributes
    ----------
    low, high : float
        Input intensities that become 0 and 1.
    """

    low: float
    high: float

    @classmethod
    def of(cls, channels: NDArray[np.float64], median: NDArray[np.float64]) -> IntensityMap:
        """Range of an image ``(C, H, W)`` without single hot or dead pixels.

        Its 3×3 median has lost detector errors one pixel wide, and kept whatever a microscope's
        blur has spread. The image itself counts only if nothing of it is wider than a pixel.
        """
        seen = median if np.ptp(median) > 0 else channels
        return cls(float(seen.min()), float(seen.max()))

    @classmethod
    def given(cls, intensity_range: tuple[float, float]) -> IntensityMap:
        """A range somebody else has chosen; `ValueError` if it is none."""
        low, high = intensity_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"The intensity range is {low} to {high}; accepted are two numbers, lower first."
            )
        return cls(float(low), float(high))

    def to_unit(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Input units to the fit's."""
        return ((values - self.low) / (self.high - self.low)).astype(np.float32)

    def from_unit(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The fit's units to the input's. Not clipped."""
        exact = values.astype(np.float64) * (self.high - self.low) + self.low
        return exact.astype(np.float32)


def check_image(image: ArrayLike, *, rgb: bool) -> NDArray[Any]:
    """Return the image as an array, or say in one sentence why it cannot be deblurred."""
    array = _numbers(image, "The image has pixels")
    wanted = "one plane in colour (rows, columns, 3 or 4)" if rgb else "one plane (rows, columns)"
    if array.ndim != (3 if rgb else 2) or (rgb and array.shape[-1] not in (3, 4)):
        raise ValueError(f"The image has shape {array.shape}; accepted is {wanted}.")
    if min(array.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(
            f"The image has shape {array.shape}; "
            f"accepted are at least {SMALLEST_SIDE} pixels a side."
        )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(
            f"The image has {bad} NaN or infinite pixels; accepted are finite numbers only."
        )
    light = array[..., :3] if rgb else array  # alpha is no light
    if not has_contrast(array, rgb=rgb):
        level, of = _grey(array, rgb).flat[0], " in the mean of its channels" if rgb else ""
        raise ValueError(
            f"Every pixel of the image is {level:.9g}{of}; accepted is an image with some contrast."
        )
    _check_single_precision(float(light.min()), float(light.max()))
    return array


def has_contrast(image: NDArray[Any], *, rgb: bool) -> bool:
    """Whether the brightness varies, which blur is found and judged by; alpha is no light."""
    grey = _grey(image, rgb)
    return bool(grey.min() != grey.max())


def _grey(image: NDArray[Any], rgb: bool) -> NDArray[Any]:
    return image[..., :3].mean(axis=-1, dtype=np.float64) if rgb else image


def _check_single_precision(low: float, high: float) -> None:
    """Results are float32: refuse what they could not show."""
    single = np.finfo(np.float32)
    largest = max(abs(low), abs(high))
    if not float(single.tiny) <= largest <= float(single.max):
        raise ValueError(
            f"The image has values up to {largest:.3g}; accepted are those of single precision, "
            f"{single.tiny:.1g} to {single.max:.1g}."
        )
    if high - low < _FEWEST_STEPS * single.eps * largest:
        raise ValueError(
            f"The image has values from {low:.9g} to {high:.9g}, which single precision hardly "
            "tells apart; take an offset off."
        )


def to_channels(image: NDArray[Any], *, rgb: bool) -> NDArray[np.float64]:
    """Checked image to channels first, ``(C, H, W)``, without alpha, in native byte order."""
    planes = np.moveaxis(image[..., :3], -1, 0) if rgb else image[np.newaxis]
    return planes.astype(np.float64)


def luminance(image: NDArray[Any], rgb: bool) -> NDArray[np.float64]:
    """A grey image ``(H, W)``: itself, or the mean of the channels of a colour one."""
    return _grey(image, rgb).astype(np.float64)


def local_median(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """3×3 median of an image ``(C, H, W)``."""
    return ndimage.median_filter(channels, size=(1, 3, 3))


def without_hot_pixels(
    unit: NDArray[np.float32], median: NDArray[np.float32]
) -> NDArray[np.float32]:
    """An image ``(C, H, W)`` with hot and dead pixels replaced by the median around them.

    They differ from it by more than the whole range. The data term sees them, and Huber's loss
    discounts them; means, spectra and the network's input would not.
    """
    return np.where(np.abs(unit - median) > 1, median, unit)


def check_kernel(psf: ArrayLike, image_shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a given PSF with odd sides, unit sum and float32 values, or say what is wrong.

    An even side gets one row or column of zeros, so that pixel ``n // 2`` becomes the centre.
    """
    array = _numbers(psf, "The PSF has values")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"The PSF has shape {array.shape}; accepted is one plane (rows, columns).")
    if not np.isfinite(array).all():
        raise ValueError("The PSF has NaN or infinite values; accepted are finite numbers only.")
    if array.min() < 0:
        raise ValueError(f"The PSF has values down to {array.min()}; accepted are none below 0.")
    if not array.any():
        raise ValueError("The PSF sums to 0; accepted is a PSF with a positive sum.")
    array = np.pad(array, [(0, 1 - side % 2) for side in array.shape])
    _check_fits(array.shape, image_shape, "The PSF")
    exact = array.astype(np.float64)
    return (exact / exact.sum()).astype(np.float32)


def kernel_window(settings: Settings, image_shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the kernel window, odd: as set, or ⌈n/2⌉ up to the automatic limit."""
    size = settings.kernel_size
    if size is None:
        limit = settings.kernel_size_limit or max(image_shape)
        rows, columns = (min(-(-side // 2) | 1, limit) for side in image_shape)
        return rows, columns
    window = (size, size) if isinstance(size, int) else size
    _check_fits(window, image_shape, "The kernel window")
    return window


def _numbers(values: ArrayLike, what: str) -> NDArray[Any]:
    """Values as an array of real numbers; `what` begins the sentence of refusal."""
    array = np.asarray(values)
    if array.dtype == bool or array.dtype.kind not in "uif":
        raise TypeError(
            f"{what} of type {array.dtype}; accepted are integers and floating-point numbers."
        )
    return array


def _check_fits(kernel: tuple[int, ...], image: tuple[int, int], what: str) -> None:
    if kernel[0] > image[0] or kernel[1] > image[1]:
        raise ValueError(
            f"{what} is {kernel[0]} × {kernel[1]} pixels and the image {image[0]} × {image[1]}; "
            "accepted is one no larger than the image."
        )
