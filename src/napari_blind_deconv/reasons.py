"""Why a run ended and why its result is to be doubted, each with a sentence for a person."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["QualityFlag", "StopReason"]


class StopReason(StrEnum):
    """Why a run ended; `sentence` says it to a person."""

    EARLY_STOPPING = "early stopping"
    NOISE = "noise reached"
    ITERATION_LIMIT = "iteration limit"
    STOPPED = "stopped"
    DIVERGED = "numbers lost"

    @property
    def sentence(self) -> str:
        """The reason as a sentence."""
        return _SENTENCES[self]


_SENTENCES = {
    StopReason.EARLY_STOPPING: "The picture had settled and noise began to come in.",
    StopReason.NOISE: "The picture explains the image down to its noise.",
    StopReason.ITERATION_LIMIT: "The iteration limit was reached before the picture settled.",
    StopReason.STOPPED: "It was stopped by hand and the best picture so far was kept.",
    StopReason.DIVERGED: "The fit lost its numbers twice, and the best picture before was kept.",
}


class QualityFlag(StrEnum):
    """A reason to doubt a result; `sentence` says it to a person."""

    MISFIT = "the model does not explain the image"
    NO_BLUR = "no blur found"
    KERNEL_FILLS_WINDOW = "kernel fills its window"
    LOW_SIGNAL = "signal too low to trust detail"
    NOT_SHARPER = "no sharper than the input"
    UNSTABLE = "fit lost its numbers on the way"
    ITERATION_LIMIT = "stopped at the iteration limit"

    @property
    def sentence(self) -> str:
        """The flag as a sentence, with what to do about it."""
        return _DOUBTS[self]


_DOUBTS = {
    QualityFlag.MISFIT: (
        "The result, blurred again, is not the image: what is left over is more than noise."
    ),
    QualityFlag.NOT_SHARPER: (
        "The result resolves no finer detail than the input: there was nothing to gain."
    ),
    QualityFlag.NO_BLUR: (
        "No blur was found: the picture is as sharp as its pixels, or too noisy to tell."
    ),
    QualityFlag.KERNEL_FILLS_WINDOW: (
        "The kernel fills its window: choose a larger kernel window and run again."
    ),
    QualityFlag.LOW_SIGNAL: (
        "The signal is too low to trust detail: there is more noise than picture."
    ),
    QualityFlag.UNSTABLE: (
        "The fit lost its numbers on the way and went back a step: lower learning rates are safer."
    ),
    QualityFlag.ITERATION_LIMIT: (
        "The run was stopped at the iteration limit: more iterations may sharpen it further."
    ),
}
