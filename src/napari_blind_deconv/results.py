"""What a run returns: snapshots while it runs, and a result at the end."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.findings import Findings, FoundInPlanes
from napari_blind_deconv.image import BlockKind, Index
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.reasons import Finding, QualityFlag, SkipReason, StopReason
from napari_blind_deconv.settings import Settings

__all__ = [
    "MIN_SHARPENING",
    "RESIDUAL_RANGE",
    "SOFTWARE",
    "TRACE_DTYPE",
    "BlockResult",
    "Notice",
    "Result",
    "Snapshot",
    "StackResult",
    "StackStep",
    "Stage",
    "TrustReport",
    "stage_starts",
    "versions",
]

MIN_SHARPENING = 0.02
"""Relative changes of the resolution that are smaller say nothing."""

RESIDUAL_RANGE = 4
"""Residuals are drawn from minus to plus this many standard deviations of the noise."""

SOFTWARE = "napari-blind-deconv"
"""The software that all records of results name."""

TRACE_DTYPE = np.dtype(
    [
        ("iteration", np.int32),
        ("stage", "U16"),
        ("loss", np.float64),
        ("data", np.float64),
        ("regulariser", np.float64),
        ("variance", np.float64),
    ]
)


def stage_starts(trace: NDArray[np.void]) -> dict[str, int]:
    """Return the first iteration of each stage in a trace of `TRACE_DTYPE`, in order."""
    stages, rows = np.unique(trace["stage"], return_index=True)
    order = np.argsort(rows)
    return dict(zip(stages[order].tolist(), trace["iteration"][rows[order]].tolist(), strict=True))


@dataclass(frozen=True)
class TrustReport:
    """Quality measures of a result, computed from image, estimate and kernel without ground truth.

    Attributes
    ----------
    residual : ndarray
        Image minus re-blurred estimate, shape ``(H, W)``, divided by the noise expected at each
        pixel. NaN near the border, where the light from outside the field of view is unknown.
    residual_level : float or None
        Standard deviation of the residual without outliers; 1 if only noise is left. None if the
        image is too small to judge.
    residual_correlation : float or None
        Correlation between neighbouring pixels of the residual; 0 if it is white noise. None if
        the image is too small to judge.
    noise : float
        Root-mean-square standard deviation of the noise over the image, in the image's units.
    gain : float
        Increase of the noise variance with brightness; 0 if the noise does not depend on it.
    offset : float or None
        Brightness at which the noise would vanish; None if `gain` is 0.
    signal_to_noise : float
        Standard deviation of the image without its noise, divided by that of the noise.
    flux_ratio : float
        Sum of the estimate divided by the sum of the image.
    resolution_before, resolution_after : float or None
        Smallest resolved period of image and estimate in pixels, by decorrelation analysis; None if
        all is noise.
    kernel_fwhm : tuple of float
        Full widths at half maximum along the principal axes of the kernel, longer one first, in
        pixels.
    kernel_border : float
        Fraction of the kernel on the outermost pixels of its window.
    """

    residual: NDArray[np.float32]
    residual_level: float | None
    residual_correlation: float | None
    noise: float
    gain: float
    offset: float | None
    signal_to_noise: float
    flux_ratio: float
    resolution_before: float | None
    resolution_after: float | None
    kernel_fwhm: tuple[float, float]
    kernel_border: float

    @property
    def sharpening(self) -> float | None:
        """Relative decrease of the smallest resolved period; None if all is noise in one image."""
        if self.resolution_before is None or self.resolution_after is None:
            return None
        return 1 - self.resolution_after / self.resolution_before

    @property
    def kernel_roundness(self) -> float:
        """Shorter width of the kernel divided by the longer one; 1 is round."""
        return self.kernel_fwhm[1] / self.kernel_fwhm[0]

    def as_record(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON, without the residual image."""
        record = {name: value for name, value in vars(self).items() if name != "residual"}
        record["kernel_fwhm"] = list(self.kernel_fwhm)
        return {**record, "kernel_roundness": self.kernel_roundness}


def versions() -> dict[str, str]:
    """Return the versions of this package, torch, numpy and Python."""
    packages = (SOFTWARE, "torch", "numpy")
    return {**{name: version(name) for name in packages}, "python": platform.python_version()}


