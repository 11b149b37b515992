"""The PSF of a microscope: computed from its optics, or given, at the pixel size of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.numerics.location import origin_at_centroid
from napari_blind_deconv.numerics.microscope import Microscope, voxel_psf, voxel_sides
from napari_blind_deconv.numerics.pupil import Layers, Pupil
from napari_blind_deconv.numerics.recorded_psf import (
    has_background,
    light_of,
    resampled,
    without_dark_rim,
)
from napari_blind_deconv.optics import MicroscopeKind, Optics, is_wavelength
from napari_blind_deconv.units import in_unit

__all__ = ["MicroscopeKind", "at_pixel_size", "microscope_psf", "prepare_psf"]

# Pixel sizes with a smaller relative difference count as equal.
_PIXEL_SIZE_TOLERANCE = 0.02
# In focus the index of the immersion has no effect; this one is above every aperture.
_ANY_INDEX = 2.0


def microscope_psf(
    optics: Optics,
    pixel_size: Sequence[float],
    unit: str = "µm",
    *,
    microscope: MicroscopeKind | str = MicroscopeKind.WIDEFIELD,
    excitation_wavelength: float | None = None,
    pinhole: float = 1.0,
    sheet_thickness: float | None = None,
    sample_index: float | None = None,
    depth: float = 0.0,
    glass_thickness: float = 170.0,
    design_index: float | None = None,
    shape: Sequence[int] | None = None,
    within: Sequence[int] | None = None,
    channel: int = 0,
) -> Kernel:
    """Compute the PSF of a microscope from its optics.

    The theory is scalar, and the pupil is round and evenly filled. If `sample_index` is the index
    of the immersion, this is the model of Born and Wolf; otherwise it is that of Gibson and Lanni.
    The PSF is integrated over the pixels.

    Parameters
    ----------
    optics : Optics
        Numerical aperture, refractive index of the immersion (not needed for a 2D PSF of a sample
        with the index of the immersion), and emission wavelengths.
    pixel_size : sequence of float
        Pixel size of the image: planes, rows and columns, or rows and columns for the PSF in the
        focal plane.
    unit : str
        Unit of the pixel size.
    microscope : MicroscopeKind or str
        ``"widefield"``, ``"confocal"``, ``"two-photon"`` or ``"light-sheet"``.
    excitation_wavelength : float, optional
        In µm; needed for a confocal and a two-photon microscope. Raising it widens the PSF.
    pinhole : float
        Diameter of the pinhole of a confocal microscope in Airy units (1.22 emission wavelengths
        over the numerical aperture). Raising it widens the PSF and lets in light from other planes.
    sheet_thickness : float, optional
        FWHM in µm of the sheet of a light-sheet microscope. Raising it lengthens the PSF.
    sample_index : float, optional
        Refractive index of the sample or its mounting medium, such as 1.33 for water. Default: that
        of the immersion.
    depth : float
        Depth of what is imaged below the cover glass, in µm. It has an effect only if the indices
        of sample and immersion differ: the PSF is then longer and asymmetric.
    glass_thickness : float
        Thickness of the cover glass in µm, for an objective that is made for 170 µm.
    design_index : float, optional
        Refractive index of the immersion that the objective is made for, if another one is used.
    shape : sequence of int, optional
        Sides of the PSF; an even one is reduced by 1. Default: the planes whose brightest point is
        brighter than 1 % of the brightest of all, and the rows and columns that hold 98 % of their
        light.
    within : sequence of int, optional
        Sides that the PSF does not exceed, such as those of the image.
    channel : int
        Channel whose emission wavelength is used.

    Returns
    -------
    Kernel
        Its origin is where the PSF is brightest on the optical axis. Planes follow in the order in
        which the focus moves deeper into the sample.

    Raises
    ------
    ValueError
        If something that is needed is unknown or impossible.

    Examples
    --------
    >>> optics = Optics(1.4, 1.515, (0.525,))
    >>> kernel = microscope_psf(optics, (0.2, 0.065, 0.065), sample_index=1.46, depth=5.0)
    >>> kernel.pixel_size
    (0.2, 0.065, 0.065)
    """
    sides = _in_micrometres(pixel_size, unit)
    model = _microscope(
        optics,
        MicroscopeKind.named(microscope),
        Layers(
            _immersion(optics, needed=len(sides) == 3 or sample_index is not None),
            _checked(sample_index, "a refractive index of the sample"),
            _checked(depth, "a depth below the cover glass") or 0.0,
            _checked(glass_thickness, "a thickness of the cover glass") or 0.0,
            design_immersion_index=_checked(design_index, "an index of the immersion by design"),
        ),
        channel,
        _checked(excitation_wavelength, "an excitation wavelength"),
        _checked(pinhole, "a diameter of the pinhole") or 0.0,
        _checked(sheet_thickness, "a thickness of the light sheet"),
    )
    window = tuple(voxel_sides(model, sides) if shape is None else shape)
    if within is not None:
        window = tuple(map(min, window, within))
    if len(window) != len(sides) or min(window) < 1:
        raise ValueError(
            f"Expected a side of the PSF for each of {len(sides)} axes, got {tuple(window)}."
        )
    odd = tuple(side - 1 + side % 2 for side in window)
    weights = voxel_psf(model, odd, sides).astype(np.float32)
    return Kernel(weights, pixel_size=tuple(map(float, pixel_size)), unit=unit)


def prepare_psf(
    psf: Kernel | ArrayLike,
    pixel_size: Sequence[float] | None = None,
    unit: str = "µm",
    *,
    psf_pixel_size: Sequence[float] | None = None,
    background: bool | None = None,
) -> Kernel:
    """Prepare a PSF that was recorded or computed for images of some pixel size.

    Its background and its noise are set to 0, it is resampled, and its centroid is moved to its
    origin: exactly if it is resampled, otherwise to the nearest pixel by padding with zeros, which
    changes no value. An even side is padded at its end. A rim of zeros that this leaves is cropped.

    Parameters
    ----------
    psf : Kernel or array_like
        The PSF, with any sides.
    pixel_size : sequence of float, optional
        Pixel size of the images. A PSF whose pixels are known to be others is resampled: integrated
        over larger pixels, interpolated between smaller ones.
    unit : str
        Unit of both pixel sizes.
    psf_pixel_size : sequence of float, optional
        Pixel size of the PSF. Default: that of a `Kernel`; unknown for an array.
    background : bool, optional
        Whether to take off the median of the rim, and the noise. Default: if the rim is flat, above
        0 and below a fifth of the peak, as beside a bead and unlike the wings of a PSF.

    Returns
    -------
    Kernel

    Raises
    ------
    TypeError, ValueError
        As `Kernel.of`.
    """
    values = np.asarray(psf)
    if background is None:
        background = values.size > 0 and values.dtype.kind in "uif" and has_background(values)
    known = psf if isinstance(psf, Kernel) else None
    if known is None or psf_pixel_size is not None:
        size = None if psf_pixel_size is None else tuple(map(float, psf_pixel_size))
        known = Kernel.of(light_of(values) if background else values, pixel_size=size, unit=unit)
    elif background:
        known = known.with_weights(Kernel.of(light_of(values)).weights)
    fitted = at_pixel_size(known, pixel_size, unit)
    weights, _ = origin_at_centroid(fitted.weights)
    if background or fitted is not known:
        weights = without_dark_rim(weights)
    return fitted.with_weights(weights)


def at_pixel_size(kernel: Kernel, pixel_size: Sequence[float] | None, unit: str) -> Kernel:
    """Return a kernel at another pixel size.

    A kernel with this pixel size, up to 2 %, is returned unchanged, and so is one whose pixel size
    or unit is unknown.
    """
    if kernel.pixel_size is None or pixel_size is None:
        return kernel
    sides = [in_unit(side, kernel.unit, unit) for side in kernel.pixel_size]
    old = [side for side in sides if side is not None]
    if len(old) != len(sides) or len(pixel_size) != len(old):
        return kernel
    if np.allclose(old, pixel_size, rtol=_PIXEL_SIZE_TOLERANCE, atol=0):
        return kernel
    ratios = [new / side for new, side in zip(pixel_size, old, strict=True)]
    weights = without_dark_rim(resampled(kernel.weights, ratios).astype(np.float32))
    return replace(kernel, weights=weights, pixel_size=tuple(map(float, pixel_size)), unit=unit)


def _microscope(
    optics: Optics,
    kind: MicroscopeKind,
    layers: Layers,
    channel: int,
    excitation_wavelength: float | None,
    pinhole: float,
    sheet_thickness: float | None,
) -> Microscope:
    """Return a microscope; raise `ValueError` if it needs what is unknown."""
    aperture = optics.numerical_aperture
    if aperture is None:
        raise ValueError("Expected a numerical aperture to compute the PSF, got none.")
    emission = excitation = None
    if kind is not MicroscopeKind.TWO_PHOTON:
        waves = optics.emission_wavelengths
        wave = waves[channel] if -len(waves) <= channel < len(waves) else None
        if wave is None:
            raise ValueError(
                f"Expected an emission wavelength of channel {channel} to compute the PSF, got "
                "none."
            )
        emission = Pupil(aperture, wave, layers)
    if kind in (MicroscopeKind.CONFOCAL, MicroscopeKind.TWO_PHOTON):
        if excitation_wavelength is None:
            raise ValueError(
                f"Expected an excitation wavelength to compute the PSF of a {kind} microscope, got "
                "none."
            )
        if not is_wavelength(excitation_wavelength):
            raise ValueError(
                "Expected an excitation wavelength in µm, such as 0.488, got "
                f"{excitation_wavelength:g}."
            )
        excitation = Pupil(aperture, excitation_wavelength, layers)
    if kind is MicroscopeKind.LIGHT_SHEET and sheet_thickness is None:
        raise ValueError("Expected the thickness of the light sheet to compute the PSF, got none.")
    return Microscope(
        emission,
        excitation,
        pinhole if kind is MicroscopeKind.CONFOCAL else None,
        photons=2 if kind is MicroscopeKind.TWO_PHOTON else 1,
        sheet_thickness=sheet_thickness if kind is MicroscopeKind.LIGHT_SHEET else None,
    )


def _immersion(optics: Optics, *, needed: bool) -> float:
    if optics.refractive_index is not None:
        return optics.refractive_index
    if needed:
        raise ValueError(
            "Expected the refractive index of the immersion to compute the PSF, such as 1.515 for "
            "oil, got none."
        )
    return _ANY_INDEX


def _in_micrometres(pixel_size: Sequence[float], unit: str) -> tuple[float, ...]:
    sides = [in_unit(side, unit, "µm") for side in pixel_size]
    known = tuple(side for side in sides if side is not None)
    if len(known) != len(sides) or len(known) not in (2, 3):
        raise ValueError(
            "Expected a pixel size along planes, rows and columns, or rows and columns, in a unit "
            f"of length, got {tuple(pixel_size)} {unit}."
        )
    return known


def _checked(value: float | None, name: str) -> float | None:
    """Return a length or an index; raise `ValueError` if it is negative or not finite."""
    if value is not None and not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"Expected {name} of 0 or more, got {value:g}.")
    return value
