"""The part of a layer that a run takes: a plane, a region, some planes, or volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from napari.components import Dims
from napari.layers import Image, Labels, Shapes

from napari_blind_deconv.engine.inputs import (
    check_block,
    check_sides,
    check_solver,
    fitted_kernel,
    kernel_window,
)
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.kernel import KernelChoice
from napari_blind_deconv.numerics.field_of_view import canvas_shape
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.plugin.axes import stack_axes
from napari_blind_deconv.plugin.expected_time import Extent
from napari_blind_deconv.plugin.geometry import LayerGeometry, LayerPlane, Region
from napari_blind_deconv.plugin.kernel_selection import PixelGrid
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_optics import LayerOptics
from napari_blind_deconv.plugin.masks import mask_in_pixels
from napari_blind_deconv.plugin.pixel_size import read_steps
from napari_blind_deconv.plugin.planes import one_volume, stack_of, volumes_of
from napari_blind_deconv.plugin.stated import Stated
from napari_blind_deconv.plugin.viewing import pixel_size, plane_shape, shown_index, shows_last_axes
from napari_blind_deconv.settings import Settings

__all__ = ["InputPart"]


@dataclass(frozen=True, eq=False)
class InputPart:
    """The part of a layer that a run takes.

    Attributes
    ----------
    layer : Image
    dims : Dims
        Dimensions of the viewer, which tell the plane or the volume that is shown.
    block : BlockKind
        What is deconvolved at once.
    is_stack : bool
        Whether all planes or volumes are taken, in place of the one that is shown.
    span : tuple of int or None
        First and last plane along the first axis that are taken; None for all planes.
    region : tuple of slice or None
        Rows and columns of a plane; None for all of it.
    """

    layer: Image
    dims: Dims
    block: BlockKind = BlockKind.PLANE
    is_stack: bool = False
    span: tuple[int, int] | None = None
    region: Region | None = None

    @property
    def is_plane(self) -> bool:
        """Whether one plane is taken, or a region of it."""
        return not self.is_stack and self.block is BlockKind.PLANE

    @property
    def axes(self) -> str:
        """Axes of the part as letters; raise `ValueError` if those of a stack are not known."""
        if self.is_plane:
            return "YXS" if self.layer.rgb else "YX"
        if self.is_stack:
            return stack_axes(self.layer)
        return "ZYXS" if self.layer.rgb else "ZYX"

    @property
    def pixels(self) -> PixelGrid:
        """The pixels of the part; raise `ValueError` if the axes of volumes are not known."""
        height, width, unit = pixel_size(self.layer, self.dims)
        if self.block is BlockKind.PLANE:
            return PixelGrid((height, width), unit)
        step = read_steps(self.layer, stack_axes(self.layer), unit).get("Z")
        if step is None or unit == "px":
            return PixelGrid((1.0, 1.0, 1.0), "px")
        return PixelGrid((step, height, width), unit)

    @property
    def sides_in_micrometres(self) -> tuple[float, ...]:
        """The pixel size along Y and X, of a stack also along Z; empty if it is unknown."""
        if not shows_last_axes(self.layer, self.dims):
            return ()
        grid = self.pixels
        if self.is_plane:
            return grid.micrometres
        steps = read_steps(self.layer, stack_axes(self.layer), grid.unit)
        depth = [steps["Z"]] if "Z" in steps else []
        return PixelGrid((*depth, *grid.sides[-2:]), grid.unit).micrometres

    def read(self, mask: Labels | Shapes | None = None) -> tuple[LayerGeometry, ImageData]:
        """Return the part with its geometry; planes and volumes of a stack are read by the run.

        Parameters
        ----------
        mask : Labels or Shapes, optional
            Layer over pixels to leave out.

        Raises
        ------
        ValueError, TypeError
            If the part cannot be read or deconvolved, or if the mask is empty.
        """
        if self.is_plane:
            plane = LayerPlane.of(self.layer, self.dims, self.region)
            check_block(plane.image)
            return plane, self._without(mask, plane.image, plane.axes)
        geometry, image = self._blocks(mask)
        return (geometry, image) if self.is_stack else one_volume(geometry, image)

    def voxels_beyond(self, settings: Settings, choice: KernelChoice) -> int:
        """Return how many voxels beyond each volume its light comes from; no pixel is read.

        Raises
        ------
        ValueError
            If the part has no volumes that can be deconvolved in this way.
        """
        _, volumes = self._blocks(None)
        check_sides(volumes)
        check_solver(settings, choice, volumes.space)
        sides, kernel = volumes.block_shape, choice.kernel
        # A kernel that is yet to be found is no larger than this.
        window = (
            kernel_window(settings, sides)
            if kernel is None
            else fitted_kernel(kernel, volumes).shape
        )
        return math.prod(canvas_shape(sides, window)) - math.prod(sides)

    @property
    def optics(self) -> Optics:
        """What is known about the optics of the part; no pixel is read.

        Raises
        ------
        ValueError
            If the axes of a stack are not known.
        """
        if self.is_plane:
            return LayerOptics.of(self.layer).at(shown_index(self.layer, self.dims))
        _, image = self._blocks(None)
        return image.optics

    @property
    def stated_optics(self) -> Optics:
        """What the user stated about the optics of the part; raise as :attr:`optics`."""
        stated = Stated.of(self.layer).optics
        if not stated.emission_wavelengths:
            return stated
        # They are stated for all channels of the layer, of which the part may be one.
        waves = self.optics.emission_wavelengths or (None,) * self.extent().channels
        return replace(stated, emission_wavelengths=waves)

    def index(self) -> tuple[str, ...]:
        """Return the part as one index or slice of the layer's array per axis, as Python text.

        Such as ``("2", "10:30", ":")``.
        """
        if self.is_plane:
            geometry = LayerGeometry.of(self.layer, self.dims)
            items = [str(index) for index in geometry.position]
            for axis, part in zip(geometry.axes, self.region or (None, None), strict=True):
                items[axis] = ":" if part is None else f"{part.start}:{part.stop}"
            return tuple(items)
        return (*map(self._item, range(len(self._sides) - 2)), ":", ":")

    def extent(self) -> Extent:
        """Return the size of the part; no pixel is read."""
        samples = full_data(self.layer).shape[-1] if self.layer.rgb else 1
        rows, columns = plane_shape(self.layer, self.dims)
        if self.is_plane:
            if self.region is not None:
                rows, columns = (part.stop - part.start for part in self.region)
            return Extent(1, rows * columns, 1, samples)
        lengths = [len(part) for part in self._ranges()]
        axes = stack_axes(self.layer)
        channels = lengths[axes.index("C")] if "C" in axes else 1
        depth = lengths[axes.index("Z")] if self.block is BlockKind.VOLUME and "Z" in axes else 1
        return Extent(math.prod(lengths) // depth, depth * rows * columns, channels, samples)

    # Stacks and volumes

    @property
    def _sides(self) -> tuple[int, ...]:
        return tuple(full_data(self.layer).shape[: self.layer.ndim])

    def _blocks(self, mask: Labels | Shapes | None) -> tuple[LayerGeometry, ImageData]:
        """Return the planes or volumes of the part, which are not read."""
        ranges = self._ranges()
        geometry, image = stack_of(self.layer, self.dims, ranges)
        last = self.layer.ndim - 1
        image = self._without(mask, image, (last - 1, last), ranges)
        return (geometry, image) if self.block is BlockKind.PLANE else volumes_of(geometry, image)

    def _ranges(self) -> list[range]:
        """Return the indices along each axis before the rows.

        Raises
        ------
        ValueError
            If the layer has fewer planes than are chosen.
        """
        ranges = [range(side) for side in self._sides[:-2]]
        if self.span is not None:
            first, last = self.span
            count = len(ranges[0]) if ranges else 1
            if last >= count:
                raise ValueError(
                    f"Expected more than {last} planes, as chosen under Planes, got the layer "
                    f"{self.layer.name} with {count}."
                )
            ranges[:1] = [range(first, last + 1)] if ranges else []
        if not self.is_stack and ranges:  # one volume
            shown, depth = shown_index(self.layer, self.dims), stack_axes(self.layer).find("Z")
            for axis in range(len(ranges)):
                if axis != depth:
                    ranges[axis] = range(shown[axis], shown[axis] + 1)
        return ranges

    def _item(self, axis: int) -> str:
        part = self._ranges()[axis]
        if not self.is_stack and stack_axes(self.layer)[axis] != "Z":
            return str(part.start)
        return ":" if len(part) == self._sides[axis] else f"{part.start}:{part.stop}"

    def _without(
        self,
        mask: Labels | Shapes | None,
        image: ImageData,
        axes: tuple[int, int],
        leading: Sequence[range] | None = None,
    ) -> ImageData:
        """Return an image without the pixels that a layer covers."""
        if mask is None:
            return image
        if leading is None:
            position = LayerGeometry.of(self.layer, self.dims).position
            pixels = [range(index, index + 1) for index in position]
            for axis, part in zip(axes, self.region or (slice(None), slice(None)), strict=True):
                pixels[axis] = range(self._sides[axis])[part]
        else:
            pixels = [*leading, *map(range, self._sides[-2:])]
        return image.with_mask(mask_in_pixels(mask, self.layer, self.dims, axes, pixels))
