"""A slider over the pictures of a run that has ended: look at each, and take another one."""

from __future__ import annotations

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

__all__ = ["EstimateSlider"]


class EstimateSlider(QWidget):
    """Iterations to choose from, the one that early stopping chose marked in words.

    Signals
    -------
    looked_at : int
        Place of the picture to show.
    taken : int
        Place of the picture to make the result.
    """

    looked_at = Signal(int)
    taken = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._iterations: list[int] = []
        self._chosen = self._in_use = 0
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.valueChanged.connect(self._show)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.take_button = QPushButton("Use this one")
        self.take_button.clicked.connect(self._take)
        row = QHBoxLayout()
        row.addWidget(self.slider, 1)
        row.addWidget(self.take_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.words)
        column.addLayout(row)
        self.clear()

    @property
    def in_use(self) -> int:
        """Place of the picture that is the result."""
        return self._in_use

    @property
    def is_elsewhere(self) -> bool:
        """Whether another picture than that is looked at."""
        return self.slider.value() != self._in_use

    def clear(self) -> None:
        """No run to choose from."""
        self.offer([], 0)

    def offer(self, iterations: list[int], chosen: int) -> None:
        """Offer the pictures of a run, of which `chosen` is the place of the one it kept."""
        self._iterations, self._chosen, self._in_use = iterations, chosen, chosen
        self.slider.blockSignals(True)  # it stands where the picture is already
        self.slider.setRange(0, max(len(iterations) - 1, 0))
        self.slider.setValue(chosen)
        self.slider.blockSignals(False)
        self._tell(chosen)

    def _show(self, place: int) -> None:
        self._tell(place)
        self.looked_at.emit(place)

    def _take(self) -> None:
        self._in_use = self.slider.value()
        self._tell(self._in_use)
        self.taken.emit(self._in_use)

    def _tell(self, place: int) -> None:
        several = len(self._iterations) > 1
        self.slider.setEnabled(several)
        self.take_button.setEnabled(several and place != self._in_use)
        if not self._iterations:
            self.words.setText("After a run, its pictures can be looked through here.")
            why = "There are no pictures yet."
        elif not several:
            self.words.setText(f"Iteration {self._iterations[0]}, the only picture of the run.")
            why = "There is one picture only."
        else:
            notes = [
                note
                for note, true in (
                    ("the run's choice", place == self._chosen),
                    ("in use", place == self._in_use),
                )
                if true
            ]
            told = f"Iteration {self._iterations[place]}"
            self.words.setText(f"{told}: {', '.join(notes)}" if notes else told)
            why = "This picture is in use."
        self.slider.setToolTip("Pictures of the run, first to last." if several else why)
        self.take_button.setToolTip(
            "Make this picture and its kernel the result." if self.take_button.isEnabled() else why
        )
