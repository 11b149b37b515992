"""A choice among a viewer's image layers."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import ComboBox
from napari.components import LayerList
from napari.layers import Image

__all__ = ["LayerBox"]


class LayerBox(ComboBox):
    """A box of image layers, which may be empty, and whose choice outlives a change of names.

    Parameters
    ----------
    layers : LayerList
        Of the viewer.
    **options
        Of the box: label and tooltip.
    """

    def __init__(self, layers: LayerList, **options: Any) -> None:
        super().__init__(
            choices=lambda _box: [layer for layer in layers if isinstance(layer, Image)],
            nullable=True,
            **options,
        )
        events = layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self.refresh)

    def refresh(self) -> None:
        """Offer the layers that are there now."""
        chosen = self.value
        with self.changed.blocked():
            self.reset_choices()  # which knows layers by their names, and loses a renamed one
            if chosen in self.choices:
                self.value = chosen
        if self.value != chosen:
            self.changed.emit(self.value)
