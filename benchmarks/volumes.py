"""Made volumes with known PSF: scenes of four kinds, seen by four microscopes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv import Kernel, Optics, microscope_psf
from napari_blind_deconv.numerics.convolution import Convolution

__all__ = [
    "MICROSCOPES",
    "OPTICS",
    "PHOTONS",
    "PIXEL_SIZE",
    "SCENES",
    "VolumeCase",
    "example",
    "made_cases",
    "psf_of",
]

FIELD = (32, 80, 80)  # voxels
PIXEL_SIZE = (0.2, 0.1, 0.1)  # µm
LARGEST = (31, 79, 79)  # sides of a PSF; with fewer columns, far planes would lose their light
BACKGROUND, OFFSET, READ_NOISE = 0.02, 100.0, 1.5
PHOTONS = (25, 200, 2000)  # at the brightest voxel of the blurred volume
_EMISSION, _EXCITATION = 0.525, 0.488  # µm

Shape = tuple[int, ...]
Random = np.random.Generator


@dataclass(frozen=True)
class VolumeCase:
    """A volume to deconvolve.

    Attributes
    ----------
    name : str
    observed, truth : ndarray
        Shape ``(planes, rows, columns)``, in the same units.
    peak : float
        Range of the truth, for PSNR.
    psf : Kernel
    optics : Optics
    offset : float
        Intensity without light.
    fits_intensities : bool
        Whether an estimate is mapped to the truth by the affine map with the smallest squared
        error, because the units of the two differ.
    """

    name: str
    observed: NDArray[Any]
    truth: NDArray[np.float32]
    peak: float
    psf: Kernel
    optics: Optics = field(default_factory=Optics)
    offset: float = OFFSET
    fits_intensities: bool = False


def _spots(random: Random, shape: Shape) -> NDArray[np.float32]:
    """Points of different brightness, slightly larger than a voxel."""
    scene = np.zeros(shape, np.float32)
    count = int(np.prod(shape) / 3000)
    np.add.at(scene, tuple(random.integers(0, shape, (count, 3)).T), random.uniform(0.3, 1, count))
    return ndimage.gaussian_filter(scene, 0.6)


def _filaments(random: Random, shape: Shape) -> NDArray[np.float32]:
    """Curved lines, mostly along the planes, as of microtubules."""
    scene = np.zeros(shape, np.float32)
    flat = np.array([0.4, 1, 1])
    for _ in range(16):
        position = random.uniform(0, 1, 3) * shape
        direction, brightness = flat * random.normal(size=3), random.uniform(0.4, 1)
        for _ in range(500):
            direction = direction / np.linalg.norm(direction) + 0.08 * flat * random.normal(size=3)
            position = position + direction / 2
            at = np.round(position).astype(int)
            if (at >= 0).all() and (at < shape).all():
                scene[tuple(at)] = brightness
    return ndimage.gaussian_filter(scene, 0.7)


def _nuclei(random: Random, shape: Shape) -> NDArray[np.float32]:
    """Filled ellipsoids with texture."""
    texture = ndimage.gaussian_filter(random.normal(size=shape), 1.5)
    filling = np.clip(0.6 + 0.25 * texture / texture.std(), 0.05, None)
    scene = np.zeros(shape, np.float32)
    for radius, _ in _ellipsoids(random, shape):
        scene = np.maximum(scene, (radius < 1) * filling)
    return ndimage.gaussian_filter(scene.astype(np.float32), 0.5)


def _shells(random: Random, shape: Shape) -> NDArray[np.float32]:
    """Hollow ellipsoids, as of membranes."""
    scene = np.zeros(shape, np.float32)
    for radius, size in _ellipsoids(random, shape):
        scene = np.maximum(scene, np.exp(-np.square((radius - 1) * size / 0.9) / 2))
    return scene.astype(np.float32)


def _ellipsoids(random: Random, shape: Shape) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Yield the distance of each voxel from the centre, 1 on the surface, and the mean radius."""
    grid = np.indices(shape).astype(np.float32)
    for _ in range(16):
        centre = random.uniform(0, 1, 3) * shape
        sides = random.uniform(8, 15) * np.array([PIXEL_SIZE[2] / PIXEL_SIZE[0] * 1.4, 1, 1])
        away = [(axis - c) / side for axis, c, side in zip(grid, centre, sides, strict=True)]
        yield np.sqrt(sum(np.square(each) for each in away)), float(sides.mean())


SCENES: dict[str, Callable[[Random, Shape], NDArray[np.float32]]] = {
    "spots": _spots,
    "filaments": _filaments,
    "nuclei": _nuclei,
    "shells": _shells,
}


_WATER = Optics(1.2, 1.33, (_EMISSION,))
OPTICS = {
    "confocal": _WATER,
    "light sheet": Optics(0.8, 1.33, (_EMISSION,)),
    "widefield": _WATER,
    "widefield, aberrated": Optics(1.4, 1.515, (_EMISSION,)),  # oil immersion, 5 µm deep in water
}
MICROSCOPES = tuple(OPTICS)


@cache
def psf_of(microscope: str, within: Shape = LARGEST) -> Kernel:
    """Return the PSF of a microscope, no larger than some sides."""
    make = partial(microscope_psf, OPTICS[microscope], PIXEL_SIZE, within=within)
    match microscope:
        case "confocal":
            return make(microscope="confocal", excitation_wavelength=_EXCITATION)
        case "light sheet":
            return make(microscope="light-sheet", sheet_thickness=1.5)
        case "widefield":
            return make()
        case _:
            return make(sample_index=1.33, depth=5.0)


def made_cases() -> Iterator[tuple[str, str, int, Callable[[], VolumeCase]]]:
    """Yield scene, microscope, photons and a function that makes the case."""
    for number, (scene, draw) in enumerate(SCENES.items()):
        for microscope in MICROSCOPES:
            for photons in PHOTONS:
                seed = 1000 * number + photons
                yield scene, microscope, photons, partial(_made, draw, microscope, photons, seed)


def _made(
    draw: Callable[[Random, Shape], NDArray[np.float32]], microscope: str, photons: int, seed: int
) -> VolumeCase:
    random, psf = np.random.default_rng(seed), psf_of(microscope)
    convolution = Convolution(torch.from_numpy(psf.weights))
    scene = draw(random, convolution.canvas_shape(FIELD))
    scene = (scene / scene.max() + BACKGROUND).astype(np.float32)
    blurred = convolution.forward(torch.from_numpy(scene)).numpy().clip(0)
    gain = photons / float(blurred.max())
    counts = random.poisson(gain * blurred) + random.normal(OFFSET, READ_NOISE, blurred.shape)
    truth = gain * convolution.field_of_view(scene) + OFFSET
    peak = float(truth.max()) - OFFSET
    return VolumeCase(microscope, counts.astype(np.float32), truth, peak, psf, OPTICS[microscope])


def example(data: Path) -> VolumeCase:
    """Return the example of RedLionfish, whose PSF and truth are given in other units."""
    folder = data / "volumes"
    observed, truth, psf = (
        tifffile.imread(folder / f"redlionfish_{name}.tif").astype(np.float32)
        for name in ("blurred", "truth", "psf")
    )
    return VolumeCase(
        "RedLionfish's example",
        observed,
        truth,
        float(np.ptp(truth)),
        Kernel.of(psf),
        offset=0.0,
        fits_intensities=True,
    )
