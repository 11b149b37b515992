"""Double-DIP: our presets, those of the paper, and the methods the paper compares with."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import POINT, Case
from benchmarks.methods import Context, Method, Outcome
from benchmarks.scoring import quality
from napari_blind_deconv import Result, Settings, Snapshot, Stage, iterate
from napari_blind_deconv.numerics.stopping import EarlyStopping
from napari_blind_deconv.settings import DataTerm
from napari_blind_deconv.steps import Run

__all__ = [
    "METHODS",
    "REDUCED",
    "SCORING_INTERVAL",
    "DoubleDip",
    "Kernel",
    "reduced",
]

# The published networks take a day per image on a CPU. Reduced runs use our compact image network,
# bfloat16 if the processor supports it, and 400 iterations in place of 10 000 or 5 000.
REDUCED: dict[str, Any] = {
    "channels": (16, 32, 64, 64, 64),
    "precision": "auto",
    "max_iterations": 400,
}
REDUCED_WANG = {"kernel_features": 64}  # as in the widest scale of the image network
# The current estimate is scored once in this many iterations, for its peak; less often in runs of
# more iterations than this number of scores takes.
SCORING_INTERVAL = 10
MAX_SCORES = 400


def reduced(preset: str, **changes: Any) -> Settings:
    """Return a published preset with changes, reduced to a size for a CPU."""
    return Settings.preset(preset).with_changes(**REDUCED, **changes)


class Kernel(Enum):
    """Knowledge of the kernel that a run is given."""

    UNKNOWN = auto()
    SIZE = auto()  # the sides of its window
    TRUE = auto()  # the PSF
    NONE = auto()  # there is no blur


@dataclass(frozen=True)
class DoubleDip:
    """A run of the engine with given settings.

    Attributes
    ----------
    kernel : Kernel
        Knowledge of the kernel that the run is given.
    to_the_end : bool
        Continue after early stopping has found its estimate, to measure what stopping gained or
        lost.
    """

    name: str
    settings: Settings = field(default_factory=Settings)
    kernel: Kernel = Kernel.UNKNOWN
    to_the_end: bool = False

    def run(self, case: Case, context: Context) -> Outcome:
        """Fit, and compare the current estimate with the truth at regular intervals."""
        interval = max(SCORING_INTERVAL, self.settings.max_iterations // MAX_SCORES)
        run = iterate(
            case.observed,
            context.applied_to(self._settings(case)),
            kernel=self._held(case),
            preview_seconds=0,
            # The linear estimate, which has few iterations, is scored for its last one.
            preview_iterations=1 if interval == SCORING_INTERVAL else interval,
        )
        result, curve, before_networks = _run_with_scores(run, case, interval)
        estimated = None if result.kernel_is_held else result.kernel.weights
        figures = _stopping_figures(curve, interval, self._kept(result)) | {
            "iterations": len(result.trace),
            "seconds_per_iteration": result.seconds / len(result.trace),
            "before_networks": before_networks,
            "objective": _objective(result),
            "kernel_source": result.kernel.source.value,
            "flags": [flag.name for flag in result.flags],
            "findings": {finding.value: count for finding, count in result.findings.items()},
        }
        if self.to_the_end:
            # The result is not the estimate that early stopping would have kept.
            figures["psnr"] = figures["at_kept"]
        return Outcome(result.image, estimated, figures)

    def _held(self, case: Case) -> NDArray[np.float32] | None:
        """Return the kernel that the run is given; None if it has to find one."""
        if self.kernel is Kernel.TRUE:
            return case.true_kernel
        return POINT if self.kernel is Kernel.NONE else None

    def _settings(self, case: Case) -> Settings:
        changes: dict[str, Any] = {}
        if self.kernel is Kernel.SIZE:
            changes["kernel_size"] = case.true_kernel.shape
        if self.to_the_end:
            changes |= {"patience": self.settings.max_iterations, "stop_at_noise": False}
        return self.settings.with_changes(**changes)

    def _kept(self, result: Result) -> int:
        return self._detected(result) if self.to_the_end else result.stop_iteration

    def _detected(self, result: Result) -> int:
        """Return the iteration that a run with the given settings would have kept."""
        stopping = EarlyStopping(self.settings.patience)
        halved = 1 if self.settings.data_term is DataTerm.SQUARED else 2
        low, high = result.intensity_range
        noise = result.noise / (high - low) if self.settings.stop_at_noise else 0.0
        for row in result.trace[result.trace["stage"] == Stage.DOUBLE_DIP]:
            iteration = int(row["iteration"])
            stopping.update(iteration, float(row["variance"]))
            if halved * row["data"] <= noise**2:
                return iteration
            if stopping.exhausted:
                break
        return stopping.best_iteration or len(result.trace)


def _objective(result: Result) -> dict[str, dict[str, float]]:
    """Return data term and regulariser of the last estimate of each stage, and of that kept."""
    rows = {str(row["stage"]): row for row in result.trace}
    rows["kept"] = result.trace[result.trace["iteration"] == result.stop_iteration][0]
    return {
        name: {term: float(row[term]) for term in ("data", "regulariser")}
        for name, row in rows.items()
    }


def _stopping_figures(curve: NDArray[np.float64], interval: int, kept: int) -> dict[str, Any]:
    """Return the peak of the current estimate, and the loss of stopping relative to it."""
    if not len(curve):
        return {"kept": kept, "at_kept": None}
    scored = interval * np.arange(1, len(curve) + 1)
    at_kept = float(np.interp(kept, scored, curve))
    return {
        "kept": kept,
        "at_kept": at_kept,
        "peak": float(curve.max()),
        "peak_iteration": int(scored[curve.argmax()]),
        "stopping_gap": float(curve.max()) - at_kept,
        "last_gap": float(curve.max() - curve[-1]),
        "curve": curve.round(2).tolist(),
        "curve_interval": interval,
    }


def _run_with_scores(
    run: Run[Snapshot, Result], case: Case, interval: int
) -> tuple[Result, NDArray[np.float64], float | None]:
    """Run to the end, and return the result and two scores.

    These are the PSNR of the estimate at regular intervals, and that of the estimate from which the
    networks start; None without networks or such an estimate.
    """
    curve: list[float] = []
    start, has_networks = None, False
    for snapshot in run:
        if snapshot.image is None or not snapshot.iteration:
            continue
        if snapshot.stage is Stage.DOUBLE_DIP:
            has_networks = True
        else:
            start = snapshot.image
        if snapshot.iteration % interval == 0:
            curve.append(quality(case, snapshot.image))
    before = None if start is None or not has_networks else quality(case, start)
    return run.result(), np.array(curve), before


METHODS: list[Method] = [
    DoubleDip("fast"),
    DoubleDip("draft", Settings.preset("draft")),
    DoubleDip("fast, true PSF", kernel=Kernel.TRUE),
    DoubleDip("fast, no blur assumed", kernel=Kernel.NONE),
    DoubleDip("paper-synthetic, reduced", reduced("paper-synthetic")),
    DoubleDip("paper-synthetic, reduced, Gaussian start", Settings.preset("paper-small")),
    DoubleDip("selfdeblur, true size, reduced", reduced("selfdeblur"), Kernel.SIZE),
    DoubleDip("selfdeblur, half the image, reduced", reduced("selfdeblur")),
    DoubleDip("wang, true size, reduced", reduced("wang", **REDUCED_WANG), Kernel.SIZE),
    DoubleDip("selfdeblur, true size", Settings.preset("selfdeblur"), Kernel.SIZE),
    DoubleDip("paper-synthetic", Settings.preset("paper-synthetic")),
    DoubleDip("paper-real", Settings.preset("paper-real")),
]
