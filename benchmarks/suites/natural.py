"""Sixteen photographs blurred after Eq. 2, so that nothing but the blur is to be undone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.cases import natural_cases
from benchmarks.suites import Options, Task, compare
from benchmarks.suites.levin import CLASSICAL
from benchmarks.tables import by_case, markdown, summary

__all__ = ["SUITE"]


@dataclass(frozen=True)
class Natural:
    """Four photographs, four camera shakes, no noise."""

    name: str = "natural"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Every method on every case."""
        methods = options.chosen([*CLASSICAL, "fast", "fast, true PSF"])
        return compare(natural_cases(options.data), methods, options.context)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Means, and PSNR by photograph."""
        photograph = records["case"].str.split(",").str[0]
        table = by_case(records, photograph)
        return f"{markdown(summary(records))}\n\nMean PSNR by photograph:\n\n{markdown(table)}"


SUITE = Natural()
