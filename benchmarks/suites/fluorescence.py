"""Fifty exposures of sharp micrographs, blurred by what blurs micrographs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.cases import OPTICS, fluorescence, fluorescence_cases
from benchmarks.suites import Options, Task, compare
from benchmarks.suites.levin import CLASSICAL
from benchmarks.tables import by_case, markdown, summary

__all__ = ["SUITE"]

# Networks this slow are run on two of the truths only, at 1000 photons.
SLOW = ("fast, true PSF", "selfdeblur, true size, reduced", "wang, true size, reduced")
SLOW_TRUTHS = ("actin", "neuron")


@dataclass(frozen=True)
class Fluorescence:
    """Two exposures of five truths through five kernels; the slow rivals on ten of the fifty."""

    name: str = "fluorescence"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Every method on every case."""
        cases = fluorescence_cases(options.data)
        yield from compare(cases, options.chosen([*CLASSICAL, "fast"]), options.context)
        if options.has_own_methods:
            return
        few = (fluorescence(options.data, t, o, 1000.0) for t in SLOW_TRUTHS for o in OPTICS)
        yield from compare(few, options.chosen(SLOW), options.context)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Means; PSNR by kernel and by exposure; the slow ones beside the others on their cases."""
        slow = records["method"].isin(SLOW)
        rest = records[~slow]
        parts = rest["case"].str.split(", ", expand=True)
        text = [
            markdown(summary(rest)),
            f"Mean PSNR by kernel:\n\n{markdown(by_case(rest, parts[1]))}",
            f"Mean PSNR by exposure:\n\n{markdown(by_case(rest, parts[2]))}",
        ]
        if slow.any():
            same = records[records["case"].isin(records.loc[slow, "case"])]
            text.append(f"On the cases the slow ones were run on:\n\n{markdown(summary(same))}")
        return "\n\n".join(text)


SUITE = Fluorescence()
