"""The kernels that are compared when that of a volume is searched for: microscopes and Gaussians.

Lengths are multiples of the smallest side of a voxel, unless they are stated in planes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.kernel import KernelSource
from napari_blind_deconv.numerics.cylinders import CylinderMeans
from napari_blind_deconv.numerics.microscope import Microscope
from napari_blind_deconv.numerics.microscope_transfer import RadialGrid, RadialPsf, pupil_of

__all__ = ["DEPTHS_IN_WATER", "FWHM", "Candidate", "KernelFamily", "PupilShape"]

FWHM = math.sqrt(8 * math.log(2))  # of a Gaussian, in standard deviations
_KINDS = (KernelSource.WIDEFIELD, KernelSource.CONFOCAL, KernelSource.LIGHT_SHEET)
_SIGMAS = np.geomspace(0.3, 6.0, 16)  # across the axis, in smallest sides of a voxel
_DEPTHS = np.geomspace(0.2, 8.0, 17)  # along it, in planes
_PERIODS = np.geomspace(2.1, 12.0, 12)  # finest lateral periods, in smallest sides of a voxel
_RATIOS = (0.3, 0.5, 0.7, 0.85, 0.95)  # of aperture and refractive index
# Thickness of a light sheet in wavelengths in the medium. Thinner ones are hardly made.
_SHEETS = (1.5, 3.0, 6.0, 12.0)
# The aperture that is used may be smaller than the one that is stated.
_LARGER_PERIODS = (1.0, 1.1, 1.2, 1.35)
# Diameters of the pinhole in Airy units, if the objective is known. If it is not, a closed one and
# the common one are compared: others are nearly the same as these with another pupil.
_PINHOLES = (0.0, 0.5, 1.0, 1.5, 2.0)
_COMMON_PINHOLES = (0.0, 1.0)
# Depths below the cover glass, in wavelengths, of samples in water seen with oil immersion. With
# other indices, other depths cause nearly the same aberration. They are compared if the objective
# is known: without, aberrated microscopes explain too much.
DEPTHS_IN_WATER = (5.0, 12.0, 30.0)
_ABERRATED_RATIO = 0.8  # of aperture and index, below which a depth causes little aberration
# Steps of the grids above, between which the best microscope is refined.
_FINER_PERIODS = (0.92, 1.0, 1.08)
_FINER_RATIOS = (0.92, 1.0, 1.04)
_FINER_SHEETS = (0.8, 1.0, 1.25)
_FINER_PINHOLES = (0.8, 1.0, 1.25)
_FINER_DEPTHS = (0.75, 1.0, 1.3)
_LARGEST_RATIO = 0.97


class PupilShape(NamedTuple):
    """What is known of an objective.

    Attributes
    ----------
    period : float
        Finest lateral period of its light, in smallest sides of a voxel.
    ratio : float
        Ratio of numerical aperture and refractive index of the immersion.
    """

    period: float
    ratio: float


class Candidate(NamedTuple):
    """A kernel: what it is, |H|² ``(n,)`` and its FWHM across and along the axis.

    Lengths are multiples of the smallest side of a voxel. Without a microscope it is a Gaussian.
    """

    source: KernelSource
    transfer: NDArray[np.float64]
    widths: tuple[float, float]
    microscope: Microscope | None = None

    @property
    def depth(self) -> float:
        """Depth in a sample that aberrates, in wavelengths."""
        emission = None if self.microscope is None else self.microscope.emission
        return 0.0 if emission is None else emission.layers.depth / emission.wavelength


@dataclass(frozen=True, eq=False)
class KernelFamily:
    """Kernels whose spectrum is compared with that of a volume."""

    means: CylinderMeans
    sampling: tuple[float, ...]
    planes: int
    kind: KernelSource | None = None  # of the microscope, if it is known

    @cached_property
    def gaussian_transfers(self) -> NDArray[np.float64]:
        """|H|² of Gaussians of all widths ``(across, along, n)``."""
        return self.means.gaussians(_SIGMAS, self._depths)

    def gaussians(self) -> Iterator[Candidate]:
        """Yield Gaussians of all widths."""
        yield from _gaussians(_SIGMAS, self._depths, self.gaussian_transfers)

    def microscopes(self, pupil: PupilShape | None) -> Iterator[Iterator[Candidate]]:
        """Yield the microscopes of each lateral period: those that the objective allows, or all."""
        if pupil is None:
            for period in _PERIODS:
                yield self._of_pupils(float(period), _RATIOS, _COMMON_PINHOLES)
            return
        depths = DEPTHS_IN_WATER if pupil.ratio >= _ABERRATED_RATIO else ()
        for factor in _LARGER_PERIODS:
            yield self._of_pupils(factor * pupil.period, (pupil.ratio / factor,), _PINHOLES, depths)

    def around(self, best: Candidate, pupil: PupilShape | None) -> Iterator[Candidate]:
        """Yield kernels like the best one, between those that were compared."""
        if best.microscope is None:
            yield from self._gaussians_around(best)
            return
        emission, sheet = best.microscope.emission, best.microscope.sheet_thickness
        assert emission is not None
        for larger, higher in itertools.product(_FINER_PERIODS, _FINER_RATIOS):
            period = larger * emission.lateral_period
            ratio = min(higher * emission.numerical_aperture, _LARGEST_RATIO)
            if pupil is not None:
                if period < pupil.period:
                    continue
                ratio = pupil.ratio * pupil.period / period
            grid = self._grid(period)
            widefield = grid.widefield(pupil_of(period, ratio))
            if sheet is not None:
                thinnest = _SHEETS[0] * emission.wavelength
                for thicker in _FINER_SHEETS:
                    psf = grid.light_sheet(widefield, max(thicker * sheet, thinnest))
                    yield _candidate(KernelSource.LIGHT_SHEET, psf)
            elif best.source is KernelSource.CONFOCAL:
                pinhole = best.microscope.pinhole
                pinholes = [wider * pinhole for wider in _FINER_PINHOLES] if pinhole else [0.0]
                for psf in grid.confocal(widefield, pinholes):
                    yield _candidate(best.source, psf)
            elif best.depth:
                for deeper in _FINER_DEPTHS:
                    aberrated = pupil_of(period, ratio, deeper * best.depth)
                    yield _candidate(best.source, grid.widefield(aberrated))
            else:
                yield _candidate(best.source, widefield)

    def narrowest(self, pupil: PupilShape) -> Candidate:
        """Return the narrowest kernel of the kind that is known, or of a confocal microscope."""
        grid, kind = self._grid(pupil.period), self.kind or KernelSource.CONFOCAL
        psf = next(self._of_kind(kind, grid, grid.widefield(pupil_of(*pupil)), (0.0,)))
        return _candidate(KernelSource.NARROWEST, psf)

    def _gaussians_around(self, best: Candidate) -> Iterator[Candidate]:
        steps = [np.linspace(-0.5, 0.5, 5) * math.log(g[1] / g[0]) for g in (_SIGMAS, _DEPTHS)]
        lateral, axial = (
            width / FWHM * np.exp(step) for width, step in zip(best.widths, steps, strict=True)
        )
        yield from _gaussians(lateral, axial, self.means.gaussians(lateral, axial))

    def _of_pupils(
        self,
        period: float,
        ratios: Iterable[float],
        pinholes: Sequence[float],
        depths: Sequence[float] = (),
    ) -> Iterator[Candidate]:
        grid = self._grid(period)
        for ratio in ratios:
            widefield = grid.widefield(pupil_of(period, ratio))
            kinds = _KINDS if self.kind is None else (self.kind,)
            for kind in kinds:
                for psf in self._of_kind(kind, grid, widefield, pinholes):
                    yield _candidate(kind, psf)
            if KernelSource.WIDEFIELD in kinds:
                for depth in depths:
                    psf = grid.widefield(pupil_of(period, ratio, depth))
                    yield _candidate(KernelSource.WIDEFIELD, psf)

    @staticmethod
    def _of_kind(
        kind: KernelSource, grid: RadialGrid, widefield: RadialPsf, pinholes: Sequence[float]
    ) -> Iterator[RadialPsf]:
        """Yield the PSFs of microscopes of one kind with one pupil, the narrowest first."""
        if kind is KernelSource.WIDEFIELD:
            yield widefield
        elif kind is KernelSource.CONFOCAL:
            yield from grid.confocal(widefield, pinholes)
        else:
            pupil = widefield.microscope.emission
            assert pupil is not None
            for thickness in _SHEETS:
                yield grid.light_sheet(widefield, thickness * pupil.wavelength)

    @property
    def _depths(self) -> NDArray[np.float64]:
        """Standard deviations of the Gaussians along the axis, in smallest sides of a voxel."""
        return _DEPTHS * self.sampling[0]

    def _grid(self, period: float) -> RadialGrid:
        across, along = np.sqrt(self.means.across), np.sqrt(self.means.along)
        return RadialGrid(across, along, self.sampling[0], self.planes, period)


def _candidate(source: KernelSource, psf: RadialPsf) -> Candidate:
    return Candidate(source, psf.transfer, psf.widths, psf.microscope)


def _gaussians(
    lateral: NDArray[np.float64], axial: NDArray[np.float64], transfers: NDArray[np.float64]
) -> Iterator[Candidate]:
    """Yield Gaussians, with their standard deviations and |H|² ``(across, along, n)``."""
    flat = transfers.reshape(-1, transfers.shape[-1])
    for (across, along), transfer in zip(itertools.product(lateral, axial), flat, strict=True):
        widths = (FWHM * float(across), FWHM * float(along))
        yield Candidate(KernelSource.GAUSSIAN, transfer, widths)