class Stage(StrEnum):
    """The stages of a run, in order."""

    KERNEL = "kernel"  # search for the kernel
    WIENER = "wiener"  # linear estimate with that kernel
    LOG_GAUSSIAN = "log-gaussian"  # estimate that knows the noise of each pixel and positivity
    RICHARDSON_LUCY = "richardson-lucy"  # iterations with a given PSF, instead of double-DIP
    DOUBLE_DIP = "double-dip"  # fit of two networks that correct kernel and estimate


@dataclass(frozen=True)
class Snapshot:
    """The state of a run after one iteration, or while a stage has no estimate yet.

    Attributes
    ----------
    stage : Stage
        The current stage.
    iteration : int
        Number of iterations completed in the run; 0 while a stage searches or prepares.
    loss, data, regulariser : float
        Objective of Eq. 21, its data term, and its sparse-gradient term before it is multiplied by
        λ. NaN at iteration 0.
    variance : float
        Windowed moving variance of the estimates of this stage; NaN until its window is full.
    best_iteration : int or None
        Iteration that early stopping would keep if the run ended now.
    max_iterations : int
        Number of iterations of the run at which this stage ends at the latest.
    image, kernel : ndarray or None
        Current estimates as in `Result`, but recentred by the kernel alone. None in most snapshots,
        because a preview is made only from time to time.
    index : tuple of int
        For a stack, the index of the plane; otherwise empty.
    """

    stage: Stage
    iteration: int
    loss: float
    data: float
    regulariser: float
    variance: float
    best_iteration: int | None
    max_iterations: int
    image: NDArray[np.float32] | None = None
    kernel: NDArray[np.float32] | None = None
    index: Index = ()

    @classmethod
    def waiting(cls, stage: Stage, max_iterations: int = 0) -> Self:
        """Return a snapshot of a stage that has no estimate yet."""
        return cls(stage, 0, math.nan, math.nan, math.nan, math.nan, None, max_iterations)


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes
    ----------
    image : ndarray
        Deconvolved image, float32, same shape and intensity units as the input, not clipped.
    kernel : Kernel
        The estimated or given kernel, centred unless `Settings.location` is `centre`. What was used
        is `kernel_used`.
    kernel_is_held : bool
        Whether the kernel was given and held, so that only the image was estimated.
    trace : ndarray
        One record per iteration of the run: iteration, stage, loss, data, regulariser, variance
        (`TRACE_DTYPE`). All stages are measured by the same objective, Eq. 21.
    stop_reason : StopReason
        Why the run ended.
    stop_iteration : int
        Iteration whose estimate was kept.
    settings : Settings
        Settings of the run, including the seed, with which the run can be reproduced.
    device : str
        Device that computed the result.
    noise : float
        Standard deviation of the noise estimated from the input, in the input's units.
    intensity_range : tuple of float
        Input intensities that were mapped to 0 and 1 for the computation.
    versions : dict
        Versions of this package, torch, numpy and Python.
    seconds : float
        Wall time of the run.
    trust : TrustReport
        Quality measures of the result.
    flags : tuple of QualityFlag
        Reasons to doubt the result, most serious first.
    findings : mapping
        What was found in the input besides the scene, with the number of pixels or lines that
        `Finding.text` states; None if it concerns the whole input.
    tiles : int
        Number of tiles that were deconvolved separately, without those that have no contrast.
        `trace` and `noise` are those of the tile that took longest.
    chosen_by_hand : bool
        Whether the user chose the iteration after the run.
    slowed_at : int or None
        Iteration at which the objective or its gradients were not finite, so that the fit returned
        to the last finite weights and continued at a tenth of its learning rates. None if this did
        not happen.
    skipped : mapping
        Stages that were left out, with the reason.
    """

    image: NDArray[np.float32]
    kernel: Kernel
    kernel_is_held: bool
    trace: NDArray[np.void]
    stop_reason: StopReason
    stop_iteration: int
    settings: Settings
    device: str
    noise: float
    intensity_range: tuple[float, float]
    versions: dict[str, str]
    seconds: float
    trust: TrustReport
    flags: tuple[QualityFlag, ...] = ()
    findings: Findings = field(default_factory=dict)
    tiles: int = 1
    chosen_by_hand: bool = False
    slowed_at: int | None = None
    skipped: Mapping[Stage, SkipReason] = field(default_factory=dict)

    @property
    def kernel_used(self) -> Kernel:
        """The kernel of the estimate: `kernel`, `Settings.strength` times as wide."""
        return self.kernel.scaled(self.settings.strength)

    @property
    def has_fitted_kernel(self) -> bool:
        """Whether networks have corrected the kernel, so that a search finds another one."""
        return not self.kernel_is_held and Stage.DOUBLE_DIP in self.trace["stage"]

    @property
    def stages(self) -> str:
        """The stages of the run that have iterations, which of them was kept, and those left out.

        For example: "wiener, log-gaussian (kept); double-dip (only noise is left)".
        """
        kept = self.trace["stage"][self.trace["iteration"] == self.stop_iteration]
        run = [f"{stage} (kept)" if stage in kept else stage for stage in stage_starts(self.trace)]
        left_out = [f"{stage} ({reason})" for stage, reason in self.skipped.items()]
        return "; ".join(", ".join(stages) for stages in (run, left_out) if stages)

    @property
    def block_kind(self) -> BlockKind:
        """Whether the image is a plane or a volume."""
        return BlockKind.with_axes(self.kernel.weights.ndim)

    def provenance(self) -> dict[str, Any]:
        """Return all but the arrays, ready for JSON: the record kept with a file or a layer."""
        return {
            "software": SOFTWARE,
            "settings": self.settings.model_dump(mode="json"),
            "device": self.device,
            "stop_reason": self.stop_reason.value,
            "stop_sentence": self.stop_reason.sentence,
            "stop_iteration": self.stop_iteration,
            "chosen_by_hand": self.chosen_by_hand,
            "iterations": len(self.trace),
            "stages": self.stages,
            "slowed_at": self.slowed_at,
            "warnings": [flag.sentence_of(self.block_kind) for flag in self.flags],
            "findings": {finding.value: count for finding, count in self.findings.items()},
            "kernel_source": self.kernel.source.value,
            "kernel_is_held": self.kernel_is_held,
            "kernel_fwhm": list(self.kernel.widths.along_axes),
            "kernel_width_deviation": self.kernel.width_deviation,
            "strength": self.settings.strength,
            "trust": self.trust.as_record(),
            "noise": self.noise,
            "intensity_range": list(self.intensity_range),
            "versions": dict(self.versions),
            "seconds": self.seconds,
            "tiles": self.tiles,
        }


@dataclass(frozen=True)
class BlockResult:
    """The outcome of one block of a stack, that is, of one plane.

    Attributes
    ----------
    index : tuple of int
        Index of the block along the axes of the stack; empty if there is only one block.
    image : ndarray
        Deconvolved image as in `Result`. If the block failed, its input; zeros if that could not be
        read either.
    result : Result or None
        The complete result; None if the block failed.
    failure : str or None
        The reason for the failure in one sentence; None if the block did not fail.
    """

    index: Index
    image: NDArray[np.float32]
    result: Result | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Notice:
    """Something to tell the user during a run, such as a wait for workers.

    Attributes
    ----------
    text : str
        A sentence for the user.
    """

    text: str


StackStep = Snapshot | BlockResult | Notice
"""What a run over a stack reports."""


@dataclass(frozen=True)
class StackResult:
    """The outcome of a stack.

    Attributes
    ----------
    image : ndarray or None
        Deconvolved stack, float32, same shape as the input; zeros where planes are missing. None if
        the planes were not collected.
    plan : StackPlan or None
        Kernels and all other values that the planes share; None if the run was stopped before these
        were complete.
    failures : dict
        Reason for the failure of each failed plane, by index.
    flags : dict
        Reasons to doubt planes, with the number of planes for which each was raised.
    done, missing : int
        Number of planes computed in this run, and number of planes still missing, which neither
        this run nor an earlier one computed.
    findings : mapping
        What was found in the planes of this run besides the scene, with the number of planes and
        of pixels or lines.
    """

    image: NDArray[np.float32] | None
    plan: StackPlan | None
    failures: dict[Index, str]
    flags: Mapping[QualityFlag, int]
    done: int
    missing: int
    findings: Mapping[Finding, FoundInPlanes] = field(default_factory=dict)
