"""The kernel prior: a SIREN, a small network of sines over coordinates (Eq. 21, Fig. 18).

`FixedKernel` takes its part if the kernel is known. Both return a kernel with the shape of the
window, non-negative and with sum 1.
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
    """K_θk: map pixel coordinates to a non-negative kernel with sum 1.

    Parameters
    ----------
    kernel_shape : tuple of int
        Sides of the kernel window.
    features : int
        Width of the hidden layers. Wider layers describe more intricate kernels.
    layers : int
        Number of hidden sine layers.
    frequency : float
        Frequency ω₀ of the sine layers, in radians per half of the longest side of the window.
        Raising it allows finer detail in the kernel and lets the kernel break up sooner under
        noise.

    Notes
    -----
    The weights are initialised as in Sitzmann et al. (2020), which gives a nearly flat kernel. The
    output of the sigmoid is divided by its sum, because the brightness of the image would otherwise
    be ambiguous.
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
        self._initialise_weights()
        self.coordinates: Tensor
        self.register_buffer("coordinates", _coordinates(kernel_shape))

    def _initialise_weights(self) -> None:
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
    """A known kernel, for non-blind deconvolution. It has no parameters to learn."""

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.kernel: Tensor
        self.register_buffer("kernel", kernel)

    def forward(self) -> Tensor:
        """Return the kernel as given."""
        return self.kernel


def fit_kernel(
    prior: nn.Module, target: Tensor, *, steps: int = 600, learning_rate: float = 3e-3
) -> Iterator[None]:
    """Train a kernel network in place until it reproduces a target kernel.

    The default number of steps brings the squared error below a thousandth of the target's power. A
    larger error would be visible in the deconvolved image.

    Parameters
    ----------
    prior : Module
        Kernel network; its call returns a kernel.
    target : Tensor
        Kernel to reproduce, with the same shape.
    steps : int
        Number of steps of the optimiser. More steps reproduce the target more closely.
    learning_rate : float
        Learning rate at the first step; it falls to 0 along a cosine.

    Yields
    ------
    None
        After every step, so that the caller can report progress or stop.
    """
    optimiser = torch.optim.Adam(prior.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    # The error is relative, because the weights of a wide kernel are small.
    scale = 1 / target.square().sum()
    for _ in range(steps):
        optimiser.zero_grad()
        (scale * (prior() - target).square().sum()).backward()
        optimiser.step()
        schedule.step()
        yield


def _coordinates(shape: tuple[int, ...]) -> Tensor:
    """Return pixel centres ``(pixels, axes)``; the longest side runs from -1 to 1."""
    half = (max(shape) - 1) / 2 or 1.0
    sides = [(torch.arange(size) - (size - 1) / 2) / half for size in shape]
    return torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).reshape(-1, len(shape))
