"""The planes of a layer: which axes they have, and a stack of them to work on."""

from __future__ import annotations

from dataclasses import replace

from napari.components import Dims
from napari.layers import Image

from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.plugin.layers import Place, full_data, is_shown_flat

__all__ = ["stack_axes", "stack_of"]

_UNNAMED = "ZTC"  # what axes without a name are taken for


def stack_of(
    layer: Image, dims: Dims, span: tuple[int, int] | None = None
) -> tuple[Place, ImageData]:
    """Where planes of a layer lie, and they themselves, not read yet.

    All of them, or those of a span (last one included) of the first axis.

    Raises
    ------
    ValueError
        In one sentence, if the layer has no planes or shows other axes than its last two.
    """
    if layer.ndim < 3:
        raise ValueError(f"{layer.name} is one plane; accepted is a layer with more.")
    if not is_shown_flat(layer, dims):
        raise ValueError(
            f"The screen does not show the last two axes of {layer.name}; "
            "roll the dimensions back to run over its planes."
        )
    axes = stack_axes(layer)
    data = full_data(layer)
    start = 0
    if span is not None:
        start = span[0]
        data = data[span[0] : span[1] + 1]
    corner = (start, *[0] * (layer.ndim - 1))
    place = replace(
        Place.of(layer, dims),
        position=corner,
        translate=layer.affine.inverse(layer.data_to_world(corner)),
    )
    return place, ImageData(data, axes, **place.calibration)


def stack_axes(layer: Image) -> str:
    """The layer's axes as letters: by their labels where those say, else Z, T and C in turn."""
    labels = [str(label).upper()[:1] for label in layer.axis_labels[: layer.ndim - 2]]
    known = [label if label in "TCZ" and labels.count(label) == 1 else "" for label in labels]
    free = [letter for letter in _UNNAMED if letter not in known]
    if known.count("") > len(free):
        raise ValueError(
            f"{layer.name} has {layer.ndim} axes; accepted are at most three before rows and "
            "columns."
        )
    return "".join(letter or free.pop(0) for letter in known) + ("YXS" if layer.rgb else "YX")
