"""Fit the networks that predict the width of the kernel."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_blind_deconv.numerics.width_posterior import LEVELS, WidthModel

__all__ = ["fit"]

_MEMBERS, _HIDDEN, _LAYERS = 4, 128, 3
_EPOCHS, _BATCH = 80, 256
_RATE, _DECAY = 2e-3, 2e-4
_NOISE = 0.02  # added to the standardised features, against overfitting
_VALIDATION = 0.15  # share of the samples that calibrates the deviations


class _Ensemble(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        sides = [inputs, *[_HIDDEN] * _LAYERS, 2 * len(LEVELS)]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for rows, columns in itertools.pairwise(sides):
            self.weights.append(torch.randn(_MEMBERS, rows, columns) / rows**0.5)
            self.biases.append(torch.zeros(_MEMBERS, 1, columns))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = features
        for number, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = values @ weights + biases
            if number < _LAYERS:
                values = nn.functional.silu(values)
        means, logarithms = values.chunk(2, dim=-1)
        return means, logarithms.clamp(-4, 1)


def fit(
    features: NDArray[Any], targets: NDArray[Any], *, seed: int = 0, epochs: int = _EPOCHS
) -> WidthModel:
    """Fit an ensemble by maximum likelihood, and calibrate its deviations on held-out samples."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    held = random.random(len(features)) < _VALIDATION
    centre, scale = features[~held].mean(axis=0), features[~held].std(axis=0) + 1e-6
    inputs = torch.from_numpy(np.clip((features - centre) / scale, -5, 5)).float()
    wanted = torch.from_numpy(targets).float()
    train = torch.from_numpy(np.flatnonzero(~held))
    model = _Ensemble(features.shape[1])
    steps = epochs * (len(train) // _BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    for _ in range(steps):
        # Every member sees other samples.
        chosen = train[torch.randint(len(train), (_MEMBERS, _BATCH))]
        noisy = inputs[chosen] + _NOISE * torch.randn(*chosen.shape, inputs.shape[1])
        means, logarithms = model(noisy)
        loss = (((means - wanted[chosen]) / logarithms.exp()) ** 2 / 2 + logarithms).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    layers = tuple(
        (weights.detach().double().numpy(), biases.detach().double().numpy())
        for weights, biases in zip(model.weights, model.biases, strict=True)
    )
    fitted = WidthModel(centre, scale, layers, np.ones(len(LEVELS)), features[0])
    means, deviations = fitted.predict(features[held])
    # The factor with which 68 % of the held-out targets are within one deviation.
    factor = np.quantile(np.abs(targets[held] - means) / deviations, 0.6827, axis=0)
    return replace(fitted, calibration=factor)
