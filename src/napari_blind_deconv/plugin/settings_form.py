"""A form generated from `Settings`, which defines all labels, ranges, units and tooltips."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from html import escape
from typing import Any, get_args

from annotated_types import Ge, Le
from magicgui.widgets import CheckBox, ComboBox, LineEdit, PushButton, SpinBox
from magicgui.widgets.bases import ValueWidget, Widget
from pydantic.fields import FieldInfo
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QWidget

from napari_blind_deconv.settings import Settings

__all__ = ["SettingsForm", "form_rows", "set_tooltip", "show_row"]

# In pixels. Qt's own minimum of most fields is wider than a narrow dock.
_MIN_FIELD_WIDTH = 50
_LABEL_MARGIN = 6


class SettingsForm:
    """Widgets for fields of `Settings`, which also checks the texts that a user types.

    Parameters
    ----------
    fields : iterable of str
        Names of the fields.

    Attributes
    ----------
    widgets : dict
        The widgets by the names of their fields.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self.widgets = {name: _widget(name, Settings.model_fields[name]) for name in fields}

    def texts(self) -> list[str]:
        """Return the contents of the form as ``name=value``, for `Settings.with_texts`."""
        return [f"{name}={_read(widget)}" for name, widget in self.widgets.items()]

    def show_settings(self, settings: Settings) -> None:
        """Fill the form without signals, because a half-filled form may not be valid."""
        for name, widget in self.widgets.items():
            value = getattr(settings, name)
            with widget.changed.blocked():
                widget.value = _as_text(value) if isinstance(widget, LineEdit) else value
            if isinstance(widget, LineEdit):
                widget.native.setCursorPosition(0)  # show the beginning of a long list


def form_rows(items: Iterable[Widget | str]) -> QWidget:
    """Return a widget that contains others below one another, with their labels on the left.

    A label is above its field where the dock is too narrow for both. A text is a heading.
    """
    rows = QWidget()
    layout = QFormLayout(rows)
    layout.setContentsMargins(0, 0, 0, 0)
    # The labels have a margin instead: Qt ignores the spacing when it decides which rows to wrap.
    layout.setHorizontalSpacing(0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    for item in items:
        if isinstance(item, str):
            layout.addRow(_heading(item))
        else:
            _add_row(layout, item)
    return rows


def _heading(text: str) -> QLabel:
    label = QLabel(f"<b>{text}</b>")
    label.setContentsMargins(0, 8, 0, 0)
    return label


def _add_row(layout: QFormLayout, widget: Widget) -> None:
    field = widget.native
    if not isinstance(field, QComboBox):  # its own minimum has room for each of its choices
        field.setMinimumWidth(_MIN_FIELD_WIDTH)
    if isinstance(widget, CheckBox | PushButton):  # these show their own label
        layout.addRow(field)
        return
    label = QLabel(widget.label)
    label.setContentsMargins(0, 0, _LABEL_MARGIN, 0)
    label.setBuddy(field)
    layout.addRow(label, field)
    set_tooltip(widget, widget.tooltip or "")


def set_tooltip(widget: Widget, text: str) -> None:
    """Set the tooltip of a widget in :func:`form_rows`, and of its label."""
    label = _rows_with(widget).labelForField(widget.native)
    for shown in (widget.native, label):
        if shown is not None:
            shown.setToolTip(text)


def show_row(widget: Widget, shown: bool) -> None:
    """Show or hide a widget in :func:`form_rows`, together with its label."""
    _rows_with(widget).setRowVisible(widget.native, shown)


def _rows_with(widget: Widget) -> QFormLayout:
    layout = widget.native.parentWidget().layout()
    assert isinstance(layout, QFormLayout)
    return layout


def _widget(name: str, field: FieldInfo) -> ValueWidget[Any]:
    options: dict[str, Any] = {"name": name, "label": field.title, "tooltip": _tooltip(field)}
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ComboBox(choices=list(annotation), **options)
    if annotation is bool:
        return CheckBox(**options)
    if annotation is int:
        return SpinBox(min=_bound(field, Ge, "ge"), max=_bound(field, Le, "le"), **options)
    return LineEdit(value=_as_text(field.default), **options)


def _bound(field: FieldInfo, kind: type, attribute: str) -> int:
    return next(int(getattr(m, attribute)) for m in field.metadata if isinstance(m, kind))


def _tooltip(field: FieldInfo) -> str:
    """Return a field's help, its unit, the meaning of an empty value, and its bounds."""
    extra = field.json_schema_extra
    unit = f"Unit: {extra['unit']}." if isinstance(extra, dict) and "unit" in extra else ""
    empty = "Leave empty for none." if _is_optional(field) else ""
    bounds = [
        f"{symbol} {getattr(constraint, name):g}"
        for constraint in field.metadata
        for name, symbol in _BOUNDS.items()
        if hasattr(constraint, name)
    ]
    allowed = f"Allowed: {' and '.join(bounds)}." if bounds else ""
    text = " ".join([*(field.description or "").split(), *filter(None, (unit, empty, allowed))])
    return f"<p>{escape(text.replace('`', ''))}</p>"  # Qt wraps the text of a paragraph


_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def _is_optional(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)


def _read(widget: ValueWidget[Any]) -> str:
    text = str(widget.value).strip()
    if isinstance(widget, LineEdit):
        return text or "None"
    return text


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return str(list(value)) if isinstance(value, tuple) else str(value)
