"""The most probable positive scene, given the noise and detail that :mod:`.local_model` tells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.cosines import cosines_of, from_cosines, power_of_kernel
from napari_blind_deconv.numerics.local_model import Link, LocalModel
from napari_blind_deconv.numerics.wiener import MIN_CURVATURE

__all__ = ["log_gaussian"]

_MEMORY = 10  # steps that L-BFGS remembers
_EVALUATIONS = 8  # of the objective in a step, at most
# The estimate is found if a step decreases the objective by less than this, in nats per pixel.
_TOLERANCE = 1e-4


def log_gaussian(
    observed: NDArray[np.float32], model: LocalModel, start: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Deconvolve with the noise of each pixel, the local amplitude of detail, and positivity.

    Parameters
    ----------
    observed : ndarray
        Blurred image ``(*image)``.
    model : LocalModel
        What is known of the image.
    start : ndarray
        Estimate on the canvas ``(*canvas)`` from which the steps begin.

    Yields
    ------
    ndarray
        Estimate on the canvas, float32, after every step of L-BFGS. The last one is the result.
    """
    # In units of the noise, because torch's L-BFGS has absolute thresholds.
    unit, dark = np.float32(math.sqrt(model.noise)), np.float32(model.dark)
    light, linear = (observed - dark) / unit, (start - dark) / unit
    fit = _Fit(light, model)
    level, link = float(light[model.valid].mean()), Link(model.bright / float(unit))
    field = (link.inverse(linear) - level) / model.amplitude
    coefficients = torch.from_numpy(cosines_of(field)) / fit.preconditioner
    coefficients.requires_grad_()
    amplitude = torch.from_numpy(model.amplitude)

    def estimate() -> Tensor:
        canvas: Tensor = _FromCosines.apply(  # type: ignore[no-untyped-call]
            fit.preconditioner * coefficients
        )
        return link(level + amplitude * canvas)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = fit.objective(estimate(), coefficients)
        loss.backward()
        return loss.detach()

    optimiser = torch.optim.LBFGS(
        [coefficients],
        max_iter=1,
        max_eval=_EVALUATIONS,
        history_size=_MEMORY,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )
    evaluate = _Remembered(closure, coefficients)
    before = math.inf
    while True:
        optimiser.step(evaluate)
        loss = float(evaluate())
        # Not `torch.no_grad`: it would last while the caller has the estimate.
        yield unit * estimate().detach().numpy() + dark
        if not before - loss > _TOLERANCE * light.size:
            return
        before = loss


class _Fit:
    """The objective of the fit in nats, up to a constant; all in units of the mean noise."""

    def __init__(self, light: NDArray[np.float32], model: LocalModel) -> None:
        self._convolution = Convolution(torch.from_numpy(model.kernel))
        weights = np.where(model.valid, model.noise / model.variance, 0).astype(np.float32)
        self._light, self._weights = torch.from_numpy(light), torch.from_numpy(weights)
        power = power_of_kernel(model.kernel, model.penalty.shape)
        curvature = power + model.penalty + MIN_CURVATURE
        self.preconditioner = torch.from_numpy((1 / np.sqrt(curvature)).astype(np.float32))
        self._prior = torch.from_numpy(model.penalty) * self.preconditioner**2

    def objective(self, canvas: Tensor, coefficients: Tensor) -> Tensor:
        residual = self._convolution.forward(canvas) - self._light
        data = (self._weights * residual.square()).sum()
        return 0.5 * (data + (self._prior * coefficients.square()).sum())


class _FromCosines(torch.autograd.Function):
    """The orthonormal inverse cosine transform, whose gradient is the cosine transform."""

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor) -> Tensor:
        return torch.from_numpy(from_cosines(coefficients.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.from_numpy(cosines_of(gradients[0].numpy()))


class _Remembered:
    """A closure of L-BFGS that is not evaluated again at the point where it was evaluated last.

    A step of one iteration begins where the line search of the step before ended.
    """

    def __init__(self, closure: Any, point: Tensor) -> None:
        self._closure, self._point = closure, point
        self._last: Tensor | None = None
        self._value: Tensor

    def __call__(self) -> Tensor:
        if self._last is None or not torch.equal(self._last, self._point):
            self._value = self._closure()
            self._last = self._point.detach().clone()
        return self._value
