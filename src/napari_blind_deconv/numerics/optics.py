"""Model kernels: widefield PSF, Gaussians and linear motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.numerics.microscope import Microscope
from napari_blind_deconv.numerics.pupil import Layers, Pupil

__all__ = ["elliptic_gaussian", "gaussian_kernel", "line_kernel", "widefield_psf"]


def widefield_psf(
    size: int,
    *,
    numerical_aperture: float,
    wavelength: float,
    pixel_size: float,
    refractive_index: float = 1.33,
    defocus: float = 0.0,
) -> NDArray[np.float32]:
    """Return the scalar, unaberrated intensity PSF of a widefield microscope.

    In focus this is an Airy pattern.

    Parameters
    ----------
    size : int
        Side of the kernel in pixels, odd.
    numerical_aperture : float
        Numerical aperture of the objective. Raising it makes the PSF narrower.
    wavelength : float
        Emission wavelength in µm. Raising it makes the PSF wider.
    pixel_size : float
        Pixel size in the sample, in µm. At most half of ``wavelength / (2 numerical_aperture)``,
        otherwise the PSF is aliased.
    refractive_index : float
        Refractive index of the immersion medium. It has no effect in focus.
    defocus : float
        Distance from the focal plane in µm. Raising it makes the PSF wider and adds rings.

    Returns
    -------
    ndarray
        PSF of shape ``(size, size)``, ≥ 0, sum 1, centred. It is sampled at the pixel centres, not
        integrated over the pixels.
    """
    pupil = Pupil(numerical_aperture, wavelength, Layers(refractive_index))
    offsets = pixel_size * (np.arange(size) - size // 2)
    radii = np.hypot(offsets[:, None], offsets)
    psf = Microscope(pupil).profile(radii.max(), [defocus])(radii)[..., 0]
    return (psf / psf.sum()).astype(np.float32)


def gaussian_kernel(shape: Sequence[int], sigma: float | Sequence[float]) -> NDArray[np.float32]:
    """Return a centred Gaussian with sum 1 and any number of axes.

    Parameters
    ----------
    shape : sequence of int
        Sides of the kernel, odd.
    sigma : float or sequence of float
        Standard deviation in pixels, one value for all axes or one for each.
    """
    sigmas = np.broadcast_to(sigma, len(shape))
    offsets = np.ogrid[tuple(slice(side) for side in shape)]
    squares = [
        np.square((offset - side // 2) / width)
        for offset, side, width in zip(offsets, shape, sigmas, strict=True)
    ]
    profile = np.exp(-sum(squares) / 2)
    kernel: NDArray[np.float32] = (profile / profile.sum()).astype(np.float32)
    return kernel


def elliptic_gaussian(size: int, sigmas: tuple[float, float], angle: float) -> NDArray[np.float32]:
    """Return a centred elliptic Gaussian with sum 1.

    Parameters
    ----------
    size : int
        Side of the kernel, odd.
    sigmas : tuple of float
        Standard deviations in pixels along and across the direction given by `angle`.
    angle : float
        Direction in degrees: 0 points to the right, 90 upwards.

    Returns
    -------
    ndarray
        Shape ``(size, size)``.
    """
    rows, columns = np.mgrid[:size, :size] - size // 2
    radians = np.deg2rad(angle)
    along = columns * np.cos(radians) - rows * np.sin(radians)
    across = rows * np.cos(radians) + columns * np.sin(radians)
    profile = np.exp(-(along**2 / sigmas[0] ** 2 + across**2 / sigmas[1] ** 2) / 2)
    return (profile / profile.sum()).astype(np.float32)


def line_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """Return the kernel, with sum 1, of linear motion by `length` pixels at `angle` degrees."""
    half = int(np.ceil(length / 2)) + 1
    along = np.linspace(-length / 2, length / 2, 64 * half)  # dense samples of the line
    radians = np.deg2rad(angle)
    rows, columns = half - along * np.sin(radians), half + along * np.cos(radians)
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - np.abs(rows - top - down)) * (1 - np.abs(columns - left - right))
            np.add.at(kernel, (top + down, left + right), weight)
    return (kernel / kernel.sum()).astype(np.float32)
