"""What a run gives back: snapshots on the way, and a result at the end."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import Index
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.reasons import QualityFlag, StopReason
from napari_blind_deconv.settings import Settings

__all__ = [
    "TRACE_DTYPE",
    "BlockResult",
    "Result",
    "Snapshot",
    "StackResult",
    "Stage",
    "TrustReport",
    "versions",
]

TRACE_DTYPE = np.dtype(
    [
        ("iteration", np.int32),
        ("loss", np.float64),
        ("data", np.float64),
        ("regulariser", np.float64),
        ("variance", np.float64),
    ]
)


@dataclass(frozen=True)
class TrustReport:
    """What a result is worth, from the image, the estimate and its kernel alone.

    Attributes
    ----------
    residual : ndarray
        Image less re-blurred estimate ``(H, W)``, in units of the noise expected at each pixel; NaN
        near the border, where light from outside is not known.
    residual_level : float or None
        Its standard deviation, outliers left out: 1 if all that is left is noise.
    residual_correlation : float or None
        Its correlation from pixel to neighbour: 0 if it is white.
    noise : float
        Standard deviation of the noise, mean over the image, in the image's units.
    gain : float
        Variance of the noise by brightness; 0 if it does not grow.
    offset : float or None
        Brightness at which it would vanish.
    signal_to_noise : float
        Standard deviation of the picture, noise taken off, over that of the noise.
    flux_ratio : float
        Sum of the estimate over that of the image.
    resolution_before, resolution_after : float or None
        Smallest period that is not noise, in pixels, by decorrelation analysis.
    kernel_fwhm : tuple of float
        Full widths at half maximum along the kernel's own axes, the longer first, in pixels.
    kernel_border : float
        Share of the kernel on the outermost pixels of its window.
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
    def kernel_roundness(self) -> float:
        """Shorter width over longer: 1 is round."""
        return self.kernel_fwhm[1] / self.kernel_fwhm[0]

    def as_record(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        record = {name: value for name, value in vars(self).items() if name != "residual"}
        record["kernel_fwhm"] = list(self.kernel_fwhm)
        return {**record, "kernel_roundness": self.kernel_roundness}


def versions() -> dict[str, str]:
    """Of this package, of what it computes with, and of Python."""
    packages = ("napari-blind-deconv", "torch", "numpy")
    return {**{name: version(name) for name in packages}, "python": platform.python_version()}


class Stage(StrEnum):
    """What a run is doing: the stages of the pipeline, in their order."""

    KERNEL = "kernel"  # searching for it
    WIENER = "wiener"  # the linear estimate that goes with it
    RICHARDSON_LUCY = "richardson-lucy"  # with a PSF that is given, in place of what follows
    DOUBLE_DIP = "double-dip"  # the networks' correction of both


@dataclass(frozen=True)
class Snapshot:
    """The state of a run: after one iteration, or while a stage has no estimate yet.

    Attributes
    ----------
    stage : Stage
        What is being done.
    iteration : int
        Steps done in this stage; 0 while it searches or prepares itself, and the numbers below are
        then NaN.
    loss, data, regulariser : float
        Objective of Eq. 21, its data term, and its sparse-gradient term before λ.
    variance : float
        Windowed moving variance; NaN until its window is full.
    best_iteration : int or None
        Iteration that early stopping would keep now.
    max_iterations : int
        Most steps there will be in this stage.
    image, kernel : ndarray or None
        Current estimates as in `Result`, recentred by the kernel alone; only every so often, else
        None.
    index : tuple of int
        Of a stack, position of the plane.
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
        """A stage that has no estimate yet."""
        return cls(stage, 0, math.nan, math.nan, math.nan, math.nan, None, max_iterations)


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes
    ----------
    image : ndarray
        Estimate, float32, shape of the input, in the input's own intensity units, not clipped.
    kernel : Kernel
        The kernel, estimated or given; centred unless `Settings.location` says otherwise.
    kernel_is_held : bool
        Whether it was known and only the image was estimated.
    trace : ndarray
        One record per iteration: iteration, loss, data, regulariser, variance (`TRACE_DTYPE`).
    stop_reason : StopReason
        Why the run ended.
    stop_iteration : int
        Iteration whose picture was kept.
    settings : Settings
        What reproduces the run, its seed among them.
    device : str
        What computed.
    noise : float
        Noise found in the input, standard deviation in its own units.
    intensity_range : tuple of float
        Input intensities that were mapped to 0 and 1 for the fit.
    versions : dict
        Versions of this package, torch, numpy and Python.
    seconds : float
        Wall time of the fit.
    trust : TrustReport
        What it is worth.
    flags : tuple of QualityFlag
        Reasons to doubt it, gravest first.
    tiles : int
        Pieces of the plane that were sharpened on their own, of those with any contrast; trace and
        noise are those of the one that took longest.
    chosen_by_hand : bool
        Whether a person chose the iteration, after the run.
    slowed_at : int or None
        Iteration at which objective or gradients were not finite, and the fit went back to the last
        good weights and on at a tenth of its rates.
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
    tiles: int = 1
    chosen_by_hand: bool = False
    slowed_at: int | None = None

    def provenance(self) -> dict[str, Any]:
        """All but the arrays, ready for JSON: what a file or a layer says about its origin."""
        return {
            "software": "napari-blind-deconv",
            "settings": self.settings.model_dump(mode="json"),
            "device": self.device,
            "stop_reason": self.stop_reason.value,
            "stop_sentence": self.stop_reason.sentence,
            "stop_iteration": self.stop_iteration,
            "chosen_by_hand": self.chosen_by_hand,
            "iterations": len(self.trace),
            "slowed_at": self.slowed_at,
            "warnings": [flag.sentence for flag in self.flags],
            "kernel_source": self.kernel.source.value,
            "kernel_is_held": self.kernel_is_held,
            "kernel_fwhm": list(self.kernel.widths.along_axes),
            "trust": self.trust.as_record(),
            "noise": self.noise,
            "intensity_range": list(self.intensity_range),
            "versions": dict(self.versions),
            "seconds": self.seconds,
            "tiles": self.tiles,
        }


@dataclass(frozen=True)
class BlockResult:
    """The outcome of one block of a stack: of a plane.

    Attributes
    ----------
    index : tuple of int
        Its position along the axes before its own; empty if there is one only.
    image : ndarray
        Estimate as in `Result`; the input where it failed, zeros where that could not be read.
    result : Result or None
        All that is known of it; None where it failed.
    failure : str or None
        What was wrong with it, in one sentence.
    """

    index: Index
    image: NDArray[np.float32]
    result: Result | None = None
    failure: str | None = None


@dataclass(frozen=True)
class StackResult:
    """The outcome of a stack.

    Attributes
    ----------
    image : ndarray or None
        Estimate of the shape of the input, float32; zeros where planes are missing. None if it was
        not to be collected.
    plan : StackPlan or None
        With the kernels and all that the planes share; None if the run was stopped before it was
        complete.
    failures : dict
        What was wrong, by position.
    flags : dict
        Reasons to doubt planes, and how many each was raised for.
    done, missing : int
        Planes computed in this run, and planes that neither were nor had been before.
    """

    image: NDArray[np.float32] | None
    plan: StackPlan | None
    failures: dict[Index, str]
    flags: Mapping[QualityFlag, int]
    done: int
    missing: int
