"""The evidence for a kernel in the power spectrum of a volume, whatever the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.numerics.cylinders import CylinderMeans

__all__ = ["VolumeEvidence"]

Array = NDArray[np.float64]

# Scenes do not follow the model exactly, and the window makes neighbouring frequencies alike. The
# misfit counts as many times less as the powers vary more around it than by chance, and by this.
_SHARPNESS = 5.0
_LEAST = 1e-30  # keeps the logarithm of a power finite where a kernel leaves nothing
# Shares, per mille, of the exponents (rows) and corners (columns) of made scenes, as found with
# their true kernels (`training.volumes.scene_shares(range(300))`).
_SHARES = np.array(
    [
        [1, 1, 1, 1],
        [3, 4, 6, 53],
        [14, 7, 23, 123],
        [11, 13, 78, 153],
        [28, 34, 179, 265],
    ]
)
_PRIOR = np.log(_SHARES / _SHARES.sum())


@dataclass(frozen=True, eq=False)
class VolumeEvidence:
    """How well kernels explain the spectrum of a volume, averaged over all likely scenes.

    Attributes
    ----------
    means : CylinderMeans
    scale : float
        Nats of misfit that count as one, because no scene follows the model exactly.
    signal : float
        Such nats by which a kernel explains the spectrum better than noise alone.
    """

    means: CylinderMeans
    scale: float
    signal: float

    @classmethod
    def of(cls, means: CylinderMeans, transfers: Array) -> Self:
        """Measure how far the spectrum departs from the best of some |H|² ``(..., n)``."""
        misfits = means.misfits(transfers)
        *kernel, exponent, corner = np.unravel_index(misfits.argmin(), misfits.shape)
        best = transfers[tuple(kernel)] * means.scenes()[exponent, corner]
        scale = _SHARPNESS * means.dispersion(np.maximum(best, _LEAST))
        signal = float(means.count @ means.power - misfits.min()) / scale
        return cls(means, scale, max(signal, 0.0))

    def of_transfers(self, transfers: Array) -> Array:
        """Return the logarithm of the evidence ``(...)`` for |H|² ``(..., n)``, in nats."""
        logarithms = _PRIOR - self.means.misfits(transfers) / self.scale
        highest = logarithms.max(axis=(-2, -1))
        shares = np.exp(logarithms - highest[..., np.newaxis, np.newaxis])
        return np.asarray(np.log(shares.sum(axis=(-2, -1))) + highest)
