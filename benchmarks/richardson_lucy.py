"""Blind Richardson-Lucy: the package's own updates of the scene, and the same for the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_blind_deconv.numerics.blur import blur
from napari_blind_deconv.numerics.richardson_lucy import (
    flat_canvas,
    light_seen,
    quotient,
    updated_scene,
)

__all__ = ["blind_richardson_lucy"]

_LEAST_LIGHT = 1e-6  # keeps quotients finite


def blind_richardson_lucy(observed: Tensor, start: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Scene and kernel by turns, one update each an iteration, without end.

    Fish, Brinicombe, Pike and Walker, *Blind deconvolution by means of the Richardson-Lucy
    algorithm*, JOSA A 12 (1995).

    Parameters
    ----------
    observed : Tensor
        Light ``(H, W)`` above the camera's offset.
    start : Tensor
        First guess of the kernel, ``(kh, kw)``. Where it is zero the kernel stays zero.

    Yields
    ------
    tuple of Tensor
        Canvas and kernel, as for `richardson_lucy`.
    """
    light = observed.clamp(min=0)
    kernel = start / start.sum()
    canvas = flat_canvas(light, kernel)
    while True:
        canvas = updated_scene(canvas, kernel, light, light_seen(light, kernel))
        kernel = _update_kernel(canvas, kernel, light)
        yield canvas, kernel


def _update_kernel(canvas: Tensor, kernel: Tensor, light: Tensor) -> Tensor:
    """The same update with the roles exchanged: the blur is linear in the kernel, too."""
    unknown = kernel.clone().requires_grad_()
    blurred = blur(canvas, unknown)

    def adjoint(image: Tensor) -> Tensor:
        return torch.autograd.grad(blurred, unknown, image, retain_graph=True)[0]

    seen = adjoint(torch.ones_like(light)).clamp(min=_LEAST_LIGHT)
    updated = (kernel * adjoint(quotient(canvas, kernel, light)) / seen).clamp(min=0)
    return updated / updated.sum()
