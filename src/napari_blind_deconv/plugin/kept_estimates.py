"""The estimates of a run that are kept for the user to choose from, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import Image
from napari_blind_deconv.results import Result

__all__ = ["KeptEstimate", "KeptEstimates"]

_MAX_BYTES = 256 * 2**20
_MAX_ESTIMATES = 40
_MIN_ESTIMATES = 2


@dataclass(frozen=True)
class KeptEstimate:
    """Estimate and kernel of a run at one iteration.

    Attributes
    ----------
    iteration : int
    image, kernel : ndarray
        Pixels of the estimate and weights of the kernel, as in `Result`.
    """

    iteration: int
    image: NDArray[np.float32]
    kernel: NDArray[np.float32]

    def as_result(self, block: Image, before: Result, *, by_hand: bool) -> Result:
        """Return this estimate of a block as its result, in place of the one before."""
        # It imports torch, which the run has loaded.
        from napari_blind_deconv.engine.sampling import judge_block

        kernel = before.kernel.with_weights(self.kernel)
        judgement = judge_block(
            block,
            self.image,
            kernel,
            reason=before.stop_reason,
            strength=before.settings.strength,
            slowed_at=before.slowed_at,
            microscope=before.settings.microscope_with(block.optics),
        )
        return replace(
            before,
            stop_iteration=self.iteration,
            image=self.image,
            kernel=kernel,
            chosen_by_hand=by_hand,
            **judgement._asdict(),
        )


class KeptEstimates:
    """Estimates of one run in the order of their iterations, thinned out evenly."""

    def __init__(self) -> None:
        self._estimates: list[KeptEstimate] = []
        self._interval = 1
        self._offered = 0

    def __len__(self) -> int:
        return len(self._estimates)

    def __getitem__(self, index: int) -> KeptEstimate:
        return self._estimates[index]

    def offer(self, estimate: KeptEstimate) -> None:
        """Keep or skip the next estimate of the run."""
        if self._offered % self._interval == 0:
            self._estimates.append(estimate)
        self._offered += 1
        limit = _MAX_BYTES // estimate.image.nbytes
        if len(self._estimates) > int(np.clip(limit, _MIN_ESTIMATES, _MAX_ESTIMATES)):
            # Drop every second estimate, and from now on keep half as many: the steps stay even.
            del self._estimates[1::2]
            self._interval *= 2

    def add_result(self, estimate: KeptEstimate) -> int:
        """Add the estimate that the run returned as its result, and return its index."""
        others = [kept for kept in self._estimates if kept.iteration != estimate.iteration]
        self._estimates = sorted([*others, estimate], key=lambda kept: kept.iteration)
        return self._estimates.index(estimate)

    def keep_only(self, index: int) -> None:
        """Drop all estimates but one."""
        self._estimates = [self._estimates[index]]
