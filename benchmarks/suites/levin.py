"""Eight real camera shakes of Levin et al. (2009)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.cases import camera_shake, camera_shakes
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
# A canvas that is twice as wide as the image makes these slow, so that they are run on half of it.
SLOW = ("selfdeblur, half the image, reduced", "paper-synthetic, reduced")
SLOW_KERNELS = (1, 5)


@dataclass(frozen=True)
class Levin:
    """PSNR and the rest as scored in the literature: up to shift, 15 px of border left out."""

    name: str = "levin"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Every method on every capture, the slow ones on half of them."""
        rivals = ("selfdeblur, true size, reduced", "wang, true size, reduced")
        usual = ["fast", *CLASSICAL, "fast, true PSF", *rivals]
        yield from compare(camera_shakes(options.data), options.chosen(usual), options.context)
        if options.has_own_methods:
            return
        few = (camera_shake(options.data, image, k) for image in (1, 2) for k in SLOW_KERNELS)
        yield from compare(few, options.chosen(SLOW), options.context)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Means, and PSNR by capture."""
        table = markdown(by_case(records))
        return f"{markdown(summary(records))}\n\nPSNR by capture:\n\n{table}"


SUITE = Levin()
