"""Kernel networks that the paper compares its kernel prior with (Fig. 13).

The two networks, and the presets of the published methods that use them, are registered with the
package when `benchmarks` is imported. The package itself does not know them.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from napari_blind_deconv.numerics.unet import UNet
from napari_blind_deconv.presets import PRESETS
from napari_blind_deconv.settings import KERNEL_NETWORKS, Settings

__all__ = ["ConvolutionalKernel", "MlpKernel", "convolutional", "mlp", "register"]

_MLP_INPUTS = 200  # random numbers that the fully connected network starts from
_CONVOLUTIONAL_INPUTS = 8  # channels of random numbers of the convolutional network
_CONVOLUTIONAL_SKIP = 16
_COARSEST_SIDE = 4  # pixels per side of the coarsest scale of the convolutional network

_SHARED_SETTINGS: dict[str, Any] = {
    **PRESETS["paper-synthetic"],
    "max_iterations": 5000,
    "learning_rate_milestones": (2000, 3000, 4000),
    "data_term": "squared",
    "early_stopping": False,
    "location": "centre",
}
_PRESETS: dict[str, dict[str, Any]] = {
    # Eq. 7, Ren et al. (2020), with the λ of the comparison in the paper. The caller sets the true
    # kernel size.
    "selfdeblur": {
        **_SHARED_SETTINGS,
        "kernel_network": "mlp",
        "kernel_features": 1000,
        "kernel_layers": 1,
        "regulariser": "l1",
    },
    # Wang et al. (2019): the same network for image and kernel, and no penalty beside the misfit.
    # The learning rates and their milestones are those of SelfDeblur.
    "wang": {
        **_SHARED_SETTINGS,
        "kernel_network": "convolutional",
        "kernel_features": 128,
        "kernel_layers": 5,
        "sparsity": 0.0,
    },
}


def register() -> None:
    """Register the networks and presets with the package, by their names."""
    for name in ("mlp", "convolutional"):
        KERNEL_NETWORKS[name] = f"{__name__}:{name}"
    PRESETS.update(_PRESETS)


def mlp(settings: Settings, window: tuple[int, ...]) -> nn.Module:
    """Return the fully connected network of these settings."""
    return MlpKernel(window, features=settings.kernel_features, layers=settings.kernel_layers)


def convolutional(settings: Settings, window: tuple[int, ...]) -> nn.Module:
    """Return the U-Net of these settings, with as many scales as its window allows."""
    max_scales = max(1, int(math.log2(min(window) / _COARSEST_SIDE)))
    scales = min(settings.kernel_layers, max_scales)
    return ConvolutionalKernel(window, features=settings.kernel_features, scales=scales)


class _SoftmaxKernel(nn.Module):
    """A kernel that is the softmax of the output of a network for fixed random numbers z."""

    def __init__(self, kernel_shape: tuple[int, ...], network: nn.Module, z: Tensor) -> None:
        super().__init__()
        self.kernel_shape = kernel_shape
        self.network = network
        self.z: Tensor
        self.register_buffer("z", z)

    def forward(self) -> Tensor:
        """Return the kernel of shape `kernel_shape`, non-negative with sum 1."""
        values = self.network(self.z).flatten()
        return torch.softmax(values, dim=0).reshape(self.kernel_shape)


class MlpKernel(_SoftmaxKernel):
    """K_θk(z): a fully connected network and a softmax, as in SelfDeblur (Eq. 7).

    Parameters
    ----------
    kernel_shape : tuple of int
        Sides of the kernel window.
    features, layers : int
        Width and number of hidden layers.
    """

    def __init__(self, kernel_shape: tuple[int, ...], *, features: int, layers: int) -> None:
        widths = [_MLP_INPUTS, *[features] * layers]
        hidden = [
            module
            for inputs, outputs in itertools.pairwise(widths)
            for module in (nn.Linear(inputs, outputs), nn.ReLU6())
        ]
        network = nn.Sequential(*hidden, nn.Linear(features, math.prod(kernel_shape)))
        super().__init__(kernel_shape, network, 0.1 * torch.rand(_MLP_INPUTS))


class ConvolutionalKernel(_SoftmaxKernel):
    """K_θk(z): a U-Net like the image's and a softmax, as in Wang et al. (2019).

    Parameters
    ----------
    kernel_shape : tuple of int
        Sides of the kernel window.
    features, scales : int
        Width and number of scales.
    """

    def __init__(self, kernel_shape: tuple[int, ...], *, features: int, scales: int) -> None:
        network = UNet(
            len(kernel_shape),
            _CONVOLUTIONAL_INPUTS,
            1,
            channels=[features] * scales,
            skip_channels=_CONVOLUTIONAL_SKIP,
        )
        z = 0.1 * torch.rand(1, _CONVOLUTIONAL_INPUTS, *kernel_shape)
        super().__init__(kernel_shape, network, z)
