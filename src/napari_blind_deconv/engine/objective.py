"""The objective of Eq. 21: data term plus λ times regulariser, as the settings define them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.losses import (
    gradient_sparsity,
    mean_gradient,
    mean_huber,
    mean_square,
    planes_at_once,
)
from napari_blind_deconv.settings import DataTerm, Regulariser, Settings, SparsityScale

__all__ = ["Objective", "Terms"]


class Terms(NamedTuple):
    """The objective, its data term and its regulariser without λ; scalars on the device."""

    loss: Tensor
    data: Tensor
    regulariser: Tensor


class Objective:
    """The objective of Eq. 21 for one observed image."""

    def __init__(self, problem: Problem) -> None:
        self._observed = problem.on_device(problem.observed)
        valid = problem.inspection.valid
        self._valid = None if valid.all() else problem.on_device(valid)
        self._valid_share = float(valid.mean())
        self._weight = problem.sparsity_weight
        self._data_term = _data_term(problem.settings)
        self._regulariser = _regulariser(problem.settings)

    def of(self, canvas: Tensor, convolution: Convolution) -> Terms:
        """Return the terms for a canvas ``(C, *canvas)`` and the convolution with its kernel."""
        return self.of_blurred(canvas, convolution.forward(canvas))

    def of_blurred(self, canvas: Tensor, blurred: Tensor) -> Terms:
        """Return the terms for a canvas ``(C, *canvas)``, and its blur ``(C, *image)``."""
        data = self._data(blurred) / self._valid_share  # the mean of the valid pixels
        regulariser = self._regulariser(canvas[0] if len(canvas) == 1 else canvas.mean(0))
        return Terms(data + self._weight * regulariser, data, regulariser)

    def _data(self, blurred: Tensor) -> Tensor:
        """Return the data term of all pixels, of a large image as the mean of its parts."""
        terms, planes = [], planes_at_once(blurred.shape[1:])
        for start in range(0, blurred.shape[1], planes):
            part = (slice(None), slice(start, start + planes))
            residual = blurred[part] - self._observed[part]
            if self._valid is not None:
                residual = residual * self._valid[part]
            terms.append(self._data_term(residual) * (residual.numel() / blurred.numel()))
        return torch.stack(terms).sum()


def _data_term(settings: Settings) -> Callable[[Tensor], Tensor]:
    if settings.data_term is DataTerm.SQUARED:
        return mean_square
    return partial(mean_huber, delta=settings.huber_delta)


def _regulariser(settings: Settings) -> Callable[[Tensor], Tensor]:
    if settings.regulariser is Regulariser.L1:
        return mean_gradient
    plain = settings.sparsity_scale is SparsityScale.PUBLISHED
    return partial(gradient_sparsity, per_pixel=not plain)
