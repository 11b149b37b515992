"""Richardson-Lucy, the classic of deconvolution, on the truncated blur model of Eq. 2."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_blind_deconv.numerics.blur import adjoint_blur, blur

__all__ = ["flat_canvas", "light_seen", "quotient", "richardson_lucy", "updated_scene"]

# Keeps quotients finite where no light is expected, and canvas pixels that hardly any pixel of the
# field of view sees from being drawn by rounding errors.
_LEAST_LIGHT = 1e-6
_LEAST_SEEN = 1e-2


def richardson_lucy(observed: Tensor, kernel: Tensor) -> Iterator[Tensor]:
    """Estimates of the scene under photon noise, one an iteration, without end.

    Parameters
    ----------
    observed : Tensor
        Light ``(H, W)`` above the camera's offset; negative values count as none.
    kernel : Tensor
        Kernel ``(kh, kw)``, ≥ 0, sum 1.

    Yields
    ------
    Tensor
        Canvas ``(H + kh - 1, W + kw - 1)``. Later ones are sharper and noisier.
    """
    light = observed.clamp(min=0)
    canvas = flat_canvas(light, kernel)
    seen = light_seen(light, kernel)
    while True:
        canvas = updated_scene(canvas, kernel, light, seen)
        yield canvas


def flat_canvas(light: Tensor, kernel: Tensor) -> Tensor:
    """The mean of an image everywhere on its canvas: where Richardson-Lucy starts."""
    rows, columns = light.shape
    kh, kw = kernel.shape
    return light.mean().expand(rows + kh - 1, columns + kw - 1)


def quotient(canvas: Tensor, kernel: Tensor, light: Tensor) -> Tensor:
    """The light seen over the light expected, in the field of view."""
    return light / blur(canvas, kernel).clamp(min=_LEAST_LIGHT)


def light_seen(light: Tensor, kernel: Tensor) -> Tensor:
    """Share of each canvas pixel's light that falls into the field of view."""
    return adjoint_blur(torch.ones_like(light), kernel).clamp(min=_LEAST_SEEN)


def updated_scene(canvas: Tensor, kernel: Tensor, light: Tensor, seen: Tensor) -> Tensor:
    """One iteration on the scene."""
    return (canvas * adjoint_blur(quotient(canvas, kernel, light), kernel) / seen).clamp(min=0)
