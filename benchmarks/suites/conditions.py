"""Micrographs with pixels that are no image, or with noise that is not independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.cases import TRUTHS
from benchmarks.disturbances import NOISE, PIXELS, RESAMPLED, Exposure
from benchmarks.methods import version_of
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from napari_blind_deconv import Settings, deconvolve

__all__ = ["CONTROL", "SUITE", "Condition", "Conditions", "expose"]

CONTROL = "undisturbed"
MICROGRAPHS = ("actin", "neuron", "filaments")
STRENGTHS = ("weak", "strong")
GROUPS = {"no image": PIXELS, "resampled, offsets": RESAMPLED, "processed": NOISE}
SIGMA, PHOTONS, OFFSET, READ_NOISE, BACKGROUND = 2.0, 500.0, 100.0, 1.5, 0.02
MARGIN = 12  # pixels that the kernel reaches at most

# Group, micrograph, disturbance, exposure.
Condition = tuple[str, str, str, Exposure]


@dataclass(frozen=True)
class Conditions:
    """Exposures with disturbances, and the undisturbed ones as controls."""

    name: str
    conditions: Callable[[Path], Iterator[Condition]]
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield a task for each disturbance of each micrograph."""
        options.refuse_methods(self.name)
        version = version_of(Settings.preset("fast"))
        for group, case, method, exposure in self.conditions(options.data):
            run = _Run(exposure, options)
            yield Task(group, case, method, run, options.seed, version)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return the gain of each disturbance, and what the user is told."""
        table = records[records["failure"].isna()]
        controls = table[table["group"] == CONTROL].set_index("case")["gain"]
        table = table[table["group"] != CONTROL]
        table = table.assign(control=table["case"].map(controls))
        rows = {key: _row(part) for key, part in table.groupby(["group", "method"], sort=False)}
        shown = pd.DataFrame(rows).T.rename_axis(["group", "disturbance"])
        totals = {group: _totals(part) for group, part in table.groupby("group", sort=False)}
        summary = pd.DataFrame(totals).T.rename_axis("group")
        return f"{markdown(summary)}\n\n{markdown(shown)}"


@dataclass(frozen=True)
class _Run:
    exposure: Exposure
    options: Options

    def __call__(self) -> dict[str, Any]:
        """Deconvolve with the default, and return the gain on the scored pixels."""
        exposure = self.exposure
        settings = self.options.context.applied_to(Settings.preset("fast"))
        result = deconvolve(exposure.observed, settings)
        before, after = (_psnr(exposure, image) for image in (exposure.observed, result.image))
        return {
            "psnr": after,
            "gain": after - before,
            "seconds": result.seconds,
            "kernel": result.kernel.source.value,
            "width": result.kernel.widths.principal[0],
            "flags": [flag.name for flag in result.flags],
            "told": [finding.value for finding in result.findings],
        }


def _psnr(exposure: Exposure, image: NDArray[np.floating[Any]]) -> float:
    truth, values = exposure.truth[exposure.scored], image[exposure.scored]
    error = float(np.square(truth - values).mean())
    return 10 * float(np.log10(np.ptp(truth) ** 2 / error))


def _conditions(data: Path) -> Iterator[Condition]:
    for micrograph in MICROGRAPHS:
        exposure = expose(data, micrograph, lambda scene: ndimage.gaussian_filter(scene, SIGMA))
        yield CONTROL, micrograph, CONTROL, exposure
        for group, disturbances in GROUPS.items():
            for name, disturb in disturbances.items():
                for strength, label in enumerate(STRENGTHS):
                    yield group, micrograph, f"{name}, {label}", disturb(exposure, strength)


def expose(
    data: Path,
    micrograph: str,
    blur: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    photons: float = PHOTONS,
    side: int = 192,
) -> Exposure:
    """Return the centre of a sharp micrograph, blurred and then exposed."""
    file, channel = TRUTHS[micrograph]
    stack = tifffile.imread(data / "micro-truth" / file)
    plane = (stack[channel] if stack.ndim > 2 else stack).astype(np.float64)
    low, high = np.percentile(plane, [0.5, 99.9])
    scene = np.clip((plane - low) / (high - low), 0, 1)
    corner = [(length - side) // 2 - MARGIN for length in scene.shape]
    rows, columns = (slice(start, start + side + 2 * MARGIN) for start in corner)
    scene, inner = scene[rows, columns], np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    random = np.random.default_rng(0)
    counts = random.poisson(photons * (blur(scene)[inner] + BACKGROUND))
    observed = np.rint(counts + OFFSET + random.normal(0, READ_NOISE, counts.shape))
    truth = photons * (scene[inner] + BACKGROUND) + OFFSET
    return Exposure(observed, truth, np.ones(truth.shape, bool))


def _row(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the gains of a disturbance, and what is told most often."""
    told = runs["told"].explode().dropna()
    flags = runs["flags"].explode().dropna()
    return {
        "gain, dB": runs["gain"].mean(),
        "worst": runs["gain"].min(),
        "control": runs["control"].mean(),
        "kernels": ", ".join(sorted(set(runs["kernel"]))),
        "flags": ", ".join(sorted(set(flags))),
        "told": told.mode().iat[0] if len(told) else "",
    }


def _totals(runs: pd.DataFrame) -> dict[str, Any]:
    return {
        "runs": str(len(runs)),
        "gain, dB": runs["gain"].mean(),
        "of the control's gain, %": 100 * runs["gain"].mean() / runs["control"].mean(),
        "worst": runs["gain"].min(),
        "below -0.1 dB": str(int((runs["gain"] < -0.1).sum())),
        "no blur found": str(int(runs["flags"].map(lambda flags: "NO_BLUR" in flags).sum())),
        "something told, %": 100 * float(runs["told"].map(len).gt(0).mean()),
    }


SUITE = Conditions("conditions", _conditions)
