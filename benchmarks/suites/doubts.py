"""Test whether the residual separates good results from bad: right, estimated and wrong PSFs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.cases import TRUTHS, Case, camera_shakes, fluorescence
from benchmarks.methods import version_of
from benchmarks.scoring import quality
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.numerics.optics import gaussian_kernel, line_kernel

__all__ = ["SUITE"]

Psf = NDArray[np.float32] | None
PSFS: dict[str, Callable[[Case], Psf]] = {
    "found": lambda case: None,
    "the true one": lambda case: case.kernel,
    "a drift of 9 px": lambda case: line_kernel(9, 30),
    "a Gaussian, σ 4 px": lambda case: gaussian_kernel((29, 29), 4.0),
}
OPTICS = ("Gaussian 2.5", "Airy")
PHOTONS = 1000.0


@dataclass(frozen=True)
class Doubts:
    """Camera shakes and exposures with the estimated kernel, the true kernel and wrong kernels."""

    name: str = "doubts"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield a task for each case with each PSF."""
        options.refuse_methods(self.name)
        version = version_of(Settings.preset("fast"))
        for group, case in _cases(options.data):
            for psf in PSFS:
                evaluation = _Evaluation(case, psf, options)
                yield Task(group, case.name, psf, evaluation, options.seed, version)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return the gain and the residual by group and PSF."""
        parts = records.groupby(["group", "method"], sort=False)
        rows = {key: _summary(part) for key, part in parts}
        table = pd.DataFrame(rows).T.astype({"cases": int}).rename_axis(["pictures", "PSF"])
        return markdown(table.sort_index().round(2))


@dataclass(frozen=True)
class _Evaluation:
    case: Case
    psf: str
    options: Options

    def __call__(self) -> dict[str, Any]:
        """Deconvolve the case, and return its gain and its residual."""
        case = self.case
        settings = self.options.context.applied_to(Settings.preset("fast"))
        result = deconvolve(case.observed, settings, kernel=PSFS[self.psf](case))
        psnr = quality(case, result.image)
        return {
            "psnr": psnr,
            "gain": psnr - quality(case, case.observed),
            "level": result.trust.residual_level,
            "correlation": result.trust.residual_correlation,
            "warnings": [flag.name for flag in result.flags],
        }


def _cases(data: Path) -> Iterator[tuple[str, Case]]:
    for case in camera_shakes(data):
        yield "camera shake", case
    for truth in TRUTHS:
        for optics in OPTICS:
            yield "fluorescence", fluorescence(data, truth, optics, PHOTONS)


def _summary(records: pd.DataFrame) -> dict[str, float]:
    misfit = records["warnings"].map(lambda names: "MISFIT" in names)
    return {
        "cases": len(records),
        "gain": records["gain"].mean(),
        "worst": records["gain"].min(),
        "level": records["level"].median(),
        "highest": records["level"].max(),
        "correlation": records["correlation"].median(),
        "lowest": records["correlation"].min(),
        "highest ": records["correlation"].max(),
        "warned, %": 100 * misfit.mean(),
    }


SUITE = Doubts()
