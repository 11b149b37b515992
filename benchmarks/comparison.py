"""Suites that compare methods on the same cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.cases import Case
from benchmarks.methods import Context, Method, version_of
from benchmarks.plots import plot_curves, plot_gains
from benchmarks.scoring import score
from benchmarks.suites import Options, Task
from benchmarks.tables import by_case, markdown, summary

__all__ = ["CLASSICAL", "Comparison", "compare"]

CLASSICAL = (
    "input",
    "RL, guessed PSF, 20 iterations",
    "Wiener, guessed PSF",
    "blur-SURE + RL (stop at the noise)",
    "blur-SURE + RL (best iteration)",
    "blind RL from the guess (best iteration)",
    "RL, true PSF (best iteration)",
    "least squares, true PSF (best weight)",
)

CaseMaker = Callable[[Path], Iterable[Case]]


def compare(
    cases: Iterable[Case], methods: Iterable[Method], context: Context, group: str = ""
) -> Iterator[Task]:
    """Yield a task for each method on each case."""
    chosen = list(methods)
    for case in cases:
        for method in chosen:
            yield Task(
                group,
                case.name,
                method.name,
                _ScoredRun(case, method, context),
                context.seed,
                version_of(method),
            )


@dataclass(frozen=True)
class _ScoredRun:
    case: Case
    method: Method
    context: Context

    def __call__(self) -> dict[str, Any]:
        """Run the method, and return its scores and its time."""
        started = time.perf_counter()
        outcome = self.method.run(self.case, self.context)
        seconds = time.perf_counter() - started
        figures = score(self.case, outcome.image, outcome.kernel)
        return {"seconds": seconds, **figures, **outcome.figures}


@dataclass(frozen=True)
class Comparison:
    """Methods that run on all cases, and slow methods that run on a few.

    Attributes
    ----------
    cases : callable
        Makes the cases from the folder of the images.
    methods, slow_methods : tuple of str
        Names of methods; the command line can replace them.
    slow_cases : callable
        Makes the cases of the slow methods.
    parts : mapping
        Titles of tables of mean PSNR. For each, the part of the case names (separated by commas)
        that its columns are.
    """

    name: str
    cases: CaseMaker
    methods: tuple[str, ...]
    slow_methods: tuple[str, ...] = ()
    slow_cases: CaseMaker = lambda _: ()
    parts: Mapping[str, int] = field(default_factory=dict)
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield a task for each method on its cases."""
        methods = options.chosen(self.methods)
        yield from compare(self.cases(options.data), methods, options.context)
        if not options.has_own_methods:
            slow = options.chosen(self.slow_methods)
            yield from compare(self.slow_cases(options.data), slow, options.context)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return tables of means and gains, also for all methods on the cases of the slow ones."""
        count = records.groupby("method")["case"].transform("size")
        everywhere = records[count == count.max()]
        text = [markdown(summary(everywhere))]
        for title, part in self.parts.items():
            columns = everywhere["case"].str.split(", ").str[part]
            text.append(f"Mean PSNR by {title}:\n\n{markdown(by_case(everywhere, columns))}")
        slow = records[count < count.max()]
        if len(slow):
            same = records[records["case"].isin(slow["case"])]
            text.append(f"On the cases the slow ones were run on:\n\n{markdown(summary(same))}")
        text.append(plot_gains(records, figures / f"{self.name}_gains.png"))
        if records["curve"].notna().any():
            text.append(plot_curves(records, figures / f"{self.name}_curves.png"))
        return "\n\n".join(text)
