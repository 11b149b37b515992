"""Locate the content of an estimate (section 3.1.6), and recentre image and kernel together.

Blind deconvolution is ambiguous up to a translation: if the kernel moves one way and the image
moves the other way, the blurred image does not change. These functions remove the ambiguity, so
that the estimate is aligned with the input. Images and kernels have any number of spatial axes. If
an image has channels, they are its first axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import BSpline
from skimage.feature import match_template

from napari_blind_deconv.numerics.field_of_view import crop_to_field_of_view, field_of_view_origin

__all__ = [
    "centre_kernel",
    "content_shift",
    "crop_or_pad",
    "kernel_centroid",
    "kernel_covariance",
    "moved_back",
    "origin_at_centroid",
    "recentre",
]

# Pixels; a smaller shift is ignored, because it is not worth the loss by interpolation.
_NEGLIGIBLE_SHIFT = 0.02
# Weights below this fraction of the peak are noise or the pedestal that the prior adds; they would
# displace the centroid.
_PEDESTAL = 0.1
# A shift that moves more than this fraction of the kernel out of its window is treated as an error.
_MAX_LOST_MASS = 0.05


def content_shift(
    canvas: NDArray[np.float32], reference: NDArray[np.float32], kernel_shape: Sequence[int]
) -> tuple[int, ...]:
    """Return how far the content of a canvas is displaced from the field of view, in pixels.

    The content is located at the window with the largest normalised correlation with the reference.
    The structural similarity of the paper (section 3.1.6) selects the same window.

    Parameters
    ----------
    canvas : ndarray
        Estimate ``(*canvas)``.
    reference : ndarray
        The blurred image ``(*image)``.
    kernel_shape : sequence of int
        Shape of the kernel, which determines where the field of view begins.

    Returns
    -------
    tuple of int
        Displacement along each axis; positive if the content lies at larger indices.
    """
    scores = match_template(canvas, reference)
    best = np.unravel_index(scores.argmax(), scores.shape)
    origin = field_of_view_origin(kernel_shape)
    return tuple(int(index) - start for index, start in zip(best, origin, strict=True))


def kernel_centroid(kernel: NDArray[np.floating[Any]]) -> tuple[float, ...]:
    """Return the centroid of a kernel relative to its origin, in pixels along each axis."""
    content = np.clip(kernel - _PEDESTAL * kernel.max(), 0, None)
    centroid = ndimage.center_of_mass(content)
    return tuple(index - side // 2 for index, side in zip(centroid, kernel.shape, strict=True))


def kernel_covariance(kernel: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the covariance ``(axes, axes)`` of a kernel along its axes, in square pixels."""
    positions = np.indices(kernel.shape).reshape(kernel.ndim, -1)
    return np.cov(positions, ddof=0, aweights=kernel.ravel()).reshape(kernel.ndim, kernel.ndim)


def centre_kernel(
    kernel: NDArray[np.float32],
) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Shift a kernel by interpolation so that its centroid lies on its origin.

    Returns
    -------
    kernel : ndarray
        Same shape, ≥ 0, sum 1.
    centroid : tuple of float
        Former centroid; zeros if it was close enough and the kernel is returned unchanged.
    """
    centroid = kernel_centroid(kernel)
    if max(map(abs, centroid)) <= _NEGLIGIBLE_SHIFT:
        return kernel, (0.0,) * kernel.ndim
    # Linear interpolation, because splines of higher order overshoot at the edges of a kernel.
    moved = ndimage.shift(kernel, [-c for c in centroid], order=1, mode="constant")
    return (moved / moved.sum()).astype(np.float32), centroid


def origin_at_centroid(
    kernel: NDArray[np.float32],
) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Pad a kernel with zeros so that its origin is the pixel nearest to its centroid.

    Unlike :func:`centre_kernel` this changes no value, so that a given kernel stays as given.

    Returns
    -------
    kernel : ndarray
        Kernel with odd sides. Each side grows by twice the displacement of the centroid,
        rounded to pixels.
    centroid : tuple of float
        Remaining displacement, at most half a pixel along each axis.
    """
    centroid = kernel_centroid(kernel)
    pixels = [round(c) for c in centroid]
    padded = np.pad(kernel, [(max(-2 * n, 0), max(2 * n, 0)) for n in pixels])
    return padded, tuple(c - n for c, n in zip(centroid, pixels, strict=True))


