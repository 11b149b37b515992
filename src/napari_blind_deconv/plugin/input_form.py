"""The form for the input of a run: a layer, and a plane, a region or a stack of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox, RangeSlider
from napari.layers import Image, Labels, Layer, Shapes
from numpy.typing import NDArray
from qtpy.compat import isalive
from qtpy.QtCore import QTimer

from napari_blind_deconv.plugin.axes import stack_axes
from napari_blind_deconv.plugin.channels import input_layers
from napari_blind_deconv.plugin.colours import ORANGE
from napari_blind_deconv.plugin.expected_time import Extent
from napari_blind_deconv.plugin.geometry import (
    LayerGeometry,
    LayerPlane,
    Region,
    plane_shape,
)
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_box import LayerBox
from napari_blind_deconv.plugin.layer_line import LayerLine
from napari_blind_deconv.plugin.layers import is_output
from napari_blind_deconv.plugin.masks import MaskFile, mask_file, mask_in_pixels
from napari_blind_deconv.plugin.regions import can_hold_regions, drawn_region, visible_region
from napari_blind_deconv.plugin.run_on import ONE, RunOn
from napari_blind_deconv.plugin.settings_form import show_row

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["DRAWN", "PLANE", "SPAN", "STACK", "VISIBLE", "InputForm"]

PLANE, DRAWN, VISIBLE = "this plane", "drawn rectangle", "visible part"
SPAN, STACK = "some planes", "whole stack"
_PLANE_SCOPES, _STACK_SCOPES = (PLANE, DRAWN, VISIBLE), (SPAN, STACK)
# Events of a layer after which its axes or its pixel size may be others.
_CALIBRATION = ("scale", "rotate", "shear", "affine", "units", "axis_labels", "metadata")
_CAMERA_REST = 150  # ms without a movement of the camera before the visible part is read


class InputForm:
    """Widgets to choose a layer and the part of it to process.

    Parameters
    ----------
    viewer : Viewer
        Viewer with the layers.
    on_changed : callable
        Called when the choice, a drawn region, the plane shown or the layer's calibration changes.
    on_failed : callable
        Called with a sentence if something that the user entered cannot be used.

    Attributes
    ----------
    layer, run_on, scope, span, mask : Widget
    line : LayerLine
        How the layer is read. The owner adds these widgets to its layout with :func:`form_rows` and
        then calls :meth:`follow_viewer`.
    """

    def __init__(
        self,
        viewer: Viewer,
        on_changed: Callable[[], None],
        on_failed: Callable[[str], None],
    ) -> None:
        self._viewer = viewer
        self._on_changed = on_changed
        self._watched: Image | None = None
        self.layer = LayerBox(viewer.layers, label="Layer", tooltip="Image layer to deconvolve.")
        self.run_on = RunOn(viewer.layers)
        self.scope = ComboBox(
            label="Process",
            choices=_PLANE_SCOPES,
            tooltip="Part of the layer to deconvolve. Before you process a large image, try a "
            "rectangle of a shapes layer or the visible part (for a multiscale layer, the part "
            "that napari has loaded).",
        )
        self.span = RangeSlider(
            label="Planes", tooltip="First and last plane along the layer's first axis."
        )
        # Labels at the handles would overlap and be cut; those at the ends state the same numbers.
        slider = self.span.native
        slider.setHandleLabelPosition(slider.LabelPosition.NoLabel)
        slider.setEdgeLabelMode(slider.EdgeLabelMode.LabelIsValue)
        self.line = LayerLine(on_failed)
        self.mask = LayerBox(
            viewer.layers,
            (Labels, Shapes),
            label="Leave out",
            tooltip="Labels or shapes over pixels that are not part of the image, such as a scale "
            "bar or debris: they have no influence on the result, and stay as they are. A 2D layer "
            "holds for all planes.",
        )

        # The visible part is known when napari has drawn the layer with the new camera.
        self._camera_rests = QTimer(self.scope.native)
        self._camera_rests.setSingleShot(True)
        self._camera_rests.setInterval(_CAMERA_REST)
        self._camera_rests.timeout.connect(self._announce)

    def follow_viewer(self) -> None:
        """Choose the selected layer, now and whenever the selection changes."""
        self._follow_selection()
        self.layer.changed.connect(self._watch_layer)
        self.run_on.changed.connect(self._announce)
        self.scope.changed.connect(self._on_scope_changed)
        self.span.changed.connect(self._announce)
        self._viewer.layers.events.inserted.connect(self._watch_inserted)
        for layer in self._viewer.layers:
            self._watch_contents(layer)
        for changed in (self._viewer.layers.events.removed, self._viewer.layers.events.reordered):
            changed.connect(self._offer_layers)
        self._viewer.layers.selection.events.active.connect(self._follow_selection)
        self._viewer.layers.selection.events.changed.connect(self._follow_several)
        self._viewer.dims.events.order.connect(self._announce)
        camera = self._viewer.scene.camera
        for moved in (camera.events.center, camera.events.zoom):
            moved.connect(self._on_camera_moved)
        self._watch_layer()

    # The choice

    @property
    def is_stack(self) -> bool:
        """Whether the input is a stack, whose planes are deconvolved one by one."""
        return self.scope.value in _STACK_SCOPES

    def is_stack_of(self, layer: Image) -> bool:
        """Whether the input is a stack for a layer: the whole stack of a plane is that plane."""
        return self.is_stack and (layer.ndim > 2 or self.scope.value == SPAN)

    def chosen_layers(self) -> list[Image]:
        """Return the layers to run on; raise `ValueError` if there are none."""
        self.chosen_layer()
        return self.run_on.chosen

    def chosen_layer(self) -> Image:
        """Return the layer; raise `ValueError` if there is none."""
        layer: Image | None = self.layer.value
        if layer is None:
            raise ValueError("No image layer is selected; open an image and select its layer.")
        return layer

    def plane(self, layer: Image) -> LayerPlane:
        """Return a copy of the plane or the region of a layer; raise `ValueError` if there is none.

        For a layer that is not the chosen one, the choices are those that the form shows.
        """
        return LayerPlane.of(layer, self._viewer.dims, self._region(layer))

    def masked(self, layer: Image) -> NDArray[np.bool_] | None:
        """Return the mask of the pixels to leave out, of a plane or of the stack; None for no mask.

        Raises
        ------
        ValueError
            If the layer that is chosen for it is empty; also as :meth:`plane`.
        """
        mask: Labels | Shapes | None = self.mask.value
        if mask is None:
            return None
        dims = self._viewer.dims
        sides = full_data(layer).shape[: layer.ndim]
        if self.is_stack_of(layer):
            first, last = self.planes(layer) or (0, sides[0] - 1)
            pixels = [range(first, last + 1), *map(range, sides[1:])]
            return mask_in_pixels(mask, layer, dims, (layer.ndim - 2, layer.ndim - 1), pixels)
        geometry = LayerGeometry.of(layer, dims)
        pixels = [range(index, index + 1) for index in geometry.position]
        parts = self._region(layer) or (slice(None), slice(None))
        for axis, part in zip(geometry.axes, parts, strict=True):
            pixels[axis] = range(sides[axis])[part]
        return mask_in_pixels(mask, layer, dims, geometry.axes, pixels)

    def mask_file(self, layer: Image) -> MaskFile | None:
        """Return the file of the mask for scripts; None for no mask."""
        mask: Labels | Shapes | None = self.mask.value
        if mask is None:
            return None
        return mask_file(mask, layer, self._viewer.dims)

    def planes(self, layer: Image) -> tuple[int, int] | None:
        """Return the first and last plane along the first axis; None for all planes.

        Raises
        ------
        ValueError
            If the layer has fewer planes.
        """
        if self.scope.value != SPAN:
            return None
        first, last = map(int, self.span.value)
        count = full_data(layer).shape[0] if layer.ndim > 2 else 1
        if last >= count:
            raise ValueError(
                f"Expected more than {last} planes, as chosen under Planes, got the layer "
                f"{layer.name} with {count}."
            )
        return first, last

    def index(self, layer: Image) -> tuple[str, ...]:
        """Return the chosen part of the layer's array, as one index or slice per axis.

        The items are Python text, such as ``("2", "10:30", ":")``. Errors are those of
        :meth:`plane`.
        """
        if self.is_stack_of(layer):
            span = self.planes(layer)
            first = ":" if span is None else f"{span[0]}:{span[1] + 1}"
            return (first, *[":"] * (layer.ndim - 1))
        geometry = LayerGeometry.of(layer, self._viewer.dims)
        items = [str(index) for index in geometry.position]
        for axis, part in zip(geometry.axes, self._region(layer) or (None, None), strict=True):
            items[axis] = ":" if part is None else f"{part.start}:{part.stop}"
        return tuple(items)

    def extent(self, layer: Image) -> Extent:
        """Return the size of the input without reading it; errors are those of :meth:`plane`."""
        shape = full_data(layer).shape
        samples = shape[-1] if layer.rgb else 1
        rows, columns = plane_shape(layer, self._viewer.dims)
        if not self.is_stack_of(layer):
            region = self._region(layer)
            if region is not None:
                rows, columns = (part.stop - part.start for part in region)
            return Extent(1, rows * columns, 1, samples)
        first, last = self.planes(layer) or (0, shape[0] - 1)
        leading = (last - first + 1, *shape[1 : layer.ndim - 2])
        axes = stack_axes(layer)
        channels = leading[axes.index("C")] if "C" in axes else 1
        return Extent(math.prod(leading), rows * columns, channels, samples)

    def choose_all(self) -> None:
        """Choose the whole layer, and no others."""
        self.run_on.value = ONE
        self.scope.value = STACK if STACK in self.scope.choices else PLANE

    def choose_selected_plane(self) -> None:
        """Choose the plane shown of the selected layer, or no layer if that is not an image."""
        active = self._viewer.layers.selection.active
        self.layer.value = active if isinstance(active, Image) else None
        self.run_on.value = ONE
        self.scope.value = PLANE

    def _region(self, layer: Image) -> Region | None:
        if self.scope.value == DRAWN:
            return drawn_region(layer, self._viewer.layers, self._viewer.dims)
        if self.scope.value == VISIBLE:
            return visible_region(layer, self._viewer.dims)
        return None

    # Updates from the viewer

    def _follow_selection(self) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Image) and not is_output(active):
            self.layer.refresh()
            self.layer.value = active

    def _follow_several(self) -> None:
        """Choose one of the selected layers, if there are several, and offer to run on all."""
        layers = self._viewer.layers
        selected = input_layers(layer for layer in layers if layer in layers.selection)
        if len(selected) > 1 and self.layer.value not in selected:
            self.layer.refresh()
            self.layer.value = selected[0]
        self._offer_layers()

    def _offer_layers(self) -> None:
        if isalive(self.scope.native):  # the layers outlive the dock
            self.run_on.offer_with(self.layer.value)

    def _watch_inserted(self, event: Any) -> None:
        self._watch_contents(event.value)
        self._offer_layers()

    def _watch_contents(self, layer: Layer) -> None:
        """Follow the rectangles of a layer, and whether it is blended with others."""
        if isinstance(layer, Shapes):
            layer.events.data.connect(self._announce)
        if isinstance(layer, Image):
            layer.events.blending.connect(self._offer_layers)

    def _watch_layer(self) -> None:
        """Call `on_changed` when the calibration changes, so that sizes in µm stay correct."""
        before, self._watched = self._watched, self.layer.value
        for name in _CALIBRATION:
            if before is not None:
                before.events[name].disconnect(self._announce)
            if self._watched is not None:
                self._watched.events[name].connect(self._announce)
        with self.run_on.changed.blocked():  # the scopes are not yet those of the layer
            self._offer_layers()
        self._update_scopes()

    def _update_scopes(self) -> None:
        """Offer the scopes that the layer allows; those of a stack need more than two axes."""
        layer: Image | None = self.layer.value
        is_stack = layer is not None and layer.ndim > 2
        self.scope.choices = (*_PLANE_SCOPES, *_STACK_SCOPES) if is_stack else _PLANE_SCOPES
        if layer is not None and is_stack:
            last = full_data(layer).shape[0] - 1
            if self.span.max != last:
                self.span.max = last
                self.span.value = (0, last)
        self._on_scope_changed()

    def _on_camera_moved(self) -> None:
        # The camera outlives the dock.
        if isalive(self.scope.native) and self.scope.value == VISIBLE:
            self._camera_rests.start()

    def _on_scope_changed(self) -> None:
        if self.scope.value == DRAWN:
            self._add_shapes_layer()
        show_row(self.span, self.scope.value == SPAN)
        self._announce()

    def _announce(self) -> None:
        """Show how the layer is read, and call `on_changed`."""
        self.line.show_layer(self.layer.value, self._viewer.dims)
        self._on_changed()

    def _add_shapes_layer(self) -> None:
        """Add a layer to draw the rectangle in, unless there is one."""
        layer: Image | None = self.layer.value
        if layer is None or any(map(can_hold_regions, self._viewer.layers)):
            return
        geometry = LayerGeometry.of(layer, self._viewer.dims)
        shapes = self._viewer.add_shapes(
            ndim=layer.ndim,
            name="region",
            edge_color=ORANGE,
            face_color="transparent",
            edge_width=max(1.0, min(plane_shape(layer, self._viewer.dims)) / 200),
            **geometry.layer_arguments(),
        )
        shapes.mode = "add_rectangle"
