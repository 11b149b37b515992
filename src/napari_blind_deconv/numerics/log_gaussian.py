"""The most probable positive scene, given the noise and detail that :mod:`.local_model` tells."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_blind_deconv.numerics.convolution import Convolution, Fitted
from napari_blind_deconv.numerics.cosines import cosines_of, from_cosines
from napari_blind_deconv.numerics.local_model import Link, LocalModel
from napari_blind_deconv.numerics.wiener import MIN_CURVATURE

__all__ = ["log_gaussian"]

_EVALUATIONS = 8  # of the objective in the line search of a step, at most
# The estimate is found if a step decreases the objective by less than this, in nats per pixel.
_TOLERANCE = 1e-4


def log_gaussian(
    observed: NDArray[np.float32],
    model: LocalModel,
    start: NDArray[np.float32],
    *,
    memory: int = 10,
) -> Iterator[Fitted]:
    """Deconvolve with the noise of each pixel, the local amplitude of detail, and positivity.

    Parameters
    ----------
    observed : ndarray
        Blurred image ``(*image)``.
    model : LocalModel
        What is known of the image.
    start : ndarray
        Estimate on the canvas ``(*canvas)`` from which the steps begin.
    memory : int
        Steps that L-BFGS remembers. Raising it takes fewer steps, and two canvases more for each.

    Yields
    ------
    Fitted
        Estimate and its blur after every step of L-BFGS. The last one is the result.
    """
    fit = _Fit(observed, model, start)
    optimiser = torch.optim.LBFGS(
        [fit.coefficients],
        max_iter=1,
        max_eval=_EVALUATIONS,
        history_size=memory,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )
    before = math.inf
    while True:
        optimiser.step(fit.evaluate)
        loss = float(fit.evaluate())
        yield fit.fitted
        if not before - loss > _TOLERANCE * observed.size:
            return
        before = loss


class _Fit:
    """The objective in nats, up to a constant, as a function of the cosines of the field.

    Attributes
    ----------
    coefficients : Tensor
        Coefficients of the cosines, scaled so that all of them have about the same curvature.
    """

    def __init__(
        self, observed: NDArray[np.float32], model: LocalModel, start: NDArray[np.float32]
    ) -> None:
        # In units of the noise, because torch's L-BFGS has absolute thresholds.
        self._unit, self._dark = np.float32(math.sqrt(model.noise)), np.float32(model.dark)
        light, linear = ((image - self._dark) / self._unit for image in (observed, start))
        self._link = Link(model.bright / float(self._unit))
        level = np.asarray(model.level / self._unit, np.float32)
        self._level = torch.from_numpy(level)
        self._amplitude = torch.from_numpy(model.amplitude)
        self._convolution = Convolution(torch.from_numpy(model.kernel))
        weights = np.where(model.valid, model.noise / model.variance, 0).astype(np.float32)
        self._light, self._weights = torch.from_numpy(light), torch.from_numpy(weights)
        self._scale = 1 / np.sqrt(model.power + model.penalty + np.float32(MIN_CURVATURE))
        self._prior = torch.from_numpy(model.penalty * self._scale**2)
        field = (self._link.inverse(linear) - level) / model.amplitude
        self.coefficients = torch.from_numpy(cosines_of(field) / self._scale)
        self.coefficients.grad = torch.zeros_like(self.coefficients)
        self._evaluated_at = torch.full_like(self.coefficients, math.nan)
        self._loss: Tensor
        self._estimate: Tensor
        self._blurred: Tensor

    def evaluate(self) -> Tensor:
        """Return the objective, and leave its gradient in `coefficients`.

        It is not computed again where it was computed last, because a step of L-BFGS begins where
        the line search of the step before ended.
        """
        point = self.coefficients
        if not torch.equal(self._evaluated_at, point):
            self._evaluated_at.copy_(point)
            # In place where possible: memory for a volume takes longer than these operations.
            field = torch.from_numpy(from_cosines(self._scale * point.numpy()))
            self._estimate = self._link(field.mul_(self._amplitude).add_(self._level))
            self._blurred = self._convolution.forward(self._estimate)
            residual = self._blurred - self._light
            weighted = self._weights * residual
            slope = self._convolution.adjoint(weighted).mul_(self._link.slope(self._estimate))
            gradient = cosines_of(slope.mul_(self._amplitude).numpy())
            gradient *= self._scale
            prior = self._prior * point
            assert point.grad is not None
            torch.add(prior, torch.from_numpy(gradient), out=point.grad)
            energy = residual.mul_(weighted).sum() + prior.mul_(point).sum()
            self._loss = energy / 2
        return self._loss

    @property
    def fitted(self) -> Fitted:
        """The estimate where the objective was evaluated last, in the units of the image."""
        return Fitted(*map(self._in_units_of_image, (self._estimate, self._blurred)))

    def _in_units_of_image(self, light: Tensor) -> NDArray[np.float32]:
        intensities: NDArray[np.float32] = self._unit * light.numpy()
        intensities += self._dark
        return intensities
