"""What a camera does to light: photon and read noise, defective and saturated pixels."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["add_gaussian_noise", "add_impulse_noise", "expose", "saturate"]


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


def add_gaussian_noise(image: Tensor, *, sigma: float, generator: torch.Generator) -> Tensor:
    """Add white noise of standard deviation `sigma`, in the image's units (4.2.2)."""
    return image + sigma * torch.randn(image.shape, generator=generator)


def add_impulse_noise(image: Tensor, *, share: float, generator: torch.Generator) -> Tensor:
    """Turn this share of an image's pixels black (0) or white (1), half of them each (4.2.2)."""
    hit = torch.rand(image.shape, generator=generator) < share
    white = torch.rand(image.shape, generator=generator) < 0.5
    return torch.where(hit, white.to(image.dtype), image)


def saturate(image: Tensor, gain: float) -> Tensor:
    """Expose an image in ``[0, 1]`` longer by `gain`, on a detector that ends at 1."""
    return (gain * image).clamp(0, 1)
