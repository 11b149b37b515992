"""A look at everything that fits into a quarter of an hour: what ``make bench`` runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.cases import Case, camera_shake, fluorescence
from benchmarks.suites import Options, Task, compare
from benchmarks.suites.levin import CLASSICAL
from benchmarks.tables import by_case, markdown, summary

__all__ = ["SUITE"]


def _cases(data: Path) -> Iterator[Case]:
    yield camera_shake(data, 1, 1)
    yield camera_shake(data, 2, 5)
    yield fluorescence(data, "actin", "Gaussian 2.5", 1000.0)
    yield fluorescence(data, "DNA", "Gaussian 1.5", 100.0)
    yield fluorescence(data, "neuron", "drift", 1000.0)
    yield fluorescence(data, "microtubules", "defocused", 100.0)


@dataclass(frozen=True)
class Quick:
    """Two camera shakes and four exposures."""

    name: str = "quick"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """The classics and our default."""
        methods = options.chosen([*CLASSICAL, "fast", "fast, true PSF"])
        return compare(_cases(options.data), methods, options.context)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Means, and PSNR by case."""
        return f"{markdown(summary(records))}\n\nPSNR by case:\n\n{markdown(by_case(records))}"


SUITE = Quick()
