"""Arrangements of widgets: rows, columns and sections that can be folded."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

__all__ = ["collapsible", "in_column", "in_row", "wrap"]


def in_row(*widgets: QWidget) -> QHBoxLayout:
    """Return a layout with widgets beside one another."""
    row = QHBoxLayout()
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


def collapsible(title: str, content: QWidget) -> QCollapsible:
    """Return a section with a title that folds and unfolds its content."""
    section = QCollapsible(title)
    section.setDuration(0)  # an animation would only delay the content
    section.addWidget(content)
    for layout in (section.layout(), section.content().layout()):
        if layout is not None:
            layout.setContentsMargins(0, 0, 0, 2)
    return section


def wrap(label: QLabel) -> None:
    """Let a label take the width of its row and as many lines as its text needs."""
    label.setWordWrap(True)
    policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    policy.setHeightForWidth(True)  # magicgui's labels have a fixed size, which cuts the text
    label.setSizePolicy(policy)
