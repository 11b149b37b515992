"""Work on the parts of a large image in several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["gaussian_smoothed", "in_threads", "threads"]

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

_LARGE = 2**20  # pixels above which parts of an image are smoothed in several threads


def threads() -> int:
    """Return how many threads may be used: as many as torch has, which is one in a worker pool."""
    return torch.get_num_threads()


def in_threads(work: Callable[[_Part], _Result], parts: Iterable[_Part]) -> list[_Result]:
    """Return the results of some work on each part, in their order.

    It is faster if the work is that of numpy and scipy on large arrays, which run side by side.
    """
    parts = list(parts)
    if threads() == 1 or len(parts) < 2:
        return list(map(work, parts))
    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(work, parts))


def gaussian_smoothed(
    image: NDArray[np.floating[Any]], sigmas: Sequence[float] | float
) -> NDArray[Any]:
    """Return what :func:`scipy.ndimage.gaussian_filter` returns, for a large image sooner.

    Parameters
    ----------
    image : ndarray
        Image ``(*space)``, continued as its mirror image.
    sigmas : sequence of float or float
        Standard deviation along each axis, in pixels. Raising it gives a smoother image.
    """
    if image.size < _LARGE or image.ndim == 1:
        return np.asarray(ndimage.gaussian_filter(image, sigmas))
    for axis, sigma in enumerate(np.broadcast_to(sigmas, image.ndim)):
        if sigma > 0:
            image = _smoothed_along(image, axis, float(sigma))
    return image


def _smoothed_along(image: NDArray[Any], axis: int, sigma: float) -> NDArray[Any]:
    def smooth(part: tuple[NDArray[Any], NDArray[Any]]) -> None:
        ndimage.gaussian_filter1d(part[0], sigma, axis, output=part[1])

    smoothed = np.empty_like(image)
    across = 1 if axis == 0 else 0
    parts = (np.array_split(values, threads(), across) for values in (image, smoothed))
    in_threads(smooth, zip(*parts, strict=True))
    return smoothed
