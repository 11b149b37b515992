"""A combo box of the viewer's layers."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import ComboBox
from napari.components import LayerList
from napari.layers import Image, Layer

__all__ = ["LayerBox"]

_MIN_CHARACTERS = 8  # of a name that the box has room for


class LayerBox(ComboBox):
    """A combo box of layers of some kinds, which may be empty; a renamed layer stays selected.

    Parameters
    ----------
    layers : LayerList
        Layers of the viewer.
    kinds : tuple of type
        Kinds of layers to choose from; default: images.
    nothing : str
        Text of the choice of no layer.
    **options
        Label and tooltip of the box.
    """

    def __init__(
        self,
        layers: LayerList,
        kinds: tuple[type[Layer], ...] = (Image,),
        nothing: str = ComboBox.null_string,
        **options: Any,
    ) -> None:
        self.null_string = nothing
        super().__init__(
            choices=lambda _box: [layer for layer in layers if isinstance(layer, kinds)],
            nullable=True,
            **options,
        )
        box = self.native
        # The name of a layer can be too long for the panel, but not for the list.
        box.setSizeAdjustPolicy(box.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(_MIN_CHARACTERS)
        events = layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self.refresh)

    def refresh(self) -> None:
        """Update the box to the layers of the viewer."""
        selected, names = self.value, self.native.view()
        with self.changed.blocked():
            # magicgui identifies layers by their names and so loses a renamed one.
            self.reset_choices()
            if selected in self.choices:
                self.value = selected
        names.setMinimumWidth(names.sizeHintForColumn(0))
        if self.value != selected:
            self.changed.emit(self.value)
