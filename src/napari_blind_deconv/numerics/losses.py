"""Terms of the objective (Eq. 21), and those of SelfDeblur (Eq. 7) for comparison.

Images have the shape ``(*space)``: one, two or three spatial axes, and no channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["gradient_sparsity", "mean_gradient", "mean_huber", "mean_square", "planes_at_once"]

_VALUES_AT_ONCE = 2**20


def mean_huber(residual: Tensor, delta: float) -> Tensor:
    """Return the mean Huber loss of a residual (Eq. 18): quadratic up to `delta`, linear beyond.

    Raising `delta` gives more weight to outliers such as hot and saturated pixels.
    """
    zero = torch.zeros((), dtype=residual.dtype, device=residual.device).expand_as(residual)
    return torch.nn.functional.huber_loss(residual, zero, delta=delta)


def mean_square(residual: Tensor) -> Tensor:
    """Return the mean squared residual (Eq. 7): outliers count with the square of their size."""
    return residual.square().mean()


def mean_gradient(image: Tensor) -> Tensor:
    """Return the ℓ1 norm of the forward differences of an image, divided by the number of pixels.

    Eq. 7 uses sums over pixels for both of its terms; here both are means, as in
    :func:`mean_square`. Unlike :func:`gradient_sparsity`, it decreases if the image loses contrast.
    """
    sums = [difference.abs().sum() for difference in _differences(image)]
    return torch.stack(sums).sum() / image.numel()


def gradient_sparsity(image: Tensor, *, per_pixel: bool = True) -> Tensor:
    """Return the ratio ℓ1/ℓ2 of the forward differences of an image ``(*space)`` (Eq. 19).

    Each norm is taken over the differences along all axes together, as in the paper.

    Parameters
    ----------
    image : Tensor
        The estimate on its canvas.
    per_pixel : bool
        Whether to divide the ratio by the square root of the number of differences. The ratio of
        Eq. 19 grows with the side of the image, so that each image size needs its own λ. The
        divided ratio is mean|∇x| / rms(∇x). It lies between 0 (a single edge) and 1 (equal slopes
        everywhere).

    Returns
    -------
    Tensor
        A scalar that does not depend on the contrast of the image.
    """
    norms, count = [], 0
    for difference in _differences(image):
        values = difference.flatten()
        norms.append(torch.stack([values.abs().sum(), torch.dot(values, values)]))
        count += values.numel()
    l1, squares = torch.stack(norms).sum(dim=0)
    # The smallest positive number keeps the gradient finite for a constant image.
    l2 = (squares + torch.finfo(image.dtype).tiny).sqrt()
    return l1 / (l2 * count**0.5) if per_pixel else l1 / l2


def _differences(image: Tensor) -> Iterator[Tensor]:
    """Yield the forward differences of an image along each axis, in parts if it is large."""
    planes = planes_at_once(image.shape)
    for axis, side in enumerate(image.shape):
        before, after = (image.narrow(axis, start, side - 1) for start in (0, 1))
        for low, high in zip(before.split(planes), after.split(planes), strict=True):
            yield high - low


def planes_at_once(shape: Sequence[int]) -> int:
    """Return for how many planes (or rows) of an image of a shape to compute terms at once.

    To get memory for values of a whole volume takes longer than to compute them.
    """
    return max(1, _VALUES_AT_ONCE // math.prod(shape[1:]))
