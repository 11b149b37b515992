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


class _Details(NamedTuple):
    """What tells the microscopes of one kind and pupil apart."""

    pinholes: Sequence[float]  # diameters in Airy units
    sheets: Sequence[float]  # thickness in wavelengths in the medium
    depths: Sequence[float] = (0.0,)  # in a sample that aberrates, in wavelengths


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
        kinds = _KINDS if self.kind is None else (self.kind,)
        if pupil is None:
            details = _Details(_COMMON_PINHOLES, _SHEETS)
            for period in _PERIODS:
                yield self._of_pupils(kinds, [(float(period), ratio) for ratio in _RATIOS], details)
            return
        depths = DEPTHS_IN_WATER if pupil.ratio >= _ABERRATED_RATIO else ()
        details = _Details(_PINHOLES, _SHEETS, (0.0, *depths))
        for factor in _LARGER_PERIODS:
            stopped_down = PupilShape(factor * pupil.period, pupil.ratio / factor)
            yield self._of_pupils(kinds, [stopped_down], details)

    def around(self, best: Candidate, pupil: PupilShape | None) -> Iterator[Candidate]:
        """Yield kernels like the best one, between those that were compared."""
        if best.microscope is None:
            yield from self._gaussians_around(best)
            return
        emission = best.microscope.emission
        assert emission is not None
        pupils = []
        for larger, higher in itertools.product(_FINER_PERIODS, _FINER_RATIOS):
            period = larger * emission.lateral_period
            ratio = min(higher * emission.numerical_aperture, _LARGEST_RATIO)
            if pupil is None:
                pupils.append(PupilShape(period, ratio))
            elif period >= pupil.period:
                pupils.append(PupilShape(period, pupil.ratio * pupil.period / period))
        sheet = (best.microscope.sheet_thickness or 0.0) / emission.wavelength
        pinhole = best.microscope.pinhole or 0.0
        details = _Details(
            [wider * pinhole for wider in _FINER_PINHOLES],
            [max(thicker * sheet, _SHEETS[0]) for thicker in _FINER_SHEETS],
            [deeper * best.depth for deeper in _FINER_DEPTHS],
        )
        yield from self._of_pupils([best.source], pupils, details)

    def narrowest(self, pupil: PupilShape) -> Candidate:
        """Return the narrowest kernel of the kind that is known, or of a confocal microscope."""
        kind = self.kind or KernelSource.CONFOCAL
        narrowest = next(self._of_pupils([kind], [pupil], _Details((0.0,), _SHEETS[:1])))
        return narrowest._replace(source=KernelSource.NARROWEST)

    def _gaussians_around(self, best: Candidate) -> Iterator[Candidate]:
        steps = [np.linspace(-0.5, 0.5, 5) * math.log(g[1] / g[0]) for g in (_SIGMAS, _DEPTHS)]
        lateral, axial = (
            width / FWHM * np.exp(step) for width, step in zip(best.widths, steps, strict=True)
        )
        yield from _gaussians(lateral, axial, self.means.gaussians(lateral, axial))

    def _of_pupils(
        self,
        kinds: Sequence[KernelSource],
        pupils: Iterable[tuple[float, float]],
        details: _Details,
    ) -> Iterator[Candidate]:
        """Yield microscopes of some kinds for each pupil, those of one kind narrowest first."""
        different = dict.fromkeys(pupils)
        grids = {period: self._grid(period) for period, _ in different}
        for period, ratio in different:
            grid = grids[period]
            widefield = grid.widefield(pupil_of(period, ratio))
            for kind in kinds:
                for psf in _of_kind(kind, grid, widefield, details):
                    yield Candidate(kind, psf.transfer, psf.widths, psf.microscope)

    @property
    def _depths(self) -> NDArray[np.float64]:
        """Standard deviations of the Gaussians along the axis, in smallest sides of a voxel."""
        return _DEPTHS * self.sampling[0]

    def _grid(self, period: float) -> RadialGrid:
        across, along = np.sqrt(self.means.across), np.sqrt(self.means.along)
        return RadialGrid(across, along, self.sampling[0], self.planes, period)


def _of_kind(
    kind: KernelSource, grid: RadialGrid, widefield: RadialPsf, details: _Details
) -> Iterator[RadialPsf]:
    """Yield the PSFs of microscopes of one kind that have the pupil of a widefield one."""
    pupil = widefield.microscope.emission
    assert pupil is not None
    if kind is KernelSource.CONFOCAL:
        yield from grid.confocal(widefield, sorted(set(details.pinholes)))
    elif kind is KernelSource.LIGHT_SHEET:
        for thickness in details.sheets:
            yield grid.light_sheet(widefield, thickness * pupil.wavelength)
    else:
        for depth in sorted(set(details.depths)):
            aberrated = pupil_of(pupil.lateral_period, pupil.numerical_aperture, depth)
            yield grid.widefield(aberrated) if depth else widefield


def _gaussians(
    lateral: NDArray[np.float64], axial: NDArray[np.float64], transfers: NDArray[np.float64]
) -> Iterator[Candidate]:
    """Yield Gaussians, with their standard deviations and |H|² ``(across, along, n)``."""
    flat = transfers.reshape(-1, transfers.shape[-1])
    for (across, along), transfer in zip(itertools.product(lateral, axial), flat, strict=True):
        widths = (FWHM * float(across), FWHM * float(along))
        yield Candidate(KernelSource.GAUSSIAN, transfer, widths)
