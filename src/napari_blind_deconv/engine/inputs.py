"""Checks of images and kernels before a run.

This module does not import torch, so that the panel and the command line can check quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import BlockKind, Image
from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelSource
from napari_blind_deconv.numerics.location import crop_or_pad, origin_at_centroid
from napari_blind_deconv.psf import at_pixel_size
from napari_blind_deconv.settings import ImageStart, Settings, SolverName

__all__ = [
    "MIN_SIDE",
    "check_block",
    "check_sides",
    "check_solver",
    "check_voxel_size",
    "fitted_kernel",
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
    check_sides(block)
    if not np.isfinite(pixels).any():
        raise ValueError("Expected an image of finite numbers, got NaN or infinity in every pixel.")
    _check_single_precision(block)


def check_sides(image: Image) -> None:
    """Raise `ValueError` if the blocks of an image are too small; no pixel is read."""
    kind = image.block_kind
    if min(image.block_shape[-2:]) < MIN_SIDE:
        sides = "along Y and X" if kind is BlockKind.VOLUME else "per side"
        raise ValueError(
            f"Expected an image of at least {MIN_SIDE} {kind.element}s {sides}, got shape "
            f"{image.block_shape + image.samples}."
        )
    if kind is BlockKind.VOLUME and image.block_shape[0] < _MIN_PLANES:
        raise ValueError(
            f"Expected a volume of at least {_MIN_PLANES} planes, got {image.block_shape[0]}; try "
            "its planes one by one."
        )


def check_voxel_size(image: Image) -> None:
    """Raise `ValueError` if blocks are volumes whose voxel size is not known; no pixel is read."""
    if image.block_kind is BlockKind.VOLUME and image.pixel_size is None:
        raise ValueError(
            "Expected the voxel size of a volume (depth, height, width), got none; give it, or "
            "its ratio, as pixel_size."
        )


def _check_single_precision(block: Image) -> None:
    """Raise `ValueError` if float32, the type of results, cannot represent the block."""
    grey = _finite(block.luminance())
    if not grey.size:
        raise ValueError("Expected a pixel that is finite in all channels, got none.")
    if grey.min() == grey.max():
        mean = " of the mean of its channels" if block.is_colour else ""
        raise ValueError(
            "Expected an image with some contrast, got the value "
            f"{grey.flat[0]:.9g} in every pixel{mean}."
        )
    single = np.finfo(np.float32)
    channels = _finite(block.by_channel())
    largest = max(float(channels.max()), -float(channels.min()))
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


def _finite(values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return the values that are finite: all of them without a copy, or a list of the others."""
    finite = np.isfinite(values)
    return values if finite.all() else values[finite]


def has_contrast(grey: NDArray[np.floating[Any]]) -> bool:
    """Return whether finite intensities vary by more than float32 rounding."""
    low, high = float(grey.min()), float(grey.max())
    step = float(np.finfo(np.float32).eps) * max(abs(low), abs(high))
    return high > low and high - low >= _MIN_STEPS * step


def fitted_kernel(kernel: Kernel, block: Image) -> Kernel:
    """Return a kernel at the pixel size of a block; raise `ValueError` if it does not fit.

    A kernel is resampled only if both pixel sizes are known and differ.
    """
    if kernel.weights.ndim != len(block.space):
        is_plane = len(block.space) == 2
        kind = "a 2D PSF (rows, columns) for a plane" if is_plane else "a 3D PSF for a volume"
        advice = "; a 3D PSF is for volumes" if is_plane else "; a 2D PSF is for planes"
        raise ValueError(f"Expected {kind}, got shape {kernel.shape}{advice}.")
    fitted = at_pixel_size(kernel, block.pixel_size, block.unit)
    if len(block.space) == 3:
        return _fitted_to_volume(fitted, block)
    _check_fits(fitted.shape, block.block_shape, "a PSF")
    return fitted


def _fitted_to_volume(kernel: Kernel, block: Image) -> Kernel:
    """Return a kernel without what no light in a volume comes from.

    Raises
    ------
    ValueError
        If the voxel size is not known, or if the planes do not share light.
    """
    check_voxel_size(block)
    share = float(kernel.weights.sum(axis=(1, 2)).max() / kernel.weights.sum())
    if kernel.source is KernelSource.GIVEN and share > _MAX_CENTRAL_SHARE:
        raise ValueError(
            "Expected planes that are close enough together to share light, got a PSF with "
            f"{100 * share:.0f} % of its light in one plane; try the planes one by one."
        )
    # A PSF may be larger than the volume, because light comes from beyond its borders.
    largest = [2 * side - 1 for side in block.block_shape]
    if all(side <= limit for side, limit in zip(kernel.shape, largest, strict=True)):
        return kernel
    centred, _ = origin_at_centroid(kernel.weights)
    sides = [min(side, limit) for side, limit in zip(centred.shape, largest, strict=True)]
    return kernel.with_weights(crop_or_pad(centred, sides))


def check_solver(settings: Settings, choice: KernelChoice, space: str) -> None:
    """Raise `ValueError` if the settings of a solver do not fit one another, the kernel or blocks.

    `space` are the axes of a block, as in `Image`.
    """
    is_volume = space == "ZYX"
    if is_volume and not choice.is_held and not choice.is_found:
        raise ValueError(
            "Expected a PSF to hold for a volume, or none, got a guess, which only planes refine; "
            "try it as the PSF."
        )
    if is_volume and choice.is_found and settings.kernel_start != "auto":
        raise ValueError(
            "Expected kernel_start 'auto' or a PSF for a volume, got kernel_start "
            f"{settings.kernel_start!r}."
        )
    if settings.solver is SolverName.RICHARDSON_LUCY and not choice.is_held:
        raise ValueError("Expected a PSF for Richardson-Lucy, got none; try another solver.")
    is_flat = choice.kernel is None and settings.kernel_start == "flat"
    if settings.solver in (SolverName.WIENER, SolverName.LOG_GAUSSIAN) and is_flat:
        raise ValueError(
            "Expected kernel_start 'auto' or a width in pixels, or a PSF, for solver "
            f"'{settings.solver}', got kernel_start 'flat'."
        )
    has_networks_only = is_flat or settings.image_start is ImageStart.RANDOM
    if is_volume:  # which the networks do not refine
        return
    if settings.solver is SolverName.AUTO and has_networks_only and settings.strength != 1:
        name, value = ("kernel_start", "flat") if is_flat else ("image_start", "random")
        raise ValueError(
            f"Expected strength 1 with {name} '{value}', whose networks fit a kernel of their own, "
            f"got strength {settings.strength:g}."
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
        elements = f"{BlockKind.with_axes(len(image)).element}s"
        raise ValueError(
            f"Expected {name} no larger than the image of {_format_sides(image)} {elements}, got "
            f"{_format_sides(kernel)} {elements}."
        )


def _format_sides(shape: Sequence[Any]) -> str:
    return " × ".join(map(str, shape))
