"""Tables of the reference, made of what the code knows: settings, presets, reasons, warnings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from napari_blind_deconv.kernel import KernelScope, KernelSource
from napari_blind_deconv.presets import PRESET_HELP
from napari_blind_deconv.reasons import QualityFlag, StopReason
from napari_blind_deconv.results import Stage
from napari_blind_deconv.settings import Settings

__all__ = ["pages"]


def pages() -> dict[str, str]:
    """Markdown by the name of its file."""
    return {
        "settings.md": _settings(),
        "presets.md": _presets(),
        "stop-reasons.md": _sentences(StopReason),
        "warnings.md": _sentences(QualityFlag),
        "kernel-sources.md": _commented(KernelSource),
        "kernel-scopes.md": _commented(KernelScope),
        "stages.md": _commented(Stage),
    }


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in r] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _settings() -> str:
    schema = Settings.model_json_schema()
    rows = []
    for name, field in Settings.model_fields.items():
        told = schema["properties"][name]
        unit = f" {told['unit']}" if "unit" in told else ""
        rows.append(
            (
                f"`{name}`",
                field.title or "",
                f"`{_written(told['default'])}`",
                _accepted(told, schema["$defs"]) + unit,
                " ".join((field.description or "").split()),
            )
        )
    return _table(("setting", "in napari", "default", "accepted", "what it does"), rows)


def _accepted(told: dict[str, Any], known: dict[str, Any]) -> str:
    """What a setting accepts, of its JSON schema."""
    if "$ref" in told:
        return _accepted(known[told["$ref"].rpartition("/")[2]], known)
    if "anyOf" in told:
        return ", or ".join(_accepted(choice, known) for choice in told["anyOf"])
    if "enum" in told:
        return ", ".join(f"`{value}`" for value in told["enum"])
    if told["type"] == "array":
        if "prefixItems" in told:
            return f"{len(told['prefixItems'])} of them"
        span = _span(told.get("minItems"), told.get("maxItems"))
        return f"list of {span + ' ' if span else ''}whole numbers {_bounds(told['items'])}"
    words = {
        "integer": "whole number",
        "number": "number",
        "boolean": "`true`, `false`",
        "string": "a name",
    }
    return f"{words.get(told['type'], '`None`')} {_bounds(told)}".strip()


def _bounds(told: dict[str, Any]) -> str:
    limits = (
        ("≥", "minimum"),
        (">", "exclusiveMinimum"),
        ("≤", "maximum"),
        ("<", "exclusiveMaximum"),
    )
    return ", ".join(f"{sign} {told[key]:g}" for sign, key in limits if key in told)


def _span(least: int | None, most: int | None) -> str:
    return "" if least is None else f"{least} to {most}"


def _written(value: Any) -> str:
    """As ``--set`` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _presets() -> str:
    """What each preset is for, and what it sets otherwise than the default."""
    default, *_ = Settings.presets().values()
    rows = []
    for name, settings in Settings.presets().items():
        changed = [
            f"`{key}={_written(value)}`" for key, value in settings.changes_from(default).items()
        ]
        rows.append((f"`{name}`", PRESET_HELP[name], ", ".join(changed) or "nothing"))
    return _table(("preset", "what it is for", "sets otherwise than the default"), rows)


def _sentences(kind: type[StopReason] | type[QualityFlag]) -> str:
    rows = [(f"`{each.name}`", f"`{each.value}`", each.sentence) for each in kind]
    return _table(("name", "value", "sentence"), rows)


def _commented(kind: type[StrEnum]) -> str:
    """Members, each with the comment behind it."""
    found = re.findall(r'^    (\w+) = "(.+?)"  # (.+)$', inspect.getsource(kind), re.MULTILINE)
    assert len(found) == len(kind), f"a member of {kind.__name__} has no comment"
    rows = [(f"`{name}`", f"`{value}`", comment) for name, value, comment in found]
    return _table(("name", "value", "what it is"), rows)
