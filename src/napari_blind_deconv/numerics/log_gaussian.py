"""The most probable positive scene, given the noise and detail that :mod:`.local_model` tells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_blind_deconv.numerics.convolution import Convolution, Fitted
from napari_blind_deconv.numerics.cosines import cosines_of, from_cosines
from napari_blind_deconv.numerics.lbfgs import minimised
from napari_blind_deconv.numerics.local_model import LocalModel
from napari_blind_deconv.numerics.wiener import MIN_CURVATURE

__all__ = ["log_gaussian"]

# The estimate is found if a step decreases the objective by less than this, in nats per pixel.
_TOLERANCE = 2e-4


def log_gaussian(
    observed: Tensor,
    model: LocalModel,
    field: NDArray[np.float32],
    *,
    memory: int = 10,
) -> Iterator[Fitted]:
    """Deconvolve with the noise of each pixel, the local amplitude of detail, and positivity.

    Parameters
    ----------
    observed : Tensor
        Blurred image ``(*image)``, on the device that computes.
    model : LocalModel
        What is known of the image.
    field : ndarray
        Field on the canvas ``(*canvas)`` from which the steps begin, as `LocalModel.field_of`.
    memory : int
        Steps that L-BFGS remembers. Raising it takes fewer steps, and two canvases more for each.

    Yields
    ------
    Fitted
        Estimate and its blur after every step of L-BFGS. The last one is the result.
    """
    fit, before = _Fit(observed, model, field), math.inf
    for objective in minimised(fit.evaluate, fit.coefficients, fit.gradient, memory=memory):
        yield fit.fitted
        if not before - objective > _TOLERANCE * observed.numel():
            return
        before = objective


class _Fit:
    """The objective in nats, up to a constant, as a function of the cosines of the field.

    Attributes
    ----------
    coefficients : Tensor
        Coefficients of the cosines, scaled so that the curvature is about 1 along all of them.
    gradient : Tensor
        Derivatives of the objective.
    fitted : Fitted
        The estimate where the objective was evaluated last, and its blur.
    """

    def __init__(self, observed: Tensor, model: LocalModel, field: NDArray[np.float32]) -> None:
        on_device = partial(torch.as_tensor, device=observed.device)
        self._dark = model.dark
        self._light = observed - self._dark
        self._link = model.link
        self._level = on_device(np.asarray(model.level, np.float32))
        self._amplitude = on_device(model.amplitude)
        self._convolution = Convolution(on_device(model.kernel))
        weights = np.where(model.valid, 1 / model.variance, 0).astype(np.float32)
        self._weights = on_device(weights)
        curvature = model.power + model.penalty + np.float32(MIN_CURVATURE)
        self._prior = on_device(model.penalty / curvature)
        self._scale = on_device(np.sqrt(np.float32(model.noise) / curvature))
        detail = (field - model.level) / model.amplitude
        self.coefficients = cosines_of(on_device(detail), overwrite=True) / self._scale
        self.gradient = torch.empty_like(self.coefficients)
        self._scratch = torch.empty_like(self.coefficients)
        self._residual, self._weighted = map(torch.empty_like, (self._light, self._weights))
        self.fitted: Fitted

    def evaluate(self) -> float:
        """Return the objective, and leave its gradient in `gradient`."""
        # In place where possible: memory for a volume takes longer than these operations.
        scaled = torch.mul(self._scale, self.coefficients, out=self._scratch)
        field = from_cosines(scaled, overwrite=True)
        estimate = self._link(field.mul_(self._amplitude).add_(self._level))
        blurred = self._convolution.forward(estimate)
        residual = torch.sub(blurred, self._light, out=self._residual)
        weighted = torch.mul(self._weights, residual, out=self._weighted)
        slope = self._link.slope(estimate, out=field).mul_(self._amplitude)
        slope.mul_(self._convolution.adjoint(weighted))
        from_data = cosines_of(slope, overwrite=True)
        prior = torch.mul(self._prior, self.coefficients, out=self.gradient)
        energy = residual.mul_(weighted).sum() + (prior.view(-1) @ self.coefficients.view(-1))
        self.gradient.addcmul_(from_data, self._scale)
        self.fitted = Fitted(*(light.add_(self._dark) for light in (estimate, blurred)))
        return float(energy) / 2
