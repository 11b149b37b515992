"""Which layers are the channels of one image, as napari shows it: as a composite of layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from napari.layers import Image, Layer

from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layers import is_output

__all__ = ["channels_of", "input_layers", "is_blended"]

_MIXED = ("additive", "minimum", "multiplicative")  # blending that changes what lies below


def input_layers(layers: Iterable[Layer]) -> list[Image]:
    """Return the image layers that are no results, in their order."""
    return [layer for layer in layers if isinstance(layer, Image) and not is_output(layer)]


def channels_of(layer: Image, layers: Iterable[Layer]) -> list[Image]:
    """Return the layers that are channels of the same image as a layer, with the layer itself.

    Channels have the same shape and scale, and are read from the same file or are neighbours in the
    list of layers. All but the lowest one are blended with those below, as napari does it when it
    splits an image into its channels.

    Parameters
    ----------
    layer : Image
    layers : iterable of Layer
        The layers of the viewer, from the lowest to the highest.

    Returns
    -------
    list of Image
        The channels in the order of `layers`; empty if the layer is not one of several.
    """
    inputs = input_layers(layers)
    if layer not in inputs:
        return []
    path = layer.source.path
    if path is not None:
        of_file = [other for other in inputs if other.source.path == path and _fits(other, layer)]
        if found := _composite_with(layer, of_file):
            return found
    return _composite_with(layer, _neighbours(layer, inputs))


def is_blended(layer: Image, layers: Iterable[Layer]) -> bool:
    """Return whether a layer is blended with others: with those below it, or as a channel."""
    return layer.blending in _MIXED or bool(channels_of(layer, layers))


def _fits(layer: Image, other: Image) -> bool:
    shapes = [full_data(each).shape for each in (layer, other)]
    is_grey = not layer.rgb and not other.rgb
    return is_grey and shapes[0] == shapes[1] and bool(np.allclose(layer.scale, other.scale))


def _neighbours(layer: Image, inputs: Sequence[Image]) -> list[Image]:
    """Return the layers around a layer up to the first on each side that does not fit it."""
    found: list[Image] = []
    for other in inputs:
        if _fits(other, layer):
            found.append(other)
        elif layer in found:
            break
        else:
            found.clear()
    return found


def _composite_with(layer: Image, candidates: Sequence[Image]) -> list[Image]:
    """Return the layer's composite: a layer, and those above that are blended with it; or none."""
    found: list[Image] = []
    for other in candidates:
        if other.blending not in _MIXED:
            if layer in found:
                break
            found.clear()
        found.append(other)
    return found if len(found) > 1 else []
