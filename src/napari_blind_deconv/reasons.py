"""Why a run ended and why its result is to be doubted, each with a sentence for a person."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["QualityFlag", "StopReason"]


class _Reason(StrEnum):
    """A reason in a word or two, and its `sentence`."""

    sentence: str

    def __new__(cls, value: str, sentence: str = "") -> Self:  # none in a look-up by value
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


class StopReason(_Reason):
    """Why a run ended; `sentence` says it to a person."""

    EARLY_STOPPING = (
        "early stopping",
        "The picture had settled and noise began to come in.",
    )
    NOISE = (
        "noise reached",
        "The result, blurred again, matches the image to within its noise.",
    )
    ITERATION_LIMIT = (
        "iteration limit",
        "The iteration limit was reached before the picture settled.",
    )
    STOPPED = (
        "stopped",
        "It was stopped by hand and the best picture so far was kept.",
    )
    COMPLETED = (
        "completed",
        "The last stage that was asked for is done.",
    )
    DIVERGED = (
        "unstable",
        "The fit became unstable twice, and the best picture before was kept.",
    )


class QualityFlag(_Reason):
    """A reason to doubt a result; `sentence` says it to a person."""

    MISFIT = (
        "the model does not explain the image",
        "The result, blurred again, differs from the image by more than noise.",
    )
    NO_BLUR = (
        "no blur found",
        "No blur was found: the picture is as sharp as its pixels, or too noisy to tell.",
    )
    KERNEL_FILLS_WINDOW = (
        "kernel fills its window",
        "The kernel fills its window: choose a larger kernel window and run again.",
    )
    LOW_SIGNAL = (
        "signal too low to trust detail",
        "The signal is too low to trust detail: there is more noise than picture.",
    )
    NOT_SHARPER = (
        "no sharper than the input",
        "The result resolves no finer detail than the input: there was nothing to gain.",
    )
    UNSTABLE = (
        "fit became unstable on the way",
        "The fit became unstable and went back a step: lower learning rates are safer.",
    )
    ITERATION_LIMIT = (
        "stopped at the iteration limit",
        "The run was stopped at the iteration limit: more iterations may sharpen it further.",
    )
