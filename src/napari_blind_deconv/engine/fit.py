"""The two networks, the objective of Eq. 21 and one step on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from napari_blind_deconv.engine.devices import computes_bfloat16
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.numerics.blur import blur, field_of_view_offset
from napari_blind_deconv.numerics.blur_width import gaussian_width
from napari_blind_deconv.numerics.image_prior import ImagePrior
from napari_blind_deconv.numerics.kernel_prior import (
    ConvolutionalKernel,
    FixedKernel,
    MlpKernel,
    Siren,
    fit_kernel,
    gaussian_kernel,
)
from napari_blind_deconv.numerics.objective import (
    effective_area,
    gradient_sparsity,
    mean_gradient,
    mean_huber,
    mean_square,
)
from napari_blind_deconv.settings import (
    DataTerm,
    KernelNetwork,
    Precision,
    Regulariser,
    Settings,
    SparsityScale,
)

__all__ = ["Fit", "Step"]

# The coarsest scale of the image network keeps at least this many pixels a side.
_COARSEST_SIDE = 4
# A kernel shrinks by itself but hardly grows, so that it must not start as a point (σ in pixels).
_NARROWEST_START = 1.5
# Weight of falling short of the least kernel area: a wall, thousands of times a fit's misfit.
_LEAST_AREA_WEIGHT = 0.1
# Twice a fit became NaN where the same fit, run again, did not; why is not known. A step is worth a
# second try; a run is not worth losing.
_ATTEMPTS = 3
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
            self.image_prior = _image_prior(problem).to(device)
            self.kernel_prior = _kernel_prior(problem).to(device)
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
        with torch.no_grad():
            start = effective_area(self.kernel_prior()).item()
        self.least_area = settings.kernel_least_area * start if problem.psf is None else 0.0
        self.misfit = _misfit(settings)
        self.regulariser = _regulariser(settings)
        self.half = settings.precision is Precision.AUTO and computes_bfloat16(device)

    def step(self, iteration: int) -> Step:
        """One step on Eq. 21; tried again if it gave no numbers, an error if it never does."""
        for _ in range(_ATTEMPTS):
            step = self._evaluate(iteration)
            if self._gradients_are_finite() and math.isfinite(step.loss):
                self.optimiser.step()
                self.schedule.step()
                return step
        raise FloatingPointError(f"the objective became {step.loss} at iteration {iteration}")

    def _evaluate(self, iteration: int) -> Step:
        """The estimates, the objective and its gradients at the present weights."""
        settings = self.problem.settings
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            canvas = self.image_prior()
        kernel = self.kernel_prior()
        if iteration <= settings.kernel_hold:
            kernel = kernel.detach()  # the picture sharpens through the kernel's start
        data = self.misfit(blur(canvas, kernel) - self.observed)
        regulariser = self.regulariser(canvas.mean(0))
        loss = data + self.problem.sparsity_weight * regulariser
        if self.least_area > 0:
            shortfall = torch.relu(torch.log(self.least_area / effective_area(kernel)))
            loss = loss + _LEAST_AREA_WEIGHT * shortfall.square()
        self.optimiser.zero_grad()
        loss.backward()
        return Step(canvas.detach(), kernel.detach(), loss.item(), data.item(), regulariser.item())

    def _gradients_are_finite(self) -> bool:
        parameters = [*self.image_prior.parameters(), *self.kernel_prior.parameters()]
        # torch's one public norm of all gradients; a bound of infinity clips nothing.
        return bool(nn.utils.clip_grad_norm_(parameters, math.inf).isfinite())


def _misfit(settings: Settings) -> Callable[[Tensor], Tensor]:
    if settings.data_term is DataTerm.SQUARED:
        return mean_square
    return partial(mean_huber, delta=settings.huber_delta)


def _regulariser(settings: Settings) -> Callable[[Tensor], Tensor]:
    if settings.regulariser is Regulariser.L1:
        return mean_gradient
    plain = settings.sparsity_scale is SparsityScale.PUBLISHED
    return partial(gradient_sparsity, per_pixel=not plain)


def _image_prior(problem: Problem) -> ImagePrior:
    settings = problem.settings
    return ImagePrior(
        problem.canvas_shape,
        outputs=problem.unit.shape[0],
        channels=settings.channels[: _most_scales(problem.canvas_shape)],
        skip_channels=settings.skip_channels,
        input_channels=settings.input_channels,
        ceiling=1.0 + settings.headroom,
        guide=_on_canvas(problem) if settings.guided else None,
    )


def _most_scales(shape: tuple[int, int]) -> int:
    return max(1, int(math.log2(min(shape) / _COARSEST_SIDE)))


def _on_canvas(problem: Problem) -> Tensor:
    """The blurred image, continued to the canvas by its border pixels."""
    top, left = field_of_view_offset(problem.window)
    bottom, right = problem.window[0] - 1 - top, problem.window[1] - 1 - left
    pads = [(0, 0), (top, bottom), (left, right)]
    return torch.from_numpy(np.pad(problem.calm, pads, mode="edge"))


def _kernel_prior(problem: Problem) -> nn.Module:
    settings = problem.settings
    if problem.psf is not None:
        return FixedKernel(torch.from_numpy(problem.psf))
    prior = _kernel_network(settings, problem.window)
    start = settings.kernel_start
    if start != "flat":
        sigma = _found_width(problem) if start == "auto" else start
        fit_kernel(prior, gaussian_kernel(problem.window, sigma))
    return prior


def _kernel_network(settings: Settings, window: tuple[int, int]) -> nn.Module:
    features, layers = settings.kernel_features, settings.kernel_layers
    if settings.kernel_network is KernelNetwork.MLP:
        return MlpKernel(window, features=features, layers=layers)
    if settings.kernel_network is KernelNetwork.CONVOLUTIONAL:
        scales = min(layers, _most_scales(window))
        return ConvolutionalKernel(window, features=features, scales=scales)
    return Siren(window, features=features, layers=layers, frequency=settings.kernel_frequency)


def _found_width(problem: Problem) -> float:
    return max(_NARROWEST_START, gaussian_width(problem.calm.mean(axis=0)))
