"""Where the content sits: SSIM search (section 3.1.6) and the joint recentring of image and kernel.

Blind deconvolution is free up to a shift: move the kernel one way and the image the other, and the
blurred picture stays. These functions undo that freedom, so that the estimate lies on the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity
from torch import Tensor

from napari_blind_deconv.numerics.blur import blur, crop_to_field_of_view, field_of_view_offset

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
# Windows compared by SSIM with its local Gaussian window. They are the best of *all* windows by the
# SSIM of whole patches, which needs correlations only and so costs a few FFTs.
_CANDIDATES = 9


def content_shift(
    canvas: Tensor, reference: Tensor, kernel_shape: tuple[int, int]
) -> tuple[int, int]:
    """How far the content of a canvas lies from the field of view, in rows and columns.

    Parameters
    ----------
    canvas : Tensor
        Estimate on its canvas, shape ``(H + kh - 1, W + kw - 1)``.
    reference : Tensor
        The blurred image, shape ``(H, W)``.
    kernel_shape : tuple of int
        ``(kh, kw)``; it bounds the search.
    """
    scores = _whole_patch_ssim(canvas, reference)
    best = torch.topk(scores.flatten(), min(_CANDIDATES, scores.numel())).indices.tolist()
    y, x = reference.cpu().numpy(), canvas.cpu().numpy()
    height, width = y.shape
    corners = [divmod(index, scores.shape[1]) for index in best]
    local = [
        structural_similarity(
            y,
            x[top : top + height, left : left + width],
            gaussian_weights=True,
            use_sample_covariance=False,
            data_range=1.0,
        )
        for top, left in corners
    ]
    top, left = corners[int(np.argmax(local))]
    origin = field_of_view_offset(kernel_shape)
    return top - origin[0], left - origin[1]


def kernel_centroid(kernel: NDArray[np.float32]) -> tuple[float, float]:
    """Centroid of a kernel's content relative to its origin, in pixels (rows, columns)."""
    content = np.clip(kernel - _PEDESTAL * kernel.max(), 0, None)
    row, column = ndimage.center_of_mass(content)
    return row - kernel.shape[0] // 2, column - kernel.shape[1] // 2


def centre_kernel(
    kernel: NDArray[np.float32],
) -> tuple[NDArray[np.float32], tuple[float, float]]:
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
        return kernel, (0.0, 0.0)
    # Linear: splines of higher order overshoot at the edges of a kernel.
    moved = ndimage.shift(kernel, [-c for c in centroid], order=1, mode="constant")
    return (moved / moved.sum()).astype(np.float32), centroid


def origin_at_centroid(
    kernel: NDArray[np.float32],
) -> tuple[NDArray[np.float32], tuple[float, float]]:
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
    return padded, (centroid[0] - steps[0], centroid[1] - steps[1])


def recentre(
    canvas: Tensor, kernel: Tensor, reference: Tensor | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut the estimate to the field of view, with its kernel's centroid moved to the origin.

    Parameters
    ----------
    canvas : Tensor
        Estimate, shape ``(C, H + kh - 1, W + kw - 1)``.
    kernel : Tensor
        Kernel that goes with it, shape ``(kh, kw)``.
    reference : Tensor or None
        The blurred image, shape ``(C, H, W)``, which the content is searched with; None: it lies
        where the kernel says.

    Returns
    -------
    image : ndarray
        Shape ``(C, H, W)``, whose centroid is that of the blurred image.
    kernel : ndarray
        Shape ``(kh, kw)``, ≥ 0, sum 1, centred.
    """
    shape = (kernel.shape[0], kernel.shape[1])
    found = (0, 0)
    if reference is not None:
        found = content_shift(canvas.mean(0), reference.mean(0), shape)
    # Content found `found` too far down and right means a kernel as much too far up and left.
    moved = ndimage.shift(kernel.numpy(), found, order=0, mode="constant")
    if moved.sum() < 1 - _LOST_MASS:  # an unfinished picture resembles the image nowhere
        found, moved = (0, 0), kernel.numpy()
    centred, residual = centre_kernel(moved)
    displacement = [f - r for f, r in zip(found, residual, strict=True)]
    image = moved_back(canvas.numpy(), displacement)
    cut = crop_to_field_of_view(torch.from_numpy(image), shape)
    return np.ascontiguousarray(cut.numpy()), centred / centred.sum()


def moved_back(canvas: NDArray[np.float32], displacement: Sequence[float]) -> NDArray[np.float32]:
    """Put right a canvas ``(C, H, W)`` whose content lies `displacement` too far down and right."""
    if max(map(abs, displacement)) <= _NEGLIGIBLE_SHIFT:
        return canvas
    order = 0 if all(d == round(d) for d in displacement) else 3
    return ndimage.shift(canvas, [0, *(-d for d in displacement)], order=order, mode="nearest")


def _whole_patch_ssim(canvas: Tensor, reference: Tensor) -> Tensor:
    """SSIM of the reference with every window of the canvas, statistics over the whole window."""
    pixels = reference.numel()
    box = torch.ones_like(reference) / pixels
    mean_x, mean_y = blur(canvas, box), reference.mean()
    # Taken about the canvas's mean, for float32's sake.
    centre = canvas.mean()
    variance_x = blur((canvas - centre).square(), box) - (mean_x - centre).square()
    variance_y = reference.var(correction=0)
    covariance = blur(canvas - centre, (reference - mean_y).flip(0, 1) / pixels)
    luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x.square() + mean_y.square() + 1e-4)
    structure = (2 * covariance + 9e-4) / (variance_x.clamp(min=0) + variance_y + 9e-4)
    return luminance * structure


def crop_or_pad(kernel: NDArray[np.float32], window: tuple[int, int]) -> NDArray[np.float32]:
    """A centred kernel ``(kh, kw)`` in another window, both of odd sides; its sum becomes 1."""
    cut = kernel[
        tuple(
            slice(max(have - want, 0) // 2, have - max(have - want, 0) // 2)
            for have, want in zip(kernel.shape, window, strict=True)
        )
    ]
    pads = [((want - have) // 2,) * 2 for have, want in zip(cut.shape, window, strict=True)]
    return np.pad(cut / cut.sum(), pads)
