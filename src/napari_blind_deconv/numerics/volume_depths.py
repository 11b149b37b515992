"""Whether the kernel of a volume becomes wider from its first plane to its last.

Light that passes through more of the sample is scattered and aberrated more. The first, the middle
and the last third of the planes are therefore asked apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.numerics.cylinders import CylinderMeans
from napari_blind_deconv.numerics.volume_evidence import VolumeEvidence
from napari_blind_deconv.numerics.volume_kernels import KernelFamily
from napari_blind_deconv.numerics.volume_spectrum import volume_spectra

__all__ = ["widening"]

_LEAST_PLANES = 12  # of a third; the widths of a thinner one are too uncertain
# A kernel is not the same if a different one for each third explains the spectra by so many nats
# better than one for all, and if a width changes from the first to the last by this ratio: two of
# the steps in which widths are compared. Of made volumes with one kernel, 6 % are said to change.
_LEAST_EVIDENCE, _LEAST_RATIO = 8.0, 1.4
_STEADY = 1.06  # ratio by which the middle third may be out of order


def widening(
    volume: NDArray[np.floating[Any]],
    sampling: Sequence[float],
    valid: NDArray[np.bool_],
) -> float:
    """Return how many times as wide the kernel is at the last planes as at the first.

    The widths are those of the Gaussians that explain the spectra of the thirds best; that width
    is compared, across or along the axis, that changes more.

    Parameters
    ----------
    volume : ndarray
        The blurred volume ``(planes, rows, columns)``, filled roughly where it is not valid.
    sampling : sequence of float
        Voxel size along each axis, as a multiple of the smallest.
    valid : ndarray
        Mask of the valid voxels, same shape.

    Returns
    -------
    float
        1 if one kernel may suit all planes, or if there are too few planes to tell.
    """
    planes = len(volume) // 3
    if planes < _LEAST_PLANES:
        return 1.0
    starts = (0, (len(volume) - planes) // 2, len(volume) - planes)
    evidence = []
    for start in starts:
        third = slice(start, start + planes)
        means = CylinderMeans.of(volume_spectra(volume[third], sampling, valid[third]))
        family = KernelFamily(means, tuple(sampling), planes)
        transfers = family.gaussian_transfers
        evidence.append(VolumeEvidence.of(means, transfers).of_transfers(transfers).ravel())
    of_each = np.array(evidence)
    if of_each.max(axis=1).sum() - of_each.sum(axis=0).max() < _LEAST_EVIDENCE:
        return 1.0
    compared = [gaussian.widths for gaussian in family.gaussians()]  # the same of each third
    widths = np.log([compared[best] for best in of_each.argmax(axis=1)])
    steady = math.log(_STEADY)
    changes = [
        last - first
        for first, middle, last in widths.T
        if min(first, last) - steady <= middle <= max(first, last) + steady
    ]
    change = max(changes, key=abs, default=0.0)
    return math.exp(change) if abs(change) >= math.log(_LEAST_RATIO) else 1.0
