"""Curves over a common axis, drawn with Qt alone; an update takes about a dozen milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import (
    QColor,
    QFont,
    QFontInfo,
    QFontMetricsF,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
)
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_blind_deconv.plugin.colours import GREY, LINE_CONTRAST, TEXT_CONTRAST, readable

__all__ = ["Curve", "CurvePlot"]

_MARGIN = 4
_GAP = 8  # pixels between the names in the caption
_MAX_DENSITY = 4  # points per column of pixels above which a curve is thinned out


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes
    ----------
    name : str
        Name in the caption, which is drawn in the colour of the curve.
    color : str
        Colour as ``"#rrggbb"``, which is darkened in a light theme.
    x, y : ndarray
        Points of the curve; those that are not finite are left out.
    """

    name: str
    color: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def finite(self) -> Curve:
        """Return the curve without the points that are not finite."""
        good = np.isfinite(self.x) & np.isfinite(self.y)
        return Curve(self.name, self.color, self.x[good], self.y[good])


class CurvePlot(QWidget):
    """Curves in a frame with their names below, and optionally a mark.

    Parameters
    ----------
    placeholder : str
        Text that is shown while there is no curve; it may be changed later.
    shared : bool
        Whether all curves have one vertical scale. If False, each curve fills the frame.
    """

    def __init__(self, placeholder: str, *, shared: bool) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.MinimumExpanding)
        self.placeholder, self._shared = placeholder, shared
        self._curves: list[Curve] = []
        self._mark: tuple[float, str, str] | None = None
        self._sections: dict[str, int] = {}

    @property
    def curves(self) -> list[Curve]:
        """The curves that are drawn, without points that are not finite."""
        return list(self._curves)

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a size at which a curve is readable in a narrow dock."""
        return QSize(160, 96)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return a width at which the caption is not cut."""
        return QSize(140, 0)

    def draw(
        self,
        curves: Sequence[Curve],
        mark: tuple[float, str, str] | None = None,
        sections: Mapping[str, int] | None = None,
    ) -> None:
        """Replace all curves, and mark a position on the x axis: ``(x, text, colour)``.

        A grey line marks where each of the `sections` begins, with its name if there is room. The
        curves are drawn below the names.
        """
        finite = [curve.finite() for curve in curves]
        self._curves = [curve for curve in finite if len(curve.x)]
        self._mark = mark
        self._sections = dict(sections or {})
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Draw frame, curves, mark and caption."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line_height = painter.fontMetrics().height()
        frame = QRectF(self.rect()).adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN - line_height)
        painter.setPen(QPen(self.palette().color(self.foregroundRole()), 0.5))
        painter.drawRect(frame)
        if not self._curves:
            wrapped = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(frame, int(wrapped), self.placeholder)
            return
        self._draw_sections(painter, frame)
        below_names = frame.adjusted(0, line_height if self._sections else 0, 0, 0)
        caption = QRectF(frame.left(), frame.bottom(), frame.width(), line_height)
        painter.setFont(self.caption_font(painter.font(), caption.width()))
        for curve in self._curves:
            painter.setPen(self._line_pen(curve.color, 1.5))
            self._draw_curve(painter, curve, below_names)
            painter.setPen(self._readable(curve.color, TEXT_CONTRAST))
            painter.drawText(caption, Qt.AlignmentFlag.AlignLeft, curve.name)
            caption.setLeft(
                caption.left() + _GAP + painter.fontMetrics().horizontalAdvance(curve.name)
            )
        if self._mark is not None:
            position, text, color = self._mark
            painter.setPen(self._line_pen(color, 1.5))
            x = float(self._x(np.array(position), frame))
            painter.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom()))
            painter.setPen(self._readable(color, TEXT_CONTRAST))
            painter.drawText(caption, Qt.AlignmentFlag.AlignRight, text)

    def caption_font(self, font: QFont, width: float) -> QFont:
        """Return a font, or a smaller one in which the caption is not cut at a width."""
        texts = [curve.name for curve in self._curves]
        texts += [] if self._mark is None else [self._mark[1]]
        room = width - _GAP * (len(texts) - 1)
        needed = QFontMetricsF(font).horizontalAdvance("".join(texts))
        fitting = QFont(font)
        if needed > room:
            fitting.setPixelSize(max(1, int(QFontInfo(font).pixelSize() * room / needed)))
        return fitting

    def _line_pen(self, color: str, width: float) -> QPen:
        return QPen(self._readable(color, LINE_CONTRAST), width)

    def _readable(self, color: str, contrast: float) -> QColor:
        """Return a colour that stands out in the present theme of napari."""
        return readable(color, self.palette().color(self.backgroundRole()), contrast)

    def _draw_sections(self, painter: QPainter, frame: QRectF) -> None:
        line, text = self._line_pen(GREY, 0.5), self._readable(GREY, TEXT_CONTRAST)
        right = frame.right()
        for name, start in reversed(self._sections.items()):
            left = float(self._x(np.array(start), frame))
            painter.setPen(line)
            painter.drawLine(QPointF(left, frame.top()), QPointF(left, frame.bottom()))
            painter.setPen(text)
            room = QRectF(left + _MARGIN, frame.top(), right - left - _MARGIN, frame.height())
            if painter.fontMetrics().horizontalAdvance(name) <= room.width():
                painter.drawText(room, Qt.AlignmentFlag.AlignLeft, name)
            right = left

    def _draw_curve(self, painter: QPainter, curve: Curve, frame: QRectF) -> None:
        low, high = self._span(curve)
        heights = (curve.y - low) / ((high - low) or 1.0)
        # A margin of 5 % keeps the extremes of a curve off the frame.
        ys = frame.bottom() - frame.height() * (0.05 + 0.9 * heights)
        xs, ys = _outline(self._x(curve.x, frame), ys)
        points = [QPointF(x, y) for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]
        if len(points) == 1:  # a polyline through one point would be invisible
            painter.drawEllipse(points[0], 2, 2)
        painter.drawPolyline(QPolygonF(points))

    def _span(self, curve: Curve) -> tuple[float, float]:
        drawn = self._curves if self._shared else [curve]
        return min(c.y.min() for c in drawn), max(c.y.max() for c in drawn)

    def _x(self, values: NDArray[np.float64], frame: QRectF) -> NDArray[np.float64]:
        first = min(curve.x[0] for curve in self._curves)
        last = max(curve.x[-1] for curve in self._curves)
        if last <= first:  # a single point is drawn in the middle
            return np.full(values.shape, frame.center().x())
        fraction = (values - first) / (last - first)
        return frame.left() + frame.width() * np.clip(fraction, 0, 1)


def _outline(
    xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reduce a dense curve to its lowest and highest point in each column of pixels.

    Fewer points are painted, and the curve looks the same.
    """
    columns = xs.astype(int)
    first = np.flatnonzero(np.diff(columns, prepend=columns[0] - 1))
    if len(xs) <= _MAX_DENSITY * len(first):
        return xs, ys
    ends = np.stack([np.minimum.reduceat(ys, first), np.maximum.reduceat(ys, first)], axis=1)
    return np.repeat(xs[first], 2), ends.ravel()
