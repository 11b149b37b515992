"""Simulate a camera: photon noise, read noise, defective and saturated pixels."""

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
    """Simulate the counts of a camera, with photon and read noise.

    Parameters
    ----------
    scene : Tensor
        Blurred scene, brightness in ``[0, 1]``, any shape.
    photons : float
        Mean count at brightness 1. Four times the photons halve the relative noise.
    background : float
        Additional uniform light, as a fraction of brightness 1.
    read_noise : float
        Standard deviation of the noise of the electronics, in counts.
    generator : torch.Generator
        Source of the random numbers.

    Returns
    -------
    Tensor
        Counts, same shape as `scene`. Read noise can make them negative.
    """
    mean = photons * (scene.clamp(min=0) + background)
    noise = torch.randn(mean.shape, generator=generator)
    return torch.poisson(mean, generator=generator) + read_noise * noise


def add_gaussian_noise(image: Tensor, *, sigma: float, generator: torch.Generator) -> Tensor:
    """Add white noise of standard deviation `sigma`, in the image's units (section 4.2.2)."""
    return image + sigma * torch.randn(image.shape, generator=generator)


def add_impulse_noise(image: Tensor, *, share: float, generator: torch.Generator) -> Tensor:
    """Set a random fraction `share` of pixels to 0 or 1, half of them each (section 4.2.2)."""
    hit = torch.rand(image.shape, generator=generator) < share
    white = torch.rand(image.shape, generator=generator) < 0.5
    return torch.where(hit, white.to(image.dtype), image)


def saturate(image: Tensor, gain: float) -> Tensor:
    """Multiply an image in ``[0, 1]`` by `gain` and clip it at 1, as a full detector does."""
    return (gain * image).clamp(0, 1)
