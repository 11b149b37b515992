"""An image with its metadata: pixels, axes, pixel size, channel names and optics.

A *block* is the part of an image that is deconvolved at once: a plane (rows and columns) or a
volume. An image with more axes is a stack of blocks. A block that is read is an `Image` as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_blind_deconv.block_kind import BlockKind
from napari_blind_deconv.errors import first_line
from napari_blind_deconv.image_axes import check_axes, moved_origin, with_axis_moved
from napari_blind_deconv.masks import as_mask
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.units import in_unit, short_unit

__all__ = ["BlockKind", "Image", "Index", "PixelArray", "Region"]

Index = tuple[int, ...]
"""Index of a block along the stack axes, which come before the axes of the block."""


Region = tuple[slice, ...]
"""Part of a block: one slice for each axis of the block."""

# Statistics of a block need float64 copies of it: its median, its gradient and the result.
_BYTES_PER_PIXEL = 64


class PixelArray(Protocol):
    """An array that returns blocks when it is indexed, such as a numpy, dask or zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def dtype(self) -> Any:
        """Data type of the pixels."""

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class Image:
    """An image with any number of axes, in memory or read on demand.

    Attributes
    ----------
    pixels : array_like
        A numpy, dask or zarr array.
    axes : str
        One letter for each axis: first T, C and Z, each at most once and in any order, then Y and
        X, then S if the last axis is colour (3 or 4 samples; the fourth is alpha).
    spacing : mapping
        Pixel size along Z, Y and X in `unit`, and time step along T in seconds. Unknown sizes are
        left out.
    unit : str
        Unit of length.
    channel_names : tuple of str
        Names along C; empty if the channels have no names.
    space : str
        Axes of a block: ``"YX"`` for planes, ``"ZYX"`` for volumes.
    origin : mapping
        Position of the first pixel along Z, Y and X in `unit`, and along T in seconds. Axes on
        which it is 0 or unknown may be left out.
    optics : Optics
        Objective, immersion, and emission wavelength of each channel, as far as they are known.
    masked : ndarray or None
        Mask of the pixels to leave out, because they are not part of the image: of the shape of a
        block, or of the stack, then also as a dask array. None: no pixel. :meth:`with_mask` adds
        one.

    Raises
    ------
    ValueError
        If the axes do not fit the shape of the pixels, or the wavelengths the channels.
    """

    pixels: PixelArray
    axes: str = "YX"
    spacing: Mapping[str, float] = field(default_factory=dict)
    unit: str = "pixel"
    channel_names: tuple[str, ...] = ()
    space: str = "YX"
    origin: Mapping[str, float] = field(default_factory=dict)
    optics: Optics = field(default_factory=Optics)
    masked: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes, self.space, self.pixels.shape)
        wavelengths = len(self.optics.emission_wavelengths)
        if wavelengths not in (0, self.channels):
            raise ValueError(
                f"Expected one emission wavelength for each channel of the image, {self.channels} "
                f"in all, got {wavelengths}."
            )
        if self.masked is not None and self.masked.shape not in (
            self.block_shape,
            self.stack_shape + self.block_shape,
        ):
            stack = f" or {self.stack_shape + self.block_shape}" if self.stack_axes else ""
            raise ValueError(
                f"Expected a mask of shape {self.block_shape}{stack}, as the image without "
                f"colours, got {self.masked.shape}."
            )

    @classmethod
    def of(cls, image: Image | Any, axes: str | None = None) -> Image:
        """Return an image unchanged, or make one from an array.

        Parameters
        ----------
        image : Image or array_like
        axes : str, optional
            Axes of the array. Default: ``"YX"``, one plane.

        Raises
        ------
        ValueError
            If the axes do not fit, or if an array with other than two axes comes without `axes`.
        """
        if isinstance(image, Image):
            if axes not in (None, image.axes):
                raise ValueError(f"Expected the axes of the image, {image.axes!r}, got {axes!r}.")
            return image
        pixels = image if hasattr(image, "shape") else np.asarray(image)
        if axes is None and len(pixels.shape) != 2:
            raise ValueError(
                "Expected a 2D image (rows, columns), or axes such as 'ZYX' for a stack or 'YXS' "
                f"for colour, got shape {tuple(pixels.shape)} without axes."
            )
        return cls(pixels, "YX" if axes is None else axes)

    def as_volumes(self) -> Self:
        """Return the image with volumes as blocks in place of planes.

        Z becomes the axis before Y. Pixels are not read for that.

        Raises
        ------
        ValueError
            If the image has no axis Z.
        """
        axis = self.stack_axes.find("Z")
        if self.space == "ZYX":
            return self
        if axis < 0:
            raise ValueError(
                f"Expected axes with Z for a volume, such as 'ZYX', got {self.axes!r}."
            )
        last = len(self.stack_axes) - 1
        axes = self.axes.replace("Z", "").replace("YX", "ZYX")
        changes: dict[str, Any] = {"axes": axes, "space": "ZYX"}
        if axis < last:
            changes["pixels"] = with_axis_moved(self.pixels, axis, last)
        if self.masked is not None and self.masked.ndim > 2:
            masked = self.masked
            changes["masked"] = masked if axis == last else with_axis_moved(masked, axis, last)
        elif self.masked is not None:
            depth = self.stack_shape[axis]
            changes["masked"] = np.broadcast_to(self.masked, (depth, *self.masked.shape))
        return replace(self, **changes)

    def as_planes(self) -> Self:
        """Return the image with planes as blocks; the axis Z of volumes is then that of a stack."""
        if self.space == "YX":
            return self
        masked = self.masked
        if masked is not None:
            masked = np.broadcast_to(masked, self.stack_shape + self.block_shape)
        return replace(self, space="YX", masked=masked)

    def as_one_block(self) -> Self:
        """Return an image whose only stack axis is Z as a volume, any other unchanged."""
        return self.as_volumes() if self.stack_axes == "Z" else self

    def with_pixel_size(self, pixel_size: Sequence[float], unit: str) -> Self:
        """Return a copy with another pixel size along the axes of a block.

        Raises
        ------
        ValueError
            If there is not one positive number for each axis of a block.
        """
        sizes = tuple(float(size) for size in pixel_size)
        if len(sizes) != len(self.space) or not all(0 < size < math.inf for size in sizes):
            raise ValueError(
                f"Expected one positive pixel size for each of the axes {self.space!r}, got "
                f"{tuple(pixel_size)}."
            )
        known = {**self.spacing, **dict(zip(self.space, sizes, strict=True))}
        return replace(self, spacing=known, unit=short_unit(unit))

    # Axes

    @property
    def is_colour(self) -> bool:
        """Whether the last axis is colour."""
        return self.axes.endswith("S")

    @property
    def block_kind(self) -> BlockKind:
        """What a block is."""
        return BlockKind.with_axes(len(self.space))

    @property
    def stack_axes(self) -> str:
        """Axes before the axes of a block."""
        return self.axes.removesuffix("S").removesuffix(self.space)

    @property
    def plane_axes(self) -> str:
        """Axes before Y and X, whatever a block is."""
        return self.axes.removesuffix("S").removesuffix("YX")

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """Lengths of the stack axes; empty for a single block."""
        return tuple(self.pixels.shape[: len(self.stack_axes)])

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Lengths of the axes of a block, without the colour axis."""
        first = len(self.stack_axes)
        return tuple(self.pixels.shape[first : first + len(self.space)])

    @property
    def samples(self) -> tuple[int, ...]:
        """Length of the colour axis, as a tuple; empty for a grey image."""
        return tuple(self.pixels.shape[-1:]) if self.is_colour else ()

    @property
    def pixel_size(self) -> tuple[float, ...] | None:
        """Pixel size along the axes of a block, in `unit`; None unless all of them are known."""
        known = set(self.space) <= set(self.spacing)
        return tuple(self.spacing[axis] for axis in self.space) if known else None

    @property
    def pixel_micrometres(self) -> tuple[float, ...] | None:
        """Pixel size along the axes of a block in µm; None unless all of them are known."""
        sizes = [in_unit(size, self.unit, "µm") for size in self.pixel_size or ()]
        known = tuple(size for size in sizes if size is not None)
        return known if len(known) == len(self.space) else None

    @property
    def sampling(self) -> tuple[float, ...]:
        """Pixel size along the axes of a block, as a multiple of the smallest; 1 if unknown."""
        sizes = self.pixel_size or (1.0,) * len(self.space)
        return tuple(size / min(sizes) for size in sizes)

    # Blocks

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return math.prod(self.stack_shape)

    @property
    def channels(self) -> int:
        """Number of channels along C; 1 if there is no such axis."""
        axis = self.stack_axes.find("C")
        return self.stack_shape[axis] if axis >= 0 else 1

    def indices(self) -> Iterator[Index]:
        """Return the indices of all blocks, in the order of the array."""
        return np.ndindex(self.stack_shape)

    def channel_of(self, index: Index) -> int:
        """Return the channel of a block; 0 if there is no channel axis."""
        axis = self.stack_axes.find("C")
        return index[axis] if axis >= 0 else 0

    def check_index(self, index: Index) -> None:
        """Raise `ValueError` unless `index` is the index of a block."""
        lengths = self.stack_shape
        if len(index) != len(lengths) or not all(
            0 <= position < length for position, length in zip(index, lengths, strict=True)
        ):
            raise ValueError(
                f"Expected the index of a {self.block_kind} along the axes {self.stack_axes!r} "
                f"with lengths {lengths}, got {index}."
            )

    def read(self, index: Index = ()) -> Image:
        """Read a block into memory.

        Parameters
        ----------
        index : tuple of int
            Index of the block. Default: the image itself, if it is a single block.

        Raises
        ------
        ValueError
            If the block cannot be read or does not fit in memory.
        """
        pixels = math.prod(self.pixels.shape[len(index) :])
        free = psutil.virtual_memory().available
        needed = pixels * _BYTES_PER_PIXEL
        if needed > free:
            raise ValueError(
                f"Expected a {self.block_kind} that fits in the {free / 2**30:.0f} GiB of free "
                f"memory, got {pixels:.3g} {self.block_kind.element}s that need "
                f"{needed / 2**30:.0f} GiB; try a part of it."
            )
        try:
            block = np.asarray(self.pixels[index])
            masked = self._masked_at(index)
        except Exception as error:  # the decoder of a damaged file may raise any exception
            name = f"The {self.block_kind} {index}" if index else "The image"
            raise ValueError(f"{name} cannot be read ({first_line(error)}).") from error
        return replace(
            self,
            pixels=block,
            axes=self.axes[len(index) :],
            origin=self._origin_at(index),
            optics=self._optics_at(index),
            masked=masked,
        )

    # Blocks in memory

    @property
    def array(self) -> NDArray[Any]:
        """Pixels as a numpy array, in their own data type."""
        return np.asarray(self.pixels)

    def part(self, region: Region) -> Self:
        """Return a part of a block."""
        sides = zip(region, self.pixels.shape, strict=False)  # a colour axis is not in the region
        starts = tuple(rows.indices(side)[0] for rows, side in sides)
        masked = None if self.masked is None else self.masked[region]
        return replace(
            self, pixels=self.pixels[region], origin=self._origin_at(starts), masked=masked
        )

    def _origin_at(self, index: Index) -> dict[str, float]:
        """Return the position of a pixel, given by its index along the first axes."""
        starts = dict(zip(self.axes, index, strict=False))
        return moved_origin(self.origin, self.spacing, starts)

    def _masked_at(self, index: Index) -> NDArray[np.bool_] | None:
        """Return the mask of a block."""
        if self.masked is None or self.masked.ndim == len(self.space):
            return self.masked
        return np.asarray(self.masked[index])

    def _optics_at(self, index: Index) -> Optics:
        """Return the optics of what is left when the first axes have an index."""
        axis = self.stack_axes.find("C")
        if not 0 <= axis < len(index):
            return self.optics
        return self.optics.of_channels(index[axis], self.channels)

    def by_channel(self) -> NDArray[np.float64]:
        """Return the pixels of a block as ``(C, *space)``.

        A grey block has one channel, a colour block three. Alpha is left out, because it is not
        light. The result is in native byte order, which torch needs.
        """
        pixels = self.array
        planes = np.moveaxis(pixels[..., :3], -1, 0) if self.is_colour else pixels[np.newaxis]
        return planes.astype(np.float64)

    def luminance(self) -> NDArray[np.float64]:
        """Return a block in grey ``(*space)``; for a colour block, the mean of its channels."""
        pixels = self.array
        if self.is_colour:
            pixels = pixels[..., :3].mean(axis=-1, dtype=np.float64)
        return pixels.astype(np.float64)

    def with_mask(self, mask: Any) -> Self:
        """Return a copy that leaves out the pixels of a mask, too.

        Parameters
        ----------
        mask : array_like
            Booleans or whole numbers; pixels where it is not 0 are left out. It has the axes of a
            block, and then holds for all blocks, or also axes of the stack, from the last one on,
            or those of a plane, and then holds for all planes of volumes. It has no colour axis. Of
            a dask array, only the blocks that are read are computed.

        Raises
        ------
        TypeError, ValueError
            As :func:`~napari_blind_deconv.masks.as_mask`; also if the shape is another.
        """
        masked = as_mask(mask)
        shape = self.stack_shape + self.block_shape
        if len(self.space) == 3 and masked.shape == self.block_shape[1:]:  # of a plane
            masked = np.broadcast_to(np.asarray(masked), self.block_shape)
        elif masked.ndim == len(self.space):
            masked = np.asarray(masked)
        elif masked.ndim > len(self.space) and masked.shape == shape[-masked.ndim :]:
            masked = np.broadcast_to(masked, shape)
        added = replace(self, masked=masked)  # this checks the shape
        return added if self.masked is None else replace(self, masked=masked | self.masked)

    def with_pixels(self, pixels: PixelArray) -> Self:
        """Return a copy with other pixels of the same shape, such as an estimate."""
        return replace(self, pixels=pixels)

    def with_channels(self, channels: NDArray[Any]) -> NDArray[np.float32]:
        """Return channels ``(C, *space)`` in the layout of the pixels, with alpha unchanged."""
        if not self.is_colour:
            return np.asarray(channels[0], np.float32)
        alpha = self.array[..., 3:]
        return np.concatenate([np.moveaxis(channels, 0, -1), alpha], axis=-1).astype(np.float32)
