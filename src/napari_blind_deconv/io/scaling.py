"""Results as 16-bit integers, with the straight line from the stored integers to the values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

import dask.array as da
import numpy as np
from numpy.typing import NDArray

__all__ = ["PixelType", "Scaling"]

_LARGEST = 2**16 - 1
# Rounding to the units of the input is then at most 1/2000 of the range of the result.
_LEVELS = 1000


class PixelType(StrEnum):
    """Types of the pixels of a result on disk."""

    FLOAT32 = "float32"
    UINT16 = "uint16"

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the type of this name; raise `ValueError` if there is none."""
        try:
            return cls(name)
        except ValueError:
            names = " or ".join(cls)
            raise ValueError(f"Expected {names} as the type of the result, got {name!r}.") from None


@dataclass(frozen=True)
class Scaling:
    """How integers of 16 bits stand for values: value = `offset` + `scale` × stored integer.

    Attributes
    ----------
    scale, offset : float
        Slope of the line, which is positive, and the value of the integer 0.
    not_finite : int
        Number of pixels that are no numbers or infinite. NaN is stored as 0.
    """

    scale: float = 1.0
    offset: float = 0.0
    not_finite: int = 0

    @classmethod
    def for_planes(cls, planes: Iterable[NDArray[np.float32]], dtype: np.dtype[Any]) -> Self:
        """Return the scaling with which no finite value of these planes is clipped.

        Integers are kept in their units, if that is precise enough: then the scale is 1 and the
        offset an integer, which is 0 unless there are negative values.

        Parameters
        ----------
        planes : iterable of ndarray
            All planes of a result.
        dtype : numpy dtype
            Type of the input.
        """
        low, high, not_finite = math.inf, -math.inf, 0
        for plane in planes:
            finite = plane[np.isfinite(plane)]
            not_finite += plane.size - finite.size
            low = min(low, float(finite.min(initial=math.inf)))
            high = max(high, float(finite.max(initial=-math.inf)))
        if low > high:  # there is no finite value
            return cls(not_finite=not_finite)
        return cls(*_line(low, high, dtype), not_finite)

    @classmethod
    def from_record(cls, record: Any) -> Self | None:
        """Return the scaling that a provenance states; None if it states none."""
        stated: Any = record.get("scaling") if isinstance(record, Mapping) else None
        try:
            is_ours = stated["dtype"] == PixelType.UINT16
            scale, offset = float(stated["scale"]), float(stated["offset"])
        except (TypeError, KeyError, ValueError):
            return None
        is_line = scale > 0 and math.isfinite(scale) and math.isfinite(offset)
        return cls(scale, offset) if is_ours and is_line else None

    def as_record(self) -> dict[str, Any]:
        """Return the scaling as a dictionary for JSON."""
        return {"dtype": PixelType.UINT16.value, **asdict(self)}

    @property
    def is_identity(self) -> bool:
        """Whether the stored integers are the values."""
        return (self.scale, self.offset) == (1, 0)

    @property
    def equation(self) -> str:
        """The straight line as text."""
        if self.is_identity:
            return "value = stored value"
        return f"value = {self.offset:g} + {self.scale:g} × stored value"

    @property
    def loss(self) -> str:
        """A sentence about pixels that 16 bits cannot hold; empty if there are none."""
        if not self.not_finite:
            return ""
        pixels = "1 pixel is" if self.not_finite == 1 else f"{self.not_finite} pixels are"
        return (
            f"{pixels} NaN or infinite, which 16-bit integers cannot hold; NaN is stored as 0, and "
            "infinity as 0 or 65535."
        )

    def packed(self, values: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Return the integers to store for these values."""
        levels = np.rint((values.astype(np.float64) - self.offset) / self.scale)
        numbers = np.nan_to_num(levels, nan=0, posinf=_LARGEST, neginf=0)
        return numbers.clip(0, _LARGEST).astype(np.uint16)

    def unpacked(self, stored: da.Array) -> da.Array:
        """Return the values of stored integers, float32; unchanged if they are the values."""
        if self.is_identity:
            return stored
        return (stored.astype(np.float64) * self.scale + self.offset).astype(np.float32)


def _line(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return scale and offset that bring the values from `low` to `high` to 0 to 65535."""
    if dtype.kind in "iu" and high - low >= _LEVELS:
        first, last = round(low), round(high)
        for offset in (min(first, 0), first):
            if last - offset <= _LARGEST:
                return 1.0, float(offset)
    return (high - low) / _LARGEST or 1.0, low
