"""Estimate the kernel from the image alone: a point, a parametric kernel, or one of any shape.

The search first chooses the parametric kernel that explains the power spectrum of the image best.
Unless an ellipse explains the power at different angles, a kernel of any shape is searched for as
well, and replaces the first if it makes the edges of the estimate sparser than Gaussians do. The
search works in two dimensions only, because directions are angles.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.anisotropy import Anisotropy
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.noise_shape import WHITE_NOISE, NoiseShape
from napari_blind_deconv.numerics.orientation import AS_IT_IS, Orientation
from napari_blind_deconv.numerics.parametric_kernel import (
    WIDEST_POINT,
    draw_ellipse,
    draw_gaussian,
    misfit,
    search_parametric,
)
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.numerics.shape_search import search_shape
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.width_features import MOST_PROBABLE, explained_widths
from napari_blind_deconv.numerics.width_posterior import LEVELS, WidthPosterior
from napari_blind_deconv.steps import mapped

__all__ = ["gaussian_width", "search_kernel"]

# Side in pixels of the region that is searched.
_REGION = 384
# The blur cannot be determined from an image with fewer frequencies above the noise.
_MIN_FREQUENCIES = 8.0
_LEVEL = LEVELS.index(0.1)  # of |H|², at which the posterior is asked
_FWHM = math.sqrt(8 * math.log(2))  # of a Gaussian, in standard deviations
_MIN_VALID_SHARE = 0.01  # keeps the spectrum of a region without valid pixels finite


def search_kernel(
    image: NDArray[np.floating[Any]],
    max_side: int,
    valid: NDArray[np.bool_] | None = None,
    noise: NoiseShape = WHITE_NOISE,
    *,
    narrowest: float = 0.0,
) -> Generator[Kernel, None, Kernel]:
    """Search for the kernel that blurred an image.

    The result does not depend on the offset and contrast of the image. A flipped or transposed
    image has the flipped or transposed kernel, unless its shape is free.

    Parameters
    ----------
    image : ndarray
        The blurred image ``(H, W)``. In an image larger than 384², only the region of that size
        with the strongest contrast is used.
    max_side : int
        Maximum side of the kernel in pixels, odd. Raising it finds wider kernels.
    valid : ndarray, optional
        Mask ``(H, W)`` of the pixels that are not filled. Default: all.
    noise : NoiseShape
        How the power of the noise depends on frequency. Only parametric kernels are searched for
        unless the noise is white, because filtered noise has a shape of its own. Default: white.
    narrowest : float
        FWHM in pixels of the narrowest kernel that the optics allow. A narrower Gaussian, or a
        point, is replaced by a Gaussian of this width, unless the pixels are too coarse to show
        it. Raising it gives wider kernels in images that seem sharper. Default: unknown.

    Yields
    ------
    Kernel
        The best kernel so far, several times a second, so that the caller can report progress or
        stop.

    Returns
    -------
    Kernel
        The best kernel; a point if the image shows no blur, or too little to tell.

    Raises
    ------
    ValueError
        If the image does not have two axes.
    """
    if image.ndim != 2:
        raise ValueError(f"Expected a 2D image (rows, columns), got shape {image.shape}.")
    found = yield from _search(image, max_side, valid, noise)
    return _as_wide_as(found, narrowest / _FWHM, max_side)


def _search(
    image: NDArray[np.floating[Any]],
    max_side: int,
    valid: NDArray[np.bool_] | None,
    noise: NoiseShape,
) -> Generator[Kernel, None, Kernel]:
    """Search for the kernel by what the image alone shows."""
    region, valid_share = _searched(image, valid)
    # The shape of other noise belongs to the axes of the image.
    orientation = Orientation.of(region) if noise.is_white else AS_IT_IS
    oriented = orientation.applied(region)
    spectrum = Spectrum.of(oriented, valid_share, noise)
    if spectrum.frequencies_seen < _MIN_FREQUENCIES:
        return Kernel.point(source=KernelSource.NO_BLUR)

    def restored(kernel: Kernel) -> Kernel:
        return kernel.with_weights(orientation.undone(kernel.weights))

    anisotropy = Anisotropy.of(spectrum)
    parametric = yield from mapped(search_parametric(spectrum, anisotropy, max_side), restored)
    best = restored(parametric)
    if not noise.is_white:
        return best
    weights = None
    if not anisotropy.is_ellipse:
        search = search_shape(region, best.weights, max_side)
        weights = (yield from mapped(search, lambda _: best)).kernel
    if weights is None:
        return restored(_with_posterior(parametric, oriented, spectrum, max_side))
    transfer = spectrum.transfer_of(orientation.applied(weights))
    return Kernel(weights, KernelSource.FREE, misfit=misfit(spectrum, transfer))


def _with_posterior(
    found: Kernel, region: NDArray[np.float32], spectrum: Spectrum, max_side: int
) -> Kernel:
    """Return a Gaussian whose width is the geometric mean of the one found and the posterior's.

    The errors of the two are nearly independent: the first assumes a power law, the second made
    scenes. Their mean was better than either on the micrographs of the benchmarks.
    """
    if not found.source.is_gaussian:
        return found
    posterior = WidthPosterior.of(region, spectrum)
    mean, deviation = (float(part[_LEVEL]) for part in (posterior.means, posterior.deviations))
    options: dict[str, Any] = {"misfit": found.misfit, "width_deviation": deviation}
    along, across = (width / _FWHM for width in found.widths.principal)
    if found.source is KernelSource.ELLIPTIC:
        # The posterior is that of a round kernel. It corrects the mean variance of an ellipse as it
        # corrects that of the round Gaussian that explains the spectrum best. The difference of the
        # variances depends on no assumption about the scene.
        variance = (along**2 + across**2) / 2 * math.exp(mean - posterior.explained)
        half = (along**2 - across**2) / 2
        variances = (variance + half, max(variance - half, 0.0))
        corrected = draw_ellipse(variances, found.widths.angle or 0.0, **options)
        return corrected if max(corrected.shape) <= max_side else found
    sigma = math.sqrt(along * math.exp(mean))
    return found if sigma <= WIDEST_POINT else draw_gaussian(sigma, max_side, **options)


def _as_wide_as(kernel: Kernel, sigma: float, max_side: int) -> Kernel:
    """Return a kernel that is no narrower than the Gaussian that the optics allow, with σ."""
    if sigma <= WIDEST_POINT:
        return kernel
    widths = [width / _FWHM for width in kernel.widths.principal]
    if kernel.source is KernelSource.ELLIPTIC and min(widths) < sigma:
        along, across = (max(width, sigma) ** 2 for width in widths)
        told = {"misfit": kernel.misfit, "width_deviation": kernel.width_deviation}
        return draw_ellipse((along, across), kernel.widths.angle or 0.0, **told)
    is_round = kernel.source in (KernelSource.NO_BLUR, KernelSource.GAUSSIAN)
    if not is_round or min(widths) >= sigma:
        return kernel
    drawn = draw_gaussian(sigma, max_side, misfit=kernel.misfit)
    return replace(drawn, source=KernelSource.NARROWEST)


def gaussian_width(
    image: NDArray[np.floating[Any]],
    valid: NDArray[np.bool_] | None = None,
    noise: NoiseShape = WHITE_NOISE,
) -> float | None:
    """Return σ in pixels of the Gaussian that explains an image best; None if it shows no blur.

    The exponent of the scene is fitted, too. This takes a fraction of the time of a search. The
    parameters are those of `search_kernel`.
    """
    spectrum = Spectrum.of(*_searched(image, valid), noise)
    if spectrum.frequencies_seen < _MIN_FREQUENCIES:
        return None
    sigma = math.exp(explained_widths(spectrum)[MOST_PROBABLE])
    return sigma if sigma > WIDEST_POINT else None


def _searched(
    image: NDArray[np.floating[Any]], valid: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], float]:
    """Return the region that is searched, and the share of its pixels that are not filled."""
    part = region_with_contrast(image, _REGION)
    region = image[part]
    valid_share = 1.0 if valid is None else max(float(valid[part].mean()), _MIN_VALID_SHARE)
    # The search for a shape measures the strength of edges against the range of the image. The
    # range is determined here, so that the kernel does not depend on how the caller scales it.
    return IntensityMap.of(region[np.newaxis]).to_unit(region), valid_share
