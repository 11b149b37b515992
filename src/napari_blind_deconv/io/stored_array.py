"""What the readers of files return: an array and what its file states about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import dask.array as da

from napari_blind_deconv.optics import Optics
from napari_blind_deconv.units import convert

__all__ = [
    "Calibration",
    "Closeable",
    "StoredArray",
    "UnsupportedFileError",
    "check_sides",
    "pyramid_notes",
]


class UnsupportedFileError(ValueError):
    """A file that can be read, but does not contain one image of intensities."""


class Closeable(Protocol):
    """An open file."""

    def close(self) -> None:
        """Close the file; nothing more can be read from it."""


@dataclass(frozen=True)
class Calibration:
    """Pixel sizes and position of an image; the attributes are those of `Image`."""

    spacing: Mapping[str, float] = field(default_factory=dict)
    unit: str = "pixel"
    origin: Mapping[str, float] = field(default_factory=dict)

    def with_pixel_size(self, sides: Sequence[float]) -> Self:
        """Return the calibration with a pixel size that a user gave in place of the stated one.

        Parameters
        ----------
        sides : sequence of float
            Pixel size in µm: one number for Y and X, or one each for Y and X, or for Z, Y and X.

        Raises
        ------
        ValueError
            If it is anything else.
        """
        check_sides(sides)
        lengths = [*sides, *sides] if len(sides) == 1 else sides
        given = dict(zip("XYZ", reversed(lengths), strict=False))
        return replace(
            self,
            spacing=_in_micrometres(self.spacing, self.unit) | given,
            unit="µm",
            origin=_in_micrometres(self.origin, self.unit),
        )


def check_sides(sides: Sequence[float]) -> None:
    """Raise `ValueError` unless the numbers are a pixel size for `Calibration.with_pixel_size`."""
    if not 1 <= len(sides) <= 3 or not all(0 < side < math.inf for side in sides):
        raise ValueError(
            "Expected the pixel size in µm as positive numbers, one for Y and X, two for Y,X or "
            f"three for Z,Y,X, got {','.join(f'{side:g}' for side in sides) or 'none'}."
        )


def _in_micrometres(lengths: Mapping[str, float], unit: str) -> dict[str, float]:
    """Convert what is known along Z, Y and X; what has another unit than one of length is lost."""
    converted = {
        axis: value if axis == "T" else convert(value, unit, "µm")
        for axis, value in lengths.items()
    }
    return {axis: value for axis, value in converted.items() if value is not None}


@dataclass(frozen=True)
class StoredArray:
    """An array as its file stores it, before its axes are checked and put in order.

    Attributes
    ----------
    data : dask array
        The intensities. Each chunk is a plane or a part of a plane.
    axes : tuple of str
        A name for each axis of `data`: T, C, Z, Y, X, S for colour, I or Q if the file does not
        state what the axis is, or any other name that the file gives it.
    calibration : Calibration
        Pixel sizes and position.
    channels : tuple of str
        Names of the channels, if they have names.
    optics : Optics
        What the file states about the optics; the wavelengths may be those of other axes.
    notes : tuple of str
        What was assumed or changed when the file was opened, as sentences for the user.
    source : Closeable or None
        The open file.
    """

    data: da.Array
    axes: tuple[str, ...]
    calibration: Calibration = field(default_factory=Calibration)
    channels: tuple[str, ...] = ()
    optics: Optics = field(default_factory=Optics)
    notes: tuple[str, ...] = ()
    source: Closeable | None = None

    def close(self) -> None:
        """Close the file, if one is open."""
        if self.source is not None:
            self.source.close()


def pyramid_notes(name: str, levels: int) -> tuple[str, ...]:
    """Return a sentence about a pyramid of more than one level, or nothing."""
    if levels < 2:
        return ()
    return (f"{name} is a pyramid of {levels} levels; only the finest level is used.",)
