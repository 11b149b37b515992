"""The two networks, the objective of Eq. 21 and one step on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, nn

from napari_blind_deconv.engine.devices import computes_bfloat16
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.start import first_kernel, first_picture
from napari_blind_deconv.numerics.blur import blur
from napari_blind_deconv.numerics.image_prior import ImagePrior
from napari_blind_deconv.numerics.kernel_prior import (
    ConvolutionalKernel,
    FixedKernel,
    MlpKernel,
    Siren,
    fit_kernel,
)
from napari_blind_deconv.numerics.objective import (
    gradient_sparsity,
    mean_gradient,
    mean_huber,
    mean_square,
)
from napari_blind_deconv.settings import (
    DataTerm,
    ImageStart,
    KernelNetwork,
    Precision,
    Regulariser,
    Settings,
    SparsityScale,
)

__all__ = ["Fit", "Step"]

# The coarsest scale of the image network keeps at least this many pixels a side.
_COARSEST_SIDE = 4
# What the learning rates become, by a factor, where the fit has lost its numbers.
_SLOWER = 0.1
_drawing = Lock()


class Step(NamedTuple):
    """The estimates a step started from, and the terms of the objective there."""

    canvas: Tensor
    kernel: Tensor
    loss: float
    data: float
    regulariser: float


class Fit:
    """The two networks, their optimiser and the objective; `step` is one line of Algorithm 1."""

    def __init__(self, problem: Problem, device: torch.device, seed: int) -> None:
        settings = problem.settings
        self.problem = problem
        self.device = device
        # The networks draw from the CPU's generator, which other threads' runs share; the caller's
        # random numbers stay as they were.
        with _drawing, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            kernel_prior = _kernel_prior(problem)
            self.image_prior = _image_prior(problem, kernel_prior).to(device)
            self.kernel_prior = kernel_prior.to(device)
        # This order of memory halves the time of a convolution on a CPU; torch's types forget it.
        self.image_prior.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.observed = torch.from_numpy(problem.unit).to(device)
        self.optimiser = torch.optim.Adam(
            [
                {"params": self.image_prior.parameters(), "lr": settings.image_learning_rate},
                {"params": self.kernel_prior.parameters(), "lr": settings.kernel_learning_rate},
            ]
        )
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(
            self.optimiser, settings.learning_rate_milestones, gamma=0.5
        )
        self.misfit = _misfit(settings)
        self.regulariser = _regulariser(settings)
        self.half = settings.precision is Precision.AUTO and computes_bfloat16(device)
        self.slowed_at: int | None = None
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

    def explains_all_but_noise(self, step: Step) -> bool:
        """Whether what a step left unexplained is no more than the noise (Morozov's principle)."""
        settings = self.problem.settings
        halved = 1 if settings.data_term is DataTerm.SQUARED else 2  # as Huber's loss is
        return settings.stop_at_noise and halved * step.data <= self.problem.noise**2

    def _evaluate(self) -> Step:
        """The estimates, the objective and its gradients at the present weights."""
        with torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext():
            canvas = self.image_prior()
        kernel = self.kernel_prior()
        data = self.misfit(blur(canvas, kernel) - self.observed)
        regulariser = self.regulariser(canvas.mean(0))
        loss = data + self.problem.sparsity_weight * regulariser
        self.optimiser.zero_grad()
        loss.backward()
        return Step(canvas.detach(), kernel.detach(), loss.item(), data.item(), regulariser.item())

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


def _misfit(settings: Settings) -> Callable[[Tensor], Tensor]:
    if settings.data_term is DataTerm.SQUARED:
        return mean_square
    return partial(mean_huber, delta=settings.huber_delta)


def _regulariser(settings: Settings) -> Callable[[Tensor], Tensor]:
    if settings.regulariser is Regulariser.L1:
        return mean_gradient
    plain = settings.sparsity_scale is SparsityScale.PUBLISHED
    return partial(gradient_sparsity, per_pixel=not plain)


def _image_prior(problem: Problem, kernel_prior: nn.Module) -> ImagePrior:
    settings = problem.settings
    start = None
    if settings.image_start is ImageStart.WIENER:
        kernel = first_kernel(problem)
        if kernel is None:
            kernel = kernel_prior().detach().numpy()
        start = torch.from_numpy(first_picture(problem, kernel))
    return ImagePrior(
        problem.canvas_shape,
        outputs=problem.unit.shape[0],
        channels=settings.channels[: _most_scales(problem.canvas_shape)],
        skip_channels=settings.skip_channels,
        input_channels=settings.input_channels,
        ceiling=1.0 + settings.headroom,
        start=start,
    )


def _most_scales(shape: tuple[int, int]) -> int:
    return max(1, int(math.log2(min(shape) / _COARSEST_SIDE)))


def _kernel_prior(problem: Problem) -> nn.Module:
    if problem.psf is not None:
        return FixedKernel(torch.from_numpy(problem.psf))
    prior = _kernel_network(problem.settings, problem.window)
    start = first_kernel(problem)
    if start is not None:
        fit_kernel(prior, torch.from_numpy(start))
    return prior


def _kernel_network(settings: Settings, window: tuple[int, int]) -> nn.Module:
    features, layers = settings.kernel_features, settings.kernel_layers
    if settings.kernel_network is KernelNetwork.MLP:
        return MlpKernel(window, features=features, layers=layers)
    if settings.kernel_network is KernelNetwork.CONVOLUTIONAL:
        scales = min(layers, _most_scales(window))
        return ConvolutionalKernel(window, features=features, scales=scales)
    return Siren(window, features=features, layers=layers, frequency=settings.kernel_frequency)
