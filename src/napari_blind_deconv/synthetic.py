"""Sample images: recordings with known ground truth, and a real micrograph."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.numerics.optics import elliptic_gaussian
from napari_blind_deconv.optics import Optics

__all__ = [
    "VOLUME_OPTICS",
    "VOLUME_STEP",
    "Scene",
    "astigmatic_kernel",
    "cell_crop",
    "fluorescence_scene",
    "fluorescence_volume",
    "microtubules",
]

PHOTONS = 400.0  # of the synthetic scene: mean count at brightness 1
BACKGROUND = 0.02  # fraction of brightness 1
OFFSET = 100.0  # counts of the camera without light
READ_NOISE = 1.5  # standard deviation in counts
MICROTUBULES = Path(__file__).parent / "data" / "microtubules.png"
MICROTUBULE_PHOTONS = 4000.0
MICROTUBULE_PIXEL = 0.1325  # µm
VOLUME_OPTICS = Optics(1.2, 1.33, (0.52,))  # water immersion, green
VOLUME_STEP = 0.3  # µm between planes
VOLUME_PHOTONS = 12_000.0  # which the PSF spreads over many planes
CELL_CROP = np.s_[279:471, 329:521]


@dataclass(frozen=True)
class Scene:
    """A synthetic recording together with its ground truth.

    Attributes
    ----------
    observed : ndarray
        Camera counts, uint16, ``(rows, columns)``, or with planes before these:
        blurred, with offset, background and noise.
    truth : ndarray
        Counts without blur and noise, float32, same shape and units as `observed`.
    kernel : ndarray
        The kernel that blurred the scene, float32, odd sides, sum 1.
    pixel_size : float
        Side of a pixel in µm.
    peak : float
        Counts above the offset at brightness 1; the full scale for PSNR.
    """

    observed: NDArray[np.uint16]
    truth: NDArray[np.float32]
    kernel: NDArray[np.float32]
    pixel_size: float = 0.1
    peak: float = PHOTONS

    def psnr(self, estimate: NDArray[Any]) -> float:
        """Return the PSNR of an estimate in dB, after the best shift onto the truth."""
        from napari_blind_deconv.numerics.metrics import psnr_up_to_shift  # slow to import

        return psnr_up_to_shift(self.truth, estimate.astype(np.float64), peak=self.peak)


def astigmatic_kernel() -> NDArray[np.float32]:
    """Return the kernel of the sample scene: 21², 6.1 × 3.8 px at half maximum, 30° downwards."""
    return elliptic_gaussian(21, (2.6, 1.6), -30.0)


def fluorescence_scene(
    shape: tuple[int, int] = (192, 192),
    *,
    kernel: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Scene:
    """Simulate a fluorescence image of filaments, textured nuclei and puncta.

    The scene is wider than the field of view, so that light enters from beyond the border as it
    does in a microscope.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the field of view.
    kernel : ndarray, optional
        Kernel that blurs the scene, with odd sides and sum 1. Default: :func:`astigmatic_kernel`.
    seed : int
        Seed of scene and noise.

    Returns
    -------
    Scene
        The recording, with its ground truth and kernel.
    """
    if kernel is None:
        kernel = astigmatic_kernel()
    rows, columns = (side + k - 1 for side, k in zip(shape, kernel.shape, strict=True))
    random = np.random.default_rng(seed)
    sharp = _filaments((rows, columns), random) + _nuclei((rows, columns), random)
    sharp = np.clip(np.maximum(sharp, _puncta((rows, columns), random)), 0, 1)
    return _recording(sharp, kernel, PHOTONS, seed)


def fluorescence_volume(shape: tuple[int, int, int] = (32, 128, 128), *, seed: int = 0) -> Scene:
    """Return a synthetic widefield recording of a volume with fibres and spots.

    The PSF is that of `VOLUME_OPTICS`, in voxels of `VOLUME_STEP` along Z and 0.1 µm across.

    Parameters
    ----------
    shape : tuple of int
        Planes, rows and columns.
    seed : int
        Seed of scene and noise.

    Returns
    -------
    Scene
        Its arrays have the axes of the volume.
    """
    from napari_blind_deconv.psf import microscope_psf

    kernel = microscope_psf(VOLUME_OPTICS, (VOLUME_STEP, 0.1, 0.1)).weights
    sides = tuple(side + k - 1 for side, k in zip(shape, kernel.shape, strict=True))
    random = np.random.default_rng(seed)
    drawing = np.zeros(sides)
    steps = 4 * max(sides)
    for _ in range(sides[1] * sides[2] // 500):
        heading = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, 0.02, steps))
        climb = np.full(steps, random.normal(0, 0.1))
        start = random.uniform((0, 0, 0), sides)
        path = start[:, None] + 0.25 * np.cumsum([climb, np.sin(heading), np.cos(heading)], axis=1)
        path = path[:, ((path >= 0) & (np.array(sides) - 1 > path.T).T).all(axis=0)]
        _splat(drawing, path, 0.25 * random.uniform(0.3, 1.0))
    count = sides[1] * sides[2] // 300
    points = random.uniform((1, 1, 1), np.array(sides) - 2, (count, 3)).T
    _splat(drawing, points, random.uniform(4, 10, count))
    sharp = ndimage.gaussian_filter(drawing, (0.4, 0.7, 0.7))
    return _recording(sharp, kernel, VOLUME_PHOTONS, seed)


def microtubules() -> Scene:
    """Return a recording of microtubules: a sharp micrograph that is blurred here.

    The micrograph is that of ``data/README.md``. It is blurred by an astigmatic kernel, 6.1 × 3.3
    pixels at half maximum, and exposed to 4000 photons at its brightest structures.
    """
    from skimage.io import imread

    sharp = imread(MICROTUBULES).astype(np.float64)
    black, white = np.percentile(sharp, (1, 99.9))
    kernel = elliptic_gaussian(21, (2.6, 1.4), 35.0)
    brightness = np.clip((sharp - black) / (white - black), 0, None)
    return _recording(brightness, kernel, MICROTUBULE_PHOTONS, pixel_size=MICROTUBULE_PIXEL)


def _recording(
    sharp: NDArray[np.float64],
    kernel: NDArray[np.float32],
    photons: float,
    seed: int = 0,
    pixel_size: float = 0.1,
) -> Scene:
    """Blur and expose a scene of brightness about 1, which is wider than the field of view."""
    import torch  # slow to import, and the real micrograph does not need it

    from napari_blind_deconv.numerics.convolution import Convolution
    from napari_blind_deconv.numerics.degrade import expose

    canvas = torch.from_numpy(sharp.astype(np.float32))
    convolution = Convolution(torch.from_numpy(kernel))
    counts = expose(
        convolution.forward(canvas),
        photons=photons,
        background=BACKGROUND,
        read_noise=READ_NOISE,
        generator=torch.Generator().manual_seed(seed),
    )
    truth = convolution.field_of_view(canvas)
    return Scene(
        observed=np.clip(np.rint(counts.numpy() + OFFSET), 0, 65535).astype(np.uint16),
        truth=(photons * (truth.numpy() + BACKGROUND) + OFFSET).astype(np.float32),
        kernel=kernel,
        pixel_size=pixel_size,
        peak=photons,
    )


def cell_crop() -> NDArray[np.uint8]:
    """Return a 192×192 crop of ``skimage.data.cell``, a real micrograph without ground truth."""
    from skimage.data import cell

    crop: NDArray[np.uint8] = cell()[CELL_CROP]
    return crop


def _filaments(shape: tuple[int, int], random: np.random.Generator) -> NDArray[np.float64]:
    """Draw curved fibres of sub-pixel width as random walks of their direction."""
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
    """Draw ellipses with a texture like that of chromatin."""
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
    """Draw spots slightly wider than a pixel."""
    drawing = np.zeros(shape)
    count = shape[0] * shape[1] // 900
    points = random.uniform((1, 1), np.array(shape) - 2, (count, 2)).T
    _splat(drawing, points, random.uniform(2, 6, count))
    return ndimage.gaussian_filter(drawing, 0.8)


def _splat(
    drawing: NDArray[np.float64], points: NDArray[np.float64], weight: float | NDArray[np.float64]
) -> None:
    """Add weighted points ``(axes, N)`` to a drawing, spread linearly over the nearest pixels."""
    corner = np.floor(points).astype(int)
    fraction = points - corner
    for step in itertools.product((0, 1), repeat=drawing.ndim):
        offset = np.array(step)[:, None]
        portion = np.abs(1 - offset - fraction).prod(axis=0)
        # `add.at`, because ``+=`` would count points that share a pixel only once.
        np.add.at(drawing, tuple(corner + offset), portion * weight)
