"""Compare maps of the expected error with the true errors, by rank and by size."""

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
from napari_blind_deconv.engine.expected_error import expected_error

__all__ = ["SUITE"]

BORDER = 8  # pixels; left out, since shifts and light from outside may change them
FIGURES = {
    "rank": "rank of error, pixels",
    "rank_smooth": "over 1 px",
    "size": "size",
    "brightness_rank": "brightness, pixels",
    "brightness_smooth": "over 1 px ",
    "within": "share within, %",
    "level": "residual, σ",
    "gain": "gain found",
    "offset": "offset found",
    "flags": "warnings",
}


@dataclass(frozen=True)
class Trust:
    """The default on the fluorescence cases, with its map of the expected error."""

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
        """Deconvolve the case, and compare expected with true errors."""
        observed = np.asarray(self.case.observed, np.float64)
        settings = self.options.context.applied_to(Settings.preset("fast"))
        result = deconvolve(observed, settings)
        return self._figures(result, expected_error(observed, result))

    def _figures(self, result: Result, error_map: NDArray[np.float32]) -> dict[str, float]:
        error = _inner(np.abs(result.image - self.case.truth))
        smooth = np.sqrt(ndimage.gaussian_filter(np.square(error), 1.0))
        expected, bright = _inner(error_map), _inner(result.image)
        # The map has no numbers where the default has left out a pixel.
        known = np.isfinite(expected)
        error, smooth, expected, bright = (a[known] for a in (error, smooth, expected, bright))
        trust = result.trust
        return {
            "rank": _rank(expected, error),
            "rank_smooth": _rank(expected, smooth),
            "size": float(np.sqrt(np.mean(np.square(expected)) / np.mean(np.square(error)))),
            "within": 100 * float(np.mean(error < expected)),
            "brightness_rank": _rank(bright, error),
            "brightness_smooth": _rank(bright, smooth),
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
