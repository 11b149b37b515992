"""Estimate the kernel of a volume from the volume alone.

The power spectrum of the volume is compared with those that microscopes predict: a widefield
microscope, a confocal one, one with a light sheet, and one whose PSF is a Gaussian. A specimen has
no preferred direction on average, so that its power depends on the magnitude of the frequency
alone. What the spectrum lacks along the optical axis, compared with across it, is therefore blur.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.cylinders import CylinderMeans
from napari_blind_deconv.numerics.microscope import Microscope, voxel_psf, voxel_sides
from napari_blind_deconv.numerics.microscope_transfer import RadialGrid, RadialPsf, pupil_of
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.parametric_kernel import WIDEST_POINT
from napari_blind_deconv.numerics.volume_evidence import VolumeEvidence
from napari_blind_deconv.numerics.volume_spectrum import volume_spectrum

__all__ = ["ProbableKernel", "PupilShape", "search_volume_kernels"]

_KINDS = (KernelSource.WIDEFIELD, KernelSource.CONFOCAL, KernelSource.LIGHT_SHEET)
_MIN_FREQUENCIES = 8.0  # with fewer above the noise, the blur cannot be determined
_FWHM = math.sqrt(8 * math.log(2))
_EXTENT = 3.5  # standard deviations at which a Gaussian is cut off
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
_DEPTHS_IN_WATER = (5.0, 12.0, 30.0)
_ABERRATED_RATIO = 0.8  # of aperture and index, below which a depth causes little aberration
# Steps of the grids above, between which the best microscope is refined.
_FINER_PERIODS = (0.92, 1.0, 1.08)
_FINER_RATIOS = (0.92, 1.0, 1.04)
_FINER_SHEETS = (0.8, 1.0, 1.25)
_FINER_PINHOLES = (0.8, 1.0, 1.25)
_FINER_DEPTHS = (0.75, 1.0, 1.3)
_LARGEST_RATIO = 0.97
# Light that enters a widefield volume through its borders looks like light that only other
# microscopes have. With this many nats more for them, five of six made widefield volumes are
# recognised, and one in twelve of the others is taken for one.
_WIDEFIELD_ADVANTAGE = 6.0
# Nats by which a signal explains the spectrum better than noise alone. Noise alone has a few.
_LEAST_SIGNAL = 50.0
# Deviations of the logarithm of the widths: a larger one tells nothing about them; and what scenes
# and microscopes that are none of those compared add, without and with a known objective, so that
# 68 % of made volumes are within one (`training.volumes`, seeds 7300 to 7419, with trials).
_LARGEST_DEVIATION = 0.6
_MODEL_DEVIATION, _MODEL_DEVIATION_OF_PUPIL = 0.28, 0.13
# Kernels that are returned: at most so many, whose evidence is at most so many nats less than that
# of the best, and whose widths differ by this ratio unless their kinds do.
_MOST, _LEAST_EVIDENCE, _LEAST_RATIO = 6, 60.0, 1.12


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


class _Candidate(NamedTuple):
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


class ProbableKernel(NamedTuple):
    """A kernel, and the logarithm of its probability by the spectrum, up to a constant.

    A kernel is less probable beforehand in proportion to the product of its widths. The spectrum
    often does not tell a smooth scene from a wide kernel, and a kernel that is too wide does more
    harm than one that is too narrow.
    """

    kernel: Kernel
    probability: float

    @classmethod
    def of(cls, kernel: Kernel, evidence: float) -> Self:
        """Return a kernel with its evidence in the spectrum, in nats."""
        return cls(kernel, evidence - math.log(math.prod(kernel.widths.along_axes)))


def search_volume_kernels(
    volume: NDArray[np.floating[Any]],
    sampling: Sequence[float],
    valid: NDArray[np.bool_] | None = None,
    *,
    pupil: PupilShape | None = None,
    kind: KernelSource | None = None,
) -> Generator[Kernel, None, list[ProbableKernel]]:
    """Search for the kernels that may have blurred a volume.

    The result does not depend on the offset and contrast of the volume, nor on how it is flipped.

    Parameters
    ----------
    volume : ndarray
        The blurred volume ``(planes, rows, columns)``. Of a larger one, the region of 128³ voxels
        with the strongest contrast is used.
    sampling : sequence of float
        Voxel size along each axis, as a multiple of the smallest. The optical axis is the first.
    valid : ndarray, optional
        Mask of the voxels that are not filled, of the shape of the volume. Default: all.
    pupil : PupilShape, optional
        The objective, if it is known. The kernel is then no narrower than it allows.
    kind : KernelSource, optional
        ``WIDEFIELD``, ``CONFOCAL`` or ``LIGHT_SHEET``, if the kind of microscope is known. Only its
        PSFs are then compared. Default: all kinds, and Gaussians.

    Yields
    ------
    Kernel
        The best kernel so far, so that the caller can report progress or stop.

    Returns
    -------
    list of ProbableKernel
        Kernels of different kinds and widths, the most probable first; only a point if the volume
        shows no blur. If it tells too little, or a kernel that is narrower than the objective
        allows, only the narrowest that it allows, or none if the objective is not known.
    """
    yield (point := Kernel.point(3, source=KernelSource.NO_BLUR))
    spectrum = volume_spectrum(volume, sampling, valid)
    yield point
    family = _Family(CylinderMeans.of(spectrum), tuple(sampling), spectrum.shape[0], kind)
    narrowest = None if pupil is None else family.narrowest(pupil)
    found: list[_Found] = []
    if spectrum.frequencies_seen >= _MIN_FREQUENCIES:
        found = yield from _most_probable(family, pupil, volume.shape)
    if narrowest is not None:
        if not found or _is_narrower(found[0].candidate, narrowest):
            return [ProbableKernel.of(_drawn(narrowest, sampling, volume.shape), 0.0)]
        found = [each for each in found if not _is_narrower(each.candidate, narrowest)]
    if found and _is_point(found[0].candidate, sampling):
        return [ProbableKernel.of(point, 0.0)]
    kernels = []
    for each in found:
        kernel = _drawn(each.candidate, sampling, volume.shape)
        kernel = replace(kernel, misfit=each.misfit, width_deviation=each.deviation)
        kernels.append(ProbableKernel.of(kernel, each.evidence))
        if each.candidate.depth:  # the spectrum does not tell on which side the sample begins
            turned = kernel.with_weights(kernel.weights[::-1].copy())
            kernels.append(ProbableKernel.of(turned, each.evidence))
    return sorted(kernels, key=lambda each: each.probability, reverse=True)


class _Found(NamedTuple):
    candidate: _Candidate
    evidence: float  # its logarithm, in nats
    misfit: float  # in nats per frequency
    deviation: float  # of the logarithm of the widths


def _most_probable(
    family: _Family, pupil: PupilShape | None, shape: Sequence[int]
) -> Generator[Kernel, None, list[_Found]]:
    """Return the most probable kernels; none if the spectrum does not tell their width."""
    means = family.means
    gaussians = means.gaussians(_SIGMAS, _DEPTHS * family.sampling[0])
    evidence = VolumeEvidence.of(means, gaussians)
    candidates: list[_Candidate] = []
    values: list[float] = []
    best = None
    others = [] if family.kind is not None else [family.gaussians(gaussians)]
    for some in (*others, *family.microscopes(pupil)):
        candidates += (group := list(some))
        values += _evidence(evidence, group)
        leading = candidates[int(np.argmax(values))]
        if leading is not best:
            best, drawn = leading, _drawn(leading, family.sampling, shape)
        yield drawn
    assert best is not None
    deviation = _deviation(candidates, np.array(values))
    if deviation > _LARGEST_DEVIATION or _signal(means, best) < _LEAST_SIGNAL:
        return []
    of_model = _MODEL_DEVIATION if pupil is None else _MODEL_DEVIATION_OF_PUPIL
    deviation = math.hypot(deviation, of_model)
    for rough, _ in _distinct(candidates, values):
        candidates += (finer := list(family.around(rough, pupil)))
        values += _evidence(evidence, finer)
    found = []
    for each, value in _distinct(candidates, values):
        misfit = float(means.misfits(each.transfer).min() / means.count.sum())
        found.append(_Found(each, value, misfit, deviation))
    return found


def _distinct(
    candidates: Sequence[_Candidate], values: Sequence[float]
) -> list[tuple[_Candidate, float]]:
    """Return the candidates with the highest values, best first, that differ in kind or widths."""
    distinct: list[int] = []
    for index in np.argsort(-np.array(values), kind="stable"):
        if values[index] < max(values) - _LEAST_EVIDENCE or len(distinct) == _MOST:
            break
        if not any(_is_alike(candidates[index], candidates[other]) for other in distinct):
            distinct.append(int(index))
    return [(candidates[index], values[index]) for index in distinct]


def _is_alike(one: _Candidate, other: _Candidate) -> bool:
    """Return whether two kernels are of one kind and of about the same widths."""
    ratios = np.abs(np.log(np.divide(one.widths, other.widths)))
    is_of_kind = one.source is other.source and bool(one.depth) == bool(other.depth)
    return is_of_kind and bool(ratios.max() < math.log(_LEAST_RATIO))


def _signal(means: CylinderMeans, best: _Candidate) -> float:
    """Return by how many nats a kernel explains the spectrum better than noise alone."""
    return float(means.count @ means.power - means.misfits(best.transfer).min())


def _evidence(evidence: VolumeEvidence, candidates: Sequence[_Candidate]) -> list[float]:
    values = evidence.of_transfers(np.array([each.transfer for each in candidates]))
    advantages = [_advantage(each) for each in candidates]
    return [float(value) for value in values + advantages]


def _advantage(candidate: _Candidate) -> float:
    """Return what speaks for a kernel before the spectrum is seen, in nats.

    A widefield microscope is aberrated as probably as not, and then at any depth, from either side.
    """
    advantage = _WIDEFIELD_ADVANTAGE if candidate.source is KernelSource.WIDEFIELD else 0.0
    return advantage - math.log(2 * len(_DEPTHS_IN_WATER)) if candidate.depth else advantage


def _deviation(candidates: Sequence[_Candidate], values: NDArray[np.float64]) -> float:
    """Return the standard deviation of the logarithm of the widths, by evidence."""
    shares = np.exp(values - values.max())
    logarithms = np.log([each.widths for each in candidates])
    mean = np.average(logarithms, axis=0, weights=shares)
    variances = np.average(np.square(logarithms - mean), axis=0, weights=shares)
    return math.sqrt(float(variances.mean()))


@dataclass(frozen=True, eq=False)
class _Family:
    """Kernels whose spectrum is compared with that of a volume."""

    means: CylinderMeans
    sampling: tuple[float, ...]
    planes: int
    kind: KernelSource | None = None  # of the microscope, if it is known

    def gaussians(self, transfers: NDArray[np.float64]) -> Iterator[_Candidate]:
        """Yield Gaussians of all widths, with their |H|² ``(across, along, n)``."""
        along = _DEPTHS * self.sampling[0]
        sides = itertools.product(_SIGMAS, along)
        flat = transfers.reshape(-1, transfers.shape[-1])
        for (lateral, axial), transfer in zip(sides, flat, strict=True):
            widths = (_FWHM * float(lateral), _FWHM * float(axial))
            yield _Candidate(KernelSource.GAUSSIAN, transfer, widths)

    def microscopes(self, pupil: PupilShape | None) -> Iterator[Iterator[_Candidate]]:
        """Yield the microscopes of each lateral period: those that the objective allows, or all."""
        if pupil is None:
            for period in _PERIODS:
                yield self._of_pupils(float(period), _RATIOS, _COMMON_PINHOLES)
            return
        depths = _DEPTHS_IN_WATER if pupil.ratio >= _ABERRATED_RATIO else ()
        for factor in _LARGER_PERIODS:
            yield self._of_pupils(factor * pupil.period, (pupil.ratio / factor,), _PINHOLES, depths)

    def around(self, best: _Candidate, pupil: PupilShape | None) -> Iterator[_Candidate]:
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

    def narrowest(self, pupil: PupilShape) -> _Candidate:
        """Return the narrowest kernel of the kind that is known, or of a confocal microscope."""
        grid, kind = self._grid(pupil.period), self.kind or KernelSource.CONFOCAL
        psf = next(self._of_kind(kind, grid, grid.widefield(pupil_of(*pupil)), (0.0,)))
        return _candidate(KernelSource.NARROWEST, psf)

    def _gaussians_around(self, best: _Candidate) -> Iterator[_Candidate]:
        steps = [np.linspace(-0.5, 0.5, 5) * math.log(g[1] / g[0]) for g in (_SIGMAS, _DEPTHS)]
        lateral, axial = (
            width / _FWHM * np.exp(step) for width, step in zip(best.widths, steps, strict=True)
        )
        transfers = self.means.gaussians(lateral, axial).reshape(-1, best.transfer.size)
        for (across, along), transfer in zip(
            itertools.product(lateral, axial), transfers, strict=True
        ):
            widths = (_FWHM * float(across), _FWHM * float(along))
            yield _Candidate(best.source, transfer, widths)

    def _of_pupils(
        self,
        period: float,
        ratios: Iterable[float],
        pinholes: Sequence[float],
        depths: Sequence[float] = (),
    ) -> Iterator[_Candidate]:
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

    def _grid(self, period: float) -> RadialGrid:
        across, along = np.sqrt(self.means.across), np.sqrt(self.means.along)
        return RadialGrid(across, along, self.sampling[0], self.planes, period)


def _candidate(source: KernelSource, psf: RadialPsf) -> _Candidate:
    return _Candidate(source, psf.transfer, psf.widths, psf.microscope)


def _is_narrower(candidate: _Candidate, other: _Candidate) -> bool:
    """Return whether a Gaussian is narrower than another kernel along some axis."""
    if candidate.source is not KernelSource.GAUSSIAN:
        return False
    return any(a < b for a, b in zip(candidate.widths, other.widths, strict=True))


def _is_point(candidate: _Candidate, sampling: Sequence[float]) -> bool:
    """Return whether a kernel is due to the voxels alone."""
    lateral, axial = candidate.widths
    return max(lateral, axial / sampling[0]) <= WIDEST_POINT * _FWHM


def _drawn(candidate: _Candidate, sampling: Sequence[float], shape: Sequence[int]) -> Kernel:
    """Draw a kernel in voxels, no larger than the volume."""
    largest = [side - 1 + side % 2 for side in shape]
    if candidate.microscope is not None:
        sides = map(min, voxel_sides(candidate.microscope, sampling), largest)
        weights = voxel_psf(candidate.microscope, tuple(sides), sampling).astype(np.float32)
        return Kernel(weights, candidate.source)
    lateral, axial = (width / _FWHM for width in candidate.widths)
    sigmas = (axial / sampling[0], lateral / sampling[1], lateral / sampling[2])
    wanted = [2 * math.ceil(_EXTENT * sigma) + 1 for sigma in sigmas]
    return Kernel(gaussian_kernel(tuple(map(min, wanted, largest)), sigmas), candidate.source)
