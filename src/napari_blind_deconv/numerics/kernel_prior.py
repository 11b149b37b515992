"""The kernel prior: a SIREN, a small network of sines over coordinates (Eq. 21, Fig. 18).

Beside it stands a kernel that is known. Each gives a kernel of as many axes as its window has,
nowhere negative, that sums to 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = [
    "FixedKernel",
    "Siren",
    "fit_kernel",
]


class Siren(nn.Module):
    """K_θk: coordinates in, non-negative kernel of unit sum out.

    Parameters
    ----------
    kernel_shape : tuple of int
        Sides of the kernel window.
    features : int
        Width of the hidden layers.
    layers : int
        Number of hidden sine layers.
    frequency : float
        ω₀ of the first layer, in radians over half the longer side of the window. Higher values
        let the kernel have finer detail and let it break up sooner under noise.

    Notes
    -----
    The weights start as Sitzmann et al. (2020) prescribe, which gives a nearly flat kernel. A
    sigmoid alone leaves the image's brightness free, so the output is divided by its sum.
    """

    def __init__(
        self, kernel_shape: tuple[int, ...], *, features: int, layers: int, frequency: float
    ) -> None:
        super().__init__()
        self.kernel_shape = kernel_shape
        self.frequency = frequency
        widths = [len(kernel_shape), *[features] * layers]
        self.hidden = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(widths)
        )
        self.head = nn.Linear(features, 1)
        self._start_weights()
        self.coordinates: Tensor
        self.register_buffer("coordinates", _coordinates(kernel_shape))

    def _start_weights(self) -> None:
        with torch.no_grad():
            for depth, layer in enumerate([*self.hidden, self.head]):
                assert isinstance(layer, nn.Linear)
                fan_in = layer.in_features
                bound = 1 / fan_in if depth == 0 else math.sqrt(6 / fan_in) / self.frequency
                layer.weight.uniform_(-bound, bound)

    def forward(self) -> Tensor:
        """Return the kernel, shape `kernel_shape`, all ≥ 0, sum 1."""
        features = self.coordinates
        for layer in self.hidden:
            features = torch.sin(self.frequency * layer(features))
        kernel: Tensor = torch.sigmoid(self.head(features)).reshape(self.kernel_shape)
        return kernel / kernel.sum()


class FixedKernel(nn.Module):
    """A kernel that is known: the non-blind case. It has nothing to learn."""

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.kernel: Tensor
        self.register_buffer("kernel", kernel)

    def forward(self) -> Tensor:
        """Return the kernel."""
        return self.kernel


def fit_kernel(
    prior: nn.Module, target: Tensor, *, steps: int = 600, learning_rate: float = 3e-3
) -> Iterator[None]:
    """Bring a kernel network to describe `target` (a kernel of its shape), in place.

    To an error of less than a thousandth of its power, since a picture deconvolved with it shows
    every other one. Yields after every step.
    """
    optimiser = torch.optim.Adam(prior.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    scale = 1 / target.square().sum()
    for _ in range(steps):
        optimiser.zero_grad()
        (scale * (prior() - target).square().sum()).backward()
        optimiser.step()
        schedule.step()
        yield


def _coordinates(shape: tuple[int, ...]) -> Tensor:
    """Pixel centres, shape ``(pixels, axes)``, the longest side running from -1 to 1."""
    half = (max(shape) - 1) / 2 or 1.0
    sides = [(torch.arange(size) - (size - 1) / 2) / half for size in shape]
    return torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).reshape(-1, len(shape))
