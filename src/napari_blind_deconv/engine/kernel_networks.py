"""The untrained networks that may stand for the kernel, by the names of `Settings`."""

from __future__ import annotations

import pkgutil

from torch import nn

from napari_blind_deconv.numerics.kernel_prior import Siren
from napari_blind_deconv.settings import KERNEL_NETWORKS, Settings

__all__ = ["kernel_network", "siren"]


def kernel_network(settings: Settings, window: tuple[int, ...]) -> nn.Module:
    """The network that the settings name, for a kernel of this window."""
    make = pkgutil.resolve_name(KERNEL_NETWORKS[settings.kernel_network])
    network: nn.Module = make(settings, window)
    return network


def siren(settings: Settings, window: tuple[int, ...]) -> nn.Module:
    """Sines over coordinates, Eq. 21."""
    return Siren(
        window,
        features=settings.kernel_features,
        layers=settings.kernel_layers,
        frequency=settings.kernel_frequency,
    )
