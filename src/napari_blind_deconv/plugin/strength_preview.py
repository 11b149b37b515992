"""The preview of a result at another strength, as a layer in a frame on the result."""

from __future__ import annotations

from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.experimental import link_layers, unlink_layers
from napari.layers import Image as ImageLayer
from napari.qt.threading import GeneratorWorker, create_worker
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_blind_deconv.plugin.colours import BLUE
from napari_blind_deconv.plugin.geometry import display_of
from napari_blind_deconv.plugin.layers import layer_metadata
from napari_blind_deconv.plugin.strength_tile import Tile, estimates
from napari_blind_deconv.plugin.worker import Failure, catch_errors

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["PreviewLayer"]


class PreviewLayer:
    """A temporary layer with a part of a result at another strength.

    It lies on the result and is displayed like it. A thread computes what it shows; the newest
    request replaces the others.

    Parameters
    ----------
    viewer : Viewer

    Signals
    -------
    drawn : float
        The layer shows an estimate at this strength.
    failed : str
        There is no preview, for the reason given.
    removed : ()
        The user has deleted the layer.
    """

    drawn = Signal(float)
    failed = Signal(str)
    removed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._tile: Tile | None = None
        self._strength: float | None = None  # the one to compute next
        self._layer: ImageLayer | None = None
        self._result_layer: ImageLayer | None = None
        self._stop = Event()
        self._worker: GeneratorWorker[NDArray[np.float32], None, Failure | None] | None = None
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def is_computing(self) -> bool:
        """Whether a thread computes an estimate."""
        return self._worker is not None

    def show(self, tile: Tile, strength: float) -> None:
        """Show a part of a result at a strength."""
        if not tile.has_place_of(self._tile):  # else the part is inspected already
            self._tile = tile
        self._strength = strength
        self._stop.set()
        if self._worker is None:
            self._start()

    def end(self) -> None:
        """Remove the layer."""
        self.stop()
        layer = self._released()
        if layer is None:
            return
        if self._result_layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        else:
            # napari is removing a layer, and perhaps several: it fails if one of them has gone.
            # A lambda, because Qt keeps no object alive for its bound method.
            QTimer.singleShot(0, lambda: self._remove(layer))

    def stop(self) -> None:
        """End the computation, whose estimate is no longer wanted."""
        self._tile = self._strength = None
        self._stop.set()

    # Thread

    def _start(self) -> None:
        """Start to compute the newest request."""
        tile, strength = self._tile, self._strength
        assert tile is not None
        assert strength is not None
        self._strength, self._stop = None, Event()
        self._worker = create_worker(
            catch_errors,
            estimates,
            tile,
            strength,
            self._stop,
            _connect={
                "yielded": partial(self._draw, tile, strength),
                "returned": self._on_returned,
                "finished": self._on_finished,
            },
        )

    def _on_returned(self, outcome: Failure | None) -> None:
        if outcome is not None and self._tile is not None:
            self.failed.emit(str(outcome))

    def _on_finished(self) -> None:
        self._worker = None
        if self._strength is not None:
            self._start()

    # Layer

    def _draw(self, tile: Tile, strength: float, estimate: NDArray[np.float32]) -> None:
        if tile is not self._tile:
            return
        pixels = tile.displayed(estimate)
        if self._layer is None:
            self._add(tile, pixels)
        else:
            self._layer.data = pixels
            self._layer.translate = tile.place.translate
        self.drawn.emit(strength)

    def _add(self, tile: Tile, pixels: NDArray[Any]) -> None:
        geometry, result = tile.run.geometry, tile.run.layer
        shared = {name: value for name, value in display_of(result).items() if name != "blending"}
        layer = ImageLayer(
            pixels,
            rgb=geometry.rgb,
            name=f"{geometry.name} [strength]",
            visible=result.visible,
            blending="opaque",  # an additive one would be added to the result
            metadata=layer_metadata(geometry, record={"preview": True}),
            **shared,
            **tile.place.layer_arguments(),
        )
        link_layers([result, layer], list(shared))
        result.events.visible.connect(self._follow_visibility)
        frame = layer.bounding_box
        frame.points, frame.line_color, frame.line_thickness = False, BLUE, 2
        frame.visible = True
        self._layer, self._result_layer = layer, result
        layers = self._viewer.layers
        selected = set(layers.selection)
        layers.insert(layers.index(result) + 1, layer)
        layers.selection.clear()
        layers.selection.update(selected)

    def _follow_visibility(self) -> None:
        """Hide the preview with its result; a view of the panel may hide the preview alone."""
        if self._layer is not None and self._result_layer is not None:
            self._layer.visible = self._result_layer.visible

    def _released(self) -> ImageLayer | None:
        """Let go of the layer, and return it."""
        layer, self._layer = self._layer, None
        if layer is not None and self._result_layer is not None:
            unlink_layers([self._result_layer, layer])
            self._result_layer.events.visible.disconnect(self._follow_visibility)
        return layer

    def _remove(self, layer: ImageLayer) -> None:
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _on_removed(self, event: Any) -> None:
        # Not `is`: napari passes proxies of its layers to plugins.
        if self._layer is not None and event.value == self._layer:
            self._released()
            self.stop()
            self.removed.emit()
