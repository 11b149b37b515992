"""What a camera does to light: photon noise, background, offset and read noise."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["expose"]


def expose(
    scene: Tensor,
    *,
    photons: float,
    background: float,
    read_noise: float,
    generator: torch.Generator,
) -> Tensor:
    """Photons counted from a blurred scene, with the camera's read noise.

    Parameters
    ----------
    scene : Tensor
        Brightness in ``[0, 1]``, any shape.
    photons : float
        Mean count at brightness 1. Raising it lowers the relative noise with its square root.
    background : float
        Light from elsewhere, as a share of brightness 1.
    read_noise : float
        Standard deviation of the electronics' noise, in counts.
    generator : torch.Generator
        Source of the random numbers.

    Returns
    -------
    Tensor
        Counts, shape of `scene`; read noise can take them below zero.
    """
    mean = photons * (scene.clamp(min=0) + background)
    noise = torch.randn(mean.shape, generator=generator)
    return torch.poisson(mean, generator=generator) + read_noise * noise
