"""A stack before anything is computed: its axes, its planes, and what one look at them tells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.engine.inputs import IntensityMap, has_contrast, local_median, to_channels
from napari_blind_deconv.plan import Index
from napari_blind_deconv.results import first_line

__all__ = [
    "ArrayLike",
    "Survey",
    "check_axes",
    "check_position",
    "leading",
    "plane_shape",
    "read_slice",
    "survey_channels",
]

# A plane is looked at in float64, with its median, gradient and result beside it.
_BYTES_PER_PIXEL = 64


class ArrayLike(Protocol):
    """Anything that gives planes when indexed: numpy, dask, zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of its axes."""

    def __getitem__(self, index: Any, /) -> Any: ...


def check_axes(axes: str, shape: tuple[int, ...]) -> None:
    """Refuse axes that are not those of an array of this shape; `ValueError` in one sentence."""
    accepted = "letters of TCZ, each once at most, then YX, then S for colour"
    lead = axes.removesuffix("S").removesuffix("YX")
    if (
        not axes.removesuffix("S").endswith("YX")
        or not set(lead) <= set("TCZ")
        or len(set(lead)) != len(lead)
    ):
        raise ValueError(f"The axes are {axes!r}; accepted are {accepted}.")
    if len(axes) != len(shape):
        raise ValueError(
            f"The axes {axes!r} are {len(axes)} and the array has shape {shape}; "
            "accepted is one letter an axis."
        )
    if axes.endswith("S") and shape[-1] not in (3, 4):
        raise ValueError(
            f"The axes {axes!r} say that the last axis is colour, and it has length {shape[-1]}; "
            "accepted are 3 and 4."
        )


def check_position(index: Index, axes: str, lengths: tuple[int, ...]) -> None:
    """Refuse what is no position along the axes before rows; `ValueError` in one sentence."""
    if len(index) != len(lengths) or not all(
        0 <= at < length for at, length in zip(index, lengths, strict=True)
    ):
        raise ValueError(
            f"The plane is {index}; accepted is a position along the axes "
            f"{axes[: len(lengths)]!r} of lengths {lengths}."
        )


def leading(axes: str) -> int:
    """How many axes there are before rows."""
    return len(axes.removesuffix("S")) - 2


def plane_shape(axes: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of an array with these axes."""
    lead = leading(axes)
    return shape[lead], shape[lead + 1]


def read_slice(data: ArrayLike, index: Index) -> NDArray[Any]:
    """One plane of a stack, in memory; `ValueError` if it cannot be read or is too large."""
    pixels = math.prod(data.shape[len(index) :])
    free = psutil.virtual_memory().available
    needed = pixels * _BYTES_PER_PIXEL
    if needed > free:
        raise ValueError(
            f"A plane has {pixels:.3g} pixels and would take {needed / 2**30:.0f} GiB, of which "
            f"{free / 2**30:.0f} are free; try a part of it."
        )
    try:
        return np.asarray(data[index])
    except Exception as error:  # a damaged file can make a decoder raise anything
        which = f"The plane {index}" if index else "The image"
        raise ValueError(f"{which} cannot be read ({first_line(error)}).") from error


@dataclass(frozen=True)
class Survey:
    """What one look at all planes of a channel tells."""

    intensity_range: tuple[float, float] | None = None
    sharpest: Index | None = None
    contrast: float = -1.0

    def with_plane(self, index: Index, plane: NDArray[Any], rgb: bool) -> Survey:
        """The same with one plane more; one of no contrast, or not finite, adds nothing."""
        if not np.isfinite(plane).all() or not has_contrast(plane, rgb=rgb):
            return self
        channels = to_channels(plane, rgb=rgb)
        seen = IntensityMap.of(channels, local_median(channels))
        low, high = self.intensity_range or (seen.low, seen.high)
        steps = ndimage.gaussian_gradient_magnitude(channels.mean(axis=0), 1.0)
        contrast = float(np.square(steps).mean())
        better = contrast > self.contrast
        return Survey(
            (min(low, seen.low), max(high, seen.high)),
            index if better else self.sharpest,
            contrast if better else self.contrast,
        )


def survey_channels(data: ArrayLike, axes: str) -> list[Survey]:
    """What the planes of each channel tell; those that cannot be read tell nothing."""
    lead = axes[: leading(axes)]
    place = lead.find("C")
    surveys = [Survey() for _ in range(data.shape[place] if place >= 0 else 1)]
    for index in np.ndindex(data.shape[: len(lead)]):
        try:
            plane = read_slice(data, index)
        except ValueError:
            continue  # it will be told of when its turn comes
        channel = index[place] if place >= 0 else 0
        surveys[channel] = surveys[channel].with_plane(index, plane, axes.endswith("S"))
    return surveys
