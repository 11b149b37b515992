"""Reasons why a run ended, reasons to doubt its result, and what was found in the image.

Each has a readable sentence.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["Finding", "QualityFlag", "StopReason"]


class _Reason(StrEnum):
    """A reason: its value is a short name, its `sentence` explains it to the user."""

    sentence: str

    # The sentence is optional because a lookup by value, such as ``StopReason("stopped")``, passes
    # the value alone.
    def __new__(cls, value: str, sentence: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


class StopReason(_Reason):
    """Why a run ended; `sentence` explains it to the user."""

    EARLY_STOPPING = (
        "early stopping",
        "The estimate had settled, and further iterations began to add noise.",
    )
    NOISE = (
        "noise reached",
        "The result, blurred again, matches the image to within its noise.",
    )
    ITERATION_LIMIT = (
        "iteration limit",
        "The run reached its iteration limit before the estimate settled.",
    )
    STOPPED = (
        "stopped",
        "The run was stopped by hand, and the best estimate so far was kept.",
    )
    COMPLETED = (
        "completed",
        "The run completed the last stage of the chosen solver.",
    )
    DIVERGED = (
        "unstable",
        "The fit became unstable twice, and the best estimate before that was kept.",
    )


class QualityFlag(_Reason):
    """A reason to doubt a result; `sentence` states what was found and what to try."""

    MISFIT = (
        "the model does not explain the image",
        "The result, blurred again, differs from the image by more than noise: try a larger kernel "
        "window or more iterations, or check the PSF if you gave one.",
    )
    NO_BLUR = (
        "no blur found",
        "No blur was found: the image is as sharp as its pixels allow, or too noisy to tell. If it "
        "looks blurred, try a larger region or start from a Gaussian kernel.",
    )
    KERNEL_FILLS_WINDOW = (
        "kernel fills its window",
        "The kernel fills its window: choose a larger kernel window and run again.",
    )
    LOW_SIGNAL = (
        "signal too low to trust detail",
        "The signal is too low to trust detail: the image varies less than its noise. Average "
        "several exposures or expose longer.",
    )
    NOT_SHARPER = (
        "no sharper than the input",
        "The result resolves no finer detail than the input: compare the two, because there may "
        "have been no blur to remove.",
    )
    UNSTABLE = (
        "fit became unstable on the way",
        "The fit became unstable and went back to an earlier state: run again with lower learning "
        "rates.",
    )
    ITERATION_LIMIT = (
        "stopped at the iteration limit",
        "The run was stopped at the iteration limit: more iterations may sharpen the result.",
    )


class Finding(_Reason):
    """What was found in an image that is not the scene; `sentence` states what was done."""

    NOT_FINITE = (
        "not finite",
        "Pixels that are not finite numbers were left out and kept as they are.",
    )
    MASKED = (
        "masked",
        "Masked pixels were left out and kept as they are.",
    )
    FLAT = (
        "without image",
        "Areas of one value that end abruptly, such as gaps, scale bars and stuck lines, were left "
        "out and kept as they are.",
    )
    HOT = (
        "hot or dead",
        "Hot or dead pixels were left out and replaced.",
    )
    SATURATED = (
        "saturated",
        "Saturated pixels were left out: their true brightness is unknown.",
    )
    ROW_OFFSETS = (
        "offsets of rows",
        "Rows have offsets, which were subtracted.",
    )
    COLUMN_OFFSETS = (
        "offsets of columns",
        "Columns have offsets, which were subtracted.",
    )
    FILTERED = (
        "filtered noise",
        "The noise of neighbouring pixels is correlated, as after smoothing, interpolation or "
        "enlargement: the kernel contains that filter too. Where possible, use the original image.",
    )
    PROCESSED = (
        "processed noise",
        "Noise was removed from flat parts, as by denoising, compression or an earlier "
        "deconvolution: fine detail cannot be trusted. Where possible, use the original image.",
    )
    REPEATED = (
        "repeated pixels",
        "Each pixel is repeated: the image was deconvolved on the grid on which it was sampled, "
        "and the kernel is in pixels of that grid.",
    )
