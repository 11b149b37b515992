"""Eight real camera shakes of Levin et al. (2009)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.cases import camera_shakes
from benchmarks.suites import Options, Task, compare
from benchmarks.tables import by_case, markdown, summary

__all__ = ["SUITE"]

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
RIVALS = (
    "selfdeblur, true size, reduced",
    "selfdeblur, half the image, reduced",
    "wang, true size, reduced",
    "paper-synthetic, reduced",
)


@dataclass(frozen=True)
class Levin:
    """PSNR and the rest as scored in the literature: up to shift, 15 px of border left out."""

    name: str = "levin"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Every method on every capture."""
        methods = options.chosen([*CLASSICAL, *RIVALS, "fast", "fast, true PSF"])
        return compare(camera_shakes(options.data), methods, options.context)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Means, and PSNR by capture."""
        return f"{markdown(summary(records))}\n\nPSNR by capture:\n\n{markdown(by_case(records))}"


SUITE = Levin()
