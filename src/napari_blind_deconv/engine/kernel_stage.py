"""The stage ``kernel``: the search for the kernel in the image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterable, Iterator

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.kernel_trials import most_probable_kernel
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.errors import UntoldKernelError
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.kernel_search import search_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.volume_kernels import PupilShape
from napari_blind_deconv.numerics.volume_search import search_volume_kernels
from napari_blind_deconv.numerics.volume_spectrum import volume_spectra
from napari_blind_deconv.optics import MicroscopeKind
from napari_blind_deconv.results import Snapshot, Stage

__all__ = ["find_kernel_start"]

_SOURCES: dict[MicroscopeKind | None, KernelSource] = {
    MicroscopeKind.WIDEFIELD: KernelSource.WIDEFIELD,
    MicroscopeKind.CONFOCAL: KernelSource.CONFOCAL,
    MicroscopeKind.LIGHT_SHEET: KernelSource.LIGHT_SHEET,
}
_UNTOLD = (
    "Expected a volume that shows how it is blurred, got {sides} voxels with too little detail "
    "above the noise; try a larger or brighter part, to state the numerical aperture, refractive "
    "index and emission wavelength, to give a PSF, or to deconvolve its planes one by one."
)


def find_kernel_start(
    problem: Problem, control: RunControl, others: Iterable[Image] = ()
) -> Generator[Snapshot, None, Problem]:
    """Search the kernel in the image, unless its start is known or set.

    A search that is stopped returns the best kernel so far.

    Parameters
    ----------
    problem : Problem
    control : RunControl
    others : iterable of Image
        Other volumes with the same kernel, shape and voxel size, in which it is searched too. They
        are taken one by one, so that they need not all be in memory.

    Yields
    ------
    Snapshot

    Returns
    -------
    Problem
        The problem with a start for its kernel.

    Raises
    ------
    UntoldKernelError
        If a volume tells too little about its kernel, and its optics are not known.
    """
    if not problem.needs_kernel_search:
        return problem
    search = _volume_search(problem, others) if problem.is_volume else _plane_search(problem)
    while True:
        try:
            best = next(search)
        except StopIteration as end:
            if end.value is None:
                sides = " × ".join(map(str, problem.task.image.block_shape))
                raise UntoldKernelError(_UNTOLD.format(sides=sides)) from None
            return problem.with_kernel_start(end.value)
        yield Snapshot.waiting(Stage.KERNEL)
        if control.should_stop():
            return problem.with_kernel_start(best)


def _plane_search(problem: Problem) -> Generator[Kernel, None, Kernel]:
    inspection = problem.inspection
    return search_kernel(
        problem.luminance,
        min(problem.window),
        inspection.valid_luminance,
        inspection.noise,
        narrowest=_narrowest(problem.task.image),
    )


def _volume_search(
    problem: Problem, others: Iterable[Image]
) -> Generator[Kernel, None, Kernel | None]:
    microscope = problem.settings.microscope_with(problem.task.image.optics)
    probable = yield from search_volume_kernels(
        _spectra(problem, others),
        problem.task.image.block_shape,
        pupil=_pupil(problem.task.image),
        kind=_SOURCES.get(microscope),
    )
    if len(probable) < 2:
        return probable[0].kernel if probable else None
    return (yield from most_probable_kernel(problem, probable))


def _spectra(problem: Problem, others: Iterable[Image]) -> Iterator[Spectrum]:
    for inspection in itertools.chain([problem.inspection], map(Inspection.of, others)):
        luminance, valid = inspection.luminance, inspection.valid_luminance
        yield from volume_spectra(luminance, inspection.block.sampling, valid)


def _pupil(block: Image) -> PupilShape | None:
    """Return the objective of a volume, as far as it matters; None unless all is known."""
    period, sides, ratio = block.optics.finest_period, block.pixel_micrometres, _ratio(block)
    if period is None or sides is None or ratio is None:
        return None
    return PupilShape(period / min(sides), ratio)


def _ratio(block: Image) -> float | None:
    aperture, index = block.optics.numerical_aperture, block.optics.refractive_index
    return None if aperture is None or index is None else aperture / index


def _narrowest(block: Image) -> float:
    """Return the FWHM in pixels of the narrowest kernel that the optics allow; 0 if unknown."""
    width, sides = block.optics.narrowest_width, block.pixel_micrometres
    if width is None or sides is None:
        return 0.0
    return width / math.prod(sides) ** (1 / len(sides))
