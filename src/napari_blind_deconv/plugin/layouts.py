"""Arrangements of widgets: rows, columns and sections that can be folded."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QRect, QSize, Qt
from qtpy.QtWidgets import QBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

__all__ = ["Section", "WrappingRow", "in_column", "in_row", "wrap"]

_NO_LIMIT = 2**24 - 1  # pixels; the largest height in Qt


class WrappingRow(QBoxLayout):
    """Widgets beside one another; below one another where they are too wide for that."""

    def __init__(self) -> None:
        super().__init__(QBoxLayout.Direction.LeftToRight)

    def _minimum_sizes(self) -> list[QSize]:
        items = [self.itemAt(index) for index in range(self.count())]
        return [item.minimumSize() for item in items if item is not None and not item.isEmpty()]

    def _direction_for(self, width: int) -> QBoxLayout.Direction:
        widths = [size.width() for size in self._minimum_sizes()]
        needed = sum(widths) + self.spacing() * (len(widths) - 1)
        is_row = needed <= width
        return QBoxLayout.Direction.LeftToRight if is_row else QBoxLayout.Direction.TopToBottom

    def minimumSize(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the width of the widest widget and the height of the highest one."""
        sizes = self._minimum_sizes() or [QSize()]
        return QSize(max(s.width() for s in sizes), max(s.height() for s in sizes))

    def hasHeightForWidth(self) -> bool:  # noqa: N802 (Qt's name)
        """Return that the height depends on the width."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 (Qt's name)
        """Return the height at a width."""
        heights = [size.height() for size in self._minimum_sizes()] or [0]
        if self._direction_for(width) == QBoxLayout.Direction.LeftToRight:
            return max(heights)
        return sum(heights) + self.spacing() * (len(heights) - 1)

    def setGeometry(self, rect: QRect) -> None:  # noqa: N802 (Qt's name)
        """Place the widgets."""
        self.setDirection(self._direction_for(rect.width()))
        super().setGeometry(rect)


def in_row(*widgets: QWidget) -> WrappingRow:
    """Return a layout with widgets beside one another, as far as there is room."""
    row = WrappingRow()
    for widget in widgets:
        row.addWidget(widget)
    return row


def in_column(owner: QWidget, *widgets: QWidget) -> QWidget:
    """Lay out widgets below one another in `owner`, and return it."""
    column = QVBoxLayout(owner)
    column.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        column.addWidget(widget)
    return owner


class Section(QCollapsible):
    """A section with a title that folds and unfolds its content.

    Parameters
    ----------
    title : str
    content : QWidget
    help_text : str
        Tooltip of the title.
    """

    def __init__(self, title: str, content: QWidget, help_text: str) -> None:
        super().__init__(title)
        self.setDuration(0)  # an animation would only delay the content
        self.toggleButton().setToolTip(help_text)
        outer, inner = self.layout(), self.content().layout()
        assert outer is not None
        assert inner is not None
        for layout in (outer, inner):
            layout.setContentsMargins(0, 0, 0, 2)
        # The alignment and `addWidget` of a QCollapsible limit the height to that of rows and texts
        # that are not wrapped.
        outer.setAlignment(Qt.AlignmentFlag(0))
        inner.addWidget(content)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.toggled.connect(self._show_content)
        self._show_content(False)

    def _show_content(self, shown: bool) -> None:
        """Show or hide the content, which Tab would reach if it were only folded."""
        self.content().setVisible(shown)
        self.content().setMaximumHeight(_NO_LIMIT)

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Draw the triangles in the colour of the theme, which may have changed."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self.setExpandedIcon("▼")
            self.setCollapsedIcon("▲")


def wrap(label: QLabel) -> None:
    """Let a label take the width of its row and as many lines as its text needs."""
    label.setWordWrap(True)
    policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    policy.setHeightForWidth(True)  # magicgui's labels have a fixed size, which cuts the text
    label.setSizePolicy(policy)
