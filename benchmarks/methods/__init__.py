"""Methods of deconvolution with a common interface: from a `Case` to an `Outcome`.

Each module of this package lists its methods in ``METHODS``. `find_methods` reads all modules.

A record belongs to the settings of a method by a hash of its ``repr``, see `version_of`. Do not
rename a method class or its fields, because all methods of this class would be measured again.
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


_MAX_FALLS = 3  # scores below the peak in a row, before a search for the best iteration ends


@dataclass(frozen=True)
class Context:
    """Device and random seed of a method."""

    device: str = "auto"
    seed: int = 0

    def applied_to(self, settings: Settings) -> Settings:
        """Return settings with this device and seed."""
        return settings.with_changes(device=self.device, seed=self.seed)


@dataclass(frozen=True)
class Outcome:
    """A result in the units of the input, the kernel if it was estimated, and other figures."""

    image: NDArray[np.floating[Any]]
    kernel: NDArray[np.floating[Any]] | None = None
    figures: dict[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A method of deconvolution.

    Of the ground truth it uses only what its name states, such as "true PSF".
    """

    @property
    def name(self) -> str:
        """Name in tables."""

    def run(self, case: Case, context: Context) -> Outcome:
        """Deconvolve the observed image of a case."""


def version_of(method: Method | Settings) -> str:
    """Return a hash of the settings of a method, so that results of other settings are not reused.

    Device and seed are left out, because records store them separately.
    """
    text = re.sub(r", device='[^']*', seed=\d+", "", repr(method))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def find_methods() -> dict[str, Method]:
    """Return all methods by name."""
    modules = (
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    )
    return {method.name: method for module in modules for method in module.METHODS}


def best_of(
    case: Case,
    iterates: Iterable[tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]] | None]],
    counts: Iterable[int],
) -> Outcome:
    """Return the best of some iterations, by comparison with the truth ("best" in the tables).

    Quality rises to a peak and then falls. The search ends after three scores below the peak in a
    row. The seconds are those of the iterations up to the peak, without those of the scores.
    """
    best, peak, fallen = None, -math.inf, 0
    for count, seconds, (image, kernel) in _iterates_at(iterates, counts):
        psnr = quality(case, image)
        if psnr > peak:
            peak, fallen = psnr, 0
            best = Outcome(image, kernel, {"kept": count, "seconds": seconds})
        else:
            fallen += 1
        if fallen == _MAX_FALLS:
            break
    if best is None:
        raise ValueError(f"Expected at least one iteration for {case.name!r}, got none.")
    return best


def _iterates_at(
    iterates: Iterable[Any], counts: Iterable[int]
) -> Iterator[tuple[int, float, Any]]:
    """Yield the iterates with these counts, and the seconds of all iterations up to each."""
    requested = set(counts)
    seconds = 0.0
    started = time.perf_counter()
    for count, iterate in enumerate(iterates, 1):
        seconds += time.perf_counter() - started
        if count in requested:
            yield count, seconds, iterate
        if count == max(requested):
            return
        started = time.perf_counter()
