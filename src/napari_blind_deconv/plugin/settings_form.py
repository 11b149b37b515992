"""A form made from `Settings`: labels, ranges, units and tooltips are read, never repeated."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, get_args

from annotated_types import Ge, Le
from magicgui.widgets import CheckBox, ComboBox, LineEdit, SpinBox
from magicgui.widgets.bases import ValueWidget, Widget
from pydantic.fields import FieldInfo
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from napari_blind_deconv.settings import Settings

__all__ = ["SettingsForm", "form_rows", "show_row"]


# Pixels; Qt's own minimum would push fields under the scroll bar of a narrow dock.
_NARROWEST_FIELD = 50


class SettingsForm:
    """Some fields of `Settings` as widgets; what was typed is checked by `Settings` itself.

    Attributes
    ----------
    widgets : dict
        The widgets by the name of their field.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self.widgets = {name: _widget(name, Settings.model_fields[name]) for name in fields}

    def texts(self) -> list[str]:
        """What stands in the form, as ``name=value`` for `Settings.with_texts`."""
        return [f"{name}={_read(widget)}" for name, widget in self.widgets.items()]

    def show_settings(self, settings: Settings) -> None:
        """Fill the form, and tell nobody: a form half filled stands for no settings."""
        for name, widget in self.widgets.items():
            value = getattr(settings, name)
            with widget.changed.blocked():
                widget.value = _as_text(value) if isinstance(widget, LineEdit) else value
            if isinstance(widget, LineEdit):
                widget.native.setCursorPosition(0)  # of a long list show the beginning


def form_rows(widgets: Iterable[Widget]) -> QWidget:
    """Widgets below one another with their labels in a column before them."""
    rows = QWidget()
    layout = QFormLayout(rows)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for widget in widgets:
        widget.native.setMinimumWidth(_NARROWEST_FIELD)
        if isinstance(widget, CheckBox):  # it shows its label itself
            layout.addRow(widget.native)
            continue
        label = QLabel(widget.label)
        label.setToolTip(widget.tooltip or "")
        layout.addRow(label, widget.native)
    return rows


def show_row(widget: Widget, shown: bool) -> None:
    """Show or hide a widget of :func:`form_rows` together with its label."""
    layout = widget.native.parentWidget().layout()
    assert isinstance(layout, QFormLayout)
    layout.setRowVisible(widget.native, shown)


def _widget(name: str, field: FieldInfo) -> ValueWidget[Any]:
    options: dict[str, Any] = {"name": name, "label": field.title, "tooltip": _tooltip(field)}
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ComboBox(choices=list(kind), **options)
    if kind is bool:
        return CheckBox(**options)
    if kind is int:
        return SpinBox(min=_bound(field, Ge, "ge"), max=_bound(field, Le, "le"), **options)
    return LineEdit(value=_as_text(field.default), **options)


def _bound(field: FieldInfo, kind: type, attribute: str) -> int:
    return next(int(getattr(m, attribute)) for m in field.metadata if isinstance(m, kind))


def _tooltip(field: FieldInfo) -> str:
    """The field's help, its unit, what an empty value means and the bounds."""
    extra = field.json_schema_extra
    unit = f"Unit: {extra['unit']}." if isinstance(extra, dict) and "unit" in extra else ""
    empty = "Leave empty for none." if _is_optional(field) else ""
    bounds = [
        f"{symbol} {getattr(constraint, name):g}"
        for constraint in field.metadata
        for name, symbol in _BOUNDS.items()
        if hasattr(constraint, name)
    ]
    accepted = f"Accepted: {' and '.join(bounds)}." if bounds else ""
    text = " ".join([*(field.description or "").split(), unit, empty, accepted])
    return f"<p>{text.replace('`', '')}</p>"  # as a paragraph Qt wraps it


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
