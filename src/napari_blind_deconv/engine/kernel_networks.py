"""The untrained networks that can represent the kernel, by their names in `Settings`."""

from __future__ import annotations

import pkgutil

from torch import nn

from napari_blind_deconv.numerics.kernel_prior import Siren
from napari_blind_deconv.settings import KERNEL_NETWORKS, Settings

__all__ = ["kernel_network", "siren"]


def kernel_network(settings: Settings, window: tuple[int, ...]) -> nn.Module:
    """Return the network chosen in the settings, for a kernel with this window."""
    make = pkgutil.resolve_name(KERNEL_NETWORKS[settings.kernel_network])
    network: nn.Module = make(settings, window)
    return network


def siren(settings: Settings, window: tuple[int, ...]) -> nn.Module:
    """Return a SIREN, a network with sine activations on pixel coordinates (Eq. 21)."""
    return Siren(
        window,
        features=settings.kernel_features,
        layers=settings.kernel_layers,
        frequency=settings.kernel_frequency,
    )
