"""The colours of layers and plots, and how they are made readable in any theme."""

from __future__ import annotations

from html import escape

from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QWidget

__all__ = [
    "BLUE",
    "GREY",
    "LINE_CONTRAST",
    "ORANGE",
    "TEXT_CONTRAST",
    "contrast_of",
    "link",
    "readable",
]

BLUE, ORANGE, GREY = "#4c9be8", "#ff9f1c", "#8f8f8f"
# The least contrast of lines and of text in the accessibility guidelines WCAG 2.
LINE_CONTRAST, TEXT_CONTRAST = 3.0, 4.5


def readable(color: str, background: QColor, contrast: float) -> QColor:
    """Return a colour, darkened or lightened until it stands out from a background.

    Parameters
    ----------
    color : str
        Colour as ``"#rrggbb"``.
    background : QColor
        Colour behind it, such as that of the theme.
    contrast : float
        The least contrast, such as `TEXT_CONTRAST`.
    """
    end = max(QColor("black"), QColor("white"), key=lambda end: contrast_of(end, background))
    for step in range(20):
        mixed = _mixed(QColor(color), end, step / 20)
        if contrast_of(mixed, background) >= contrast:
            return mixed
    return end


def link(target: str, text: str, owner: QWidget) -> str:
    """Return a link as rich text of a widget, readable on its background."""
    color = readable(BLUE, owner.palette().color(QPalette.ColorRole.Window), TEXT_CONTRAST)
    return f'<a href="{escape(target)}" style="color: {color.name()}">{escape(text)}</a>'


def contrast_of(first: QColor, second: QColor) -> float:
    """Return the contrast of two colours, from 1 to 21, as WCAG 2 defines it."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _mixed(first: QColor, second: QColor, part: float) -> QColor:
    pairs = zip(first.getRgbF()[:3], second.getRgbF()[:3], strict=True)
    return QColor.fromRgbF(*((1 - part) * one + part * other for one, other in pairs))


def _luminance(color: QColor) -> float:
    """Return the relative luminance as WCAG 2 defines it."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in color.getRgbF()[:3]
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
