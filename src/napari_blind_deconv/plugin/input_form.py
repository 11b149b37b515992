"""The form for the input of a run: a layer, and the part of it to deconvolve."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, RangeSlider
from napari.layers import Image, Labels, Layer, Shapes
from qtpy.compat import isalive
from qtpy.QtCore import QTimer

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.plugin.axes import stack_axes
from napari_blind_deconv.plugin.channels import input_layers
from napari_blind_deconv.plugin.colours import ORANGE
from napari_blind_deconv.plugin.geometry import LayerGeometry
from napari_blind_deconv.plugin.input_part import InputPart
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_box import LayerBox
from napari_blind_deconv.plugin.layer_line import LayerLine
from napari_blind_deconv.plugin.layers import is_output
from napari_blind_deconv.plugin.masks import MaskFile, mask_file
from napari_blind_deconv.plugin.regions import can_hold_regions, drawn_region, visible_region
from napari_blind_deconv.plugin.run_on import ONE, RunOn
from napari_blind_deconv.plugin.settings_form import show_row
from napari_blind_deconv.plugin.viewing import plane_shape

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["DRAWN", "PLANE", "SPAN", "STACK", "VISIBLE", "VOLUME", "VOLUMES", "InputForm"]

PLANE, DRAWN, VISIBLE = "this plane", "drawn rectangle", "visible part"
SPAN, STACK = "some planes", "all planes"
VOLUME, VOLUMES = "this volume", "all volumes"
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
            "that napari has loaded). A volume, for a layer with an axis Z, is deconvolved in 3D, "
            "which needs its voxel size; planes are deconvolved one by one.",
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
        """Whether the input is a stack, whose planes or volumes are deconvolved one by one."""
        return self.scope.value in (SPAN, STACK, VOLUMES)

    @property
    def block(self) -> BlockKind:
        """What is deconvolved at once."""
        is_volume = self.scope.value in (VOLUME, VOLUMES)
        return BlockKind.VOLUME if is_volume else BlockKind.PLANE

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

    def part(self, layer: Image) -> InputPart:
        """Return the part of a layer that is chosen; raise `ValueError` if there is none.

        For a layer that is not the chosen one, the choices are those that the form shows. The
        *all planes* of a plane are that plane.
        """
        scope, region = self.scope.value, None
        if scope == DRAWN:
            region = drawn_region(layer, self._viewer.layers, self._viewer.dims)
        if scope == VISIBLE:
            region = visible_region(layer, self._viewer.dims)
        return InputPart(
            layer,
            self._viewer.dims,
            self.block,
            self.is_stack and (layer.ndim > 2 or scope != STACK),
            (int(self.span.value[0]), int(self.span.value[1])) if scope == SPAN else None,
            region,
        )

    def read(self, layer: Image) -> tuple[LayerGeometry, ImageData]:
        """Return the chosen part of a layer without the pixels to leave out.

        Errors are those of :meth:`part` and :meth:`InputPart.read`.
        """
        return self.part(layer).read(self.mask.value)

    def mask_file(self, layer: Image) -> MaskFile | None:
        """Return the file of the mask for scripts; None for no mask."""
        mask: Labels | Shapes | None = self.mask.value
        if mask is None:
            return None
        return mask_file(mask, layer, self._viewer.dims)

    def choose_all(self, block: BlockKind) -> None:
        """Choose all planes or all volumes of the layer, and no other layers."""
        self.run_on.value = ONE
        wanted = (VOLUMES, VOLUME) if block is BlockKind.VOLUME else (STACK, PLANE)
        self.scope.value = next(scope for scope in wanted if scope in self.scope.choices)

    def choose_selected_plane(self) -> None:
        """Choose the plane shown of the selected layer, or no layer if that is not an image."""
        active = self._viewer.layers.selection.active
        self.layer.value = active if isinstance(active, Image) else None
        self.run_on.value = ONE
        self.scope.value = PLANE

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
        """Offer the scopes that the layer allows."""
        layer: Image | None = self.layer.value
        self._offer_scopes()
        if layer is not None and layer.ndim > 2:
            last = full_data(layer).shape[0] - 1
            if self.span.max != last:
                self.span.max = last
                self.span.value = (0, last)
        self._on_scope_changed()

    def _offer_scopes(self) -> None:
        scopes = _scopes_of(self.layer.value)
        if scopes != tuple(self.scope.choices):
            self.scope.choices = scopes

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
        """Show how the layer is read, and what it allows, and call `on_changed`."""
        self._offer_scopes()
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


def _scopes_of(layer: Image | None) -> tuple[str, ...]:
    """Return the scopes of a layer: those of a stack need more than two axes, volumes need Z."""
    if layer is None or layer.ndim < 3:
        return _PLANE_SCOPES
    try:
        stacked = stack_axes(layer).removesuffix("S").removesuffix("YX")
    except ValueError:  # planes need no letters
        stacked = ""
    volumes = (VOLUME, VOLUMES) if len(stacked) > 1 else (VOLUME,)
    return (*_PLANE_SCOPES, *_STACK_SCOPES, *(volumes if "Z" in stacked else ()))
