"""Search for a kernel of any shape, such as that of a shaken camera, and decide if it is real.

The first look is cheap and sufficient for most images. The search itself is repeated in mirror
images, because a real kernel is found in more than one of them. It works in two dimensions only.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.numerics.location import kernel_covariance
from napari_blind_deconv.numerics.parametric_kernel import WIDEST_POINT, find_gaussian
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.numerics.sparse_kernel import sparse_gradient_kernels
from napari_blind_deconv.numerics.sparsity_ratio import sparsity_ratio
from napari_blind_deconv.numerics.spectrum import Spectrum

__all__ = ["FirstLook", "ShapeSearch", "search_shape"]

# Sides in pixels of the windows that are searched. The larger window holds longer kernels; the
# smaller one finds short kernels more often.
_SIDES = (31, 61)
_LOOK_ITERATIONS, _ITERATIONS = 8, 32  # per scale, of a first look and of the search
_LOOK_SIDE = 256  # side in pixels of the region used for a first look
_LOOK_SCALE = 0.5  # coarsest scale at which a first look is judged
# The search treats rows and columns in one direction, so that a mirror image leads to another
# result. A real kernel is found in at least two of the four; a false one often in only one.
_MIRRORS = (np.s_[:, :], np.s_[::-1, :], np.s_[:, ::-1], np.s_[::-1, ::-1])
_MIN_AGREEING = 2
# Thresholds of `sparsity_ratio`. A first look ends at a coarse scale if the ratio there is above
# the first one. A complete first look must be below the second one, and a search below the third.
# The benchmark suite "shapes" shows how far camera shakes and other images are from them.
_MAX_COARSE_RATIO, _MAX_LOOK_RATIO, _MAX_SEARCH_RATIO = 1.05, 1.0, 0.99


@dataclass(frozen=True)
class FirstLook:
    """Outcome of a few iterations in one window.

    Attributes
    ----------
    side : int
        Side of the window in pixels.
    scale : float
        Scale at which the look ended; 1 is the full resolution of the image.
    ratio : float
        Sparsity ratio at that scale; infinite if the kernel found is a point.
    """

    side: int
    scale: float
    ratio: float

    @property
    def is_promising(self) -> bool:
        """Whether the kernel found so far makes the edges sparser, at full resolution."""
        return self.scale == 1 and self.ratio < _MAX_LOOK_RATIO


@dataclass(frozen=True)
class ShapeSearch:
    """Outcome of a search for a kernel of any shape.

    Attributes
    ----------
    looks : tuple of FirstLook
        One first look for each window; empty if the image is too small.
    ratios : tuple of float
        Sparsity ratios of the kernels found in the image and its mirror images; empty if no first
        look was promising.
    kernel : ndarray or None
        Kernel ``(side, side)`` with the smallest ratio; None if no real kernel was found.
    """

    looks: tuple[FirstLook, ...] = ()
    ratios: tuple[float, ...] = ()
    kernel: NDArray[np.float32] | None = None


def search_shape(
    image: NDArray[np.floating[Any]], baseline: NDArray[np.float32], max_side: int
) -> Generator[None, None, ShapeSearch]:
    """Search for the kernel that makes the edges of an estimate sparsest.

    Parameters
    ----------
    image : ndarray
        Blurred image ``(H, W)`` in [0, 1].
    baseline : ndarray
        Kernel that is used if no other is found.
    max_side : int
        Maximum side of a window in pixels, odd.

    Yields
    ------
    None
        After every iteration, so that the caller can report progress or stop.

    Returns
    -------
    ShapeSearch
        The outcome, with the kernel if one was found.
    """
    # An odd side of at most half the image; with a larger window, too little of the image is left.
    half = (min(image.shape) // 2 - 1) | 1
    if half < min(_SIDES):  # the image is too small to contain enough edges
        return ShapeSearch()
    region = image[region_with_contrast(image, _LOOK_SIDE)]
    looks = []
    for side in sorted({min(side, half, max_side) for side in _SIDES}):
        looks.append((yield from _first_look(region, side)))
    kernels = []
    for look in looks:
        if look.is_promising:
            kernels += yield from _kernels_of_mirror_images(image, look.side)
    ratios = []
    for kernel in kernels:
        ratios.append(sparsity_ratio(image, kernel, baseline))
        yield
    is_found = sum(ratio < _MAX_SEARCH_RATIO for ratio in ratios) >= _MIN_AGREEING
    best = kernels[int(np.argmin(ratios))] if is_found else None
    return ShapeSearch(tuple(looks), tuple(ratios), best)


def _first_look(image: NDArray[np.floating[Any]], side: int) -> Generator[None, None, FirstLook]:
    """Run a few iterations in one window and judge the kernel at every scale from half on."""
    ratio = math.inf
    for scale in sparse_gradient_kernels(image, side, _LOOK_ITERATIONS):
        yield
        if scale.factor < _LOOK_SCALE or not scale.is_settled:
            continue
        if _is_point(scale.kernel, WIDEST_POINT * scale.factor):
            return FirstLook(side, scale.factor, math.inf)
        baseline = find_gaussian(Spectrum.of(scale.image), len(scale.kernel)).weights
        ratio = sparsity_ratio(scale.image, scale.kernel, baseline)
        if ratio > _MAX_COARSE_RATIO:
            break
    return FirstLook(side, scale.factor, ratio)


def _kernels_of_mirror_images(
    image: NDArray[np.floating[Any]], side: int
) -> Generator[None, None, list[NDArray[np.float32]]]:
    """Return the kernels found in the image and its mirror images, without points."""
    kernels = []
    for mirror in _MIRRORS:
        for scale in sparse_gradient_kernels(image[mirror], side, _ITERATIONS):
            last = scale
            yield
        if not _is_point(last.kernel, WIDEST_POINT):
            kernels.append(np.ascontiguousarray(last.kernel[mirror]))
    return kernels


def _is_point(kernel: NDArray[np.float32], max_sigma: float) -> bool:
    """Return whether the standard deviation, averaged over both axes, is at most `max_sigma`."""
    return math.sqrt(np.trace(kernel_covariance(kernel)) / 2) <= max_sigma
