"""Tables of the reference, generated from the code: settings, presets, reasons and warnings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from napari_blind_deconv.kernel import KernelScope, KernelSource
from napari_blind_deconv.presets import PRESET_HELP
from napari_blind_deconv.reasons import Finding, QualityFlag, StopReason
from napari_blind_deconv.results import Stage
from napari_blind_deconv.settings import Settings

__all__ = ["pages"]


def pages() -> dict[str, str]:
    """Return Markdown by file name."""
    return {
        "settings.md": _settings(),
        "presets.md": _presets(),
        "stop-reasons.md": _sentences(StopReason),
        "warnings.md": _sentences(QualityFlag),
        "findings.md": _sentences(Finding),
        "kernel-sources.md": _commented(KernelSource),
        "kernel-scopes.md": _commented(KernelScope),
        "stages.md": _commented(Stage),
    }


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in r] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _settings() -> str:
    return "\n".join(
        f"### {group}\n\n{_settings_table(names)}" for group, names in Settings.groups().items()
    )


def _settings_table(names: Iterable[str]) -> str:
    schema = Settings.model_json_schema()
    rows = []
    for name in names:
        field, description = Settings.model_fields[name], schema["properties"][name]
        unit = f" {description['unit']}" if "unit" in description else ""
        rows.append(
            (
                f"`{name}`",
                field.title or "",
                f"`{_option_text(description['default'])}`",
                _allowed(description, schema["$defs"]) + unit,
                " ".join((field.description or "").split()),
            )
        )
    return _table(("setting", "in napari", "default", "allowed", "what it does"), rows)


def _allowed(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return the allowed values of a setting, from its JSON schema."""
    if "$ref" in schema:
        return _allowed(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return ", or ".join(_allowed(choice, definitions) for choice in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])} such numbers"
        span = _span(schema.get("minItems"), schema.get("maxItems"))
        return f"list of {span + ' ' if span else ''}whole numbers {_bounds(schema['items'])}"
    words = {
        "integer": "whole number",
        "number": "number",
        "boolean": "`true`, `false`",
        "string": "a name",
    }
    return f"{words.get(schema['type'], '`None`')} {_bounds(schema)}".strip()


def _bounds(schema: dict[str, Any]) -> str:
    limits = (
        ("≥", "minimum"),
        (">", "exclusiveMinimum"),
        ("≤", "maximum"),
        ("<", "exclusiveMaximum"),
    )
    return ", ".join(f"{sign} {schema[key]:g}" for sign, key in limits if key in schema)


def _span(minimum: int | None, maximum: int | None) -> str:
    return "" if minimum is None else f"{minimum} to {maximum}"


def _option_text(value: Any) -> str:
    """Return a value in the form of the option ``--set``."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _presets() -> str:
    """Return a table of the presets and their differences from the default."""
    default, *_ = Settings.presets().values()
    rows = []
    for name, settings in Settings.presets().items():
        changed = [
            f"`{key}={_option_text(value)}`"
            for key, value in settings.changes_from(default).items()
        ]
        rows.append((f"`{name}`", PRESET_HELP[name], ", ".join(changed) or "nothing"))
    return _table(("preset", "what it is for", "differs from the default in"), rows)


def _sentences(kind: type[StopReason] | type[QualityFlag] | type[Finding]) -> str:
    rows = [(f"`{each.name}`", f"`{each.value}`", each.sentence) for each in kind]
    return _table(("name", "value", "sentence"), rows)


def _commented(kind: type[StrEnum]) -> str:
    """Return a table of the members with the comment behind each."""
    members = re.findall(r'^    (\w+) = "(.+?)"  # (.+)$', inspect.getsource(kind), re.MULTILINE)
    assert len(members) == len(kind), f"a member of {kind.__name__} has no comment"
    rows = [(f"`{name}`", f"`{value}`", comment) for name, value, comment in members]
    return _table(("name", "value", "what it is"), rows)
