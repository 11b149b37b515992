"""Double-DIP: our presets, the paper's, and the rivals of the paper from the same parts."""

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

__all__ = ["EVERY", "GAUSSIAN_START", "METHODS", "REDUCED", "DoubleDip", "Kernel", "reduced"]

# The published networks take a day an image on a CPU. Reduced: our compact image network, bfloat16
# where the processor has it, and this many iterations in place of 10 000 or 5 000.
REDUCED: dict[str, Any] = {
    "channels": (16, 32, 64, 64, 64),
    "precision": "auto",
    "max_iterations": 400,
}
REDUCED_WANG = {"kernel_features": 64}  # as the widest of the image network
# From the published flat kernel 400 iterations lead nowhere; from a Gaussian guess they do.
GAUSSIAN_START: dict[str, Any] = {"kernel_start": 2.0, "kernel_learning_rate": 1e-3}
# Iterations between two looks at the truth, for the peak.
EVERY = 10


def reduced(preset: str, **changes: Any) -> Settings:
    """A published preset, small enough for a CPU, with changes."""
    return Settings.preset(preset).with_changes(**REDUCED, **changes)


class Kernel(Enum):
    """What a run is told about the kernel."""

    UNKNOWN = auto()
    SIZE = auto()  # the sides of its window
    TRUE = auto()  # the whole PSF
    NONE = auto()  # that there is no blur


@dataclass(frozen=True)
class DoubleDip:
    """A run of the engine with some settings.

    Attributes
    ----------
    kernel : Kernel
        What it is told.
    to_the_end : bool
        Go on after early stopping has found its picture, to see what it saved or missed.
    """

    name: str
    settings: Settings = field(default_factory=Settings)
    kernel: Kernel = Kernel.UNKNOWN
    to_the_end: bool = False

    def run(self, case: Case, context: Context) -> Outcome:
        """Fit, and compare with the truth on the way."""
        psf = {Kernel.TRUE: case.kernel, Kernel.NONE: POINT}.get(self.kernel)
        run = iterate(
            case.observed,
            context.applied_to(self._settings(case)),
            kernel=psf,
            preview_seconds=0,
        )
        result, curve = _watch(run, case)
        estimated = result.kernel.weights if psf is None else None
        figures = _progress(curve, self._kept(result)) | {
            "iterations": len(result.trace),
            "seconds_per_iteration": result.seconds / len(result.trace),
        }
        if self.to_the_end:
            # The picture returned is not the one early stopping would have kept.
            figures["psnr"] = figures["at_kept"]
        return Outcome(result.image, estimated, figures)

    def _settings(self, case: Case) -> Settings:
        changes: dict[str, Any] = {}
        if self.kernel is Kernel.SIZE:
            changes["kernel_size"] = case.kernel.shape
        if self.to_the_end:
            changes |= {"patience": self.settings.max_iterations, "stop_at_noise": False}
        return self.settings.with_changes(**changes)

    def _kept(self, result: Result) -> int:
        return self._detected(result) if self.to_the_end else result.stop_iteration

    def _detected(self, result: Result) -> int:
        """Which picture the settings as they were given would have kept of this run."""
        stopping = EarlyStopping(self.settings.patience)
        halved = 1 if self.settings.data_term is DataTerm.SQUARED else 2
        low, high = result.intensity_range
        noise = result.noise / (high - low) if self.settings.stop_at_noise else 0.0
        for row in result.trace:
            iteration = int(row["iteration"])
            stopping.update(iteration, float(row["variance"]))
            if halved * row["data"] <= noise**2:
                return iteration
            if stopping.exhausted:
                break
        return stopping.best_iteration or len(result.trace)


def _progress(curve: NDArray[np.float64], kept: int) -> dict[str, Any]:
    """Where the running picture was best, and what stopping lost or saved against that."""
    if not len(curve):
        return {"kept": kept, "at_kept": None}
    seen = EVERY * np.arange(1, len(curve) + 1)
    at_kept = float(np.interp(kept, seen, curve))
    return {
        "kept": kept,
        "at_kept": at_kept,
        "peak": float(curve.max()),
        "peak_iteration": int(seen[curve.argmax()]),
        "stopping_gap": float(curve.max()) - at_kept,
        "last_gap": float(curve.max() - curve[-1]),
        "curve": curve.round(2).tolist(),
    }


def _watch(run: Run[Snapshot, Result], case: Case) -> tuple[Result, NDArray[np.float64]]:
    """Run to the end; PSNR of the running picture, every so many iterations."""
    curve: list[float] = []

    for snapshot in run:
        looked = snapshot.stage is Stage.DOUBLE_DIP and snapshot.iteration % EVERY == 0
        if looked and snapshot.image is not None:
            curve.append(quality(case, snapshot.image))
    return run.result(), np.array(curve)


METHODS: list[Method] = [
    DoubleDip("fast"),
    DoubleDip("draft", Settings.preset("draft")),
    DoubleDip("fast, true PSF", kernel=Kernel.TRUE),
    DoubleDip("paper-synthetic, reduced", reduced("paper-synthetic")),
    DoubleDip(
        "paper-synthetic, reduced, Gaussian start", reduced("paper-synthetic", **GAUSSIAN_START)
    ),
    DoubleDip("selfdeblur, true size, reduced", reduced("selfdeblur"), Kernel.SIZE),
    DoubleDip("selfdeblur, half the image, reduced", reduced("selfdeblur")),
    DoubleDip("wang, true size, reduced", reduced("wang", **REDUCED_WANG), Kernel.SIZE),
    DoubleDip("selfdeblur, true size", Settings.preset("selfdeblur"), Kernel.SIZE),
    DoubleDip("paper-synthetic", Settings.preset("paper-synthetic")),
    DoubleDip("paper-real", Settings.preset("paper-real")),
]
