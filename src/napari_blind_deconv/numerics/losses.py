"""The terms of the objective (Eq. 21), and those of SelfDeblur (Eq. 7) it is compared with.

Images here are ``(*space)``, with one, two or three axes and no others.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gradient_sparsity", "mean_gradient", "mean_huber", "mean_square"]


def mean_huber(residual: Tensor, delta: float) -> Tensor:
    """Mean Huber loss of a residual, Eq. 18: quadratic up to `delta`, linear beyond.

    A larger `delta` trusts outliers (hot pixels, saturation) more.
    """
    return torch.nn.functional.huber_loss(residual, torch.zeros_like(residual), delta=delta)


def mean_square(residual: Tensor) -> Tensor:
    """Mean squared residual, Eq. 7: outliers count with the square of their size."""
    return residual.square().mean()


def mean_gradient(image: Tensor) -> Tensor:
    """ℓ1 of the forward differences of an image ``(*space)``, divided by its pixels.

    Eq. 7 adds sums of squares and of differences; this goes with the *mean* square. Unlike
    :func:`gradient_sparsity` it falls when the picture loses contrast.
    """
    steps = [image.diff(dim=axis).abs().sum() for axis in range(image.ndim)]
    return torch.stack(steps).sum() / image.numel()


def gradient_sparsity(image: Tensor, *, per_pixel: bool = True) -> Tensor:
    """ℓ1/ℓ2 of the forward differences of an image ``(*space)``, Eq. 19.

    Both norms run over all differences along all axes together, as in the paper.

    Parameters
    ----------
    image : Tensor
        The estimate on its canvas.
    per_pixel : bool
        Divide by the square root of the number of differences. The plain ratio of Eq. 19 grows
        with the side of the image, so that one λ cannot serve two sizes; the divided one is
        mean|∇x| / rms(∇x), between 0 (a single edge) and 1 (equal slopes everywhere).

    Returns
    -------
    Tensor
        A scalar that no change of the image's contrast alters.
    """
    steps = [image.diff(dim=axis).flatten() for axis in range(image.ndim)]
    l1 = torch.stack([step.abs().sum() for step in steps]).sum()
    squares = torch.stack([step.square().sum() for step in steps]).sum()
    l2 = (squares + torch.finfo(image.dtype).tiny).sqrt()
    count = sum(step.numel() for step in steps)
    return l1 / (l2 * count**0.5) if per_pixel else l1 / l2
