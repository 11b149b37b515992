"""Richardson-Lucy, the classic of deconvolution, on the truncated blur model of Eq. 2."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_blind_deconv.numerics.blur import adjoint_blur, blur

__all__ = ["blind_richardson_lucy", "richardson_lucy"]

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
    canvas = _flat_canvas(light, kernel)
    seen = _seen(light, kernel)
    while True:
        canvas = _update_scene(canvas, kernel, light, seen)
        yield canvas


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
        Canvas and kernel, as for :func:`richardson_lucy`.
    """
    light = observed.clamp(min=0)
    kernel = start / start.sum()
    canvas = _flat_canvas(light, kernel)
    while True:
        canvas = _update_scene(canvas, kernel, light, _seen(light, kernel))
        kernel = _update_kernel(canvas, kernel, light)
        yield canvas, kernel


def _flat_canvas(light: Tensor, kernel: Tensor) -> Tensor:
    rows, columns = light.shape
    kh, kw = kernel.shape
    return light.mean().expand(rows + kh - 1, columns + kw - 1)


def _quotient(canvas: Tensor, kernel: Tensor, light: Tensor) -> Tensor:
    return light / blur(canvas, kernel).clamp(min=_LEAST_LIGHT)


def _seen(light: Tensor, kernel: Tensor) -> Tensor:
    """Share of each canvas pixel's light that falls into the field of view."""
    return adjoint_blur(torch.ones_like(light), kernel).clamp(min=_LEAST_SEEN)


def _update_scene(canvas: Tensor, kernel: Tensor, light: Tensor, seen: Tensor) -> Tensor:
    return (canvas * adjoint_blur(_quotient(canvas, kernel, light), kernel) / seen).clamp(min=0)


def _update_kernel(canvas: Tensor, kernel: Tensor, light: Tensor) -> Tensor:
    """The same update with the roles exchanged: the blur is linear in the kernel, too."""
    unknown = kernel.clone().requires_grad_()
    blurred = blur(canvas, unknown)

    def adjoint(image: Tensor) -> Tensor:
        return torch.autograd.grad(blurred, unknown, image, retain_graph=True)[0]

    seen = adjoint(torch.ones_like(light)).clamp(min=_LEAST_LIGHT)
    updated = (kernel * adjoint(_quotient(canvas, kernel, light)) / seen).clamp(min=0)
    return updated / updated.sum()
