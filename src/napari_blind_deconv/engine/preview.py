"""Previews of a result at another strength, on a part of its plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.sampling import grid_for
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stages import run_stages
from napari_blind_deconv.engine.wiener import noise_to_signal_of
from napari_blind_deconv.errors import TooLargeForNetworksError
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import KernelChoice
from napari_blind_deconv.numerics.field_of_view import field_of_view_origin
from napari_blind_deconv.numerics.wiener import wiener_periodic
from napari_blind_deconv.results import Result
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.task import Task

__all__ = ["StrengthPreview"]


class StrengthPreview:
    """Estimates of a part of a plane, with the kernel of its result at any strength.

    Parameters
    ----------
    block : Image
        Part of the plane, in memory. It is inspected once for all strengths.
    result : Result
        Result of the plane.

    Raises
    ------
    ValueError, TypeError
        If the part cannot be deconvolved, for example because it has no contrast.
    """

    def __init__(self, block: Image, result: Result) -> None:
        self._grid = grid_for(block, result.kernel)
        task = Task(
            image=block if self._grid is None else self._grid.reduced(block),
            settings=result.settings,
            kernel=KernelChoice.hold(result.kernel),
            intensity_range=result.intensity_range,
            tile_side=0,  # networks fit no pixel
        )
        self._problem = Problem.of(task)

    def estimates(
        self, strength: float, should_stop: Callable[[], bool]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield two estimates in the layout and units of the block.

        The first is the linear estimate in one step, which is not accurate within half a kernel of
        the border. The second is that of a run, without networks; it is left out if the caller
        stops.
        """
        problem = self._problem.with_strength(strength)
        yield self._on_pixels(_in_one_step(problem))
        image = _of_run(problem, RunControl(should_stop))
        if not should_stop():
            yield self._on_pixels(image)

    def _on_pixels(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        return image if self._grid is None else self._grid.expanded(image)


def _of_run(problem: Problem, control: RunControl) -> NDArray[np.float32]:
    """Return the estimate of a run without networks, in the layout and units of the input."""
    try:
        problem, end = run_to_end(run_stages(problem, control, {}))
    except TooLargeForNetworksError as error:
        return error.image
    return problem.to_output(end.best.canvas, end.best.kernel, converges=end.converges)[0]


def _in_one_step(problem: Problem) -> NDArray[np.float32]:
    """Return the linear estimate of the periodic model, in the layout and units of the input."""
    kernel = problem.kernel_start
    assert kernel is not None
    ratio = noise_to_signal_of(problem, kernel)
    sharp = [wiener_periodic(c, kernel, noise_to_signal=ratio) for c in problem.observed]
    margins = [(start, start) for start in field_of_view_origin(kernel.shape)]
    canvas = np.pad(np.array(sharp, np.float32), [(0, 0), *margins], mode="edge")
    clipped = canvas.clip(0)
    return problem.to_output(torch.from_numpy(clipped), torch.from_numpy(kernel), converges=True)[0]
