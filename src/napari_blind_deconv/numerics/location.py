"""Where the content sits: SSIM search (section 3.1.6) and the joint recentring of image and kernel.

Blind deconvolution is free up to a shift: move the kernel one way and the image the other, and the
blurred picture stays. These functions undo that freedom, so that the estimate lies on the input.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity
from torch import Tensor

from napari_blind_deconv.numerics.blur import blur, field_of_view_offset

__all__ = ["content_shift", "kernel_centroid", "recentre"]

# A centroid nearer to the origin than this is not worth interpolating a picture for.
_NEGLIGIBLE_SHIFT = 0.02
# Kernel below this share of its peak is the prior's pedestal or noise and would pull the centroid.
_PEDESTAL = 0.1


def content_shift(
    canvas: Tensor, reference: Tensor, kernel_shape: tuple[int, int], *, candidates: int = 9
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
    candidates : int
        Windows compared by SSIM with its local Gaussian window. They are the best of *all* windows
        by the SSIM of whole patches, which needs correlations only and so costs a few FFTs.
    """
    scores = _whole_patch_ssim(canvas, reference)
    best = torch.topk(scores.flatten(), min(candidates, scores.numel())).indices.tolist()
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


def recentre(
    canvas: Tensor, kernel: Tensor, reference: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut the estimate to the field of view, with its kernel's centroid moved to the origin.

    Parameters
    ----------
    canvas : Tensor
        Estimate, shape ``(C, H + kh - 1, W + kw - 1)``.
    kernel : Tensor
        Kernel that goes with it, shape ``(kh, kw)``.
    reference : Tensor
        The blurred image, shape ``(C, H, W)``.

    Returns
    -------
    image : ndarray
        Shape ``(C, H, W)``, whose centroid is that of the blurred image.
    kernel : ndarray
        Shape ``(kh, kw)``, ≥ 0, sum 1, centred.
    """
    shape = (kernel.shape[0], kernel.shape[1])
    found = content_shift(canvas.mean(0), reference.mean(0), shape)
    # Content found `found` too far down and right means a kernel as much too far up and left.
    moved = ndimage.shift(kernel.cpu().numpy(), found, order=0, mode="constant")
    residual = kernel_centroid(moved)
    if max(map(abs, residual)) > _NEGLIGIBLE_SHIFT:
        moved = ndimage.shift(moved, [-r for r in residual], order=3, mode="constant")
    else:
        residual = (0.0, 0.0)
    moved = np.clip(moved, 0, None)
    image = _cut(canvas.cpu().numpy(), shape, [f - r for f, r in zip(found, residual, strict=True)])
    return image, (moved / moved.sum()).astype(np.float32)


def _cut(
    canvas: NDArray[np.float32], kernel_shape: tuple[int, int], displacement: list[float]
) -> NDArray[np.float32]:
    """The field of view, `displacement` further down and right than its nominal place."""
    if any(displacement):
        order = 3 if any(d != round(d) for d in displacement) else 0
        canvas = np.stack(
            [
                ndimage.shift(plane, [-d for d in displacement], order=order, mode="nearest")
                for plane in canvas
            ]
        )
    top, left = field_of_view_offset(kernel_shape)
    height = canvas.shape[-2] - kernel_shape[0] + 1
    width = canvas.shape[-1] - kernel_shape[1] + 1
    return np.ascontiguousarray(
        canvas[..., top : top + height, left : left + width], dtype=np.float32
    )


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
