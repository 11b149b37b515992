"""Measure how much a result depends on its random seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from benchmarks.cases import camera_shake, fluorescence
from benchmarks.comparison import compare
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown

__all__ = ["SUITE"]

SEEDS = range(5)


@dataclass(frozen=True)
class Seeds:
    """Five seeds for two cases."""

    name: str = "seeds"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield a task for each seed and case."""
        cases = [
            camera_shake(options.data, 1, 1),
            fluorescence(options.data, "actin", "Gaussian 2.5", 1000.0),
        ]
        methods = options.chosen(["fast"])
        for seed in SEEDS:
            yield from compare(cases, methods, replace(options.context, seed=seed))

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return minimum, median and maximum of the PSNR, and their spread."""
        table = records.groupby(["case", "method"], sort=False)["psnr"].agg(
            ["count", "min", "median", "max", "std"]
        )
        table["spread"] = table["max"] - table["min"]
        return markdown(table)


SUITE = Seeds()
