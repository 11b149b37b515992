"""The light of a point source in and around the focus of an objective (scalar theory).

The pupil is round and evenly filled, so that the field depends on the distance from the optical
axis and on the focus alone. It is computed as an integral over the pupil, after Born and Wolf
(*Principles of Optics*, section 8.8), but without the paraxial approximation. Layers with other
refractive indices than the objective is made for are those of Gibson and Lanni (*Experimental test
of an analytical model of aberration in an oil-immersion objective lens used in three-dimensional
light microscopy*, J. Opt. Soc. Am. A 8, 1991). All lengths are in µm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import j0, roots_legendre

__all__ = ["Layers", "Pupil", "peak_position"]

_Rule = Callable[[int], tuple[NDArray[np.float64], NDArray[np.float64]]]

# Nodes of a Gauss-Legendre rule: two for each wavelength that the integrand goes through would be
# the least; this many for each radian of its phase, and some more, leave an error below 1e-6.
_NODES_PER_RADIAN = 0.6
_MIN_NODES = 40
# The focus of rays beyond this fraction of the critical angle is of no use to find the brightest.
_STEEPEST = 0.95
_HEIGHTS_PER_PERIOD = 16


@dataclass(frozen=True)
class Layers:
    """What the light passes from a point in the sample to the objective.

    Attributes
    ----------
    immersion_index : float
        Refractive index of the immersion.
    sample_index : float or None
        Refractive index of the sample, or of the medium that it is mounted in. None: that of the
        immersion, so that a depth causes no aberration.
    depth : float
        Depth of the point below the cover glass in µm. Raising it widens the PSF along the optical
        axis and makes it asymmetric, if the indices of sample and immersion differ.
    glass_thickness, glass_index : float
        Thickness in µm and refractive index of the cover glass.
    design_glass_thickness, design_glass_index : float
        Those that the objective is made for, or that its correction collar is set to.
    design_immersion_index : float or None
        Index of the immersion that the objective is made for. None: that of the immersion.
    working_distance : float
        Thickness in µm of the immersion that the objective is made for. It matters only if the
        immersion has another index.
    """

    immersion_index: float
    sample_index: float | None = None
    depth: float = 0.0
    glass_thickness: float = 170.0
    glass_index: float = 1.5255
    design_glass_thickness: float = 170.0
    design_glass_index: float = 1.5255
    design_immersion_index: float | None = None
    working_distance: float = 150.0

    @property
    def lowest_index(self) -> float:
        """Index that light beyond the critical angle does not pass."""
        return min(self.immersion_index, self.sample_index or self.immersion_index)

    def path(self, sines: NDArray[np.float64], heights: ArrayLike) -> NDArray[np.complex128]:
        """Return the path of light, minus that of the design, in µm.

        Parameters
        ----------
        sines : ndarray
            Radii in the pupil, as sine of the angle times refractive index.
        heights : array_like
            How far the objective is moved towards the sample, from the position at which rays along
            the axis are in focus.

        Returns
        -------
        ndarray
            Shape ``(radii, heights)``. The imaginary part is the decay of light beyond the critical
            angle.
        """
        sample = self.sample_index or self.immersion_index
        travel = self._immersion_thickness - np.asarray(heights, np.float64)
        fixed = self._fixed(sines) + self.depth * np.sqrt(sample**2 - sines**2 + 0j)
        return fixed[:, None] + _cosine(self.immersion_index, sines)[:, None] * travel

    def focus(self, sines: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the height at which rays of each radius in the pupil are in focus, in µm."""
        step = 1e-4  # in the square of the radius
        below, above = (np.sqrt(np.maximum(sines**2 + side, 0)) for side in (-step, step))
        slope = (self.path(above, [0.0]) - self.path(below, [0.0])).real[:, 0]
        per_height = _cosine(self.immersion_index, above) - _cosine(self.immersion_index, below)
        return slope / per_height

    @property
    def _immersion_thickness(self) -> float:
        """Thickness of the immersion at which rays along the axis are in focus."""
        design = self.design_immersion_index or self.immersion_index
        return self.immersion_index * (
            self.design_glass_thickness / self.design_glass_index
            + self.working_distance / design
            - self.glass_thickness / self.glass_index
            - self.depth / (self.sample_index or self.immersion_index)
        )

    def _fixed(self, sines: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the part of the path that neither depth nor focus change."""
        design = self.design_immersion_index or self.immersion_index
        return (
            self.glass_thickness * _cosine(self.glass_index, sines)
            - self.design_glass_thickness * _cosine(self.design_glass_index, sines)
            - self.working_distance * _cosine(design, sines)
        ).astype(np.complex128)


@dataclass(frozen=True)
class Pupil:
    """A round pupil that light of one wavelength fills evenly.

    Attributes
    ----------
    numerical_aperture : float
    wavelength : float
        In vacuum, in µm.
    layers : Layers
    """

    numerical_aperture: float
    wavelength: float
    layers: Layers = field(default_factory=lambda: Layers(1.515))

    @property
    def lateral_period(self) -> float:
        """Finest period of the intensity in a plane, in µm."""
        return self.wavelength / (2 * self.numerical_aperture)

    @property
    def axial_period(self) -> float:
        """Finest period of the intensity along the axis, in µm, for equal indices."""
        index = self.layers.immersion_index
        return self.wavelength / float(index - _cosine(index, np.array(self.numerical_aperture)))

    def intensity(self, radii: ArrayLike, heights: ArrayLike) -> NDArray[np.float64]:
        """Return the intensity of a point source.

        Parameters
        ----------
        radii : array_like
            Distances from the optical axis in µm.
        heights : array_like
            Positions of the focus in µm, as in :meth:`Layers.path`.

        Returns
        -------
        ndarray
            Shape ``(radii, heights)``. The integral over each plane is the share of light that is
            not beyond the critical angle, 1 if there is none.
        """
        r, z = np.asarray(radii, np.float64), np.asarray(heights, np.float64)
        wave = 2 * np.pi / self.wavelength
        extremes = np.array([z.min(), z.max()])
        field_of_light = np.zeros((r.size, z.size), np.complex128)
        for panel in self._panels():
            few, _ = panel(_MIN_NODES)
            turns = np.abs(np.diff(wave * self.layers.path(few, extremes), axis=0)).sum(axis=0)
            radians = turns.max() + wave * r.max() * few.max()
            sines, weights = panel(_MIN_NODES + int(_NODES_PER_RADIAN * radians))
            waves = np.exp(1j * wave * self.layers.path(sines, z)) * weights[:, None]
            bessel = j0(wave * r[:, None] * sines)
            field_of_light += bessel @ waves.real + 1j * (bessel @ waves.imag)
        # The energy of the field in a plane is that in the pupil (Parseval's theorem).
        scale = wave * np.sqrt(1 / np.pi) / self.numerical_aperture
        return np.square(scale * np.abs(field_of_light))

    def brightest_height(self) -> float:
        """Return the height in µm at which the intensity on the axis is greatest."""
        steepest = min(self.numerical_aperture, _STEEPEST * self.layers.lowest_index)
        foci = self.layers.focus(np.linspace(0.05, 1, 50) * steepest)
        low, high = foci.min() - self.axial_period, foci.max() + self.axial_period
        count = int((high - low) / self.axial_period * _HEIGHTS_PER_PERIOD) + 1
        heights = np.linspace(low, high, count)
        return peak_position(heights, self.intensity([0.0], heights)[0])

    def _panels(self) -> list[_Rule]:
        """Return rules of integration over the pupil, one on each side of the critical angle.

        Each takes a number of nodes, and returns radii as in :meth:`Layers.path` and weights. The
        radius is written as a sine or a hyperbolic cosine, so that the path is smooth up to the
        critical angle.
        """
        index = self.layers.lowest_index
        angle = np.arcsin(min(self.numerical_aperture / index, 1))

        def below(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            nodes, weights = roots_legendre(count)
            angles = angle * (nodes + 1) / 2
            sines = index * np.sin(angles)
            return sines, weights * angle / 2 * sines * index * np.cos(angles)

        def beyond(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            nodes, weights = roots_legendre(count)
            end = np.arccosh(self.numerical_aperture / index)
            arguments = end * (nodes + 1) / 2
            sines = index * np.cosh(arguments)
            return sines, weights * end / 2 * sines * index * np.sinh(arguments)

        return [below, beyond] if self.numerical_aperture > index else [below]


def peak_position(positions: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return where evenly sampled values are greatest, between the samples by a parabola."""
    best = int(np.clip(values.argmax(), 1, len(values) - 2))
    before, highest, after = values[best - 1 : best + 2]
    bend = before - 2 * highest + after
    offset = 0.0 if bend >= 0 else float(np.clip((before - after) / (2 * bend), -1, 1))
    return float(positions[best] + offset * (positions[1] - positions[0]))


def _cosine(index: float, sines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosine of the angle in a medium, times its index; 0 where no light goes."""
    return np.sqrt(np.maximum(index**2 - sines**2, 0))
