"""The stage ``kernel``: what the kernel starts from, found in the image where nobody says."""

from __future__ import annotations

from collections.abc import Generator

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.numerics.kernel_search import search_kernel
from napari_blind_deconv.results import Snapshot, Stage

__all__ = ["find_kernel_start"]


def find_kernel_start(problem: Problem, control: RunControl) -> Generator[Snapshot, None, Problem]:
    """The problem with the start of its kernel; of a search that is stopped, the best so far."""
    if not problem.wants_a_search:
        return problem
    search = search_kernel(problem.luminance, min(problem.window))
    while True:
        try:
            best = next(search)
        except StopIteration as end:
            return problem.starting_from(end.value)
        yield Snapshot.waiting(Stage.KERNEL)
        if control.should_stop():
            return problem.starting_from(best)