def recentre(
    canvas: NDArray[np.float32],
    kernel: NDArray[np.float32],
    reference: NDArray[np.float32] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Crop an estimate to the field of view and centre its kernel, shifting both consistently.

    Parameters
    ----------
    canvas : ndarray
        Estimate ``(C, *canvas)``.
    kernel : ndarray
        Kernel ``(*kernel)`` of this estimate.
    reference : ndarray or None
        The blurred image ``(C, *image)``, which is used to locate the content. None: the content
        is located by the centroid of the kernel alone.

    Returns
    -------
    image : ndarray
        Estimate of shape ``(C, *image)``, aligned with the blurred image.
    kernel : ndarray
        Centred kernel, same shape as the given one, ≥ 0, sum 1.
    """
    offset: tuple[int, ...] = (0,) * kernel.ndim
    if reference is not None:
        offset = content_shift(canvas.mean(0), reference.mean(0), kernel.shape)
    # If the content is displaced by `offset`, the kernel is displaced by `-offset`.
    moved = ndimage.shift(kernel, offset, order=0, mode="constant")
    # An unfinished estimate may resemble the image nowhere; the located window is then arbitrary.
    if moved.sum() < 1 - _MAX_LOST_MASS:
        offset, moved = (0,) * kernel.ndim, kernel
    centred, residual = centre_kernel(moved)
    displacement = [o - r for o, r in zip(offset, residual, strict=True)]
    image = crop_to_field_of_view(moved_back(canvas, displacement), kernel.shape)
    return np.ascontiguousarray(image), centred / centred.sum()


def moved_back(canvas: NDArray[np.float32], displacement: Sequence[float]) -> NDArray[np.float32]:
    """Shift a canvas ``(C, *canvas)`` back by the displacement of its content, in pixels."""
    if max(map(abs, displacement)) <= _NEGLIGIBLE_SHIFT:
        return canvas
    pixels = [round(d) for d in displacement]
    moved = ndimage.shift(canvas, [0, *(-n for n in pixels)], order=0, mode="nearest")
    for axis, (shift, whole) in enumerate(zip(displacement, pixels, strict=True), start=1):
        if shift != whole:
            moved = _interpolated(moved, shift - whole, axis)
    # Beside a bright point, a spline overshoots far below zero.
    return moved.clip(canvas.min(), out=moved)


def _interpolated(values: NDArray[np.float32], fraction: float, axis: int) -> NDArray[np.float32]:
    """Return the cubic spline along an axis, a fraction of a pixel (at most half) further along.

    One axis after the other takes a small part of the time of `scipy.ndimage.shift`, which combines
    4³ coefficients for each voxel.
    """
    coefficients = ndimage.spline_filter1d(values, 3, axis, np.float32, mode="mirror")
    spline = BSpline.basis_element(np.arange(-2, 3))
    weights = spline(np.clip(np.arange(-2, 3) - fraction, -2, 2))
    moved: NDArray[np.float32] = ndimage.correlate1d(coefficients, weights, axis, mode="mirror")
    return moved


def crop_or_pad(kernel: NDArray[np.float32], window: Sequence[int]) -> NDArray[np.float32]:
    """Crop or pad a centred kernel to another window and scale it to sum 1; all sides are odd."""
    cut = kernel[
        tuple(
            slice(max(old - new, 0) // 2, old - max(old - new, 0) // 2)
            for old, new in zip(kernel.shape, window, strict=True)
        )
    ]
    pads = [((new - old) // 2,) * 2 for old, new in zip(cut.shape, window, strict=True)]
    return np.pad(cut / cut.sum(), pads)
