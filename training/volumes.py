"""Made volumes with known kernels: blobs, tubes, balls and textures without preferred direction.

They tell how the power of scenes falls with frequency, and how far the widths that are found in
volumes are from the true ones. None of the scenes of the benchmarks is among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_blind_deconv import Optics, microscope_psf
from napari_blind_deconv.numerics.cylinders import CORNERS, EXPONENTS, CylinderMeans
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum, windowed
from napari_blind_deconv.numerics.volume_evidence import VolumeEvidence
from napari_blind_deconv.numerics.volume_kernels import PupilShape
from training.scenes import log_uniform

__all__ = ["VOLUME_SORTS", "MadeVolume", "made_volume", "scene_shares"]

Scene = NDArray[np.float64]
Random = np.random.Generator
Steps = tuple[float, ...]  # voxel size along each axis, as a multiple of the smallest

_MAX_COMPONENTS = 2
_EMISSION = 0.525  # µm
_LEAST_COUNT = 0.3  # of volumes with an exponent and corner, so that none is impossible


@dataclass(frozen=True, eq=False)
class MadeVolume:
    """A made volume.

    Attributes
    ----------
    image : ndarray
        Counts ``(planes, rows, columns)``.
    sampling : tuple of float
        Voxel size along each axis, as a multiple of the smallest.
    kernel : ndarray
        Weights of its kernel.
    kind : str
        Kind of the kernel: that of a microscope, or ``"Gaussian"``.
    photons : float
        Counts at brightness 1.
    """

    image: NDArray[np.float32]
    sampling: Steps
    kernel: NDArray[np.float32]
    kind: str
    photons: float
    pupil: PupilShape | None = None  # None for a Gaussian


def made_volume(seed: int, sorts: tuple[str, ...] | None = None) -> MadeVolume:
    """Draw a volume whose scene is a sum of one or two sorts. Default: of all sorts."""
    random = np.random.default_rng(seed)
    sampling = (float(random.choice([1.0, 2.0, 3.0, 4.0])), 1.0, 1.0)
    planes = int(random.choice([16, 24, 32, 48]))
    side = int(random.choice([64, 80, 96]))
    canvas = (planes + 2 * math.ceil(12 / sampling[0]), side + 16, side + 16)
    names = sorts or tuple(VOLUME_SORTS)
    scene = np.zeros(canvas)
    for _ in range(random.integers(1, _MAX_COMPONENTS + 1)):
        part = VOLUME_SORTS[names[random.integers(len(names))]](random, canvas, sampling)
        low, high = np.percentile(part, [0.5, 99.9])
        scene += np.clip((part - low) / max(high - low, 1e-9), 0, 1.5) * log_uniform(random, 0.2, 1)
    kernel, kind, pupil = _blur(random, canvas, sampling)
    drawn = np.zeros(canvas)
    drawn[tuple(slice(side) for side in kernel.shape)] = kernel
    origin = np.roll(drawn, [-(side // 2) for side in kernel.shape], range(3))
    blurred = fft.irfftn(fft.rfftn(scene) * fft.rfftn(origin), canvas)
    field = tuple(
        slice((whole - part) // 2, (whole - part) // 2 + part)
        for whole, part in zip(canvas, (planes, side, side), strict=True)
    )
    photons = log_uniform(random, 25, 5000)
    light = np.clip(blurred[field], 0, None)
    counts = random.poisson(photons * (light / light.max() + log_uniform(random, 0.005, 0.3)))
    image = counts + random.normal(100, random.uniform(0.5, 3), counts.shape)
    return MadeVolume(image.astype(np.float32), sampling, kernel, kind, photons, pupil)


def scene_shares(seeds: Iterable[int], steps: int = 30) -> NDArray[np.float64]:
    """Return how often made scenes have each exponent and corner ``(exponents, corners)``.

    They are found with the true kernels by expectation and maximisation, so that the evidence of
    all volumes is greatest.
    """
    logarithms = []
    for seed in seeds:
        made = made_volume(seed)
        spectrum = Spectrum.of(windowed(made.image), sampling=made.sampling)
        means = CylinderMeans.of([spectrum])
        transfer = means.mean(spectrum.transfer_of(made.kernel))
        evidence = VolumeEvidence.of(means, transfer[np.newaxis])
        logarithms.append(-means.misfits(transfer) / evidence.scale)
    likelihoods = np.exp(np.array(logarithms) - np.max(logarithms, axis=(1, 2), keepdims=True))
    shares = np.full((len(EXPONENTS), len(CORNERS)), 1 / (len(EXPONENTS) * len(CORNERS)))
    for _ in range(steps):
        posterior = shares * likelihoods
        posterior /= posterior.sum(axis=(1, 2), keepdims=True)
        total = posterior.sum(axis=0) + _LEAST_COUNT
        shares = total / total.sum()
    return shares


def _blur(
    random: Random, shape: tuple[int, ...], steps: Steps
) -> tuple[NDArray[np.float32], str, PupilShape | None]:
    """Draw a Gaussian, or the PSF of a microscope of some kind."""
    lateral = log_uniform(random, 0.5, 2.5)
    kind = str(random.choice(["Gaussian", "confocal", "light-sheet", "widefield"]))
    largest = tuple(side - 1 + side % 2 for side in shape)
    if kind == "Gaussian":
        axial = max(lateral * log_uniform(random, 1, 5), 0.4 * steps[0])
        sigmas = (axial / steps[0], lateral, lateral)
        sides = [2 * math.ceil(4 * sigma) + 1 for sigma in sigmas]
        return gaussian_kernel(tuple(map(min, sides, largest)), sigmas), kind, None
    index = float(random.choice([1.0, 1.33, 1.515]))
    aperture = random.uniform(0.4, 0.93) * index
    size = 0.22 * _EMISSION / aperture / lateral  # σ of an objective in focus is 0.22 λ / NA
    options: dict[str, Any] = {"microscope": kind}
    if kind == "confocal":
        options["excitation_wavelength"] = 0.93 * _EMISSION
    if kind == "light-sheet":
        options["sheet_thickness"] = _EMISSION * random.uniform(1.5, 6)
    if kind == "widefield" and random.random() < 0.5:
        options |= {"sample_index": random.uniform(1.33, 1.46), "depth": random.uniform(0, 20)}
    voxel = tuple(size * step for step in steps)
    optics = Optics(aperture, index, (_EMISSION,))
    pupil = PupilShape(_EMISSION / (2 * aperture) / size, aperture / index)
    return microscope_psf(optics, voxel, within=largest, **options).weights, kind, pupil


def _frequencies(shape: tuple[int, ...], steps: Steps) -> list[NDArray[np.float64]]:
    """Return the frequencies in the scene, in radians per smallest side of a voxel."""
    along = [fft.fftfreq(side) for side in shape[:-1]] + [fft.rfftfreq(shape[-1])]
    scaled = [2 * np.pi * each / step for each, step in zip(along, steps, strict=True)]
    return list(np.meshgrid(*scaled, indexing="ij", sparse=True))


def _soft(scene: Scene, sigma: float, steps: Steps) -> Scene:
    return ndimage.gaussian_filter(scene, [sigma / step for step in steps])


def _blobs(random: Random, shape: tuple[int, ...], steps: Steps) -> Scene:
    scene = np.zeros(shape)
    sizes = log_uniform(random, 0.4, 2.0) * np.array([1.0, random.uniform(1, 3)])
    for size in sizes:
        count = int(log_uniform(random, 20, 600))
        part = np.zeros(shape)
        where = tuple(random.integers(0, side, count) for side in shape)
        np.add.at(part, where, random.gamma(random.uniform(0.5, 3), 1, count))
        scene += _soft(part, float(size), steps) * size**2
    return scene


def _tubes(random: Random, shape: tuple[int, ...], steps: Steps) -> Scene:
    """Draw lines that turn at random, in all directions."""
    count, length = int(log_uniform(random, 10, 120)), int(random.uniform(50, 400))
    turns = random.normal(0, random.uniform(0.01, 0.15), (length, count, 3))
    directions = random.normal(size=(count, 3)) + np.cumsum(turns, axis=0)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    extent = np.array(shape) * steps
    path = random.uniform(0, extent, (count, 3)) + 0.7 * np.cumsum(directions, axis=0)
    places = (path.reshape(-1, 3) / steps).T
    brightness = np.tile(random.gamma(2, 1, count), length)
    whole = np.floor(places).astype(int)
    part = places - whole
    scene = np.zeros(shape)
    for corner in np.ndindex(2, 2, 2):
        offset = np.array(corner)[:, None]
        weight = np.abs(1 - offset - part).prod(axis=0)
        at = tuple((whole + offset) % np.array(shape)[:, None])
        np.add.at(scene, at, brightness * weight)
    return _soft(scene, log_uniform(random, 0.4, 2.0), steps)


def _balls(random: Random, shape: tuple[int, ...], steps: Steps) -> Scene:
    """Draw balls of all sizes in one another, some hollow, with texture."""
    scene = np.zeros(shape)
    grid = [np.arange(side) * step for side, step in zip(shape, steps, strict=True)]
    extent = np.array(shape) * steps
    typical, hollow = log_uniform(random, 4, 20), random.random()
    for _ in range(int(log_uniform(random, 8, 80))):
        centre, radius = random.uniform(0, extent), typical * random.uniform(0.5, 1.5)
        turned = np.linalg.qr(random.normal(size=(3, 3)))[0]
        flat = turned @ np.diag(random.uniform(0.7, 1.4, 3)) @ turned.T
        near = tuple(
            slice(*np.searchsorted(along, [c - 1.5 * radius, c + 1.5 * radius]))
            for along, c in zip(grid, centre, strict=True)
        )
        boxed = (along[part] - c for along, part, c in zip(grid, near, centre, strict=True))
        offsets = np.stack(np.meshgrid(*boxed, indexing="ij"))
        distance = np.linalg.norm(np.einsum("ij,jzyx->izyx", flat, offsets), axis=0)
        inside = (distance < radius) & ((distance > radius - 2.5) | (random.random() > hollow))
        scene[near][inside] = random.uniform(0.3, 1)
    texture = _field(random, shape, steps, random.uniform(2, 5), log_uniform(random, 0.03, 0.5))
    soft = _soft(scene, log_uniform(random, 0.4, 1.5), steps)
    return soft * (1 + random.uniform(0, 0.6) * np.clip(texture, -1, 3))


def _textures(random: Random, shape: tuple[int, ...], steps: Steps) -> Scene:
    field = _field(random, shape, steps, random.uniform(2, 5), log_uniform(random, 0.03, 0.8))
    if random.random() < 0.5:
        return np.asarray(np.exp(random.uniform(0.5, 2) * field))
    islands = (field > random.uniform(0, 1.5)).astype(float)
    return _soft(islands, log_uniform(random, 0.4, 1.2), steps)


def _field(
    random: Random, shape: tuple[int, ...], steps: Steps, exponent: float, corner: float
) -> Scene:
    """Draw a Gaussian field whose power falls like ``frequency ** -exponent`` above `corner`."""
    squares = sum(map(np.square, _frequencies(shape, steps)))
    amplitude = (squares + corner**2) ** (-exponent / 4)
    amplitude[0, 0, 0] = 0
    field = fft.irfftn(fft.rfftn(random.standard_normal(shape)) * amplitude, shape)
    return np.asarray(field / field.std())


VOLUME_SORTS: dict[str, Callable[[Random, tuple[int, ...], Steps], Scene]] = {
    "blobs": _blobs,
    "tubes": _tubes,
    "balls": _balls,
    "textures": _textures,
}
