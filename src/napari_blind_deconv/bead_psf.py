"""The PSF of a microscope, measured on an image of beads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.numerics.beads import Bead, average, find_beads
from napari_blind_deconv.psf import prepare_psf
from napari_blind_deconv.units import in_unit

__all__ = ["BeadPsf", "diameter_in_unit", "psf_from_beads"]

_LEAST_SIDE = 7  # of the window of a bead
# A ball of diameter d has the variance d² / 20 along each axis.
_FWHM_OF_BALL = math.sqrt(8 * math.log(2) / 20)


@dataclass(frozen=True, eq=False)
class BeadPsf:
    """A PSF measured on beads, and how it was measured.

    Attributes
    ----------
    kernel : Kernel
        The average of the beads: without background, centred, at the pixel size of the image.
    beads : tuple of Bead
        All spots, each with its position in pixels, and the reason if it was left out.
    fwhm : tuple of float
        FWHM of the PSF along the axes of the image, in `unit`: median over the beads of the FWHM of
        a fitted Gaussian. The size of the beads is subtracted in quadrature, if it was given.
    fwhm_deviation : tuple of float
        Standard deviation between the beads; NaN for a single one.
    unit : str
    """

    kernel: Kernel
    beads: tuple[Bead, ...]
    fwhm: tuple[float, ...]
    fwhm_deviation: tuple[float, ...]
    unit: str

    @property
    def used(self) -> tuple[Bead, ...]:
        """Beads that the average is made of."""
        return tuple(bead for bead in self.beads if bead.left_out is None)

    @property
    def left_out(self) -> dict[str, int]:
        """Number of spots that were left out, by reason."""
        return dict(Counter(str(bead.left_out) for bead in self.beads if bead.left_out))

    @property
    def described(self) -> str:
        """Number of beads, widths, and what was left out, as sentences."""
        axes = "ZYX"[-len(self.fwhm) :]
        widths = ", ".join(
            f"{axis} {width:.3g}" + ("" if math.isnan(spread) else f" ± {spread:.2g}")
            for axis, width, spread in zip(axes, self.fwhm, self.fwhm_deviation, strict=True)
        )
        beads = f"{len(self.used)} bead{'s' * (len(self.used) != 1)}"
        left = "; ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"Average of {beads}; FWHM {widths} {self.unit}." + (
            f" Left out: {left}." if left else ""
        )


def psf_from_beads(
    image: Image | ArrayLike,
    pixel_size: Sequence[float] | None = None,
    unit: str = "µm",
    *,
    positions: ArrayLike | None = None,
    bead_diameter: float | None = None,
    saturation: float | None = None,
    shape: Sequence[int] | None = None,
) -> BeadPsf:
    """Measure the PSF on an image of fluorescent beads, such as a bead slide.

    Isolated spots are found, centred by a fitted Gaussian to a fraction of a pixel, and averaged
    without their background. Spots that are cut off, saturated, too near to another one, too dim,
    or wider or brighter than most, are left out.

    Parameters
    ----------
    image : Image or array_like
        Plane or volume (planes, rows, columns), as it was recorded.
    pixel_size : sequence of float, optional
        Pixel size of an array, along its axes. Default: that of an `Image`.
    unit : str
        Unit of the pixel size.
    positions : array_like, optional
        Beads to use, as picked by eye: one row each, in pixels. Only beads that are cut off or
        saturated are then left out.
    bead_diameter : float, optional
        Diameter of the beads in the unit of the pixel size. It corrects the FWHM that is stated,
        not the average: that is the PSF convolved with a bead. Beads of up to half the FWHM widen
        it by less than 4 %.
    saturation : float, optional
        Value from which pixels are saturated. Default: the largest that the type of an integer
        image can have, and the largest value in the image if several pixels of a spot have it.
    shape : sequence of int, optional
        Sides of the window around a bead, in which there must be no other. Raising it keeps more of
        the wings and leaves out more beads. Default: 8 FWHM across and 5 FWHM along the optical
        axis, if the image is large enough. Where a rim has no light, the kernel is smaller.

    Returns
    -------
    BeadPsf

    Raises
    ------
    ValueError
        If no bead can be used, or the image is no plane or volume.

    Examples
    --------
    >>> from napari_blind_deconv.numerics.optics import gaussian_kernel
    >>> spots = np.zeros((64, 64))
    >>> spots[20:41, 20:41] = 1000 * gaussian_kernel((21, 21), 2.0)
    >>> slide = psf_from_beads(spots, (0.1, 0.1))
    >>> slide.described
    'Average of 1 bead; FWHM Y 0.471, X 0.471 µm.'
    """
    pixels, size, unit = _pixels(image, pixel_size, unit)
    if positions is not None and np.atleast_2d(np.asarray(positions)).shape[1:] != (pixels.ndim,):
        raise ValueError(
            f"Expected {pixels.ndim} numbers for the position of each bead, got {positions}."
        )
    if shape is not None and (len(shape) != pixels.ndim or min(shape) < _LEAST_SIDE):
        raise ValueError(
            f"Expected a side of at least {_LEAST_SIDE} for each of {pixels.ndim} axes, got "
            f"{tuple(shape)}."
        )
    beads, window = find_beads(pixels, positions, saturation, shape)
    used = [bead for bead in beads if bead.left_out is None]
    if not used:
        raise ValueError(_none_found(beads))
    total = average(pixels, used, window)
    kernel = prepare_psf(total, psf_pixel_size=size, unit=unit, background=True)
    sides = np.ones(pixels.ndim) if size is None else np.array(size)
    widths = np.array([bead.fwhm for bead in used]) * sides
    ball = _FWHM_OF_BALL * (bead_diameter or 0.0)
    fwhm = np.sqrt(np.maximum(np.median(widths, axis=0) ** 2 - ball**2, 0))
    deviation = widths.std(axis=0, ddof=1) if len(used) > 1 else np.full(pixels.ndim, np.nan)
    return BeadPsf(kernel, tuple(beads), tuple(fwhm.tolist()), tuple(deviation.tolist()), unit)


def diameter_in_unit(image: Image, micrometres: float | None) -> float | None:
    """Return the diameter of beads in the unit of an image; None for none.

    Raises
    ------
    ValueError
        If the pixel size of the image is not known along all axes.
    """
    if micrometres is None:
        return None
    diameter = in_unit(micrometres, "µm", image.unit)
    is_known = set("ZYX").intersection(image.axes) <= image.spacing.keys()
    if diameter is None or not is_known:
        raise ValueError("Expected a pixel size to correct for beads, got none.")
    return diameter


def _pixels(
    image: Image | ArrayLike, pixel_size: Sequence[float] | None, unit: str
) -> tuple[Any, tuple[float, ...] | None, str]:
    """Return the pixels, their size and its unit."""
    size = None if pixel_size is None else tuple(map(float, pixel_size))
    pixels = image.array if isinstance(image, Image) else np.asarray(image)
    if isinstance(image, Image) and size is None:
        known = [image.spacing.get(axis) for axis in image.axes]
        sides = tuple(side for side in known if side is not None)
        size, unit = (sides if len(sides) == len(known) else None), image.unit
    if pixels.ndim not in (2, 3) or (isinstance(image, Image) and image.axes not in ("YX", "ZYX")):
        raise ValueError(
            "Expected an image of beads with axes YX or ZYX, got "
            f"{image.axes if isinstance(image, Image) else f'shape {pixels.shape}'}."
        )
    if pixels.dtype.kind not in "uif" or not np.isfinite(pixels).all():
        raise ValueError("Expected an image of beads with finite numbers, got others.")
    if size is not None and len(size) != pixels.ndim:
        raise ValueError(
            f"Expected a pixel size along each of {pixels.ndim} axes, got {len(size)} numbers."
        )
    return pixels, size, "pixel" if size is None else unit


def _none_found(beads: Sequence[Bead]) -> str:
    reasons = Counter(str(bead.left_out) for bead in beads)
    found = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"Expected an isolated bead in the image, got {found or 'no spot above the noise'}."
