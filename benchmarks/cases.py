"""Images with a known ground truth: real camera shakes, and images that are blurred here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from skimage import data as skimage_data
from skimage.io import imread
from torch import Tensor

from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.degrade import expose
from napari_blind_deconv.numerics.optics import gaussian_kernel, line_kernel, widefield_psf

__all__ = [
    "KERNELS",
    "OPTICS",
    "TRUTHS",
    "Alignment",
    "Case",
    "Degradation",
    "camera_shake",
    "camera_shakes",
    "fluorescence",
    "fluorescence_cases",
    "levin_synthetic",
    "natural",
    "natural_cases",
]

FIELD = 256  # pixels per side of the field of view
OFFSET = 100.0  # of the camera, in counts
BACKGROUND = 0.02  # as a share of the full scale
READ_NOISE = 1.5
KERNELS = (1, 3, 5, 7)  # of Levin et al.; all four are stored for correlation
POINT = np.ones((1, 1), np.float32)
# The scene is larger than the 256 pixels of the field of view by the kernel. The smallest truth,
# three channels of a cell, has 350 pixels per side.
DEFOCUSED_SIDE = 95
OBJECTIVE = {"numerical_aperture": 1.2, "wavelength": 0.6, "pixel_size": 0.08}


class Degradation(Protocol):
    """A degradation of an image between the scene and the file."""

    def __call__(self, image: Tensor, /, *, generator: torch.Generator) -> Tensor:
        """Return the degraded image, of the same shape."""


@dataclass(frozen=True)
class Alignment:
    """How an estimate and its truth are aligned before a score, see `align`.

    Attributes
    ----------
    moved : str
        Which of the two is shifted. It is the estimate for real camera shakes, as in the
        literature.
    border, reach : int
        Pixels left out on each side, and the largest shift in pixels.
    fits_intensities : bool
        Whether the estimate is mapped to the intensities of the truth by the affine map with the
        smallest squared error. This is for a truth from another exposure or instrument, whose units
        are not those of the input. Everywhere else an error of offset or gain is an error.
    """

    moved: Literal["truth", "estimate"] = "truth"
    border: int = 15
    reach: int = 10
    fits_intensities: bool = False


@dataclass(frozen=True)
class Case:
    """An image to deconvolve, with its ground truth and its kernel, if that is known.

    Attributes
    ----------
    name : str
        Unique within its suite.
    observed, truth : ndarray
        ``(rows, columns)``, both in the input's units, unless intensities are fitted.
    peak : float
        Full scale in the units of the truth, for PSNR and SSIM.
    kernel : ndarray or None
        The true kernel (of a convolution, not a correlation), with odd sides and sum 1. None if
        nobody knows it.
    offset : float
        Intensity without any light.
    alignment : Alignment
        How an estimate is aligned with the truth before a score.
    ceiling : float
        Intensity at which the detector saturates. An estimate is clipped there before it is
        compared with a truth that is saturated, too.
    """

    name: str
    observed: NDArray[np.float64]
    truth: NDArray[np.float64]
    peak: float
    kernel: NDArray[np.float32] | None
    offset: float = 0.0
    alignment: Alignment = Alignment()
    ceiling: float = math.inf

    @property
    def true_kernel(self) -> NDArray[np.float32]:
        """The true kernel; raises `ValueError` if it is not known."""
        if self.kernel is None:
            raise ValueError(f"Expected a case whose kernel is known, got {self.name!r}.")
        return self.kernel

    def clipped(self, image: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return an estimate clipped at the saturation of the detector."""
        return np.minimum(image, self.ceiling)

    def degraded(self, name: str, change: Degradation) -> Case:
        """Return this case with a degraded observed image, and with `name` appended to its name."""
        image = torch.from_numpy(self.observed).float()
        degraded = change(image, generator=torch.Generator().manual_seed(0)).double().numpy()
        return replace(self, name=f"{self.name}, {name}", observed=degraded)


def _levin_kernel(data: Path, number: int) -> NDArray[np.float32]:
    stored = imread(data / "levin" / "kernel" / f"kernel{number}.png").astype(np.float32)
    kernel = stored[::-1, ::-1]  # the file holds it for correlation
    kernel = np.pad(kernel, [(0, 1 - side % 2) for side in kernel.shape])
    return kernel / kernel.sum()


def camera_shake(data: Path, image: int, kernel: int) -> Case:
    """Return a real capture of Levin et al. (2009) and its sharp counterpart."""
    name = f"im{image}_kernel{kernel}"
    return Case(
        name=name,
        observed=imread(data / "levin" / "blurry" / f"{name}_img.png") / 255,
        truth=imread(data / "levin" / "gt" / f"im{image}.png") / 255,
        peak=1.0,
        kernel=_levin_kernel(data, kernel),
        alignment=Alignment(moved="estimate"),
    )


