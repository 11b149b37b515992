"""What a run accepts, and what it says of the rest. No torch in here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.settings import Settings

__all__ = ["check_block", "check_kernel", "check_pixel_size", "has_contrast", "kernel_window"]

SMALLEST_SIDE = 16
# A range of fewer steps of single precision than this is not worth a picture.
_FEWEST_STEPS = 16
# Pixel sizes that differ by more than this share belong to different images.
_SAME_SIZE = 0.02


def check_block(block: Image) -> None:
    """Say in one sentence why an image in memory cannot be deconvolved, if it cannot.

    Raises
    ------
    ValueError, TypeError
    """
    pixels = block.array
    if pixels.dtype == bool or pixels.dtype.kind not in "uif":
        raise TypeError(
            f"The image has pixels of type {pixels.dtype}; accepted are integers and "
            "floating-point numbers."
        )
    if block.stack_axes:
        raise ValueError(
            f"The image has axes {block.axes!r}; accepted is one plane (rows, columns). "
            "A stack goes to deconvolve_stack."
        )
    if min(block.block_shape) < SMALLEST_SIDE:
        raise ValueError(
            f"The image has shape {pixels.shape}; "
            f"accepted are at least {SMALLEST_SIDE} pixels a side."
        )
    if not np.isfinite(pixels).all():
        bad = int((~np.isfinite(pixels)).sum())
        raise ValueError(
            f"The image has {bad} NaN or infinite pixels; accepted are finite numbers only."
        )
    _check_single_precision(block)


def _check_single_precision(block: Image) -> None:
    """Refuse what results, which are float32, could not show."""
    grey = block.luminance()
    if grey.min() == grey.max():
        of = " in the mean of its channels" if block.is_colour else ""
        raise ValueError(
            f"Every pixel of the image is {grey.flat[0]:.9g}{of}; accepted is an image with some "
            "contrast."
        )
    single = np.finfo(np.float32)
    largest = float(np.abs(block.by_channel()).max())
    if not float(single.tiny) <= largest <= float(single.max):
        raise ValueError(
            f"The image has values up to {largest:.3g}; accepted are those of single precision, "
            f"{single.tiny:.1g} to {single.max:.1g}."
        )
    if not has_contrast(block):
        raise ValueError(
            f"The image has values from {grey.min():.9g} to {grey.max():.9g}, which single "
            "precision hardly tells apart; take an offset off."
        )


def has_contrast(block: Image) -> bool:
    """Whether the brightness of a block varies, by more than single precision blurs.

    Blur is found and judged by it. A plane without cannot be sharpened; a tile without needs no
    sharpening.
    """
    grey = block.luminance()
    low, high = float(grey.min()), float(grey.max())
    step = float(np.finfo(np.float32).eps) * max(abs(low), abs(high))
    return high > low and high - low >= _FEWEST_STEPS * step


def check_kernel(kernel: Kernel, block: Image) -> None:
    """Refuse a known kernel that does not go with an image; `ValueError` in one sentence."""
    if kernel.weights.ndim != len(block.space):
        raise ValueError(
            f"The PSF has shape {kernel.shape}; accepted is one plane (rows, columns)."
            if len(block.space) == 2
            else f"The PSF has shape {kernel.shape}; accepted is a volume, as the image is."
        )
    _check_fits(kernel.shape, block.block_shape, "The PSF")
    check_pixel_size(kernel, block.pixel_size, block.unit)


def check_pixel_size(kernel: Kernel, pixel_size: tuple[float, ...] | None, unit: str) -> None:
    """Refuse a kernel whose pixels are known not to be the image's; `ValueError`."""
    ours = kernel.pixel_size
    if ours is None or pixel_size is None or kernel.unit != unit:
        return
    if not np.allclose(ours, pixel_size, rtol=_SAME_SIZE, atol=0):
        told, wanted = (_sides([f"{side:.3g}" for side in size]) for size in (ours, pixel_size))
        raise ValueError(
            f"The PSF has pixels of {told} {unit} and the image of {wanted}; accepted is a PSF at "
            "the image's pixel size."
        )


def kernel_window(settings: Settings, block_shape: Sequence[int]) -> tuple[int, ...]:
    """Sides of the kernel window, odd: as set, or ⌈n/2⌉ up to the automatic limit."""
    size = settings.kernel_size
    if size is None:
        limit = settings.kernel_size_limit or max(block_shape)
        return tuple(min(-(-side // 2) | 1, limit) for side in block_shape)
    window = (size,) * len(block_shape) if isinstance(size, int) else size
    _check_fits(window, block_shape, "The kernel window")
    return window


def _check_fits(kernel: Sequence[int], image: Sequence[int], what: str) -> None:
    if any(k > n for k, n in zip(kernel, image, strict=True)):
        raise ValueError(
            f"{what} is {_sides(kernel)} pixels and the image {_sides(image)}; "
            "accepted is one no larger than the image."
        )


def _sides(shape: Sequence[Any]) -> str:
    return " × ".join(map(str, shape))
