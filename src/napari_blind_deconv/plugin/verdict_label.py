"""The verdict on the result that the panel shows, with links to what to try next."""

from __future__ import annotations

from html import escape

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from napari_blind_deconv.plugin.colours import link
from napari_blind_deconv.verdict import NextStep, Verdict

__all__ = ["VerdictLabel"]


class VerdictLabel(QLabel):
    """A sentence on a result, and a link for each next step; hidden without a result.

    Signals
    -------
    chosen : NextStep
        The user wants to try this.
    """

    chosen = Signal(NextStep)

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setToolTip(
            "What became of the image: the finest detail that is not noise, by "
            "decorrelation analysis, and the full width of the kernel at half maximum."
        )
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.LinksAccessibleByMouse
            | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
        )
        self.linkActivated.connect(lambda link: self.chosen.emit(NextStep(link)))
        self.show_verdict(None)

    def show_verdict(self, verdict: Verdict | None) -> None:
        """Show a verdict; with None, hide the label."""
        self.setVisible(verdict is not None)
        if verdict is None:
            self.clear()
            return
        links = [link(step, step, self) for step in verdict.next_steps]
        text = f"<b>{escape(verdict.sentence)}</b>"
        self.setText(f"{text}<br>Next: {' · '.join(links)}" if links else text)
