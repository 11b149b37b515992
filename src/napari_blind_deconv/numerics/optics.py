"""Point spread functions a microscope is expected to have, and of a stage that moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["elliptic_gaussian", "gaussian_kernel", "line_kernel", "widefield_psf"]

# Side of the grid the pupil is sampled on, in pixels of the camera.
_PUPIL_SIDE = 512


def widefield_psf(
    size: int,
    *,
    numerical_aperture: float,
    wavelength: float,
    pixel_size: float,
    refractive_index: float = 1.33,
    defocus: float = 0.0,
) -> NDArray[np.float32]:
    """Intensity PSF of a scalar, unaberrated widefield microscope: an Airy pattern in focus.

    Parameters
    ----------
    size : int
        Side of the kernel in pixels, odd.
    numerical_aperture : float
        Raising it narrows the PSF.
    wavelength : float
        Of emission, in µm.
    pixel_size : float
        In the sample, in µm; at most half of ``wavelength / (2 numerical_aperture)`` for a PSF
        without aliasing.
    refractive_index : float
        Of the immersion medium; it matters out of focus only.
    defocus : float
        Distance from the focal plane, in µm. Raising it widens the PSF and gives it rings.

    Returns
    -------
    ndarray
        Shape ``(size, size)``, ≥ 0, sum 1, centred. Pixels are points, not areas.
    """
    frequency = np.fft.fftfreq(_PUPIL_SIDE, pixel_size)
    radius = np.hypot(frequency[:, None], frequency[None, :]) * wavelength
    axial = np.sqrt(np.clip(refractive_index**2 - radius**2, 0, None))
    phase = 2 * np.pi * defocus / wavelength * axial
    pupil = (radius <= numerical_aperture) * np.exp(1j * phase)
    psf = np.fft.fftshift(np.abs(np.fft.ifft2(pupil)) ** 2)
    start = _PUPIL_SIDE // 2 - size // 2
    cut = psf[start : start + size, start : start + size]
    return (cut / cut.sum()).astype(np.float32)


def gaussian_kernel(shape: Sequence[int], sigma: float | Sequence[float]) -> NDArray[np.float32]:
    """A centred Gaussian of sum 1, of any number of axes.

    Parameters
    ----------
    shape : sequence of int
        Sides, odd.
    sigma : float or sequence of float
        Standard deviation in pixels, one for all axes or one for each.
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
    """An elliptic Gaussian ``(size, size)`` of sum 1, `size` odd.

    `sigmas` are in pixels, along an axis at `angle` degrees (0 to the right, 90 upwards) and across
    it.
    """
    rows, columns = np.mgrid[:size, :size] - size // 2
    turn = np.deg2rad(angle)
    along = columns * np.cos(turn) - rows * np.sin(turn)
    across = rows * np.cos(turn) + columns * np.sin(turn)
    profile = np.exp(-(along**2 / sigmas[0] ** 2 + across**2 / sigmas[1] ** 2) / 2)
    return (profile / profile.sum()).astype(np.float32)


def line_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """A straight drift during the exposure: `length` in pixels, `angle` in degrees, sum 1."""
    half = int(np.ceil(length / 2)) + 1
    along = np.linspace(-length / 2, length / 2, 64 * half)
    turn = np.deg2rad(angle)
    rows, columns = half - along * np.sin(turn), half + along * np.cos(turn)
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = (1 - np.abs(rows - top - down)) * (1 - np.abs(columns - left - right))
            np.add.at(kernel, (top + down, left + right), share)
    return (kernel / kernel.sum()).astype(np.float32)
