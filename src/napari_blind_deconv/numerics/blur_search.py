"""Which blur a picture has, from the picture alone: none, one with a formula, or of any shape.

Of the blurs with a formula the one that explains the picture's power spectrum best is taken. A
kernel of any shape takes its place if it makes the edges of the estimate sparser than any Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.numerics.parametric_blur import Blur, misfit, search_parametric
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.numerics.shape_search import search_shape
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.steps import mapped

__all__ = ["search_blur"]

# Pixels a side of the region that is looked at.
_REGION = 384
# What shows fewer frequencies than these has no blur that could be found.
_FEWEST_FREQUENCIES = 8.0


def search_blur(image: NDArray[np.floating[Any]], largest: int) -> Generator[Blur, None, Blur]:
    """Search for the blur of an image ``(H, W)`` in [0, 1].

    Yields the best so far, several times a second, so that the caller may report and stop.

    Parameters
    ----------
    image : ndarray
        The blurred image. Of a large one, the 384² with the strongest contrast are looked at.
    largest : int
        Longest side of the kernel in pixels, odd.
    """
    region = image[region_with_contrast(image, _REGION)]
    spectrum = Spectrum.of(region)
    if spectrum.frequencies_seen < _FEWEST_FREQUENCIES:
        return Blur("none", np.ones((1, 1), np.float32), math.nan)
    best = yield from search_parametric(spectrum, largest)
    search = search_shape(region, best.kernel, largest)
    kernel = (yield from mapped(search, lambda _: best)).kernel
    if kernel is None:
        return best
    return Blur("free", kernel, misfit(spectrum, spectrum.transfer_of(kernel)))
