"""The real micrographs of the benchmark data, plane by plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = ["RealPlane", "real_planes"]

# A short axis of a file holds channels, which are all used. Of a longer axis, only the middle plane
# is used.
MAX_CHANNELS = 3


@dataclass(frozen=True)
class RealPlane:
    """A channel of a file, or the middle plane of its stack."""

    file: Path
    number: int
    pixels: NDArray[Any]

    @property
    def name(self) -> str:
        """Name of the file, and number of the channel."""
        return f"{self.file.stem} {self.number}"


def real_planes(data: Path, *folders: str) -> Iterator[RealPlane]:
    """Yield the planes of all TIFF files in some folders of the benchmark data."""
    for folder in folders:
        for file in sorted((data / folder).glob("*.tif")):
            for number, plane in enumerate(_planes(tifffile.imread(file))):
                yield RealPlane(file, number, plane)


def _planes(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the channels of a file, on whichever axis they are, or the middle plane of a stack."""
    if image.ndim == 2:
        yield image
    elif image.shape[-1] == MAX_CHANNELS:
        yield from np.moveaxis(image, -1, 0)
    elif len(image) <= MAX_CHANNELS:
        yield from image
    else:
        yield from _planes(image[len(image) // 2])
