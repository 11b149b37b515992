"""The strength of a result: a slider with a preview, and a run with the strength chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton, QSlider, QVBoxLayout, QWidget
from superqt.utils import signals_blocked

from napari_blind_deconv.engine.inputs import check_solver
from napari_blind_deconv.kernel import KernelChoice
from napari_blind_deconv.plugin.layouts import in_row
from napari_blind_deconv.plugin.strength_preview import PreviewLayer
from napari_blind_deconv.plugin.strength_tile import Tile
from napari_blind_deconv.settings import MAX_STRENGTH, MIN_STRENGTH

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun
    from napari_blind_deconv.results import Result

__all__ = ["StrengthSlider"]

_STEPS = 20  # of the slider in a strength of 1
_HELP = (
    "Use a kernel that is so many times as wide as the one found or given. Higher is sharper; too "
    "high makes rings around edges. The frame shows a preview of the middle of what you see: at "
    "once a quick linear estimate, then that of a run."
)


class StrengthSlider(QWidget):
    """A slider over strengths, which previews the result on the screen at each of them.

    Parameters
    ----------
    viewer : Viewer

    Signals
    -------
    previewed : ()
        A preview begins; other views of the result have to end.
    applied : float
        The user wants to run with this strength.
    """

    previewed = Signal()
    applied = Signal(float)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._run: ViewerRun | None = None
        self._result: Result | None = None
        self.preview = PreviewLayer(viewer)
        self.preview.drawn.connect(self._on_drawn)
        self.preview.failed.connect(self._show_failure)
        self.preview.removed.connect(self.refresh)
        self.destroyed.connect(self.preview.stop)
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(round(MIN_STRENGTH * _STEPS), round(MAX_STRENGTH * _STEPS))
        self.slider.valueChanged.connect(self._on_moved)
        self.apply_button = QPushButton("Apply")
        self.apply_button.clicked.connect(self._apply)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.label)
        column.addLayout(in_row(self.slider, self.apply_button))
        self.show_run(None)

    def show_run(self, run: ViewerRun | None) -> None:
        """Offer the strength of a run's results; None for no run."""
        self._run = run
        self.refresh()

    def refresh(self) -> None:
        """Follow the plane on the screen, and end the preview of another result."""
        self.preview.end()
        self._result = None if self._run is None else self._run.result_shown()
        with signals_blocked(self.slider):
            self.slider.setValue(self._value_in_use)
        self._describe()

    @property
    def strength(self) -> float:
        """The strength that the slider shows; exactly that of the result at its position."""
        value = self.slider.value()
        if self._result is not None and value == self._value_in_use:
            return self._result.settings.strength
        return value / _STEPS

    @property
    def _value_in_use(self) -> int:
        strength = 1.0 if self._result is None else self._result.settings.strength
        return round(strength * _STEPS)

    @property
    def _is_moved(self) -> bool:
        return self.slider.value() != self._value_in_use

    def _on_moved(self) -> None:
        self._describe()
        if self._run is None or self._result is None or not self._is_moved:
            self.preview.end()
            return
        if self._run.geometry.depth is not None:
            return
        self.previewed.emit()
        tile = Tile.of(self._run, self._result, self._viewer.dims)
        self.preview.show(tile, self.strength)

    def _apply(self) -> None:
        self.applied.emit(self.strength)

    # Texts

    def _describe(self) -> None:
        why_not = self._why_not()
        text = f"Strength {self.strength:.2f}"
        if self._result is None:
            text = "After a run, its strength can be changed here."
        elif not self._is_moved:
            text += ", that of the result"
        elif self._run is not None and self._run.geometry.depth is not None:
            text += "; a volume has no preview"
        else:
            text += " …"
        self.label.setText(text)
        self.slider.setEnabled(not why_not)
        self.slider.setToolTip(why_not or _HELP)
        if not why_not and not self._is_moved:
            why_not = "The result has this strength; move the slider first."
        elif not why_not and self._run is not None and self._run.is_source_deleted:
            why_not = "The input layer was deleted."
        self.apply_button.setEnabled(not why_not)
        self.apply_button.setToolTip(
            why_not or "Run on this layer again as chosen above, with this strength."
        )

    def _on_drawn(self, strength: float) -> None:
        self.label.setText(f"Strength {strength:.2f}: preview in the frame")

    def _show_failure(self, sentence: str) -> None:
        self.label.setText(f"Strength {self.strength:.2f}: no preview. {sentence}")

    def _why_not(self) -> str:
        """Return why the strength of the result cannot be changed; empty if it can."""
        if self._run is None:
            return "There is no result yet."
        result = self._result
        if result is None:
            return "This plane has no result."
        if np.count_nonzero(result.kernel.weights) == 1:
            return "The kernel is a point, which has no width to change."
        changed = result.settings.with_changes(strength=MAX_STRENGTH)
        try:
            check_solver(changed, KernelChoice.hold(result.kernel), self._run.task.image.space)
        except ValueError as error:
            return str(error)
        return ""
