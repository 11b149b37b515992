"""The stage ``double-dip``: two networks fitted together, a step of Algorithm 1 at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_blind_deconv.engine.devices import computes_bfloat16
from napari_blind_deconv.engine.kernel_networks import kernel_network
from napari_blind_deconv.engine.objective import Objective
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import Step
from napari_blind_deconv.engine.wiener import wiener_canvases
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.image_prior import ImagePrior
from napari_blind_deconv.numerics.kernel_prior import FixedKernel, fit_kernel
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import Stage
from napari_blind_deconv.settings import ImageStart, Precision

__all__ = ["DoubleDip"]

# The coarsest scale of the image network keeps at least this many pixels a side.
_COARSEST_SIDE = 4
# What the learning rates become, by a factor, where the fit has lost its numbers.
_SLOWER = 0.1
# By axes of space.
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
_drawing = Lock()


class DoubleDip:
    """The two networks, their optimiser and the objective.

    Parameters
    ----------
    problem : Problem
    start : ndarray, optional
        An estimate ``(C, *problem.canvas_shape)`` that the image network is to correct.
    """

    stage = Stage.DOUBLE_DIP
    at_the_limit = StopReason.ITERATION_LIMIT

    def __init__(self, problem: Problem, start: NDArray[np.float32] | None = None) -> None:
        self.limit = problem.settings.max_iterations
        self.averaging = problem.settings.averaging
        self.slowed_at: int | None = None
        self._problem, self._device = problem, problem.device
        # The networks draw from the CPU's generator, which other threads' runs share; the caller's
        # random numbers stay as they were.
        with _drawing, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(problem.settings.seed)
            self.kernel_prior = _kernel_prior(problem)
            self.image_prior = _image_prior(problem, self.kernel_prior, start)

    def prepare(self) -> Iterator[None]:
        """Bring the kernel's network to the kernel it is to start from."""
        start = self._problem.kernel_start
        if not self._problem.is_held and start is not None:
            yield from fit_kernel(self.kernel_prior, torch.from_numpy(start))

    def _begin(self) -> None:
        """Move to the device, with nothing learnt yet."""
        device, settings = self._device, self._problem.settings
        self.image_prior.to(device)
        self.kernel_prior.to(device)
        # This order of memory halves the time of a convolution on a CPU; torch's types forget it.
        order = _CHANNELS_LAST[len(self._problem.window)]
        self.image_prior.to(memory_format=order)  # type: ignore[call-overload]
        self.objective = Objective(self._problem)
        self.optimiser = torch.optim.Adam(
            [
                {"params": self.image_prior.parameters(), "lr": settings.image_learning_rate},
                {"params": self.kernel_prior.parameters(), "lr": settings.kernel_learning_rate},
            ]
        )
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(
            self.optimiser, settings.learning_rate_milestones, gamma=0.5
        )
        self.half = settings.precision is Precision.AUTO and computes_bfloat16(device)
        self._good = [weights.detach().clone() for weights in self._weights()]

    def step(self, iteration: int) -> Step:
        """One step on Eq. 21, from weights whose objective and gradients are finite.

        Where they are not, they are computed once more: twice a fit became NaN where the same fit,
        run again, did not, and why is not known. If that is no help the fit goes back to its last
        good weights and on at a tenth of its rates, once in a run; `slowed_at` then says when.

        Raises
        ------
        FloatingPointError
            If there are no finite numbers to be had.
        """
        if iteration == 1:
            self._begin()
        step = self._evaluate()
        if not self._is_finite(step):
            step = self._evaluate()
        if not self._is_finite(step) and self.slowed_at is None:
            self._go_back_slower()
            self.slowed_at = iteration
            step = self._evaluate()
        if not self._is_finite(step):
            raise FloatingPointError(
                f"objective or gradients were not finite at iteration {iteration}"
            )
        for kept, weights in zip(self._good, self._weights(), strict=True):
            kept.copy_(weights.detach())
        self.optimiser.step()
        self.schedule.step()
        return step

    def _evaluate(self) -> Step:
        """The estimates, the objective and its gradients at the present weights."""
        with torch.autocast(self._device.type, torch.bfloat16) if self.half else nullcontext():
            canvas = self.image_prior()
        kernel = self.kernel_prior()
        terms = self.objective.of(canvas, Convolution(kernel))
        self.optimiser.zero_grad()
        terms.loss.backward()
        return Step.of(canvas, kernel, terms)

    def _is_finite(self, step: Step) -> bool:
        """Whether the objective and all its gradients are."""
        # torch's one public norm of all gradients; a bound of infinity clips nothing.
        norm = nn.utils.clip_grad_norm_(self._weights(), math.inf)
        return math.isfinite(step.loss) and bool(norm.isfinite())

    def _go_back_slower(self) -> None:
        """The last good weights again, none of Adam's memory, and a tenth of the rates."""
        with torch.no_grad():
            for kept, weights in zip(self._good, self._weights(), strict=True):
                weights.copy_(kept)
        self.optimiser.state.clear()
        for group in self.optimiser.param_groups:
            group["lr"] *= _SLOWER

    def _weights(self) -> list[nn.Parameter]:
        return [*self.image_prior.parameters(), *self.kernel_prior.parameters()]


def _image_prior(
    problem: Problem, kernel_prior: nn.Module, start: NDArray[np.float32] | None
) -> ImagePrior:
    settings = problem.settings
    if start is None and settings.image_start is ImageStart.WIENER:
        *_, start = wiener_canvases(problem, kernel_prior().detach().numpy())
    return ImagePrior(
        problem.canvas_shape,
        outputs=problem.observed.shape[0],
        channels=settings.channels[: _most_scales(problem.canvas_shape)],
        skip_channels=settings.skip_channels,
        input_channels=settings.input_channels,
        ceiling=1.0 + settings.headroom,
        start=None if start is None else torch.from_numpy(start),
    )


def _most_scales(shape: tuple[int, ...]) -> int:
    return max(1, int(math.log2(min(shape) / _COARSEST_SIDE)))


def _kernel_prior(problem: Problem) -> nn.Module:
    if problem.is_held:
        assert problem.kernel is not None
        return FixedKernel(torch.from_numpy(problem.kernel.weights))
    return kernel_network(problem.settings, problem.window)
