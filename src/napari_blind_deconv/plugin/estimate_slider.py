"""A slider over the estimates of a finished run, to view them and to choose another result."""

from __future__ import annotations

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from napari_blind_deconv.plugin.layouts import in_row

__all__ = ["EstimateSlider"]


class EstimateSlider(QWidget):
    """A slider over iterations; a label states which one early stopping chose.

    Signals
    -------
    previewed : int
        Index of the estimate to show.
    chosen : int
        Index of the estimate that becomes the result.
    """

    previewed = Signal(int)
    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._iterations: list[int] = []
        self._kept = self._in_use = 0
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.valueChanged.connect(self._preview)
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.use_button = QPushButton("Use this one")
        self.use_button.clicked.connect(self._choose)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.label)
        column.addLayout(in_row(self.slider, self.use_button))
        self.clear()

    @property
    def in_use(self) -> int:
        """Index of the estimate that is the result."""
        return self._in_use

    @property
    def is_preview(self) -> bool:
        """Whether the slider shows another estimate than the result."""
        return self.slider.value() != self._in_use

    def clear(self) -> None:
        """Remove all iterations."""
        self.set_iterations([], 0, 0)

    def set_iterations(self, iterations: list[int], kept: int, in_use: int) -> None:
        """Set the iterations to choose from.

        `kept` and `in_use` are the indices of the run's own choice and of the result.
        """
        self._iterations, self._kept, self._in_use = iterations, kept, in_use
        self.slider.blockSignals(True)  # the viewer already shows this estimate
        self.slider.setRange(0, max(len(iterations) - 1, 0))
        self.slider.setValue(in_use)
        self.slider.blockSignals(False)
        self._describe(in_use)

    def _preview(self, index: int) -> None:
        self._describe(index)
        self.previewed.emit(index)

    def _choose(self) -> None:
        self._in_use = self.slider.value()
        self._describe(self._in_use)
        self.chosen.emit(self._in_use)

    def _describe(self, index: int) -> None:
        has_choice = len(self._iterations) > 1
        self.slider.setEnabled(has_choice)
        self.use_button.setEnabled(has_choice and index != self._in_use)
        if not self._iterations:
            self.label.setText("After a run, its estimates can be viewed here.")
            reason = "There are no estimates yet."
        elif not has_choice:
            self.label.setText(f"Iteration {self._iterations[0]}, the only estimate that is kept.")
            reason = "There is only one estimate."
        else:
            conditions = (
                ("the run's choice", index == self._kept),
                ("in use", index == self._in_use),
            )
            notes = [note for note, is_true in conditions if is_true]
            text = f"Iteration {self._iterations[index]}"
            self.label.setText(f"{text}: {', '.join(notes)}" if notes else text)
            reason = "This estimate is already in use."
        self.slider.setToolTip(
            "Estimates of the run, from first to last." if has_choice else reason
        )
        self.use_button.setToolTip(
            "Make this estimate and its kernel the result."
            if self.use_button.isEnabled()
            else reason
        )
