"""A kernel of any shape from the edges of a picture: sparse gradients, coarse to fine.

The classic of blind deblurring, two-dimensional by nature. A picture with few, strong edges is
fitted to the blurred one: ℓ0 of its gradients, by half-quadratic splitting, after Xu, Zheng and
Jia, *Unnatural L0 sparse representation for natural image deblurring*, CVPR 2013. The kernel that
blurs its edges into those of the image is solved for by least squares, after Cho and Lee, *Fast
motion deblurring*, SIGGRAPH Asia 2009. Both by turns, from a scale at which the kernel is a few
pixels wide up to the image's.
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

Picture = NDArray[np.float32]

_SMALLEST_SIDE = 5
_SCALE_RATIO = 2**0.5
_SMOOTHING = 0.4  # σ before shrinking by two, over √3
# Square of the least edge kept, of a picture from 0 to 1: at first, its decay by iterations, at
# last.
_EDGE, _EDGE_DECAY, _LEAST_EDGE = 4e-3, 1 / 1.1, 1e-4
_STRONGEST_SPLITTING = 1e3
# Weight of the squared kernel against the misfit of the gradients, a pixel.
_KERNEL_WEIGHT = 3e-5
_KERNEL_THRESHOLD = 0.05  # share of the peak below which there is no kernel
_ISOLATED_SHARE = 0.1  # share of the largest piece's mass below which a piece is a stray


@dataclass(frozen=True)
class Scale:
    """What is found at one scale of the search, after one of its iterations.

    Attributes
    ----------
    factor : float
        Pixels here for one of the image; 1 at last.
    image : ndarray
        The image at this scale.
    kernel : ndarray
        ``(side, side)``, odd, ≥ 0, sum 1, its centroid within a pixel of the centre.
    is_settled : bool
        Whether this was the last iteration of the scale.
    """

    factor: float
    image: NDArray[np.floating[Any]]
    kernel: Picture
    is_settled: bool


def sparse_gradient_kernels(
    image: NDArray[np.floating[Any]], side: int, iterations: int
) -> Iterator[Scale]:
    """Estimate the kernel of an image with edges, coarse to fine; yields after every iteration.

    The last has the answer. Coarse scales cost less and tell early whether to go on.

    Parameters
    ----------
    image : ndarray
        ``(H, W)``, in [0, 1].
    side : int
        Of the window, odd. It must hold the kernel; a much larger one costs robustness.
    iterations : int
        Of image and kernel by turns, at each scale. More keep weaker edges, and settle the kernel.

    Yields
    ------
    Scale
        Where there are no edges, or noise hides them, the kernel is wrong; only the caller can
        tell.
    """
    kernel = None
    for size in _sides(side):
        scene = _shrunk(image, size / side)
        kernel = _first_guess(size) if kernel is None else _grown(kernel, size)
        picture = periodic_component(scene).astype(np.float32)
        for number, found in enumerate(_alternate(picture, kernel, iterations), 1):
            kernel = found
            yield Scale(size / side, scene, kernel, is_settled=number == iterations)


def _sides(side: int) -> list[int]:
    sides = [side]
    while sides[-1] > _SMALLEST_SIDE:
        sides.append(max(3, round(sides[-1] / _SCALE_RATIO) | 1))
    return sides[::-1]


def _shrunk(image: NDArray[np.floating[Any]], factor: float) -> NDArray[np.floating[Any]]:
    if factor == 1:
        return image
    smooth = ndimage.gaussian_filter(image, _SMOOTHING * (1 / factor**2 - 1) ** 0.5)
    return ndimage.zoom(smooth, factor, order=1, grid_mode=True, mode="reflect")


def _first_guess(size: int) -> Picture:
    """Two pixels: a point would stay one, since the sharpest picture that it blurs is the image."""
    kernel = np.zeros((size, size), np.float32)
    kernel[size // 2, size // 2 - 1 : size // 2 + 1] = 0.5
    return kernel


def _grown(kernel: Picture, size: int) -> Picture:
    larger = ndimage.zoom(kernel, size / kernel.shape[0], order=1)[:size, :size]
    return _centred(larger)


def _alternate(picture: Picture, kernel: Picture, iterations: int) -> Iterator[Picture]:
    gradients = _Gradients((picture.shape[0], picture.shape[1]))
    spectrum = fft.rfft2(picture)
    least = _EDGE
    for _ in range(iterations):
        edges = _strong_edges(picture, spectrum, kernel, least, gradients)
        kernel = _centred(_kernel_between(edges, spectrum, kernel.shape[0], gradients))
        least = max(least * _EDGE_DECAY, _LEAST_EDGE)
        yield kernel


class _Gradients:
    """Forward differences of periodic pictures of one shape, and their transfer functions."""

    def __init__(self, shape: tuple[int, int]) -> None:
        rows, columns = shape
        self.shape = shape
        self.down = np.exp(2j * np.pi * fft.fftfreq(rows))[:, None] - 1
        self.right = np.exp(2j * np.pi * fft.rfftfreq(columns))[None, :] - 1
        self.down, self.right = self.down.astype(np.complex64), self.right.astype(np.complex64)
        self.power = np.abs(self.down) ** 2 + np.abs(self.right) ** 2

    def of(self, picture: Picture) -> tuple[Picture, Picture]:
        return np.roll(picture, -1, 0) - picture, np.roll(picture, -1, 1) - picture


def _strong_edges(
    picture: Picture,
    spectrum: NDArray[np.complex64],
    kernel: Picture,
    least: float,
    gradients: _Gradients,
) -> tuple[Picture, Picture]:
    """Gradients of the picture that has few of them and gives the image when blurred."""
    transfer = _transfer(kernel, gradients.shape)
    data, power = transfer.conj() * spectrum, np.abs(transfer) ** 2
    weight = 2 * least
    while weight < _STRONGEST_SPLITTING:
        down, right = gradients.of(picture)
        flat = down**2 + right**2 < least / weight
        down[flat] = right[flat] = 0
        wanted = gradients.down.conj() * fft.rfft2(down) + gradients.right.conj() * fft.rfft2(right)
        solution = (data + weight * wanted) / (power + weight * gradients.power)
        picture = fft.irfft2(solution, s=gradients.shape)
        weight *= 2
    return gradients.of(picture)


def _kernel_between(
    edges: tuple[Picture, Picture],
    spectrum: NDArray[np.complex64],
    size: int,
    gradients: _Gradients,
) -> Picture:
    """The kernel that blurs sharp edges into the image's own gradients."""
    down, right = (fft.rfft2(edge) for edge in edges)
    weight = _KERNEL_WEIGHT * gradients.shape[0] * gradients.shape[1]
    shared = (down.conj() * gradients.down + right.conj() * gradients.right) * spectrum
    power = np.abs(down) ** 2 + np.abs(right) ** 2
    solved = fft.irfft2(shared / (power + weight), s=gradients.shape)
    window = np.roll(solved, [size // 2] * 2, (0, 1))[:size, :size]
    return _without_isolated(np.where(window < _KERNEL_THRESHOLD * window.max(), 0, window))


def _transfer(kernel: Picture, shape: tuple[int, int]) -> NDArray[np.complex64]:
    canvas = np.zeros(shape, np.float32)
    canvas[: kernel.shape[0], : kernel.shape[1]] = kernel
    transfer: NDArray[np.complex64] = fft.rfft2(
        np.roll(canvas, [-(side // 2) for side in kernel.shape], (0, 1))
    )
    return transfer


def _without_isolated(kernel: Picture) -> Picture:
    pieces, count = ndimage.label(kernel > 0, np.ones((3, 3)))
    mass = ndimage.sum_labels(kernel, pieces, range(1, count + 1))
    return kernel * np.isin(pieces, 1 + np.flatnonzero(mass > _ISOLATED_SHARE * mass.max()))


def _centred(kernel: Picture) -> Picture:
    """By whole pixels: interpolating every time would blur the kernel."""
    found = ndimage.center_of_mass(kernel)
    steps = [side // 2 - round(place) for side, place in zip(kernel.shape, found, strict=True)]
    moved = ndimage.shift(kernel, steps, order=0)
    centred: Picture = (moved / moved.sum()).astype(np.float32)
    return centred
