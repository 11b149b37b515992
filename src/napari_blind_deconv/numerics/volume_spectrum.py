"""The power spectra of regions of a volume, in which borders and gaps leave little trace.

Gaps are voxels without an image, such as saturated ones. A small gap is continued from around it.
What was in a deep one cannot be told from outside, so that the rest of the volume fades towards it,
as it does towards the borders of the volume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse.linalg import LinearOperator, cg

from napari_blind_deconv.numerics.regions import regions_with_contrast
from napari_blind_deconv.numerics.spectrum import Spectrum, border_window, windowed

__all__ = ["continued", "fading", "volume_spectra"]

_SIDE, _MOST = 128, 4  # of the regions that are used: side in voxels, and number
# Share of the information of the best region that another one has at least. With less, the mean of
# the two tells less than the best alone: if noise is stronger than the signal, that of the other
# region must be more than √2 − 1 times as strong.
_LEAST_INFORMATION = (math.sqrt(2) - 1) ** 2
_MIN_VALID_SHARE = 0.01  # keeps the spectrum of a region without valid voxels finite

_DEEP = 5  # voxels along each side of a cube that a deep gap holds
_FADE = 12.0  # voxels over which the rest fades towards them
_ITERATIONS = 50  # which smooth the ends of a gap; its middle changes more slowly
_TOLERANCE = 1e-4  # of what is left of the gradient


def volume_spectra(
    volume: NDArray[np.floating[Any]],
    sampling: Sequence[float],
    valid: NDArray[np.bool_] | None = None,
) -> list[Spectrum]:
    """Return the spectra of the regions of a volume that tell most about its kernel.

    They are at most four, of at most 128³ voxels; a small volume is one region.

    Parameters
    ----------
    volume : ndarray
        The volume ``(planes, rows, columns)``, filled roughly where it is not valid.
    sampling : sequence of float
        Voxel size along each axis, as a multiple of the smallest.
    valid : ndarray, optional
        Mask of the valid voxels, same shape. Default: all.
    """
    if valid is None:
        valid = np.ones(volume.shape, bool)
    regions = regions_with_contrast(volume, _SIDE, _MOST)
    spectra = [_spectrum(volume[region], sampling, valid[region]) for region in regions]
    least = _LEAST_INFORMATION * max(spectrum.information for spectrum in spectra)
    return [spectrum for spectrum in spectra if spectrum.information >= least]


def _spectrum(
    volume: NDArray[np.floating[Any]], sampling: Sequence[float], valid: NDArray[np.bool_]
) -> Spectrum:
    weights = border_window(volume.shape) * fading(valid)
    share = max(float(np.average(valid, weights=np.square(weights))), _MIN_VALID_SHARE)
    return Spectrum.of(windowed(continued(volume, valid), weights), share, sampling=sampling)


def continued(
    volume: NDArray[np.floating[Any]], valid: NDArray[np.bool_]
) -> NDArray[np.floating[Any]]:
    """Return a volume that goes on smoothly where it is not valid.

    Its squared curvature is made small there, by conjugate gradients. Edges around a gap, or a flat
    top of a saturated spot, would otherwise count as detail.

    Parameters
    ----------
    volume : ndarray
        The volume, filled roughly where it is not valid.
    valid : ndarray
        Mask of the valid voxels, same shape.
    """
    gaps = ~valid
    if not gaps.any():
        return volume
    values = volume.astype(np.float64)

    def in_gaps(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        return (gaps * _curvature(_curvature(flat.reshape(gaps.shape)))).ravel()

    # Steps that begin at 0 stay in the gaps, where the operator is symmetric.
    operator = LinearOperator((values.size, values.size), in_gaps, dtype=np.float64)
    change, _ = cg(operator, -in_gaps(values), rtol=_TOLERANCE, maxiter=_ITERATIONS)
    return values + change.reshape(values.shape)


def fading(valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return weights of the shape of a mask that fall to 0 towards deep gaps.

    They are 1 everywhere if there is no deep gap, or nothing else.
    """
    deep = ndimage.binary_opening(~valid, np.ones((_DEEP,) * valid.ndim))
    if not deep.any() or deep.all():
        return np.ones(valid.shape)
    distance = ndimage.distance_transform_edt(~deep)
    return np.asarray(np.square(np.sin(math.pi / 2 * np.minimum(distance / _FADE, 1))))


def _curvature(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Laplacian, without a slope at the borders."""
    total = np.zeros_like(values)
    for axis in range(values.ndim):
        differences = np.moveaxis(np.diff(values, axis=axis), axis, 0)
        along = np.moveaxis(total, axis, 0)  # a view
        along[:-1] += differences
        along[1:] -= differences
    return total
