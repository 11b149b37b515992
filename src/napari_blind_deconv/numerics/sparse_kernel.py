"""Estimate a kernel of any shape from the edges of an image: sparse gradients, coarse to fine.

Two problems are solved alternately:

* an estimate with few, strong edges is fitted to the blurred image. Its gradients have a small ℓ0
  norm; the solution uses half-quadratic splitting, after Xu, Zheng and Jia, *Unnatural L0 sparse
  representation for natural image deblurring*, CVPR 2013;
* the kernel that blurs the edges of this estimate into those of the image is computed by least
  squares, after Cho and Lee, *Fast motion deblurring*, SIGGRAPH Asia 2009.

The search begins at a scale at which the kernel is a few pixels wide, and ends at the full
resolution of the image. It works in two dimensions only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_blind_deconv.numerics.spectrum import periodic_component

__all__ = ["Scale", "sparse_gradient_kernels"]

Plane = NDArray[np.float32]

_COARSEST_SIDE = 5  # maximum side in pixels of the kernel window at the coarsest scale
_SCALE_RATIO = 2**0.5
# Antialiasing before an image is reduced by a factor f: σ = 0.4 √(1/f² − 1) pixels.
_SMOOTHING = 0.4
# Weight of the ℓ0 norm of the gradients, for an image in [0, 1]: at the first iteration of a scale,
# factor per iteration, and lower limit. A smaller weight keeps weaker edges.
_EDGE_PENALTY, _EDGE_DECAY, _MIN_EDGE_PENALTY = 4e-3, 1 / 1.1, 1e-4
_MAX_SPLITTING = 1e3  # weight at which the half-quadratic splitting ends
# Weight per pixel of the squared kernel against the squared misfit of the gradients.
_KERNEL_WEIGHT = 3e-5
_KERNEL_THRESHOLD = 0.05  # weights below this fraction of the peak are set to zero
_ISOLATED_FRACTION = 0.1  # smaller components, by mass relative to the largest, are removed


@dataclass(frozen=True)
class Scale:
    """The state of the search after one iteration at one scale.

    Attributes
    ----------
    factor : float
        Scale of the image; 1 is full resolution.
    image : ndarray
        The blurred image at this scale.
    kernel : ndarray
        Kernel ``(side, side)`` with an odd side, ≥ 0, sum 1, and its centroid within a pixel of the
        centre.
    is_settled : bool
        Whether this was the last iteration at this scale.
    """

    factor: float
    image: NDArray[np.floating[Any]]
    kernel: Plane
    is_settled: bool


def sparse_gradient_kernels(
    image: NDArray[np.floating[Any]], side: int, iterations: int
) -> Iterator[Scale]:
    """Estimate the kernel of an image with edges, coarse to fine.

    Coarse scales cost little and show early whether it is worth continuing.

    Parameters
    ----------
    image : ndarray
        Blurred image ``(H, W)`` in [0, 1].
    side : int
        Side of the kernel window in pixels, odd. It must hold the complete kernel; a much larger
        window makes the search less robust.
    iterations : int
        Number of iterations at each scale, each of which updates estimate and kernel once. More
        iterations use weaker edges as well, and let the kernel settle.

    Yields
    ------
    Scale
        The state after every iteration; the last one has the final kernel. If the image has no
        edges, or noise hides them, the kernel is wrong, and the caller has to detect it.
    """
    kernel = None
    for size in _sides(side):
        scaled = _downsampled(image, size / side)
        kernel = _initial_kernel(size) if kernel is None else _upsampled(kernel, size)
        # The Fourier transforms below are periodic, so that jumps at the border would act as edges.
        periodic = periodic_component(scaled).astype(np.float32)
        for iteration, updated in enumerate(_alternate(periodic, kernel, iterations), 1):
            kernel = updated
            yield Scale(size / side, scaled, kernel, is_settled=iteration == iterations)


def _sides(side: int) -> list[int]:
    """Return the odd sides of the kernel window at all scales, coarsest first."""
    sides = [side]
    while sides[-1] > _COARSEST_SIDE:
        sides.append(max(3, round(sides[-1] / _SCALE_RATIO) | 1))
    return sides[::-1]


def _downsampled(image: NDArray[np.floating[Any]], factor: float) -> NDArray[np.floating[Any]]:
    if factor == 1:
        return image
    smooth = ndimage.gaussian_filter(image, _SMOOTHING * (1 / factor**2 - 1) ** 0.5)
    return ndimage.zoom(smooth, factor, order=1, grid_mode=True, mode="reflect")


def _initial_kernel(size: int) -> Plane:
    """Return a kernel of two pixels.

    A point would not change any more, because the image itself is then the perfect estimate.
    """
    kernel = np.zeros((size, size), np.float32)
    kernel[size // 2, size // 2 - 1 : size // 2 + 1] = 0.5
    return kernel


def _upsampled(kernel: Plane, size: int) -> Plane:
    larger = ndimage.zoom(kernel, size / kernel.shape[0], order=1)[:size, :size]
    return _centred(larger)


def _alternate(image: Plane, kernel: Plane, iterations: int) -> Iterator[Plane]:
    """Update the sharp edges and the kernel alternately; yield the kernel of every iteration."""
    gradients = _Gradients((image.shape[0], image.shape[1]))
    spectrum = fft.rfft2(image)
    penalty = _EDGE_PENALTY
    for _ in range(iterations):
        edges = _strong_edges(image, spectrum, kernel, penalty, gradients)
        kernel = _centred(_solve_kernel(edges, spectrum, kernel.shape[0], gradients))
        penalty = max(penalty * _EDGE_DECAY, _MIN_EDGE_PENALTY)
        yield kernel


class _Gradients:
    """Forward differences of periodic images of one shape, and their transfer functions."""

    def __init__(self, shape: tuple[int, int]) -> None:
        rows, columns = shape
        self.shape = shape
        self.down = np.exp(2j * np.pi * fft.fftfreq(rows))[:, None] - 1
        self.right = np.exp(2j * np.pi * fft.rfftfreq(columns))[None, :] - 1
        self.down, self.right = self.down.astype(np.complex64), self.right.astype(np.complex64)
        self.power = np.abs(self.down) ** 2 + np.abs(self.right) ** 2

    def of(self, image: Plane) -> tuple[Plane, Plane]:
        return np.roll(image, -1, 0) - image, np.roll(image, -1, 1) - image


def _strong_edges(
    estimate: Plane,
    spectrum: NDArray[np.complex64],
    kernel: Plane,
    penalty: float,
    gradients: _Gradients,
) -> tuple[Plane, Plane]:
    """Return the gradients of the estimate that has few of them and explains the image."""
    transfer = _transfer(kernel, gradients.shape)
    data, power = transfer.conj() * spectrum, np.abs(transfer) ** 2
    weight = 2 * penalty
    # Half-quadratic splitting: an auxiliary field takes the place of the gradients. It equals them
    # where they are strong and is zero elsewhere, and a growing weight ties the two together.
    while weight < _MAX_SPLITTING:
        down, right = gradients.of(estimate)
        flat = down**2 + right**2 < penalty / weight
        down[flat] = right[flat] = 0
        field = gradients.down.conj() * fft.rfft2(down) + gradients.right.conj() * fft.rfft2(right)
        solution = (data + weight * field) / (power + weight * gradients.power)
        estimate = fft.irfft2(solution, s=gradients.shape)
        weight *= 2
    return gradients.of(estimate)


def _solve_kernel(
    edges: tuple[Plane, Plane],
    spectrum: NDArray[np.complex64],
    size: int,
    gradients: _Gradients,
) -> Plane:
    """Return the kernel that blurs sharp edges into the gradients of the image."""
    down, right = (fft.rfft2(edge) for edge in edges)
    weight = _KERNEL_WEIGHT * gradients.shape[0] * gradients.shape[1]
    # Least squares with a penalty on the squared kernel, solved in closed form by frequency.
    cross = (down.conj() * gradients.down + right.conj() * gradients.right) * spectrum
    power = np.abs(down) ** 2 + np.abs(right) ** 2
    solution = fft.irfft2(cross / (power + weight), s=gradients.shape)
    window = np.roll(solution, [size // 2] * 2, (0, 1))[:size, :size]
    return _without_isolated_components(
        np.where(window < _KERNEL_THRESHOLD * window.max(), 0, window)
    )


def _transfer(kernel: Plane, shape: tuple[int, int]) -> NDArray[np.complex64]:
    canvas = np.zeros(shape, np.float32)
    canvas[: kernel.shape[0], : kernel.shape[1]] = kernel
    transfer: NDArray[np.complex64] = fft.rfft2(
        np.roll(canvas, [-(side // 2) for side in kernel.shape], (0, 1))
    )
    return transfer


def _without_isolated_components(kernel: Plane) -> Plane:
    """Set all components to zero whose mass is small against that of the largest one."""
    components, count = ndimage.label(kernel > 0, np.ones((3, 3)))
    mass = ndimage.sum_labels(kernel, components, range(1, count + 1))
    return kernel * np.isin(components, 1 + np.flatnonzero(mass > _ISOLATED_FRACTION * mass.max()))


def _centred(kernel: Plane) -> Plane:
    """Centre a kernel by whole pixels, because repeated interpolation would blur it."""
    centroid = ndimage.center_of_mass(kernel)
    shift = [side // 2 - round(index) for side, index in zip(kernel.shape, centroid, strict=True)]
    moved = ndimage.shift(kernel, shift, order=0)
    centred: Plane = (moved / moved.sum()).astype(np.float32)
    return centred
