"""The planes of a layer as a stack: an image that is read plane by plane."""

from __future__ import annotations

from dataclasses import replace

from napari.components import Dims
from napari.layers import Image

from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.plugin.axes import stack_axes
from napari_blind_deconv.plugin.geometry import LayerGeometry, shows_last_axes
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_optics import LayerOptics, channel_names
from napari_blind_deconv.plugin.pixel_size import read_steps

__all__ = ["stack_of"]


def stack_of(
    layer: Image, dims: Dims, span: tuple[int, int] | None = None
) -> tuple[LayerGeometry, ImageData]:
    """Return the planes of a layer as an image that is not read yet, and their geometry.

    Parameters
    ----------
    layer : Image
        A layer with three or more axes.
    dims : Dims
        Dimensions of the viewer.
    span : tuple of int or None
        First and last index along the layer's first axis, both included; None for all planes.

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
    start = 0
    if span is not None:
        start = span[0]
        data = data[span[0] : span[1] + 1]
    corner = (start, *[0] * (layer.ndim - 1))
    geometry = replace(
        LayerGeometry.of(layer, dims),
        position=corner,
        translate=layer.affine.inverse(layer.data_to_world(corner)),
    )
    calibration = geometry.calibration
    unit = calibration.get("unit", "µm")
    steps = read_steps(layer, axes, unit)
    spacing = {**steps, **calibration.get("spacing", {})}
    unit = unit if set(spacing) - {"T"} else "pixel"
    count = full_data(layer).shape[axes.index("C")] if "C" in axes else 1
    channels = range(start, start + data.shape[0]) if axes.startswith("C") else range(count)
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
