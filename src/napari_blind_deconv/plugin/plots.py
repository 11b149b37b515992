"""Trace and kernel beside one another, as large as the width of the dock allows."""

from __future__ import annotations

from qtpy.QtCore import QSize
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["Plots"]

_GAP = 6  # pixels
_SHARE = 0.42  # of the width, for the kernel
_SIDES = (84, 240)  # pixels; smallest and largest side of the kernel
_MIN_WIDTH = 140  # pixels; the caption of the trace needs this
_HEIGHT = 96  # pixels of the trace in a dock that is too narrow for both


class Plots(QWidget):
    """A plot on the left and a square view on its right; below one another in a narrow dock.

    Parameters
    ----------
    plot, square : QWidget
    """

    def __init__(self, plot: QWidget, square: QWidget) -> None:
        super().__init__()
        self._plot, self._square = plot, square
        for widget in (plot, square):
            widget.setParent(self)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def hasHeightForWidth(self) -> bool:  # noqa: N802 (Qt's name)
        """Return that the height depends on the width."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 (Qt's name)
        """Return the height at a width."""
        side = self._side(width)
        return side if self._is_row(width) else _HEIGHT + _GAP + side

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the size in a dock of usual width."""
        return QSize(280, self.heightForWidth(280))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the smallest width, and the height of the smallest kernel."""
        return QSize(_MIN_WIDTH, _SIDES[0])

    def resizeEvent(self, _event: QResizeEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Place both."""
        width, side = self.width(), self._side(self.width())
        if self._is_row(width):
            self._plot.setGeometry(0, 0, width - side - _GAP, side)
            self._square.setGeometry(width - side, 0, side, side)
        else:
            self._plot.setGeometry(0, 0, width, _HEIGHT)
            self._square.setGeometry(0, _HEIGHT + _GAP, side, side)

    def _is_row(self, width: int) -> bool:
        return width >= _MIN_WIDTH + _GAP + _SIDES[0]

    def _side(self, width: int) -> int:
        smallest, largest = _SIDES
        if not self._is_row(width):
            return min(width, _MIN_WIDTH)
        return max(smallest, min(int(_SHARE * width), largest, width - _GAP - _MIN_WIDTH))
