"""Ways to sharpen, all through one small interface: a `Case` in, an `Outcome` out.

Each module of this package lists its own in ``METHODS``; they are found by being there.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import pkgutil
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Case
from benchmarks.scoring import quality
from napari_blind_deconv import Settings

__all__ = ["Context", "Method", "Outcome", "best_of", "find_methods", "version_of"]


_FALLS = 3


@dataclass(frozen=True)
class Context:
    """Where a method computes, and the seed of what it draws."""

    device: str = "auto"
    seed: int = 0

    def applied_to(self, settings: Settings) -> Settings:
        """Settings with this device and seed."""
        return settings.with_changes(device=self.device, seed=self.seed)


@dataclass(frozen=True)
class Outcome:
    """An estimate in the input's units, the kernel if one was estimated, and other figures."""

    image: NDArray[np.floating[Any]]
    kernel: NDArray[np.floating[Any]] | None = None
    figures: dict[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A way to sharpen. It may look at what its name says it is given, and at nothing else."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def run(self, case: Case, context: Context) -> Outcome:
        """Sharpen the observed picture of a case."""


def version_of(method: Method | Settings) -> str:
    """Changes when the settings of a method do, so that what was measured before is not reused.

    Device and seed do not count: records have them beside it.
    """
    told = re.sub(r", device='[^']*', seed=\d+", "", repr(method))
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def find_methods() -> dict[str, Method]:
    """All methods by name."""
    modules = (
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
    )
    return {method.name: method for module in modules for method in module.METHODS}


def best_of(
    case: Case,
    iterates: Iterable[tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]] | None]],
    counts: Iterable[int],
) -> Outcome:
    """The best of some iterations, chosen by looking at the truth: what tables call "best".

    Quality rises to a peak and falls; the search ends where it has fallen three times in a row. The
    seconds are those of the iterations up to the peak, without the looking.
    """
    best, peak, fallen = None, -math.inf, 0
    for count, seconds, (image, kernel) in _at(iterates, counts):
        reached = quality(case, image)
        if reached > peak:
            peak, fallen = reached, 0
            best = Outcome(image, kernel, {"kept": count, "seconds": seconds})
        else:
            fallen += 1
        if fallen == _FALLS:
            break
    if best is None:
        raise ValueError(f"There was nothing to choose from for {case.name!r}.")
    return best


def _at(iterates: Iterable[Any], counts: Iterable[int]) -> Iterator[tuple[int, float, Any]]:
    """Some iterates, with their count and the seconds spent on all up to them."""
    wanted = set(counts)
    seconds = 0.0
    started = time.perf_counter()
    for count, iterate in enumerate(iterates, 1):
        seconds += time.perf_counter() - started
        if count in wanted:
            yield count, seconds, iterate
        if count == max(wanted):
            return
        started = time.perf_counter()
