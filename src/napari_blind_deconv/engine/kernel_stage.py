"""The stage ``kernel``: the search for the kernel in the image."""

from __future__ import annotations

import math
from collections.abc import Generator

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.image import Image
from napari_blind_deconv.numerics.kernel_search import search_kernel
from napari_blind_deconv.results import Snapshot, Stage

__all__ = ["find_kernel_start"]


def find_kernel_start(problem: Problem, control: RunControl) -> Generator[Snapshot, None, Problem]:
    """Search the kernel in the image, unless its start is known or set.

    A search that is stopped returns the best kernel so far.

    Yields
    ------
    Snapshot

    Returns
    -------
    Problem
        The problem with a start for its kernel.
    """
    if not problem.needs_kernel_search:
        return problem
    inspection = problem.inspection
    search = search_kernel(
        problem.luminance,
        min(problem.window),
        inspection.valid_luminance,
        inspection.noise,
        narrowest=_narrowest(problem.task.image),
    )
    while True:
        try:
            best = next(search)
        except StopIteration as end:
            return problem.with_kernel_start(end.value)
        yield Snapshot.waiting(Stage.KERNEL)
        if control.should_stop():
            return problem.with_kernel_start(best)


def _narrowest(block: Image) -> float:
    """Return the FWHM in pixels of the narrowest kernel that the optics allow; 0 if unknown."""
    width, sides = block.optics.narrowest_width, block.pixel_micrometres
    if width is None or sides is None:
        return 0.0
    return width / math.prod(sides) ** (1 / len(sides))
