"""Estimate the kernel of a volume, or of several with the same kernel, from the volumes alone.

The power spectrum of the volumes is compared with those that microscopes predict: a widefield
microscope, a confocal one, one with a light sheet, and one whose PSF is a Gaussian. A specimen has
no preferred direction on average, so that its power depends on the magnitude of the frequency
alone. What the spectrum lacks along the optical axis, compared with across it, is therefore blur.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.cylinders import CylinderMeans
from napari_blind_deconv.numerics.microscope import voxel_psf, voxel_sides
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.parametric_kernel import WIDEST_POINT
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.volume_evidence import VolumeEvidence
from napari_blind_deconv.numerics.volume_kernels import (
    DEPTHS_IN_WATER,
    FWHM,
    Candidate,
    KernelFamily,
    PupilShape,
)

__all__ = ["ProbableKernel", "search_volume_kernels"]

_MIN_FREQUENCIES = 8.0  # with fewer above the noise, the blur cannot be determined
_EXTENT = 3.5  # standard deviations at which a Gaussian is cut off
# Light that enters a widefield volume through its borders looks like light that only other
# microscopes have. They have so many nats more without a known objective, and with one so many
# times the root of the signal, as the misfit grows with it. Of 400 volumes of `training.volumes`,
# the spectrum then recognises 61 and 50 % of the widefield ones, and takes 11 and 8 % of the others
# for one.
_WIDEFIELD_ADVANTAGE, _WIDEFIELD_ADVANTAGE_OF_PUPIL = 6.0, 0.17
# Nats by which a signal explains the spectrum better than noise alone. Noise alone has a few.
_LEAST_SIGNAL = 50.0
# Deviations of the logarithm of the widths: a larger one tells nothing about them; and what scenes
# and microscopes that are none of those compared add, without and with a known objective, so that
# 68 % of made volumes are within one (`training.volumes`, seeds from 7300, kernels by trials).
_LARGEST_DEVIATION = 0.6
_MODEL_DEVIATION, _MODEL_DEVIATION_OF_PUPIL = 0.28, 0.13
# Kernels that are returned: at most so many, whose evidence is at most so many nats less than that
# of the best, and whose widths differ by this ratio unless their kinds do.
_MOST, _LEAST_EVIDENCE, _LEAST_RATIO = 6, 60.0, 1.12


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
    spectra: Iterable[Spectrum],
    shape: Sequence[int],
    *,
    pupil: PupilShape | None = None,
    kind: KernelSource | None = None,
) -> Generator[Kernel, None, list[ProbableKernel]]:
    """Search for the kernels that may have blurred volumes.

    The result does not depend on the offset and contrast of a volume, nor on how it is flipped.

    Parameters
    ----------
    spectra : iterable of Spectrum
        Of regions of one or more volumes, from `volume_spectra`, of the same shape and voxel size.
        The optical axis is the first. More of them tell more, also if they show the same scene.
    shape : sequence of int
        Shape of a volume ``(planes, rows, columns)``, which kernels do not exceed.
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
        Kernels of different kinds and widths, the most probable first; only a point if the volumes
        show no blur. If they tell too little, or a kernel that is narrower than the objective
        allows, only the narrowest that it allows, or none if the objective is not known.
    """
    yield (point := Kernel.point(3, source=KernelSource.NO_BLUR))
    seen = []
    for spectrum in spectra:
        seen.append(spectrum)
        yield point
    planes, sampling = seen[0].shape[0], seen[0].sampling
    family = KernelFamily(CylinderMeans.of(seen), sampling, planes, kind)
    narrowest = None if pupil is None else family.narrowest(pupil)
    found: list[_Found] = []
    if sum(spectrum.frequencies_seen for spectrum in seen) >= _MIN_FREQUENCIES:
        found = yield from _most_probable(family, pupil, shape)
    if narrowest is not None:
        if not found or _is_narrower(found[0].candidate, narrowest):
            return [ProbableKernel.of(_drawn(narrowest, sampling, shape), 0.0)]
        found = [each for each in found if not _is_narrower(each.candidate, narrowest)]
    if found and _is_point(found[0].candidate, sampling):
        return [ProbableKernel.of(point, 0.0)]
    kernels = []
    for each in found:
        kernel = _drawn(each.candidate, sampling, shape)
        kernel = replace(kernel, misfit=each.misfit, width_deviation=each.deviation)
        kernels.append(ProbableKernel.of(kernel, each.evidence))
        if each.candidate.depth:  # the spectrum does not tell on which side the sample begins
            turned = kernel.with_weights(kernel.weights[::-1].copy())
            kernels.append(ProbableKernel.of(turned, each.evidence))
    return sorted(kernels, key=lambda each: each.probability, reverse=True)


class _Found(NamedTuple):
    candidate: Candidate
    evidence: float  # its logarithm, in nats
    misfit: float  # in nats per frequency
    deviation: float  # of the logarithm of the widths


def _most_probable(
    family: KernelFamily, pupil: PupilShape | None, shape: Sequence[int]
) -> Generator[Kernel, None, list[_Found]]:
    """Return the most probable kernels; none if the spectrum does not tell their width."""
    means = family.means
    evidence = VolumeEvidence.of(means, family.gaussian_transfers)
    candidates: list[Candidate] = []
    values: list[float] = []
    best = None
    others = [] if family.kind is not None else [family.gaussians()]
    for some in (*others, *family.microscopes(pupil)):
        candidates += (group := list(some))
        values += _evidence(evidence, group, pupil)
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
        values += _evidence(evidence, finer, pupil)
    found = []
    for each, value in _distinct(candidates, values):
        misfit = float(means.misfits(each.transfer).min() / means.count.sum())
        found.append(_Found(each, value, misfit, deviation))
    return found


def _distinct(
    candidates: Sequence[Candidate], values: Sequence[float]
) -> list[tuple[Candidate, float]]:
    """Return the candidates with the highest values, best first, that differ in kind or widths."""
    distinct: list[int] = []
    for index in np.argsort(-np.array(values), kind="stable"):
        if values[index] < max(values) - _LEAST_EVIDENCE or len(distinct) == _MOST:
            break
        if not any(_is_alike(candidates[index], candidates[other]) for other in distinct):
            distinct.append(int(index))
    return [(candidates[index], values[index]) for index in distinct]


def _is_alike(one: Candidate, other: Candidate) -> bool:
    """Return whether two kernels are of one kind and of about the same widths."""
    ratios = np.abs(np.log(np.divide(one.widths, other.widths)))
    is_of_kind = one.source is other.source and bool(one.depth) == bool(other.depth)
    return is_of_kind and bool(ratios.max() < math.log(_LEAST_RATIO))


def _signal(means: CylinderMeans, best: Candidate) -> float:
    """Return by how many nats a kernel explains the spectrum better than noise alone."""
    return float(means.count @ means.power - means.misfits(best.transfer).min())


def _evidence(
    evidence: VolumeEvidence, candidates: Sequence[Candidate], pupil: PupilShape | None
) -> list[float]:
    widefield = _WIDEFIELD_ADVANTAGE
    if pupil is not None:
        widefield = _WIDEFIELD_ADVANTAGE_OF_PUPIL * math.sqrt(evidence.signal)
    values = evidence.of_transfers(np.array([each.transfer for each in candidates]))
    advantages = [_advantage(each, widefield) for each in candidates]
    return [float(value) for value in values + advantages]


def _advantage(candidate: Candidate, widefield: float) -> float:
    """Return the nats that are added to the evidence for a kernel: `widefield`, or 0 for others.

    A widefield microscope is aberrated as probably as not, and then at any depth, from either side.
    """
    if candidate.source is not KernelSource.WIDEFIELD:
        return 0.0
    return widefield - math.log(2 * len(DEPTHS_IN_WATER)) if candidate.depth else widefield


def _deviation(candidates: Sequence[Candidate], values: NDArray[np.float64]) -> float:
    """Return the standard deviation of the logarithm of the widths, by evidence."""
    shares = np.exp(values - values.max())
    logarithms = np.log([each.widths for each in candidates])
    mean = np.average(logarithms, axis=0, weights=shares)
    variances = np.average(np.square(logarithms - mean), axis=0, weights=shares)
    return math.sqrt(float(variances.mean()))


def _is_narrower(candidate: Candidate, other: Candidate) -> bool:
    """Return whether a Gaussian is narrower than another kernel along some axis."""
    if candidate.source is not KernelSource.GAUSSIAN:
        return False
    return any(a < b for a, b in zip(candidate.widths, other.widths, strict=True))


def _is_point(candidate: Candidate, sampling: Sequence[float]) -> bool:
    """Return whether a kernel is due to the voxels alone."""
    lateral, axial = candidate.widths
    return max(lateral, axial / sampling[0]) <= WIDEST_POINT * FWHM


def _drawn(candidate: Candidate, sampling: Sequence[float], shape: Sequence[int]) -> Kernel:
    """Draw a kernel in voxels, no larger than the volume."""
    largest = [side - 1 + side % 2 for side in shape]
    if candidate.microscope is not None:
        sides = map(min, voxel_sides(candidate.microscope, sampling), largest)
        weights = voxel_psf(candidate.microscope, tuple(sides), sampling).astype(np.float32)
        return Kernel(weights, candidate.source)
    lateral, axial = (width / FWHM for width in candidate.widths)
    sigmas = (axial / sampling[0], lateral / sampling[1], lateral / sampling[2])
    wanted = [2 * math.ceil(_EXTENT * sigma) + 1 for sigma in sigmas]
    return Kernel(gaussian_kernel(tuple(map(min, wanted, largest)), sigmas), candidate.source)
