"""The optics and the channels of a layer: from the user, its file or its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from napari.layers import Image

from napari_blind_deconv.io.optics_metadata import (
    elements,
    optics_of_ome,
    optics_of_properties,
    properties_in,
    xml_as_dict,
)
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.plugin.axes import axis_letter, stack_axes
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_file import LayerFile
from napari_blind_deconv.plugin.stated import Stated

__all__ = ["LayerOptics", "channel_names"]

_MAX_PROPERTIES = 20_000  # of larger metadata, only this many are searched


class LayerOptics(NamedTuple):
    """What is known about the optics of a layer.

    Attributes
    ----------
    optics : Optics
        The optics, with the wavelengths of all channels of the file.
    channel_axis : int or None
        Axis of the layer along which the channels lie; None if there is none.
    channel : int or None
        Channel that the layer contains, if it is one of several in the file; None if unknown.
    """

    optics: Optics = Optics()
    channel_axis: int | None = None
    channel: int | None = None

    @classmethod
    def of(cls, layer: Image) -> LayerOptics:
        """Read the optics of a layer, but no pixels, with what the user stated in their place."""
        stated = Stated.of(layer).optics
        found = _found(layer)
        if not stated.emission_wavelengths:
            return found._replace(optics=found.optics.corrected(stated))
        try:
            axis = stack_axes(layer).find("C")
        except ValueError:  # the axes of single planes need no letters
            axis = -1
        return cls(found.optics.corrected(stated), None if axis < 0 else axis, found.channel)

    def at(self, position: Sequence[int]) -> Optics:
        """Return the optics of the plane at a pixel of the layer."""
        wavelength = self.wavelength_at(position)
        waves = () if wavelength is None else (wavelength,)
        return replace(self.optics, emission_wavelengths=waves)

    def of_stack(self, axes: str, channels: range, count: int) -> Optics:
        """Return the optics of some channels of the layer, which has axes and a number of them."""
        if "C" not in axes or self.channel_axis != axes.index("C"):
            return self.at((0,) * len(axes))
        return self.optics.of_channels(slice(channels.start, channels.stop), count)

    def wavelength_at(self, position: Sequence[int]) -> float | None:
        """Return the emission wavelength in µm at a pixel of the layer; None if it is unknown."""
        wavelengths = self.optics.emission_wavelengths
        if len(wavelengths) == 1:
            return wavelengths[0]
        channel = self.channel if self.channel_axis is None else position[self.channel_axis]
        is_known = channel is not None and channel < len(wavelengths)
        return wavelengths[channel] if channel is not None and is_known else None


def _found(layer: Image) -> LayerOptics:
    """Return what file or metadata say; nothing is known if reading them fails."""
    for read in (_of_file, _of_metadata):
        try:
            found = read(layer)
        except Exception:  # metadata may be anything
            continue
        if found.optics != Optics():
            return found
    return LayerOptics()


def channel_names(layer: Image, channels: int) -> tuple[str, ...]:
    """Return the names of all channels of a layer with this many; empty if they are unknown.

    They are read from the layer's file, but no pixels are, or from the layer's metadata.
    """
    names = LayerFile.of(layer).channel_names
    if len(names) == channels and all(names):
        return names
    try:
        images = [image for ome in _ome_in(layer.metadata) for image in elements(ome, "Image")]
        found = {tuple(_names_of(image)) for image in images if _fits(layer, image)}
    except Exception:  # metadata may be anything
        return ()
    names = found.pop() if len(found) == 1 else ()
    return names if len(names) == channels and all(names) else ()


def _of_file(layer: Image) -> LayerOptics:
    file = LayerFile.of(layer)
    axis = file.letters.index("C") if "C" in file.letters else None
    return LayerOptics(file.optics, axis, _named_channel(layer, file.channel_names))


def _of_metadata(layer: Image) -> LayerOptics:
    described = list(_ome_in(layer.metadata))
    if not described:
        properties = list(islice(properties_in(layer.metadata), _MAX_PROPERTIES))
        return LayerOptics(optics_of_properties(properties, 1))
    images = [(ome, image) for ome in described for image in elements(ome, "Image")]
    found = {
        optics_of_ome(ome, image): _names_of(image) for ome, image in images if _fits(layer, image)
    }
    if len(found) != 1:
        return LayerOptics()
    [(optics, names)] = found.items()
    axis = _channel_axis(layer, len(names))
    return LayerOptics(optics, axis, _named_channel(layer, names))


def _names_of(image: Mapping[str, Any]) -> list[str]:
    channels = elements(elements(image, "Pixels"), "Channel")
    return [str(channel.get("Name") or "") for channel in channels]


def _channel_axis(layer: Image, channels: int) -> int | None:
    """Return the only axis of the layer that can be that of the channels, or None."""
    axes = [
        axis
        for axis in range(layer.ndim - 2)
        if full_data(layer).shape[axis] == channels > 1 and axis_letter(layer, axis) == "C"
    ]
    return axes[0] if len(axes) == 1 else None


def _named_channel(layer: Image, names: Sequence[str]) -> int | None:
    """Return the channel whose name is that of the layer, or alone is a word in it."""
    for fits in (
        lambda name: name == layer.name,
        lambda name: re.search(rf"(?<!\w){re.escape(name)}(?!\w)", layer.name),
    ):
        found = [number for number, name in enumerate(names) if name and fits(name)]
        if len(found) == 1:
            return found[0]
    return None


def _ome_in(metadata: Mapping[Any, Any]) -> Iterator[Mapping[str, Any]]:
    """Return the OME metadata in the metadata of a layer, as `xml_as_dict` returns them.

    Readers put them there as XML, as a model of the package ome-types, or as dictionaries.
    """
    nested = [value for value in metadata.values() if isinstance(value, Mapping)]
    for value in [metadata, *metadata.values(), *(v for node in nested for v in node.values())]:
        ome = value
        if hasattr(ome, "to_xml"):
            ome = ome.to_xml()
        if isinstance(ome, str) and "<OME" in ome:
            ome = xml_as_dict(ome)
        if isinstance(ome, Mapping):
            ome = ome.get("OME", ome)
        if isinstance(ome, Mapping) and "Image" in ome:
            yield ome


def _fits(layer: Image, image: Mapping[str, Any]) -> bool:
    """Whether an image of OME metadata has the rows and columns of the layer."""
    pixels: Mapping[str, Any] = next(iter(elements(image, "Pixels")), {})
    rows, columns = full_data(layer).shape[layer.ndim - 2 : layer.ndim]
    return (str(pixels.get("SizeY")), str(pixels.get("SizeX"))) == (str(rows), str(columns))
