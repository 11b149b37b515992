"""Whether a kernel of any shape is there, told by what it does to the edges of the picture.

The paper's own criterion (Eq. 19) as a judge: a picture deconvolved with the right kernel has few,
strong gradients, a small ℓ1 for their ℓ2. A wrong kernel leaves ringing, and ringing is no few
gradients. Unlike a power spectrum this asks nothing of the scene but edges. Two-dimensional by
nature: the ellipse a kernel is compared with has an angle.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.numerics.losses import gradient_sparsity
from napari_blind_deconv.numerics.optics import elliptic_gaussian
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.wiener import noise_to_signal, wiener_periodic

__all__ = ["kernel_covariance", "sparsity_ratio"]

# Pixels left out at the border beyond half a kernel, but never more than a share of the image.
_MARGIN = 4
_LARGEST_MARGIN = 0.25
_PIXEL_VARIANCE = 1 / 12  # of light spread evenly over a pixel, along an axis


def sparsity_ratio(
    image: NDArray[np.floating[Any]], kernel: NDArray[np.float32], rival: NDArray[np.float32]
) -> float:
    """ℓ1/ℓ2 of the gradients of the estimate with a kernel, over the least that a Gaussian gives.

    Two Gaussians stand against it: a rival, and the elliptic one as wide as the kernel itself. So
    what counts is the kernel's shape, not its width.

    Parameters
    ----------
    image : ndarray
        Blurred image ``(H, W)``.
    kernel : ndarray
        ``(side, side)``, odd, sum 1.
    rival : ndarray
        The kernel to be taken otherwise, in the same form.

    Returns
    -------
    float
        Below 1 if the shape makes the edges sparser. Of kernels wider than a point, those of camera
        shakes had 0.91 to 0.99; of other images 1.00 to 2, but for two of 125, whose own content
        was taken for a kernel.
    """
    spectrum = Spectrum.of(image)
    margin = min(
        max(map(len, (kernel, rival))) // 2 + _MARGIN, int(_LARGEST_MARGIN * min(image.shape))
    )
    inside = np.s_[margin:-margin, margin:-margin]

    def sparsity(tried: NDArray[np.float32]) -> float:
        ratio = noise_to_signal(spectrum, tried)
        estimate = wiener_periodic(image, tried, noise_to_signal=ratio)[inside]
        return gradient_sparsity(torch.from_numpy(np.ascontiguousarray(estimate))).item()

    return sparsity(kernel) / min(sparsity(rival), sparsity(_gaussian_as_wide_as(kernel)))


def kernel_covariance(kernel: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Covariance ``(2, 2)`` of a kernel's light along rows and columns, in square pixels."""
    places = np.indices(kernel.shape) - np.reshape(ndimage.center_of_mass(kernel), (2, 1, 1))
    weights = kernel / kernel.sum()
    covariance: NDArray[np.float64] = np.einsum("ihw,jhw,hw->ij", places, places, weights)
    return covariance


def _gaussian_as_wide_as(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    variances, axes = np.linalg.eigh(kernel_covariance(kernel) + _PIXEL_VARIANCE * np.eye(2))
    down, right = axes[:, 1]
    sigmas = (math.sqrt(variances[1]), math.sqrt(variances[0]))
    return elliptic_gaussian(len(kernel), sigmas, math.degrees(math.atan2(-down, right)))
