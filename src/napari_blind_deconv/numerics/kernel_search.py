"""Which kernel blurred an image, from the image alone: none, one with a formula, or of any shape.

Of the kernels with a formula the one that explains the image's power spectrum best is taken. A
kernel of any shape takes its place if it makes the edges of the estimate sparser than any Gaussian.
Two-dimensional by nature: directions are angles, and shapes are searched for in planes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.parametric_kernel import misfit, search_parametric
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.numerics.shape_search import search_shape
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.steps import mapped

__all__ = ["search_kernel"]

# Pixels a side of the region that is looked at.
_REGION = 384
# What shows fewer frequencies than these has no blur that could be found.
_FEWEST_FREQUENCIES = 8.0


def search_kernel(
    image: NDArray[np.floating[Any]], largest: int
) -> Generator[Kernel, None, Kernel]:
    """Search for the kernel of an image ``(H, W)``, whatever its offset and contrast.

    Yields the best so far, several times a second, so that the caller may report and stop.

    Parameters
    ----------
    image : ndarray
        The blurred image. Of a large one, the 384² with the strongest contrast are looked at.
    largest : int
        Longest side of the kernel in pixels, odd.
    """
    if image.ndim != 2:
        raise ValueError(f"Got an image of {image.ndim} axes; a kernel is searched in 2.")
    region = image[region_with_contrast(image, _REGION)]
    # The search for edges knows how strong an edge is by the range of the image. It is taken here,
    # so that the kernel does not depend on how the caller scales.
    region = IntensityMap.of(region[np.newaxis]).to_unit(region)
    spectrum = Spectrum.of(region)
    if spectrum.frequencies_seen < _FEWEST_FREQUENCIES:
        return Kernel.point(source=KernelSource.NO_BLUR)
    best = yield from search_parametric(spectrum, largest)
    search = search_shape(region, best.weights, largest)
    weights = (yield from mapped(search, lambda _: best)).kernel
    if weights is None:
        return best
    badness = misfit(spectrum, spectrum.transfer_of(weights))
    return Kernel(weights, KernelSource.FREE, misfit=badness)
