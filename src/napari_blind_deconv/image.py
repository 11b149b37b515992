"""An image and what is known of it: pixels, axes, pixel size, channel names.

What is deconvolved at once is a *block*, a plane of rows and columns (or a volume); an image of
more axes is a stack of blocks. Blocks are images, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_blind_deconv.errors import first_line

__all__ = ["Image", "Index", "PixelArray", "Region"]

Index = tuple[int, ...]
"""Position of a block along the axes before its own."""

Region = tuple[slice, ...]
"""Part of a block, a slice for each axis of space."""

# A block is looked at in float64, with its median, gradient and result beside it.
_BYTES_PER_PIXEL = 64


class PixelArray(Protocol):
    """Anything that gives blocks when indexed: numpy, dask, zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of its axes."""

    @property
    def dtype(self) -> Any:
        """Type of its pixels."""

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class Image:
    """An image of any axes, in memory or not read yet.

    Attributes
    ----------
    pixels : array_like
        Of numpy, dask or zarr.
    axes : str
        One letter for each axis: those of T, C and Z there are, each once, then Y and X, then S if
        the last axis is colour (3 or 4 samples, the fourth being alpha).
    spacing : mapping
        Step along Z, Y, X in `unit` and along T in seconds, where it is known.
    unit : str
        Of lengths.
    channel_names : tuple of str
        Along C, if they have any.
    space : str
        Axes of a block: ``"YX"`` for planes, ``"ZYX"`` for volumes.

    Raises
    ------
    ValueError
        In one sentence, if the axes do not fit the pixels.
    """

    pixels: PixelArray
    axes: str = "YX"
    spacing: Mapping[str, float] = field(default_factory=dict)
    unit: str = "pixel"
    channel_names: tuple[str, ...] = ()
    space: str = "YX"

    def __post_init__(self) -> None:
        _check_axes(self.axes, self.space, self.pixels.shape)

    @classmethod
    def of(cls, image: Image | Any, axes: str | None = None) -> Image:
        """An image as it is, or an array with its axes; default: one plane."""
        if isinstance(image, Image):
            if axes not in (None, image.axes):
                raise ValueError(f"The axes are {axes!r} and the image has {image.axes!r} already.")
            return image
        pixels = image if hasattr(image, "shape") else np.asarray(image)
        if axes is None and len(pixels.shape) != 2:
            raise ValueError(
                f"The image has shape {tuple(pixels.shape)}; accepted is one plane (rows, "
                "columns), or axes that say what it is: 'ZYX' for a stack, 'YXS' for colour."
            )
        return cls(pixels, "YX" if axes is None else axes)

    # Axes

    @property
    def is_colour(self) -> bool:
        """Whether the last axis is colour."""
        return self.axes.endswith("S")

    @property
    def stack_axes(self) -> str:
        """The axes before those of a block."""
        return self.axes.removesuffix("S").removesuffix(self.space)

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """Their lengths; empty for a single block."""
        return tuple(self.pixels.shape[: len(self.stack_axes)])

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Lengths of a block's axes, without colour."""
        first = len(self.stack_axes)
        return tuple(self.pixels.shape[first : first + len(self.space)])

    @property
    def samples(self) -> tuple[int, ...]:
        """Number of samples of colour; empty for grey."""
        return tuple(self.pixels.shape[-1:]) if self.is_colour else ()

    @property
    def pixel_size(self) -> tuple[float, ...] | None:
        """Sides of a pixel along the axes of a block, in `unit`, if all are known."""
        known = set(self.space) <= set(self.spacing)
        return tuple(self.spacing[axis] for axis in self.space) if known else None

    # Blocks

    @property
    def blocks(self) -> int:
        """How many there are."""
        return math.prod(self.stack_shape)

    @property
    def channels(self) -> int:
        """How many there are along C; 1 for an image without."""
        place = self.stack_axes.find("C")
        return self.stack_shape[place] if place >= 0 else 1

    def indices(self) -> Iterator[Index]:
        """Positions of all blocks, in the order of the array."""
        return np.ndindex(self.stack_shape)

    def channel_of(self, index: Index) -> int:
        """Channel of a block; 0 for an image without."""
        place = self.stack_axes.find("C")
        return index[place] if place >= 0 else 0

    def check_index(self, index: Index) -> None:
        """Refuse what is no position of a block; `ValueError` in one sentence."""
        lengths = self.stack_shape
        if len(index) != len(lengths) or not all(
            0 <= at < length for at, length in zip(index, lengths, strict=True)
        ):
            raise ValueError(
                f"The plane is {index}; accepted is a position along the axes "
                f"{self.stack_axes!r} of lengths {lengths}."
            )

    def read(self, index: Index = ()) -> Image:
        """A block in memory; `ValueError` if it cannot be read or is too large."""
        pixels = math.prod(self.pixels.shape[len(index) :])
        free = psutil.virtual_memory().available
        needed = pixels * _BYTES_PER_PIXEL
        if needed > free:
            raise ValueError(
                f"A plane has {pixels:.3g} pixels and would take {needed / 2**30:.0f} GiB, of "
                f"which {free / 2**30:.0f} are free; try a part of it."
            )
        try:
            block = np.asarray(self.pixels[index])
        except Exception as error:  # a damaged file can make a decoder raise anything
            which = f"The plane {index}" if index else "The image"
            raise ValueError(f"{which} cannot be read ({first_line(error)}).") from error
        return replace(self, pixels=block, axes=self.axes[len(index) :])

    # Of a block in memory

    @property
    def array(self) -> NDArray[Any]:
        """Its pixels as they are."""
        return np.asarray(self.pixels)

    def part(self, region: Region) -> Self:
        """A part of a block."""
        return replace(self, pixels=self.pixels[region])

    def by_channel(self) -> NDArray[np.float64]:
        """Pixels of a block ``(C, *space)`` in native byte order: one channel, or three of colour.

        Alpha is no light and is left out.
        """
        pixels = self.array
        planes = np.moveaxis(pixels[..., :3], -1, 0) if self.is_colour else pixels[np.newaxis]
        return planes.astype(np.float64)

    def luminance(self) -> NDArray[np.float64]:
        """A block in grey ``(*space)``: itself, or the mean of the channels of colour."""
        pixels = self.array
        if self.is_colour:
            pixels = pixels[..., :3].mean(axis=-1, dtype=np.float64)
        return pixels.astype(np.float64)

    def with_pixels(self, pixels: PixelArray) -> Self:
        """The same with other pixels of the same shape, such as an estimate of it."""
        return replace(self, pixels=pixels)

    def with_channels(self, channels: NDArray[Any]) -> NDArray[np.float32]:
        """Channels ``(C, *space)`` laid out as the pixels are, alpha passed through."""
        if not self.is_colour:
            return np.asarray(channels[0], np.float32)
        alpha = self.array[..., 3:]
        return np.concatenate([np.moveaxis(channels, 0, -1), alpha], axis=-1).astype(np.float32)


def _check_axes(axes: str, space: str, shape: tuple[int, ...]) -> None:
    grey = axes.removesuffix("S")
    before = grey.removesuffix(space)
    known = set(before) <= set("TCZ") - set(space)
    if not grey.endswith(space) or not known or len(set(before)) != len(before):
        raise ValueError(
            f"The axes are {axes!r}; accepted are letters of TCZ, each once at most, then YX, then "
            "S for colour."
        )
    if len(axes) != len(shape):
        raise ValueError(
            f"The axes {axes!r} are {len(axes)} and the array has shape {tuple(shape)}; "
            "accepted is one letter an axis."
        )
    if axes.endswith("S") and shape[-1] not in (3, 4):
        raise ValueError(
            f"The axes {axes!r} say that the last axis is colour, and it has length {shape[-1]}; "
            "accepted are 3 and 4."
        )
