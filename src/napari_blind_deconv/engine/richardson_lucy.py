"""The stage ``richardson-lucy``: the classic for photon noise, with a PSF that is given."""

from __future__ import annotations

import torch

from napari_blind_deconv.engine.objective import Objective
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import Step
from napari_blind_deconv.numerics.richardson_lucy import richardson_lucy
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import Stage

__all__ = ["RichardsonLucy"]


class RichardsonLucy:
    """Richardson-Lucy iterations on every channel, from the darkest pixel up."""

    stage = Stage.RICHARDSON_LUCY
    at_the_limit = StopReason.ITERATION_LIMIT
    averaging = 0.0
    slowed_at = None

    def __init__(self, problem: Problem, device: torch.device) -> None:
        assert problem.psf is not None
        self.limit = problem.settings.max_iterations
        self._kernel = torch.from_numpy(problem.psf).to(device)
        channels = torch.from_numpy(problem.calm).to(device)
        self._estimates = [richardson_lucy(channel, self._kernel) for channel in channels]
        self._objective = Objective(problem, device)

    def prepare(self) -> tuple[()]:
        """Nothing has to be."""
        return ()

    def step(self, iteration: int) -> Step:
        """One iteration; its estimate is the first that is not flat."""
        canvas = torch.stack([next(estimates) for estimates in self._estimates])
        return Step.of(canvas, self._kernel, self._objective.of(canvas, self._kernel))
