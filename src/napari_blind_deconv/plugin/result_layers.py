"""The layers of one result, which are made, leave the viewer and return together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer, Points
from numpy.typing import NDArray
from psygnal import Signal

from napari_blind_deconv.plugin.contrast import EstimateContrast
from napari_blind_deconv.plugin.geometry import LayerGeometry
from napari_blind_deconv.plugin.layers import LayerData

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["ResultLayers"]


@dataclass
class _Made:
    """A layer of a result, with the name and the data that it was given."""

    layer: Layer
    wanted_name: str
    name: str  # with a number if another layer already had the wanted one
    data: Any

    @classmethod
    def of(cls, layer: Layer, wanted_name: str = "") -> _Made:
        # Points are moved in place; the pixels of images are replaced.
        data = layer.data.copy() if isinstance(layer, Points) else layer.data
        return cls(layer, wanted_name or layer.name, layer.name, data)

    @property
    def is_changed(self) -> bool:
        """Whether the user has renamed or locked the layer, or has given it other data."""
        layer, data = self.layer, self.layer.data
        is_same = (
            np.array_equal(data, self.data) if isinstance(layer, Points) else data is self.data
        )
        return layer.name != self.name or not is_same or layer.locked


class ResultLayers:
    """The layers of a result: the estimate, its kernel and trace, and those added on request.

    Kernel and trace are hidden at first. napari's *Home* shows the extent of all layers, hidden
    ones too. Therefore they lie on the image while they are hidden, and move to the right of it
    when they are shown.

    Parameters
    ----------
    viewer : Viewer
    geometry : LayerGeometry
        Position of the estimate.
    estimate : Image
        The layer of the estimate, which is in the viewer.

    Attributes
    ----------
    estimate : Image

    Signals
    -------
    changed : ()
        The result was kept or let go, or kernel and trace were shown or hidden.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, geometry: LayerGeometry, estimate: Image) -> None:
        self._viewer, self._geometry, self.estimate = viewer, geometry, estimate
        self._made = _Made.of(estimate, f"{geometry.name} [deblurred]")
        self._beside: list[_Made] = []
        self._on_request: dict[str, _Made] = {}
        self._is_kept = False
        is_grey_volume = geometry.depth is not None and not geometry.rgb
        self._contrast = EstimateContrast(estimate) if is_grey_volume else None

    # What is in the viewer

    @property
    def is_in_viewer(self) -> bool:
        """Whether the estimate is in the viewer."""
        return self.estimate in self._viewer.layers

    @property
    def in_viewer(self) -> list[Layer]:
        """The layers of the result that are in the viewer."""
        return [made.layer for made in self._all() if made.layer in self._viewer.layers]

    @property
    def all(self) -> list[Layer]:
        """The layers of the result, with those that are not in the viewer."""
        return [made.layer for made in self._all()]

    @property
    def is_kept(self) -> bool:
        """Whether another run on the same input leaves these layers alone."""
        return self._is_kept

    @is_kept.setter
    def is_kept(self, is_kept: bool) -> None:
        if is_kept != self._is_kept:
            self._is_kept = is_kept
            self.changed.emit()

    @property
    def is_changed(self) -> bool:
        """Whether the user has renamed, locked or edited one of the layers."""
        return any(made.is_changed for made in self._all() if made.layer in self._viewer.layers)

    @property
    def beside(self) -> list[Layer]:
        """Kernel and trace, as far as they are in the viewer."""
        return [made.layer for made in self._beside if made.layer in self._viewer.layers]

    @property
    def shows_beside(self) -> bool:
        """Whether kernel or trace is visible."""
        return any(layer.visible for layer in self.beside)

    # Making layers

    def show(self, pixels: NDArray[Any]) -> None:
        """Show other pixels as the estimate."""
        self.estimate.data = self._made.data = pixels
        if self._contrast is not None:
            self._contrast.fit(pixels)

    def refresh(self, block: NDArray[Any] | None) -> None:
        """Show a plane or volume that was added to the pixels of a stack; None if it failed."""
        self.estimate.refresh()
        if self._contrast is not None and block is not None:
            self._contrast.fit(block, is_one_of_many=True)

    def set_beside(self, layers: Iterable[LayerData]) -> None:
        """Replace kernel and trace, as visible as they were."""
        was_shown = self.shows_beside
        for layer in self.beside:
            self._viewer.layers.remove(layer)
        above = self._viewer.layers.index(self.estimate) + 1
        self._beside = []
        for offset, (data, arguments, kind) in enumerate(layers):
            layer = Layer.create(data, arguments, kind)
            self._keep_home_view(layer)
            self._viewer.layers.insert(above + offset, layer)
            layer.visible = was_shown  # not earlier: a layer that was never seen has no thumbnail
            self._beside.append(_Made.of(layer, arguments["name"]))
            layer.events.visible.connect(self._on_visible)

    def add(self, kind: str, layer: Layer) -> None:
        """Add a layer that was made on request, or note that its data were made anew."""
        self._on_request[kind] = _Made.of(layer)

    def on_request(self, kind: str) -> Layer | None:
        """Return the layer of a kind that was made on request; None if the viewer has none."""
        made = self._on_request.get(kind)
        return None if made is None or made.layer not in self._viewer.layers else made.layer

    def show_beside(self, shown: bool) -> None:
        """Show or hide kernel and trace."""
        for layer in self.beside:
            layer.visible = shown

    # Leaving the viewer and returning

    def take_the_place_of(self, old: ResultLayers) -> None:
        """Put these layers where those of another result are, which leave the viewer.

        Kernel and trace are then as visible as the other ones were.
        """
        if old.is_in_viewer:
            self._bring_to(self._viewer.layers.index(old.estimate))
        self.show_beside(old.shows_beside)
        for layer in old.in_viewer:
            self._viewer.layers.remove(layer)
        self._restore_names()

    def return_above(self, source: Layer) -> None:
        """Put these layers back, above the input if that is in the viewer, else on top."""
        layers = self._viewer.layers
        self._bring_to(layers.index(source) + 1 if source in layers else len(layers))
        self._restore_names()

    def _bring_to(self, position: int) -> None:
        """Bring all layers before a position in the layer list; those that are missing return."""
        layers = self._viewer.layers
        present = [layers.index(layer) for layer in self.in_viewer]
        missing = [made for made in self._all() if made.layer not in layers]
        if present:
            layers.move_multiple(present, position)
        for offset, made in enumerate(missing):
            is_named = made.layer.name != made.name  # by the user
            layers.insert(position + offset, made.layer)
            if not is_named:
                made.name = made.layer.name  # napari has added a number if the name is taken

    def _restore_names(self) -> None:
        """Take the numbers off the names that are free now."""
        for made in self._all():
            if made.layer.name == made.name:  # else the user has named it
                made.layer.name = made.wanted_name
                made.name = made.layer.name

    def _all(self) -> list[_Made]:
        return [self._made, *self._beside, *self._on_request.values()]

    def _on_visible(self) -> None:
        self.changed.emit()

    def _keep_home_view(self, layer: Layer) -> None:
        """Let a layer lie beside the image while it is visible, else in the middle of it."""
        geometry = self._geometry
        axes = list(geometry.block_axes)
        middle = (np.array(self.estimate.data.shape)[axes] - 1) / 2
        offset = middle - layer.extent.data.mean(axis=0)[axes]
        if geometry.depth is not None:  # half a plane would put the viewer's slider between planes
            offset[0] = np.floor(offset[0])
        beside, on_image = layer.translate, geometry.shifted(offset, axes).translate

        def move() -> None:
            layer.translate = beside if layer.visible else on_image

        move()
        # A function, because the layers can outlive the run; napari keeps no bound method alive.
        layer.events.visible.connect(move)
