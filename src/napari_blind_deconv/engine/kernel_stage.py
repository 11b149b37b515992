"""The stage ``kernel``: what the kernel starts from, found in the image where nobody says."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import Watch
from napari_blind_deconv.numerics.blur_search import search_blur
from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel
from napari_blind_deconv.numerics.location import crop_or_pad
from napari_blind_deconv.results import Snapshot, Stage

__all__ = ["find_kernel_start", "kernel_start"]


def find_kernel_start(problem: Problem, watch: Watch) -> Generator[Snapshot, None, Problem]:
    """The problem with the start of its kernel; of a search that is stopped, the best so far."""
    if not problem.wants_a_search:
        return problem
    search = search_blur(problem.luminance, min(problem.window))
    while True:
        try:
            best = next(search)
        except StopIteration as end:
            return problem.with_blur(end.value)
        yield Snapshot.waiting(Stage.KERNEL)
        if watch.should_stop():
            return problem.with_blur(best)


def kernel_start(problem: Problem) -> NDArray[np.float32] | None:
    """The kernel that is given, or the kernel network is to start from; None: as it comes."""
    if problem.psf is not None:
        return problem.psf
    if problem.blur is not None:
        return crop_or_pad(problem.blur.kernel, problem.window)
    start = problem.settings.kernel_start
    return gaussian_kernel(problem.window, float(start)).numpy() if start != "flat" else None
