"""What is to be sharpened: a layer, and what of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from magicgui.widgets import ComboBox, RangeSlider
from napari.layers import Image, Layer, Shapes

from napari_blind_deconv.plugin.colours import ORANGE
from napari_blind_deconv.plugin.layer_box import LayerBox
from napari_blind_deconv.plugin.layers import (
    Place,
    Region,
    Source,
    full_data,
    is_output,
    plane_shape,
)
from napari_blind_deconv.plugin.planes import stack_axes
from napari_blind_deconv.plugin.regions import drawn_region, is_for_regions, visible_region
from napari_blind_deconv.plugin.settings_form import show_row

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["DRAWN", "PLANE", "SPAN", "STACK", "VISIBLE", "Extent", "InputForm"]

PLANE, DRAWN, VISIBLE = "this plane", "drawn rectangle", "visible part"
SPAN, STACK = "some planes", "whole stack"
_OF_A_PLANE, _OF_A_STACK = (PLANE, DRAWN, VISIBLE), (SPAN, STACK)


class Extent(NamedTuple):
    """How many planes, pixels in each, channels among the planes, and numbers in a pixel."""

    planes: int
    pixels: int
    channels: int
    samples: int


class InputForm:
    """The layer, what of it, and the widgets to choose them with.

    Parameters
    ----------
    viewer : Viewer
    on_changed : callable
        Called when something else is chosen, drawn or shown, or the layer is calibrated anew.

    Attributes
    ----------
    layer, scope, span : Widget
        To be laid out by the owner with :func:`form_rows`, which then calls :meth:`follow_viewer`.
    """

    def __init__(self, viewer: Viewer, on_changed: Callable[[], None]) -> None:
        self._viewer = viewer
        self._on_changed = on_changed
        self._watched: Image | None = None
        self.layer = LayerBox(viewer.layers, label="Layer", tooltip="Image to sharpen.")
        self.scope = ComboBox(
            label="Process",
            choices=_OF_A_PLANE,
            tooltip="What of the layer is sharpened. Try a rectangle of a shapes layer, or what "
            "the screen shows (of a pyramid, what is loaded of it), before a large image.",
        )
        self.span = RangeSlider(
            label="Planes", tooltip="First and last plane, along the layer's first axis."
        )

    def follow_viewer(self) -> None:
        """Choose the layer that is selected, now and whenever another one is."""
        self._follow_selection()
        self.layer.changed.connect(self._watch_layer)
        self.scope.changed.connect(self._show_scope)
        self.span.changed.connect(self._on_changed)
        self._viewer.layers.events.inserted.connect(self._watch_inserted)
        for layer in self._viewer.layers:
            self._watch_drawing(layer)
        self._viewer.layers.selection.events.active.connect(self._follow_selection)
        self._viewer.dims.events.order.connect(self._on_changed)
        self._watch_layer()

    # What is chosen

    @property
    def is_stack(self) -> bool:
        """Whether planes are to be sharpened one by one."""
        return self.scope.value in _OF_A_STACK

    def chosen_layer(self) -> Image:
        """The layer, or `ValueError` in one sentence if there is none."""
        layer: Image | None = self.layer.value
        if layer is None:
            raise ValueError("No image layer is selected; open an image and select its layer.")
        return layer

    def source(self) -> Source:
        """The plane or the region; raises as :meth:`chosen_layer`, or if no region is there."""
        layer = self.chosen_layer()
        return Source.of(layer, self._viewer.dims, self._region(layer))

    def planes(self) -> tuple[int, int] | None:
        """First and last plane along the first axis; None for all."""
        if self.scope.value != SPAN:
            return None
        first, last = self.span.value
        return int(first), int(last)

    def index(self) -> tuple[str, ...]:
        """What of the layer's array it is, an item an axis; raises as :meth:`source`."""
        layer = self.chosen_layer()
        if self.is_stack:
            span = self.planes()
            first = ":" if span is None else f"{span[0]}:{span[1] + 1}"
            return (first, *[":"] * (layer.ndim - 1))
        place = Place.of(layer, self._viewer.dims)
        items = [str(at) for at in place.position]
        for axis, part in zip(place.axes, self._region(layer) or (None, None), strict=True):
            items[axis] = ":" if part is None else f"{part.start}:{part.stop}"
        return tuple(items)

    def extent(self) -> Extent:
        """How much it is, without reading a pixel; raises as :meth:`source`."""
        layer = self.chosen_layer()
        shape = full_data(layer).shape
        samples = shape[-1] if layer.rgb else 1
        rows, columns = plane_shape(layer, self._viewer.dims)
        if not self.is_stack:
            region = self._region(layer)
            if region is not None:
                rows, columns = (part.stop - part.start for part in region)
            return Extent(1, rows * columns, 1, samples)
        first, last = self.planes() or (0, shape[0] - 1)
        leading = (last - first + 1, *shape[1 : layer.ndim - 2])
        axes = stack_axes(layer)
        channels = leading[axes.index("C")] if "C" in axes else 1
        return Extent(math.prod(leading), rows * columns, channels, samples)

    def take_all(self) -> None:
        """Choose all of the layer."""
        self.scope.value = STACK if STACK in self.scope.choices else PLANE

    def take_selected_plane(self) -> None:
        """Choose what is on the screen of the selected layer, if that is an image."""
        active = self._viewer.layers.selection.active
        self.layer.value = active if isinstance(active, Image) else None
        self.scope.value = PLANE

    def _region(self, layer: Image) -> Region | None:
        if self.scope.value == DRAWN:
            return drawn_region(layer, self._viewer.layers, self._viewer.dims)
        if self.scope.value == VISIBLE:
            return visible_region(layer, self._viewer.dims)
        return None

    # What is shown

    def _follow_selection(self) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Image) and not is_output(active):
            self.layer.refresh()
            self.layer.value = active

    def _watch_inserted(self, event: Any) -> None:
        self._watch_drawing(event.value)

    def _watch_drawing(self, layer: Layer) -> None:
        """A rectangle that is drawn or moved changes what a run takes."""
        if isinstance(layer, Shapes):
            layer.events.data.connect(self._on_changed)

    def _watch_layer(self) -> None:
        """Keep sizes in micrometres true when the layer is calibrated anew."""
        if self._watched is not None:
            self._watched.events.scale.disconnect(self._on_changed)
            self._watched.events.units.disconnect(self._on_changed)
        self._watched = self.layer.value
        if self._watched is not None:
            self._watched.events.scale.connect(self._on_changed)
            self._watched.events.units.connect(self._on_changed)
        self._offer_scopes()

    def _offer_scopes(self) -> None:
        """Offer what the layer has: planes to choose from, if it is a stack."""
        layer: Image | None = self.layer.value
        is_stack = layer is not None and layer.ndim > 2
        self.scope.choices = (*_OF_A_PLANE, *_OF_A_STACK) if is_stack else _OF_A_PLANE
        if layer is not None and is_stack:
            last = full_data(layer).shape[0] - 1
            if self.span.max != last:
                self.span.max = last
                self.span.value = (0, last)
        self._show_scope()

    def _show_scope(self) -> None:
        if self.scope.value == DRAWN:
            self._offer_drawing()
        show_row(self.span, self.scope.value == SPAN)
        self._on_changed()

    def _offer_drawing(self) -> None:
        """Something to draw the rectangle with, if there is nothing yet."""
        layer: Image | None = self.layer.value
        if layer is None or any(map(is_for_regions, self._viewer.layers)):
            return
        place = Place.of(layer, self._viewer.dims).placement()
        drawing = self._viewer.add_shapes(
            ndim=layer.ndim,
            name="region",
            edge_color=ORANGE,
            face_color="transparent",
            edge_width=max(1.0, min(plane_shape(layer, self._viewer.dims)) / 200),
            **place,
        )
        drawing.mode = "add_rectangle"
