"""What the readers of files return: an array and what its file states about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import dask.array as da

__all__ = ["Calibration", "Closeable", "StoredArray", "UnsupportedFileError", "pyramid_notes"]


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
    notes : tuple of str
        What was assumed or changed when the file was opened, as sentences for the user.
    source : Closeable or None
        The open file.
    """

    data: da.Array
    axes: tuple[str, ...]
    calibration: Calibration = field(default_factory=Calibration)
    channels: tuple[str, ...] = ()
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
