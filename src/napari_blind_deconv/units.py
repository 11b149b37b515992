"""Units as files spell them: one short name for each unit, and conversion between units."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["convert", "in_unit", "long_unit", "short_unit"]

# Short name, name in OME-Zarr, size in metres or seconds, and other spellings found in files.
_LENGTHS = [
    ("pm", "picometer", 1e-12),
    ("Å", "angstrom", 1e-10),
    ("nm", "nanometer", 1e-9),
    ("µm", "micrometer", 1e-6, "um", "μm", "\\u00B5m", "micron", "microns"),
    ("mm", "millimeter", 1e-3),
    ("cm", "centimeter", 1e-2),
    ("m", "meter", 1.0),
]
_TIMES = [
    ("ns", "nanosecond", 1e-9),
    ("µs", "microsecond", 1e-6, "us", "μs"),
    ("ms", "millisecond", 1e-3, "msec"),
    ("s", "second", 1.0, "sec", "seconds"),
    ("min", "minute", 60.0, "minutes"),
    ("h", "hour", 3600.0, "hr", "hours"),
    ("d", "day", 86400.0, "days"),
]
_LONG = {str(short): str(long) for short, long, *_ in _LENGTHS + _TIMES}
_SHORT = {
    str(name): str(short)
    for short, long, _, *others in _LENGTHS + _TIMES
    for name in (short, long, *others)
}
_SCALES = [{str(unit[0]): float(unit[2]) for unit in kind} for kind in (_LENGTHS, _TIMES)]


def short_unit(name: str) -> str:
    """Return the short name of a unit, such as ``µm``; return an unknown unit unchanged."""
    return _SHORT.get(name, name)


def long_unit(name: str) -> str:
    """Return the OME-Zarr name of a unit, such as ``micrometer``, or an unknown unit unchanged."""
    return _LONG.get(short_unit(name), name)


def in_unit(step: Any, unit: str, target_unit: str) -> float | None:
    """Convert a step from `unit` to `target_unit`.

    Return None if the step is not a positive number, or where :func:`convert` returns None.
    """
    value = convert(step, unit, target_unit)
    return value if value is not None and value > 0 else None


def convert(value: Any, unit: str, target_unit: str) -> float | None:
    """Convert a length or a time, of any sign, from `unit` to `target_unit`.

    Return None if the value is missing or not a finite number, or if the units are unknown or of
    different kinds.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    source, target = short_unit(unit), short_unit(target_unit)
    if source == target:  # also two equal units that are unknown here
        return number
    for scales in _SCALES:
        if {source, target} <= scales.keys():
            return number * scales[source] / scales[target]
    return None