def camera_shakes(data: Path) -> Iterator[Case]:
    """Yield the eight captures."""
    for image in (1, 2):
        for kernel in KERNELS:
            yield camera_shake(data, image, kernel)


def levin_synthetic(data: Path, image: int, kernel: int) -> Case:
    """Return a sharp image of Levin et al., blurred after Eq. 2 with one of their kernels."""
    weights = _levin_kernel(data, kernel)
    scene = torch.from_numpy(imread(data / "levin" / "gt" / f"im{image}.png") / 255)
    convolution = Convolution(torch.from_numpy(weights).double())
    return Case(
        name=f"im{image}, kernel {kernel}",
        observed=convolution.forward(scene).numpy(),
        truth=convolution.field_of_view(scene).numpy(),
        peak=1.0,
        kernel=weights,
    )


TRUTHS: dict[str, tuple[str, int]] = {
    "DNA": ("xyc_16bit__cell_dna_mts_actin.tif", 0),
    "microtubules": ("xyc_16bit__cell_dna_mts_actin.tif", 1),
    "actin": ("xyc_16bit__cell_dna_mts_actin.tif", 2),
    "neuron": ("xy_16bit__rat_hippocampal_neuron.tif", 0),
    "filaments": ("xy_16bit__bacteria_cords_thin.tif", 0),
}
OPTICS: dict[str, Callable[[], NDArray[np.float32]]] = {
    "Gaussian 1.5": lambda: gaussian_kernel((31, 31), 1.5),
    "Gaussian 2.5": lambda: gaussian_kernel((31, 31), 2.5),
    "Airy": lambda: widefield_psf(31, **OBJECTIVE),
    "defocused": lambda: widefield_psf(DEFOCUSED_SIDE, **OBJECTIVE, defocus=1.5),
    "drift": lambda: line_kernel(9, 30),
}


def _crop(image: NDArray[np.float64], kernel: NDArray[np.float32], field: int) -> Tensor:
    """Return the centre of an image: the field of view and the margin that the kernel reaches."""
    sides = [field + side - 1 for side in kernel.shape]
    corner = [(length - side) // 2 for length, side in zip(image.shape, sides, strict=True)]
    rows, columns = (slice(c, c + s) for c, s in zip(corner, sides, strict=True))
    return torch.from_numpy(image[rows, columns]).float()


def fluorescence(data: Path, truth: str, optics: str, photons: float) -> Case:
    """Return a sharp micrograph that is blurred and then exposed.

    The scene is wider than the field of view, so that light crosses the border as in reality.
    """
    file, channel = TRUTHS[truth]
    stack = tifffile.imread(data / "micro-truth" / file)
    plane = (stack[channel] if stack.ndim == 3 else stack).astype(np.float64)
    low, high = np.percentile(plane, [0.5, 99.9])
    kernel = OPTICS[optics]()
    scene = _crop(np.clip((plane - low) / (high - low), 0, 1), kernel, FIELD)
    convolution = Convolution(torch.from_numpy(kernel))
    counts = expose(
        convolution.forward(scene),
        photons=photons,
        background=BACKGROUND,
        read_noise=READ_NOISE,
        generator=torch.Generator().manual_seed(0),
    )
    sharp = convolution.field_of_view(scene).double().numpy()
    return Case(
        name=f"{truth}, {optics}, {photons:.0f} photons",
        observed=np.rint(counts.double().numpy() + OFFSET),
        truth=photons * (sharp + BACKGROUND) + OFFSET,
        peak=photons,
        kernel=kernel,
        offset=OFFSET,
    )


def fluorescence_cases(data: Path) -> Iterator[Case]:
    """Yield the fifty cases: five truths, five kernels, two exposures."""
    for truth in TRUTHS:
        for optics in OPTICS:
            for photons in (1000.0, 100.0):
                yield fluorescence(data, truth, optics, photons)


def natural(data: Path, photograph: str, kernel: int | None, field: int = FIELD) -> Case:
    """Return the centre of a photograph of scikit-image, blurred after Eq. 2.

    Without a kernel (None) it stays sharp.
    """
    weights = POINT if kernel is None else _levin_kernel(data, kernel)
    scene = _crop(getattr(skimage_data, photograph)() / 255, weights, field)
    convolution = Convolution(torch.from_numpy(weights))
    return Case(
        name=photograph if kernel is None else f"{photograph}, kernel {kernel}",
        observed=convolution.forward(scene).double().numpy(),
        truth=convolution.field_of_view(scene).double().numpy(),
        peak=1.0,
        kernel=weights,
    )


def natural_cases(data: Path) -> Iterator[Case]:
    """Yield the sixteen cases: four photographs, four kernels."""
    for photograph in ("camera", "gravel", "grass", "brick"):
        for kernel in KERNELS:
            yield natural(data, photograph, kernel)
