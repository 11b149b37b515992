"""Richardson-Lucy deconvolution on the truncated forward model of Eq. 2."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_blind_deconv.numerics.convolution import Convolution

__all__ = ["flat_canvas", "light_seen", "quotient", "richardson_lucy", "updated_scene"]

_TINY = 1e-30  # keeps the step finite if an estimate does not change any more
_MAX_STEP = 0.98  # of the last change, by which an accelerated iteration extrapolates
# Keeps quotients finite where no light is expected.
_MIN_LIGHT = 1e-6
# Keeps rounding errors from determining canvas pixels whose light hardly reaches the field of view.
_MIN_SEEN = 1e-2


def richardson_lucy(
    observed: Tensor,
    convolution: Convolution,
    valid: Tensor | None = None,
    *,
    accelerated: bool = False,
) -> Iterator[Tensor]:
    """Iterate Richardson-Lucy, the maximum-likelihood estimate under photon noise, without end.

    Parameters
    ----------
    observed : Tensor
        Image ``(..., *image)`` with the offset of the camera subtracted. Negative values are set
        to 0.
    convolution : Convolution
        Convolution with a kernel ≥ 0 that has sum 1.
    valid : Tensor, optional
        Mask of the pixels that the estimate has to explain, same shape as `observed`. Default: all.
    accelerated : bool
        Whether each iteration starts from an extrapolation of the last two estimates, as of Biggs
        and Andrews, *Acceleration of iterative image restoration algorithms*, Applied Optics 36
        (1997). The estimates are those of two to five times as many iterations.

    Yields
    ------
    Tensor
        Estimate ``(..., *canvas)`` after each iteration. Later estimates are sharper and noisier.
    """
    light = observed.clamp(min=0)
    canvas = flat_canvas(light, convolution)
    weights = torch.ones_like(light) if valid is None else valid.to(light.dtype)
    seen = light_seen(weights, convolution)
    start = canvas
    change: Tensor | None = None
    while True:
        updated = updated_scene(start, convolution, light, seen, weights)
        step, before = 0.0, change
        if accelerated:
            change = updated - start
            if before is not None:
                length = before.norm().square().clamp(min=_TINY)
                alignment = torch.dot(before.flatten(), change.flatten()) / length
                step = min(max(float(alignment), 0.0), _MAX_STEP)
        start = updated
        if step and before is not None:  # in the memory of the change before
            extrapolated = torch.sub(updated, canvas, out=before).mul_(step)
            start = extrapolated.add_(updated).clamp_(min=0)
        canvas = updated
        yield canvas


def flat_canvas(light: Tensor, convolution: Convolution) -> Tensor:
    """Return a constant canvas with the mean of each image, from which the iterations start."""
    axes = convolution.kernel.ndim
    leading, sides = light.shape[:-axes], light.shape[-axes:]
    mean = light.mean(dim=tuple(range(-axes, 0)), keepdim=True)
    return mean.expand(*leading, *convolution.canvas_shape(sides))


def quotient(canvas: Tensor, convolution: Convolution, light: Tensor) -> Tensor:
    """Return the observed light divided by the expected light, in the field of view."""
    expected = convolution.forward(canvas).clamp(min=_MIN_LIGHT)
    return torch.div(light, expected, out=expected)


def light_seen(weights: Tensor, convolution: Convolution) -> Tensor:
    """Return the fraction of the light of each canvas pixel that reaches pixels of weight 1."""
    return convolution.adjoint(weights).clamp(min=_MIN_SEEN)


def updated_scene(
    canvas: Tensor, convolution: Convolution, light: Tensor, seen: Tensor, weights: Tensor
) -> Tensor:
    """Return the scene after one iteration, which regards pixels of weight 1 only."""
    # In place, because memory for a volume takes longer than these operations.
    ratio = convolution.adjoint(quotient(canvas, convolution, light).mul_(weights))
    return ratio.mul_(canvas).div_(seen).clamp_(min=0)
