"""The PSFs of microscopes around the optical axis, and their transfer functions.

All lengths are multiples of the smallest side of a voxel. A round pupil is described by two
numbers, the finest lateral period of its light and the ratio of aperture and refractive index, so
that a microscope can be searched for without knowing the size of a voxel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0

from napari_blind_deconv.numerics.microscope import Microscope, averaged_over_disc
from napari_blind_deconv.numerics.pupil import Layers, Pupil

__all__ = ["RadialGrid", "RadialPsf", "pupil_of"]

Array = NDArray[np.float64]

_SAMPLES_PER_PERIOD = 7  # along the radius, of the finest lateral period
_REACH = 40.0  # smallest sides of a voxel, across the axis
_FWHM = math.sqrt(8 * math.log(2))
# Wavelength of the excitation over that of the emission. It is 0.92 to 0.95 for the common pairs
# 488 and 525 nm, 561 and 600 nm, 640 and 670 nm.
_EXCITATION = 0.93
_WATER_IN_OIL = 1.33 / 1.515  # refractive indices
_AIRY_RADIUS = 1.22  # of half an Airy unit, in finest lateral periods


def pupil_of(period: float, ratio: float, depth: float = 0.0) -> Pupil:
    """Return the pupil with a finest lateral period and a ratio of aperture and index.

    With a depth, in wavelengths in the immersion, the focus is so far below the cover glass of a
    sample in water, which the objective with its oil immersion is not made for.
    """
    wavelength = 2 * ratio * period
    layers = Layers(1.0, _WATER_IN_OIL if depth else None, depth * wavelength)
    return Pupil(ratio, wavelength, layers)


class RadialPsf(NamedTuple):
    """A PSF by distance from the axis and height above the focus.

    Attributes
    ----------
    microscope : Microscope
    light : ndarray
        Intensity ``(radii, heights)``.
    transfer : ndarray
        |H|² at the frequencies of the grid ``(n,)``.
    widths : tuple of float
        FWHM across and along the axis.
    """

    microscope: Microscope
    light: Array
    transfer: Array
    widths: tuple[float, float]


class RadialGrid:
    """Samples of a PSF across and along the axis.

    Parameters
    ----------
    across, along : ndarray
        Frequencies across and along the axis ``(n,)``, in radians per smallest side of a voxel.
    step : float
        Distance of planes.
    planes : int
        Number of planes.
    period : float
        Finest lateral period of the PSFs.
    """

    def __init__(self, across: Array, along: Array, step: float, planes: int, period: float):
        spacing = period / _SAMPLES_PER_PERIOD
        self._period = period
        self._radii = spacing * (np.arange(int(_REACH / spacing)) + 0.5)
        self._area = self._radii * spacing
        # Planes between those of the volume, so that the width along the axis can be measured.
        self._heights = step / 2 * np.arange(1 - planes, planes)
        self._rings = j0(across[:, np.newaxis] * self._radii) * self._area
        self._waves = np.exp(-1j * along[:, np.newaxis] * self._heights)

    def widefield(self, pupil: Pupil) -> RadialPsf:
        """Return the PSF of a camera: all planes have the same light. The focus is at height 0."""
        focus = pupil.brightest_height() if pupil.layers.depth else 0.0
        light = pupil.intensity(self._radii, focus + self._heights)
        return self._psf(Microscope(pupil), light / (self._area @ light))

    def confocal(
        self, widefield: RadialPsf, pinholes: Iterable[float] = (0.0,)
    ) -> Iterator[RadialPsf]:
        """Yield PSFs of the same pupil with a scanned focus, one for each pinhole.

        Pinholes are in Airy units, 0 if closed. The excitation is that of a common dye.
        """
        pupil = widefield.microscope.emission
        assert pupil is not None
        excitation = replace(pupil, wavelength=_EXCITATION * pupil.wavelength)
        scanned = excitation.intensity(self._radii, self._heights)
        for pinhole in pinholes:
            detected = widefield.light
            if pinhole > 0:
                disc = pinhole * _AIRY_RADIUS * self._period
                detected = averaged_over_disc(
                    self._radii, detected, self._radii, disc, self._period
                )
            microscope = Microscope(pupil, excitation=excitation, pinhole=pinhole)
            yield self._psf(microscope, scanned * detected)

    def light_sheet(self, widefield: RadialPsf, thickness: float) -> RadialPsf:
        """Return the PSF of the same pupil with light on a sheet with some FWHM."""
        pupil = widefield.microscope.emission
        sheet = np.exp(-np.square(self._heights * _FWHM / thickness) / 2)
        return self._psf(Microscope(pupil, sheet_thickness=thickness), widefield.light * sheet)

    def _psf(self, microscope: Microscope, light: Array) -> RadialPsf:
        field = ((self._rings @ light) * self._waves).sum(axis=1) / (self._area @ light).sum()
        middle = len(self._heights) // 2
        widths = (
            2 * _half(self._radii, light[:, middle]),
            sum(_half(self._heights[middle:], light[0, middle::side]) for side in (1, -1)),
        )
        return RadialPsf(microscope, light, np.square(np.abs(field)), widths)


def _half(positions: NDArray[np.floating], values: Array) -> float:
    """Return where values first fall below half of the first one."""
    below = np.flatnonzero(values < values[0] / 2)
    if not len(below):
        return float(positions[-1])
    outer = int(below[0])
    share = (values[outer - 1] - values[0] / 2) / (values[outer - 1] - values[outer])
    return float(positions[outer - 1] + share * (positions[outer] - positions[outer - 1]))
