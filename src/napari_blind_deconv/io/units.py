"""Units as files spell them: one short name for each, and steps converted between them."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["in_unit", "long_unit", "short_unit"]

# Short name, name in OME-Zarr, metres or seconds, and what else files call it.
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
    """Name used here, as ``µm``; an unknown one stays what it is."""
    return _SHORT.get(name, name)


def long_unit(name: str) -> str:
    """Name used by OME-Zarr, as ``micrometer``; an unknown one stays what it is."""
    return _LONG.get(short_unit(name), name)


def in_unit(step: Any, given: str, wanted: str) -> float | None:
    """Convert a step; None if there is none, it is no positive number, or a unit is unknown."""
    value = float(step or 0)
    if not 0 < value < math.inf:
        return None
    first, second = short_unit(given), short_unit(wanted)
    if first == second:
        return value
    for scales in _SCALES:
        if {first, second} <= scales.keys():
            return value * scales[first] / scales[second]
    return None
