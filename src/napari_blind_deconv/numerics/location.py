"""Where the content sits: the search of section 3.1.6, and joint recentring of image and kernel.

Images and kernels have any number of axes, all of them space; where an image has channels, they are
its first axis. Blind deconvolution is free up to a shift: move the kernel one way and the image the
other, and the blurred picture stays. These functions undo that freedom, so that the estimate lies
on the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import match_template

from napari_blind_deconv.numerics.convolution import crop_to_field_of_view, field_of_view_origin

__all__ = [
    "centre_kernel",
    "content_shift",
    "crop_or_pad",
    "kernel_centroid",
    "moved_back",
    "origin_at_centroid",
    "recentre",
]

# A centroid nearer to the origin than this is not worth interpolating a picture for.
_NEGLIGIBLE_SHIFT = 0.02
# Kernel below this share of its peak is the prior's pedestal or noise and would pull the centroid.
_PEDESTAL = 0.1
# A shift that moves more of the kernel than this out of its window is a mistake.
_LOST_MASS = 0.05


def content_shift(
    canvas: NDArray[np.float32], reference: NDArray[np.float32], kernel_shape: Sequence[int]
) -> tuple[int, ...]:
    """How far the content of a canvas lies from the field of view, in pixels along each axis.

    The window that resembles the reference most is taken, by their correlation. The paper's
    structural similarity picks the same one.

    Parameters
    ----------
    canvas : ndarray
        Estimate ``(*canvas)``.
    reference : ndarray
        The blurred image ``(*image)``.
    kernel_shape : sequence of int
        It bounds the search.
    """
    scores = match_template(canvas, reference)
    best = np.unravel_index(scores.argmax(), scores.shape)
    origin = field_of_view_origin(kernel_shape)
    return tuple(int(found) - start for found, start in zip(best, origin, strict=True))


def kernel_centroid(kernel: NDArray[np.float32]) -> tuple[float, ...]:
    """Centroid of a kernel's content relative to its origin, in pixels along each axis."""
    content = np.clip(kernel - _PEDESTAL * kernel.max(), 0, None)
    centroid = ndimage.center_of_mass(content)
    return tuple(at - side // 2 for at, side in zip(centroid, kernel.shape, strict=True))


def centre_kernel(
    kernel: NDArray[np.float32],
) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Move a kernel's centroid to its origin.

    Returns
    -------
    kernel : ndarray
        Same shape, ≥ 0, sum 1.
    centroid : tuple of float
        Where the centroid was; zeros if that was near enough and the kernel is returned as it is.
    """
    centroid = kernel_centroid(kernel)
    if max(map(abs, centroid)) <= _NEGLIGIBLE_SHIFT:
        return kernel, (0.0,) * kernel.ndim
    # Linear: splines of higher order overshoot at the edges of a kernel.
    moved = ndimage.shift(kernel, [-c for c in centroid], order=1, mode="constant")
    return (moved / moved.sum()).astype(np.float32), centroid


def origin_at_centroid(
    kernel: NDArray[np.float32],
) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Put a kernel's origin on the pixel of its centroid, by zeros around it.

    Unlike :func:`centre_kernel` it alters no value: a kernel that is known stays as it is known.

    Returns
    -------
    kernel : ndarray
        Odd sides, larger by twice the whole pixels its centroid was off.
    centroid : tuple of float
        What is left, at most half a pixel along each axis.
    """
    centroid = kernel_centroid(kernel)
    steps = [round(c) for c in centroid]
    padded = np.pad(kernel, [(max(-2 * step, 0), max(2 * step, 0)) for step in steps])
    return padded, tuple(c - step for c, step in zip(centroid, steps, strict=True))


def recentre(
    canvas: NDArray[np.float32],
    kernel: NDArray[np.float32],
    reference: NDArray[np.float32] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut the estimate to the field of view, with its kernel's centroid moved to the origin.

    Parameters
    ----------
    canvas : ndarray
        Estimate ``(C, *canvas)``.
    kernel : ndarray
        Kernel ``(*kernel)`` that goes with it.
    reference : ndarray or None
        The blurred image ``(C, *image)``, which the content is searched with; None: it lies where
        the kernel says.

    Returns
    -------
    image : ndarray
        Shape ``(C, *image)``, whose centroid is that of the blurred image.
    kernel : ndarray
        Same shape, ≥ 0, sum 1, centred.
    """
    found: tuple[int, ...] = (0,) * kernel.ndim
    if reference is not None:
        found = content_shift(canvas.mean(0), reference.mean(0), kernel.shape)
    # Content found `found` too far along an axis means a kernel as much too far back.
    moved = ndimage.shift(kernel, found, order=0, mode="constant")
    if moved.sum() < 1 - _LOST_MASS:  # an unfinished picture resembles the image nowhere
        found, moved = (0,) * kernel.ndim, kernel
    centred, residual = centre_kernel(moved)
    displacement = [f - r for f, r in zip(found, residual, strict=True)]
    image = crop_to_field_of_view(moved_back(canvas, displacement), kernel.shape)
    return np.ascontiguousarray(image), centred / centred.sum()


def moved_back(canvas: NDArray[np.float32], displacement: Sequence[float]) -> NDArray[np.float32]:
    """Put right a canvas ``(C, *canvas)`` whose content lies `displacement` too far along."""
    if max(map(abs, displacement)) <= _NEGLIGIBLE_SHIFT:
        return canvas
    order = 0 if all(d == round(d) for d in displacement) else 3
    return ndimage.shift(canvas, [0, *(-d for d in displacement)], order=order, mode="nearest")


def crop_or_pad(kernel: NDArray[np.float32], window: Sequence[int]) -> NDArray[np.float32]:
    """A centred kernel in another window, both of odd sides; its sum becomes 1."""
    cut = kernel[
        tuple(
            slice(max(have - want, 0) // 2, have - max(have - want, 0) // 2)
            for have, want in zip(kernel.shape, window, strict=True)
        )
    ]
    pads = [((want - have) // 2,) * 2 for have, want in zip(cut.shape, window, strict=True)]
    return np.pad(cut / cut.sum(), pads)
