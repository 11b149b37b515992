"""The pictures of a run to choose from afterwards, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeptEstimate", "KeptEstimates"]

_MOST_BYTES = 256 * 2**20
_MOST_PICTURES = 40
_FEWEST_PICTURES = 2


@dataclass(frozen=True)
class KeptEstimate:
    """What a run had at one iteration.

    Attributes
    ----------
    iteration : int
    image, kernel : ndarray
        As in `Result`.
    """

    iteration: int
    image: NDArray[np.float32]
    kernel: NDArray[np.float32]


class KeptEstimates:
    """Pictures of one run, evenly thinned out when there are too many."""

    def __init__(self) -> None:
        self._pictures: list[KeptEstimate] = []
        self._every = 1
        self._seen = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, place: int) -> KeptEstimate:
        return self._pictures[place]

    def offer(self, picture: KeptEstimate) -> None:
        """Keep a picture of the run as it goes on, or leave it out."""
        if self._seen % self._every == 0:
            self._pictures.append(picture)
        self._seen += 1
        most = int(np.clip(_MOST_BYTES // picture.image.nbytes, _FEWEST_PICTURES, _MOST_PICTURES))
        if len(self._pictures) > most:
            del self._pictures[1::2]
            self._every *= 2

    def conclude(self, picture: KeptEstimate) -> int:
        """Add the one that the run itself has kept; its place."""
        others = [kept for kept in self._pictures if kept.iteration != picture.iteration]
        self._pictures = sorted([*others, picture], key=lambda kept: kept.iteration)
        return self._pictures.index(picture)
