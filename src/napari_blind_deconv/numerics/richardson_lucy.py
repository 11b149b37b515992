"""Richardson-Lucy, the classic of deconvolution, on the truncated forward model of Eq. 2."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_blind_deconv.numerics.convolution import Convolution

__all__ = ["flat_canvas", "light_seen", "quotient", "richardson_lucy", "updated_scene"]

# Keeps quotients finite where no light is expected, and canvas pixels that hardly any pixel of the
# field of view sees from being drawn by rounding errors.
_LEAST_LIGHT = 1e-6
_LEAST_SEEN = 1e-2


def richardson_lucy(observed: Tensor, convolution: Convolution) -> Iterator[Tensor]:
    """Estimates of the scene under photon noise, one an iteration, without end.

    Parameters
    ----------
    observed : Tensor
        Light ``(..., *image)`` above the camera's offset; negative values count as none.
    convolution : Convolution
        With a kernel ≥ 0 of sum 1.

    Yields
    ------
    Tensor
        Canvas ``(..., *canvas)``. Later ones are sharper and noisier.
    """
    light = observed.clamp(min=0)
    canvas = flat_canvas(light, convolution)
    seen = light_seen(light, convolution)
    while True:
        canvas = updated_scene(canvas, convolution, light, seen)
        yield canvas


def flat_canvas(light: Tensor, convolution: Convolution) -> Tensor:
    """The mean of each image everywhere on its canvas: where Richardson-Lucy starts."""
    axes = convolution.kernel.ndim
    leading, sides = light.shape[:-axes], light.shape[-axes:]
    mean = light.mean(dim=tuple(range(-axes, 0)), keepdim=True)
    return mean.expand(*leading, *convolution.canvas_shape(sides))


def quotient(canvas: Tensor, convolution: Convolution, light: Tensor) -> Tensor:
    """The light seen over the light expected, in the field of view."""
    return light / convolution.forward(canvas).clamp(min=_LEAST_LIGHT)


def light_seen(light: Tensor, convolution: Convolution) -> Tensor:
    """Share of each canvas pixel's light that falls into the field of view."""
    return convolution.adjoint(torch.ones_like(light)).clamp(min=_LEAST_SEEN)


def updated_scene(canvas: Tensor, convolution: Convolution, light: Tensor, seen: Tensor) -> Tensor:
    """One iteration on the scene."""
    ratio = convolution.adjoint(quotient(canvas, convolution, light))
    return (canvas * ratio / seen).clamp(min=0)
