"""Blind Richardson-Lucy: the updates of the package for the scene, and the same for the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.richardson_lucy import (
    flat_canvas,
    light_seen,
    quotient,
    updated_scene,
)

__all__ = ["blind_richardson_lucy"]

_MIN_LIGHT = 1e-6  # keeps quotients finite


def blind_richardson_lucy(observed: Tensor, start: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Update scene and kernel once per iteration, without end.

    Fish, Brinicombe, Pike and Walker, *Blind deconvolution by means of the Richardson-Lucy
    algorithm*, JOSA A 12 (1995).

    Parameters
    ----------
    observed : Tensor
        Light ``(H, W)`` above the offset of the camera.
    start : Tensor
        Initial kernel, ``(kh, kw)``. Where it is zero, the kernel stays zero.

    Yields
    ------
    tuple of Tensor
        Canvas and kernel, as for `richardson_lucy`.
    """
    light = observed.clamp(min=0)
    weights = torch.ones_like(light)
    kernel = start / start.sum()
    convolution = Convolution(kernel)
    canvas = flat_canvas(light, convolution)
    while True:
        seen = light_seen(weights, convolution)
        canvas = updated_scene(canvas, convolution, light, seen, weights)
        convolution = Convolution(_updated_kernel(canvas, convolution, light))
        yield canvas, convolution.kernel


def _updated_kernel(canvas: Tensor, convolution: Convolution, light: Tensor) -> Tensor:
    """Return the kernel after an update in which scene and kernel exchange roles.

    This is possible because convolution is linear in the kernel, too.
    """
    unknown = convolution.kernel.clone().requires_grad_()
    blurred = Convolution(unknown).forward(canvas)

    def adjoint(image: Tensor) -> Tensor:
        return torch.autograd.grad(blurred, unknown, image, retain_graph=True)[0]

    seen = adjoint(torch.ones_like(light)).clamp(min=_MIN_LIGHT)
    ratio = adjoint(quotient(canvas, convolution, light))
    updated = (convolution.kernel * ratio / seen).clamp(min=0)
    return updated / updated.sum()
