"""The choice of one image of a file that contains several, by its number or its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from napari_blind_deconv.io.stored_array import UnsupportedFileError

__all__ = ["Series", "SeveralImagesError", "chosen_series"]

_LISTED = 8  # images that an error names before it says how many more there are


class SeveralImagesError(UnsupportedFileError):
    """A file of several images of which none is chosen.

    Attributes
    ----------
    found : str
        What the file contains, in words.
    """

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"Expected one image of any axes in {path}, got {found}; choose one by its number or "
            "name, such as --series 0."
        )
        self.found = found


class Series(NamedTuple):
    """One of the images of a file.

    Attributes
    ----------
    name : str
        Its name; empty if it has none.
    axes : str
        Names of its axes.
    shape : tuple of int
        Lengths of its axes.
    """

    name: str
    axes: str
    shape: tuple[int, ...]

    def described(self, number: int) -> str:
        """Return number, name and shape as text."""
        name = f" {self.name!r}" if self.name else ""
        shape = " × ".join(map(str, self.shape))
        return f"{number}{name} ({self.axes}, {shape})"


def chosen_series(path: Path, found: Sequence[Series], choice: str | None) -> int:
    """Return the number of the image that is chosen in a file, or of its only one.

    Parameters
    ----------
    path : Path
        The file, for errors.
    found : sequence of Series
        The images in the file.
    choice : str or None
        Number of an image, counted from 0, or its name. A text that is both is a number.

    Raises
    ------
    SeveralImagesError
        If the choice is missing.
    UnsupportedFileError
        If the choice is that of no image or of several; the message names the images.
    ValueError
        If there are no images.
    """
    if not found:
        raise ValueError("it contains no image")
    if choice is None:
        if len(found) == 1:
            return 0
        raise SeveralImagesError(path, f"{len(found)} images: {_listed(found)}")
    if choice.strip().isdecimal() and int(choice) < len(found):
        return int(choice)
    named = [number for number, series in enumerate(found) if series.name == choice]
    if len(named) == 1:
        return named[0]
    raise UnsupportedFileError(
        f"Expected the number or the name of one image in {path}, which contains {_listed(found)}, "
        f"got --series {choice!r}{', the name of several' if named else ''}."
    )


def _listed(found: Sequence[Series]) -> str:
    listed = ", ".join(series.described(n) for n, series in enumerate(found[:_LISTED]))
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return listed + more
