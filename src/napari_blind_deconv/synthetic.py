"""Pictures to try the method on: a made-up scene whose truth is known, and a real one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.numerics.optics import elliptic_gaussian

__all__ = ["Scene", "astigmatic_kernel", "cell_crop", "fluorescence_scene"]

PHOTONS = 400.0
BACKGROUND = 0.02
OFFSET = 100.0
READ_NOISE = 1.5
CELL_CROP = np.s_[279:471, 329:521]


@dataclass(frozen=True)
class Scene:
    """A made-up recording and what it was made from.

    Attributes
    ----------
    observed : ndarray
        Camera counts, uint16, ``(rows, columns)``: blurred, with offset, background and noise.
    truth : ndarray
        What a camera without blur or noise would have counted, float32, same shape and units.
    kernel : ndarray
        The kernel, float32, odd sides, sum 1.
    pixel_size : float
        Side of a pixel in µm.
    peak : float
        Counts of full brightness above the offset: the full scale for PSNR.
    """

    observed: NDArray[np.uint16]
    truth: NDArray[np.float32]
    kernel: NDArray[np.float32]
    pixel_size: float = 0.1
    peak: float = PHOTONS

    def psnr(self, picture: NDArray[Any]) -> float:
        """PSNR of an estimate of the truth, up to a shift, in dB."""
        from napari_blind_deconv.numerics.metrics import psnr_up_to_shift  # seconds to load

        return psnr_up_to_shift(self.truth, picture.astype(np.float64), peak=self.peak)


def astigmatic_kernel() -> NDArray[np.float32]:
    """The kernel of the sample scene, 21²: full widths of 6.1 × 3.8 px, 30° downwards."""
    return elliptic_gaussian(21, (2.6, 1.6), -30.0)


def fluorescence_scene(
    shape: tuple[int, int] = (192, 192),
    *,
    kernel: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Scene:
    """Filaments, a nucleus with its texture, and puncta, as a camera sees them through a kernel.

    The scene is wider than the field of view, so that light enters from beyond the border as it
    does under a microscope.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the field of view.
    kernel : ndarray, optional
        Odd sides, unit sum. Default: :func:`astigmatic_kernel`.
    seed : int
        Seed of scene and noise.
    """
    import torch  # seconds to load, and the other picture does without

    from napari_blind_deconv.numerics.convolution import Convolution
    from napari_blind_deconv.numerics.degrade import expose

    if kernel is None:
        kernel = astigmatic_kernel()
    rows, columns = (side + k - 1 for side, k in zip(shape, kernel.shape, strict=True))
    random = np.random.default_rng(seed)
    sharp = _filaments((rows, columns), random) + _nuclei((rows, columns), random)
    sharp = np.clip(np.maximum(sharp, _puncta((rows, columns), random)), 0, 1)
    canvas = torch.from_numpy(sharp.astype(np.float32))
    convolution = Convolution(torch.from_numpy(kernel))
    light = convolution.forward(canvas)
    counts = expose(
        light,
        photons=PHOTONS,
        background=BACKGROUND,
        read_noise=READ_NOISE,
        generator=torch.Generator().manual_seed(seed),
    )
    truth = convolution.field_of_view(canvas)
    return Scene(
        observed=np.clip(np.rint(counts.numpy() + OFFSET), 0, 65535).astype(np.uint16),
        truth=(PHOTONS * (truth.numpy() + BACKGROUND) + OFFSET).astype(np.float32),
        kernel=kernel,
    )


def cell_crop() -> NDArray[np.uint8]:
    """A 192×192 crop of scikit-image's ``cell``, a real micrograph without known truth."""
    from skimage.data import cell

    crop: NDArray[np.uint8] = cell()[CELL_CROP]
    return crop


def _filaments(shape: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
    """Curving fibres of sub-pixel width, as walks whose direction drifts."""
    drawing = np.zeros(shape)
    for _ in range(shape[0] * shape[1] // 1500):
        steps = 4 * max(shape)
        heading = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, 0.02, steps))
        start = random.uniform((0, 0), shape)
        path = start[:, None] + 0.25 * np.cumsum([np.sin(heading), np.cos(heading)], axis=1)
        path = path[:, ((path >= 0) & (np.array(shape) - 1 > path.T).T).all(axis=0)]
        _splat(drawing, path, 0.25 * random.uniform(0.15, 0.5))
    return ndimage.gaussian_filter(drawing, 0.6)


def _nuclei(shape: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
    """Ellipses with chromatin-like texture."""
    drawing = np.zeros(shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    texture = ndimage.gaussian_filter(random.normal(size=shape), 1.5)
    texture = np.clip(0.35 + 0.9 * texture, 0, None)
    for _ in range(max(1, shape[0] * shape[1] // 20_000)):
        centre = random.uniform((0, 0), shape)
        radii = random.uniform(12, 22, 2)
        inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
        drawing = np.maximum(drawing, inside * texture)
    return drawing


def _puncta(shape: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
    """Spots a little wider than a pixel."""
    drawing = np.zeros(shape)
    count = shape[0] * shape[1] // 900
    where = random.uniform((1, 1), np.array(shape) - 2, (count, 2)).T
    _splat(drawing, where, random.uniform(2, 6, count))
    return ndimage.gaussian_filter(drawing, 0.8)


def _splat(
    drawing: NDArray[np.float64], points: NDArray[np.float64], weight: float | NDArray[np.float64]
) -> None:
    """Add points ``(2, N)`` of some weight, each shared bilinearly by its four pixels."""
    corner = np.floor(points).astype(int)
    rest = points - corner
    for down in (0, 1):
        for right in (0, 1):
            share = abs(1 - down - rest[0]) * abs(1 - right - rest[1])
            np.add.at(drawing, (corner[0] + down, corner[1] + right), share * weight)
