"""Compare maps of expected errors with the true errors, by rank and by size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, stats

from benchmarks.cases import Case, fluorescence_cases
from benchmarks.methods import version_of
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from napari_blind_deconv import Result, Settings, deconvolve
from napari_blind_deconv.engine.repeats import error_of_repeats

__all__ = ["SUITE"]

REPEATS = 4
BORDER = 8  # pixels; left out, since shifts and light from outside may change them
FIGURES = {
    "rank": "rank of error, pixels",
    "rank_smooth": "over 1 px",
    "size": "size",
    "brightness_rank": "brightness, pixels",
    "brightness_smooth": "over 1 px ",
    "seeds_rank": "seeds alone, pixels",
    "level": "residual, σ",
    "gain": "gain found",
    "offset": "offset found",
    "flags": "warnings",
}


@dataclass(frozen=True)
class Trust:
    """The default on the fluorescence cases, with its repeats."""

    name: str = "trust"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield one task per case."""
        options.refuse_methods(self.name)
        version = version_of(Settings.preset("fast"))
        for case in fluorescence_cases(options.data):
            group, _, kind = case.name.partition(", ")
            yield Task(group, kind, "fast", _Evaluation(case, options), options.seed, version)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return means by sample and over all samples."""
        shown = records.rename(columns={"group": "sample"})
        table = shown.groupby("sample", sort=False)[list(FIGURES)].mean()
        table.loc["all"] = shown[list(FIGURES)].mean()
        return markdown(table.rename(columns=FIGURES).round(2))


@dataclass(frozen=True)
class _Evaluation:
    case: Case
    options: Options

    def __call__(self) -> dict[str, float]:
        """Deconvolve the case several times, and compare expected with true errors."""
        observed = np.asarray(self.case.observed, np.float64)
        settings = self.options.context.applied_to(Settings.preset("fast"))
        result = deconvolve(observed, settings)
        repeats = [
            deconvolve(observed, settings.with_changes(seed=settings.seed + 1 + repeat)).image
            for repeat in range(REPEATS - 1)
        ]
        error_map = error_of_repeats(observed, result, repeats=REPEATS)
        return self._figures(result, error_map, np.std([result.image, *repeats], axis=0))

    def _figures(
        self, result: Result, error_map: NDArray[np.float32], seeds: NDArray[np.float64]
    ) -> dict[str, float]:
        error = _inner(np.abs(result.image - self.case.truth))
        smooth = np.sqrt(ndimage.gaussian_filter(np.square(error), 1.0))
        expected, bright = _inner(error_map), _inner(result.image)
        trust = result.trust
        return {
            "rank": _rank(expected, error),
            "rank_smooth": _rank(expected, smooth),
            "size": float(np.median(expected) / np.median(smooth)),
            "brightness_rank": _rank(bright, error),
            "brightness_smooth": _rank(bright, smooth),
            "seeds_rank": _rank(_inner(seeds), error),
            "level": trust.residual_level or np.nan,
            "gain": trust.gain,
            "offset": np.nan if trust.offset is None else trust.offset,
            "flags": float(len(result.flags)),
        }


def _inner(plane: NDArray[np.floating]) -> NDArray[np.floating]:
    return plane[BORDER:-BORDER, BORDER:-BORDER]


def _rank(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the rank correlation of Spearman; 0 for a constant map."""
    if np.ptp(first) == 0:
        return 0.0
    return float(stats.spearmanr(first.ravel(), second.ravel()).statistic)


SUITE = Trust()
