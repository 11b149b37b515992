"""A divider that is moved over the plane: the input on its left, the result on its right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from napari.components import Dims
from napari.experimental import link_layers, unlink_layers
from napari.layers import Image as ImageLayer
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_blind_deconv.plugin.colours import BLUE
from napari_blind_deconv.plugin.geometry import LayerGeometry, display_of
from napari_blind_deconv.plugin.layers import layer_metadata
from napari_blind_deconv.plugin.viewing import plane_axes, unit_factors
from napari_blind_deconv.plugin.views import View

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["Swipe", "shows_planes"]

_REACH = 6  # pixels of the canvas from which the divider can be grasped


def shows_planes(run: ViewerRun, dims: Dims) -> bool:
    """Return whether the viewer shows rows and columns of the planes of a run."""
    return dims.ndisplay == 2 and plane_axes(run.layer, dims) == run.geometry.axes


class Swipe(View):
    """The input on the left of a divider and the result on its right.

    Two temporary layers show the parts of the plane on the screen, without copies of its pixels.
    They are displayed like the input and the result, and a change of one changes the other. The
    layer of the result is hidden meanwhile. The divider can be dragged on the canvas.

    Attributes
    ----------
    length : int
        Number of pixels across the plane.
    divider : int
        Number of pixels on the left of the divider, from 1 to ``length - 1``.

    Signals
    -------
    moved : int
        The divider was moved.
    """

    moved = Signal(int)

    def __init__(self, viewer: Viewer, run: ViewerRun) -> None:
        super().__init__(viewer, run)
        self._across = _Across.of(run, viewer)
        self.length = run.task.image.block_shape[-2:][self._across.axis]
        self._index = run.plane_index_shown()
        self._is_dragged = self._is_hovered = False
        centre = np.array(viewer.dims.point)
        centre[list(viewer.dims.displayed)] = viewer.scene.camera.center[-2:]
        self.divider = self._within(self._pixels_left_of(centre))
        self._planes = self._read()
        self._parts = self._make_parts()
        self._add_parts()
        viewer.mouse_drag_callbacks.append(self._drag)
        viewer.mouse_move_callbacks.append(self._hover)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.ndisplay.connect(self._on_dims)
        viewer.dims.events.order.connect(self._on_dims)

    def move_to(self, divider: float) -> None:
        """Move the divider; its position is a number of pixels from the left."""
        divider = self._within(divider)
        if divider != self.divider:
            self.divider = divider
            self._draw()
            self.moved.emit(divider)

    def refresh(self) -> None:
        """Show the plane that is on the screen, with the pixels that it has now."""
        self._planes = self._read()
        index = self._run.plane_index_shown()
        if index != self._index:
            self._index = index
            for part, place in zip(self._parts, self._places(), strict=True):
                part.translate = place.translate
        self._draw()

    def end(self) -> None:
        """Restore the viewer."""
        viewer = self._viewer
        viewer.mouse_drag_callbacks.remove(self._drag)
        viewer.mouse_move_callbacks.remove(self._hover)
        viewer.layers.events.removed.disconnect(self._on_removed)
        viewer.dims.events.ndisplay.disconnect(self._on_dims)
        viewer.dims.events.order.disconnect(self._on_dims)
        self._is_dragged = False
        self._show_hovering(False)
        for shown, part in zip(self._pair, self._parts, strict=True):
            unlink_layers([shown, part])
        if all(layer in viewer.layers for layer in (*self._pair, *self._parts)):
            self._remove_parts()
        else:
            # napari is removing a layer, and perhaps several: it fails if one of them has gone.
            # A lambda, because Qt keeps no object alive for its bound method.
            QTimer.singleShot(0, lambda: self._remove_parts())
        super().end()

    # Layers

    def _read(self) -> list[NDArray[Any]]:
        """Return the planes of input and result; none if the input cannot be read."""
        try:
            before, after = self._run.planes_shown()
        except ValueError:
            return []
        return [before.array, after]

    def _pieces(self) -> list[NDArray[Any]]:
        """Return the pixels of both parts.

        Those beyond the divider are counted from the other border, so that the layer of this part
        need not be moved with the divider.
        """
        image, is_mirrored = self._run.task.image, self._across.is_mirrored
        shape = image.block_shape[-2:] + image.samples
        planes = self._planes or [np.zeros(shape, np.float32)] * 2
        cut = self.length - self.divider if is_mirrored else self.divider
        pieces = []
        for plane, is_first in zip(planes, (not is_mirrored, is_mirrored), strict=True):
            part = slice(cut) if is_first else slice(None, cut - 1, -1)
            piece = plane[:, part] if self._across.axis else plane[part]
            pieces.append(replace(self._run.geometry, depth=None).embed(piece))
        return pieces

    def _places(self) -> list[LayerGeometry]:
        geometry = self._run.geometry
        first = geometry.shifted(self._index, geometry.sliced_axes)
        axis = geometry.axes[self._across.axis]
        places = [first, first.counted_backwards(axis, self.length - 1)]
        return places[::-1] if self._across.is_mirrored else places

    def _make_parts(self) -> list[ImageLayer]:
        geometry = self._run.geometry
        parts = []
        for layer, piece, place in zip(self._pair, self._pieces(), self._places(), strict=True):
            name = "input" if layer == self._run.source else "result"
            part = ImageLayer(
                piece,
                rgb=geometry.rgb,
                name=f"{geometry.name} [swipe: {name}]",
                opacity=layer.opacity,
                visible=bool(self._planes),
                metadata=layer_metadata(geometry, record={"swipe": True}),
                **display_of(layer),
                **place.layer_arguments(),
            )
            link_layers([layer, part], ["opacity", *display_of(layer)])
            parts.append(part)
        frame = parts[1].bounding_box  # one of its sides is the divider
        frame.points, frame.line_color, frame.line_thickness = False, BLUE, 3
        frame.visible = True
        return parts

    def _add_parts(self) -> None:
        layers = self._viewer.layers
        selected = set(layers.selection)
        above = 1 + max(layers.index(layer) for layer in self._pair)
        for part in reversed(self._parts):
            layers.insert(above, part)
        layers.selection.clear()
        layers.selection.update(selected)
        self._change(self._run.layer, "visible", False)
        self._change(self._viewer.canvas.grid, "enabled", False)

    def _remove_parts(self) -> None:
        for part in self._parts:
            if part in self._viewer.layers:
                self._viewer.layers.remove(part)

    def _draw(self) -> None:
        for part, piece in zip(self._parts, self._pieces(), strict=True):
            part.data = piece
            part.visible = bool(self._planes)

    def _on_removed(self, event: Any) -> None:
        if event.value in self._parts:
            self.interrupted.emit()

    def _on_dims(self) -> None:
        self.interrupted.emit()

    # Divider

    def _within(self, divider: float) -> int:
        # Each part keeps a pixel, because napari shows no empty layer.
        return int(np.clip(round(divider), 1, self.length - 1))

    def _pixels_left_of(self, position: NDArray[np.float64]) -> float:
        """Return the number of pixels between the left of the plane and a point of the viewer."""
        layer = self._run.layer
        world = position[-layer.ndim :] * unit_factors(self._viewer.dims.units, layer.units)
        pixels = layer.world_to_data(world)[self._run.geometry.axes[self._across.axis]] + 0.5
        return self.length - pixels if self._across.is_mirrored else pixels

    def _is_at_divider(self, event: Any) -> bool:
        distance = abs(self._pixels_left_of(np.array(event.position)) - self.divider)
        return distance * self._across.pixel * self._viewer.scene.camera.zoom <= _REACH

    def _drag(self, _viewer: Any, event: Any) -> Iterator[None]:
        """Drag the divider in place of the view."""
        camera = self._viewer.scene.camera
        # While the mouse is used to draw, it does not move the view.
        if event.button != 1 or not camera.mouse_pan or not self._is_at_divider(event):
            return
        camera.mouse_pan, self._is_dragged = False, True
        yield
        while event.type == "mouse_move" and self._is_dragged:
            self.move_to(self._pixels_left_of(np.array(event.position)))
            yield
        camera.mouse_pan, self._is_dragged = True, False

    def _hover(self, _viewer: Any, event: Any) -> None:
        self._show_hovering(self._is_at_divider(event))

    def _show_hovering(self, is_hovered: bool) -> None:
        """Let the mouse pointer show whether it can grasp the divider."""
        if is_hovered == self._is_hovered:
            return
        self._is_hovered = is_hovered
        active = self._viewer.layers.selection.active
        usual = "standard" if active is None else active.cursor
        self._viewer.cursor.style = "pointing" if is_hovered else usual


@dataclass(frozen=True)
class _Across:
    """The direction of a plane that runs across the screen.

    Attributes
    ----------
    axis : int
        0 if the rows are numbered across the screen, 1 if the columns are.
    is_mirrored : bool
        Whether they are numbered from right to left.
    pixel : float
        Width of a pixel in the viewer.
    """

    axis: int
    is_mirrored: bool
    pixel: float

    @classmethod
    def of(cls, run: ViewerRun, viewer: Viewer) -> Self:
        layer, dims = run.layer, viewer.dims
        first = layer.data_to_world(np.zeros(layer.ndim))
        horizontal = max(dims.displayed[-1] - dims.ndim, -layer.ndim)
        steps = []
        for axis in run.geometry.axes:
            next_one = np.zeros(layer.ndim)
            next_one[axis] = 1
            steps.append(np.subtract(layer.data_to_world(next_one), first)[horizontal])
        axis = int(abs(steps[1]) >= abs(steps[0]))
        unit = unit_factors(dims.units, layer.units)[horizontal]
        is_flipped = viewer.scene.camera.orientation2d[1] == "left"
        return cls(axis, bool(steps[axis] < 0) != is_flipped, abs(steps[axis]) / unit)
