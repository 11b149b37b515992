"""Whether a picture was blurred by a kernel of no simple shape, as by a shaken camera, and which.

Two-dimensional by nature. A first look is cheap, and most pictures end there. The search itself is
repeated in mirror images: a shape that is there is found from more than one side.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.numerics.parametric_kernel import WIDEST_POINT, find_gaussian
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.numerics.sparse_kernel import sparse_gradient_kernels
from napari_blind_deconv.numerics.sparsity_ratio import kernel_covariance, sparsity_ratio
from napari_blind_deconv.numerics.spectrum import Spectrum

__all__ = ["FirstLook", "ShapeSearch", "search_shape"]

# Windows a shape is searched in. The larger one holds longer shakes, the smaller one finds short
# ones more often.
_SIDES = (31, 61)
# Iterations of a first look and of the search, pixels a side of what is looked at first, and the
# scale from which on a look is judged.
_LOOK_ITERATIONS, _ITERATIONS = 8, 32
_LOOK_SIDE = 256
_LOOK_SCALE = 0.5
# The search goes along rows and columns in one direction: a mirror image leads elsewhere. A shape
# that is there is found in two at least, what is read into the scene often in one.
_VIEWS = (np.s_[:, :], np.s_[::-1, :], np.s_[:, ::-1], np.s_[::-1, ::-1])
_WITNESSES = 2
# The ratio of `sparsity_ratio` from which on a look at a coarse scale is the last, and those that a
# whole look and a whole search must stay below. The suite "shapes" of the benchmarks shows how far
# from them camera shakes and other images are.
_HOPELESS, _PROMISING, _SPARSER = 1.05, 1.0, 0.99


@dataclass(frozen=True)
class FirstLook:
    """What a few iterations in one window say.

    Attributes
    ----------
    side : int
        Of the window.
    scale : float
        At which the look ended; 1 is the image's own.
    ratio : float
        The sparsity ratio there; infinite if what was found is a point.
    """

    side: int
    scale: float
    ratio: float

    @property
    def is_promising(self) -> bool:
        """Whether the shape seen already makes the edges sparser."""
        return self.scale == 1 and self.ratio < _PROMISING


@dataclass(frozen=True)
class ShapeSearch:
    """How a search went.

    Attributes
    ----------
    looks : tuple of FirstLook
        One for each window; empty for an image that is too small.
    ratios : tuple of float
        Sparsity ratios of the kernels found in the image and its mirror images; empty if none was
        searched for.
    kernel : ndarray or None
        ``(side, side)``, the one of the least ratio, if there is a shape.
    """

    looks: tuple[FirstLook, ...] = ()
    ratios: tuple[float, ...] = ()
    kernel: NDArray[np.float32] | None = None


def search_shape(
    image: NDArray[np.floating[Any]], rival: NDArray[np.float32], largest: int
) -> Generator[None, None, ShapeSearch]:
    """Search for the kernel that makes the edges of an estimate sparsest.

    Yields after every iteration, so that the caller may report and stop.

    Parameters
    ----------
    image : ndarray
        Blurred image ``(H, W)`` in [0, 1].
    rival : ndarray
        The kernel to be taken otherwise.
    largest : int
        Longest side of a window in pixels, odd.
    """
    # Both odd; at half the image there is little left that the kernel could be seen in.
    half = (min(image.shape) // 2 - 1) | 1
    if half < min(_SIDES):  # too few edges
        return ShapeSearch()
    part = image[region_with_contrast(image, _LOOK_SIDE)]
    looks = []
    for side in sorted({min(side, half, largest) for side in _SIDES}):
        looks.append((yield from _first_look(part, side)))
    kernels = []
    for look in looks:
        if look.is_promising:
            kernels += yield from _kernels_from_all_sides(image, look.side)
    ratios = []
    for kernel in kernels:
        ratios.append(sparsity_ratio(image, kernel, rival))
        yield
    found = sum(ratio < _SPARSER for ratio in ratios) >= _WITNESSES
    best = kernels[int(np.argmin(ratios))] if found else None
    return ShapeSearch(tuple(looks), tuple(ratios), best)


def _first_look(image: NDArray[np.floating[Any]], side: int) -> Generator[None, None, FirstLook]:
    for scale in sparse_gradient_kernels(image, side, _LOOK_ITERATIONS):
        yield
        if scale.factor < _LOOK_SCALE or not scale.is_settled:
            continue
        if _is_point(scale.kernel, WIDEST_POINT * scale.factor):
            return FirstLook(side, scale.factor, math.inf)
        rival = find_gaussian(Spectrum.of(scale.image), len(scale.kernel)).weights
        ratio = sparsity_ratio(scale.image, scale.kernel, rival)
        if ratio > _HOPELESS:
            break
    return FirstLook(side, scale.factor, ratio)


def _kernels_from_all_sides(
    image: NDArray[np.floating[Any]], side: int
) -> Generator[None, None, list[NDArray[np.float32]]]:
    """What the search finds in the image and its mirror images, but for points."""
    kernels = []
    for view in _VIEWS:
        for scale in sparse_gradient_kernels(image[view], side, _ITERATIONS):
            last = scale
            yield
        if not _is_point(last.kernel, WIDEST_POINT):
            kernels.append(np.ascontiguousarray(last.kernel[view]))
    return kernels


def _is_point(kernel: NDArray[np.float32], widest: float) -> bool:
    """Whether its standard deviation along an axis, of both together, is no more than `widest`."""
    return math.sqrt(np.trace(kernel_covariance(kernel)) / 2) <= widest
