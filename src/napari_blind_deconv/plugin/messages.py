"""Texts of the panel, error notifications, and the clipboard."""

from __future__ import annotations

from napari.utils.notifications import Notification, notification_manager
from qtpy.QtWidgets import QApplication

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.plugin.runtime_estimator import format_duration
from napari_blind_deconv.results import Result, StackResult

__all__ = [
    "copy_to_clipboard",
    "format_blocks",
    "format_time_left",
    "notify",
    "result_sentence",
    "stack_sentence",
]


def notify(sentence: str, details: str) -> None:
    """Show an error as a napari notification, with a button that copies `details`."""

    # napari keeps its notifications until it ends, so this function must not refer to the panel.
    def copy(*_dialog: object) -> None:  # napari passes its dialog
        copy_to_clipboard(details)

    actions = [("Copy details", copy)]
    notification_manager.dispatch(Notification(sentence, "error", actions))


def copy_to_clipboard(text: str) -> None:
    """Copy a text to the clipboard."""
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)


def format_blocks(count: int, kind: BlockKind) -> str:
    """Return ``"1 plane"``, ``"2 volumes"`` and so on."""
    return f"{count} {kind}{'s' * (count != 1)}"


def format_time_left(seconds: float | None, qualifier: str) -> str:
    """Return the time left as text; None stands for a time that is not known yet."""
    if seconds is None:
        return "estimating time"
    return f"{qualifier} {format_duration(seconds)} left"


def result_sentence(result: Result) -> str:
    """Return how the run of a single plane ended, which iteration it kept, and its stages."""
    return (
        f"{result.stop_reason.sentence} Kept the estimate of iteration {result.stop_iteration} of "
        f"{len(result.trace)}, after {result.seconds:.0f} s on the {result.device.upper()}. "
        f"Stages: {result.stages}."
    )


def stack_sentence(result: StackResult, kind: BlockKind) -> str:
    """Return how many blocks of a stack are done, missing or failed; with the first failure."""
    done = format_blocks(result.done, kind)
    sentence = f"{done} done."
    if result.missing:
        sentence = f"Stopped; {done} done, {result.missing} not computed."
    for index, reason in list(result.failures.items())[:1]:
        count = len(result.failures)
        sentence += f" {count} could not be deconvolved; {kind} {index}: {reason}"
    return sentence
