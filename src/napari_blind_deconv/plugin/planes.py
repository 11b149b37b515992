"""The planes or volumes of a layer as a stack: an image that is read block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from napari.components import Dims
from napari.layers import Image

from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.plugin.axes import stack_axes
from napari_blind_deconv.plugin.geometry import LayerGeometry
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_optics import LayerOptics, channel_names
from napari_blind_deconv.plugin.pixel_size import read_steps
from napari_blind_deconv.plugin.viewing import shows_last_axes

__all__ = ["one_volume", "stack_of", "volumes_of"]


def stack_of(
    layer: Image, dims: Dims, pixels: Sequence[range] | None = None
) -> tuple[LayerGeometry, ImageData]:
    """Return the planes of a layer as an image that is not read yet, and their geometry.

    Parameters
    ----------
    layer : Image
        A layer with three or more axes.
    dims : Dims
        Dimensions of the viewer.
    pixels : sequence of range or None
        Indices along each axis before the rows; None for all planes.

    Raises
    ------
    ValueError
        If the layer is a single plane, or the viewer shows other axes than its last two.
    """
    if layer.ndim < 3:
        raise ValueError(
            f"Expected a stack with 3 or more axes, got the layer {layer.name} with {layer.ndim}."
        )
    if not shows_last_axes(layer, dims):
        raise ValueError(
            f"The viewer does not show the last two axes of {layer.name}; "
            "reset the order of the dimensions in the viewer."
        )
    axes = stack_axes(layer)
    data = full_data(layer)
    whole = [range(side) for side in data.shape[: layer.ndim - 2]]
    parts = whole if pixels is None else list(pixels)
    if parts != whole:
        data = data[tuple(slice(part.start, part.stop) for part in parts)]
    corner = (*(part.start for part in parts), 0, 0)
    geometry = replace(
        LayerGeometry.of(layer, dims),
        position=corner,
        translate=layer.affine.inverse(layer.data_to_world(corner)),
        stack_axes=tuple(range(len(parts))),
        letters=axes,
    )
    calibration = geometry.calibration
    unit = calibration.get("unit", "µm")
    steps = read_steps(layer, axes, unit)
    spacing = {**steps, **calibration.get("spacing", {})}
    unit = unit if set(spacing) - {"T"} else "pixel"
    count = full_data(layer).shape[axes.index("C")] if "C" in axes else 1
    channels = parts[axes.index("C")] if "C" in axes else range(count)
    names = channel_names(layer, count) if "C" in axes else ()
    optics = LayerOptics.of(layer).of_stack(axes, channels, count)
    return geometry, ImageData(
        data,
        axes,
        spacing,
        unit,
        names[channels.start : channels.stop],
        optics=optics,
    )


def volumes_of(geometry: LayerGeometry, image: ImageData) -> tuple[LayerGeometry, ImageData]:
    """Return a stack of planes, as :func:`stack_of` returns it, as a stack of its volumes.

    Raises
    ------
    ValueError
        If the stack has no axis Z.
    """
    volumes, depth = image.as_volumes(), image.stack_axes.find("Z")
    others = tuple(axis for axis in geometry.stack_axes if axis != depth)
    planes = image.stack_shape[depth]
    return replace(geometry, stack_axes=others, depth=depth, planes=planes), volumes


def one_volume(geometry: LayerGeometry, image: ImageData) -> tuple[LayerGeometry, ImageData]:
    """Return a copy of the only volume of a stack of volumes, which does not depend on its layer.

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    volume = image.read((0,) * len(image.stack_axes))
    return replace(geometry, stack_axes=()), volume.with_pixels(np.array(volume.pixels))
