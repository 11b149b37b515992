"""Checks of images and kernels before a run.

This module does not import torch, so that the panel and the command line can check quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.units import in_unit

__all__ = [
    "MIN_SIDE",
    "check_block",
    "check_kernel",
    "check_pixel_size",
    "has_contrast",
    "kernel_window",
]

MIN_SIDE = 16
_MIN_PLANES = 8  # of a volume; the blur along Z reaches beyond both ends of a thinner one
# A kernel with more of its sum in its central plane does not join the planes of a volume: they are
# farther apart than twice its width along Z.
_MAX_CENTRAL_SHARE = 0.98
# Results are float32. An intensity range of fewer float32 steps than this has no usable contrast.
_MIN_STEPS = 16
# Pixel sizes with a larger relative difference count as different.
_PIXEL_SIZE_TOLERANCE = 0.02


def check_block(block: Image) -> None:
    """Check that a block in memory can be deconvolved.

    Raises
    ------
    TypeError
        If the pixels are not integers or floating-point numbers.
    ValueError
        If the block is a stack, is too small, has no finite pixels or no contrast, or lies outside
        single precision.
    """
    pixels = block.array
    if pixels.dtype == bool or pixels.dtype.kind not in "uif":
        raise TypeError(
            "Expected an image of integers or floating-point numbers, got pixels of type "
            f"{pixels.dtype}."
        )
    if block.stack_axes:
        raise ValueError(
            f"Expected a plane or a volume, got axes {block.axes!r}; try deconvolve_stack for a "
            "stack."
        )
    if min(block.block_shape[-2:]) < MIN_SIDE:
        raise ValueError(
            f"Expected an image of at least {MIN_SIDE} pixels per side, got shape {pixels.shape}."
        )
    if len(block.space) == 3 and block.block_shape[0] < _MIN_PLANES:
        raise ValueError(
            f"Expected a volume of at least {_MIN_PLANES} planes, got {block.block_shape[0]}; try "
            "its planes one by one."
        )
    if not np.isfinite(pixels).any():
        raise ValueError("Expected an image of finite numbers, got NaN or infinity in every pixel.")
    _check_single_precision(block)


def _check_single_precision(block: Image) -> None:
    """Raise `ValueError` if float32, the type of results, cannot represent the block."""
    grey = block.luminance()
    grey = grey[np.isfinite(grey)]
    if not grey.size:
        raise ValueError("Expected a pixel that is finite in all channels, got none.")
    if grey.min() == grey.max():
        mean = " of the mean of its channels" if block.is_colour else ""
        raise ValueError(
            "Expected an image with some contrast, got the value "
            f"{grey.flat[0]:.9g} in every pixel{mean}."
        )
    single = np.finfo(np.float32)
    channels = block.by_channel()
    largest = float(np.abs(channels[np.isfinite(channels)]).max())
    if not float(single.tiny) <= largest <= float(single.max):
        raise ValueError(
            f"Expected a largest value within single precision, {single.tiny:.1g} to "
            f"{single.max:.1g}, got {largest:.3g}."
        )
    if not has_contrast(grey):
        raise ValueError(
            "Expected a range of intensities that single precision resolves, got values from "
            f"{grey.min():.9g} to {grey.max():.9g}; try to subtract the offset."
        )


def has_contrast(grey: NDArray[np.floating[Any]]) -> bool:
    """Return whether finite intensities vary by more than float32 rounding."""
    low, high = float(grey.min()), float(grey.max())
    step = float(np.finfo(np.float32).eps) * max(abs(low), abs(high))
    return high > low and high - low >= _MIN_STEPS * step


def check_kernel(kernel: Kernel, block: Image) -> None:
    """Raise `ValueError` if a kernel does not fit the axes, shape or pixel size of a block."""
    if kernel.weights.ndim != len(block.space):
        kind = "a 2D PSF (rows, columns)" if len(block.space) == 2 else "a 3D PSF"
        raise ValueError(f"Expected {kind}, got shape {kernel.shape}.")
    # The PSF of a volume may be deeper than it: light comes from above and below.
    _check_fits(kernel.shape[-2:], block.block_shape[-2:], "a PSF")
    check_pixel_size(kernel, block.pixel_size, block.unit)
    if len(block.space) == 3:
        _check_volume(kernel, block)


def _check_volume(kernel: Kernel, block: Image) -> None:
    """Raise `ValueError` if voxel size or kernel show that a volume cannot be deconvolved."""
    if block.pixel_size is None:
        raise ValueError(
            "Expected the voxel size of a volume (depth, height, width), got none; give it, or "
            "its ratio, as pixel_size."
        )
    share = float(kernel.weights.sum(axis=(1, 2)).max() / kernel.weights.sum())
    if share > _MAX_CENTRAL_SHARE:
        raise ValueError(
            "Expected planes that are close enough together to share light, got a PSF with "
            f"{100 * share:.0f} % of its light in one plane; try the planes one by one."
        )


def check_pixel_size(kernel: Kernel, pixel_size: tuple[float, ...] | None, unit: str) -> None:
    """Raise `ValueError` if the pixel sizes of kernel and image are known and differ."""
    if kernel.pixel_size is None or pixel_size is None:
        return
    converted = [in_unit(side, kernel.unit, unit) for side in kernel.pixel_size]
    size = [side for side in converted if side is not None]
    if len(size) < len(converted):  # one of the units is unknown
        return
    if not np.allclose(size, pixel_size, rtol=_PIXEL_SIZE_TOLERANCE, atol=0):
        given, expected = (
            _format_sides([f"{side:.3g}" for side in sides]) for sides in (size, pixel_size)
        )
        raise ValueError(
            f"Expected a PSF at the pixel size of the image, {expected} {unit}, got {given} {unit}."
        )


def kernel_window(settings: Settings, block_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the odd sides of the kernel window.

    They are the sides set as `kernel_size`. If none are set, they are half the sides of the image
    (section 3.1.1 of the paper), up to `kernel_size_limit`.
    """
    size = settings.kernel_size
    if size is None:
        limit = settings.kernel_size_limit or max(block_shape)
        return tuple(min(-(-side // 2) | 1, limit) for side in block_shape)
    window = (size,) * len(block_shape) if isinstance(size, int) else size
    _check_fits(window, block_shape, "a kernel window")
    return window


def _check_fits(kernel: Sequence[int], image: Sequence[int], name: str) -> None:
    if any(k > n for k, n in zip(kernel, image, strict=True)):
        raise ValueError(
            f"Expected {name} no larger than the image of {_format_sides(image)} pixels, got "
            f"{_format_sides(kernel)} pixels."
        )


def _format_sides(shape: Sequence[Any]) -> str:
    return " × ".join(map(str, shape))
