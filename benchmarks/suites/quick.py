"""A comparison that takes a quarter of an hour; ``make bench`` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases import Case, camera_shake, fluorescence
from benchmarks.comparison import CLASSICAL, Comparison

__all__ = ["SUITE"]


def _cases(data: Path) -> Iterator[Case]:
    """Yield two camera shakes and four exposures."""
    yield camera_shake(data, 1, 1)
    yield camera_shake(data, 2, 5)
    yield fluorescence(data, "actin", "Gaussian 2.5", 1000.0)
    yield fluorescence(data, "DNA", "Gaussian 1.5", 100.0)
    yield fluorescence(data, "neuron", "drift", 1000.0)
    yield fluorescence(data, "microtubules", "defocused", 100.0)


SUITE = Comparison(
    name="quick", cases=_cases, methods=(*CLASSICAL, "fast", "fast, true PSF"), parts={"picture": 0}
)
