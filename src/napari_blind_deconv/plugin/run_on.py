"""The choice of the layers to run on: one, those that are selected, or the channels of an image."""

from __future__ import annotations

from magicgui.widgets import ComboBox
from napari.components import LayerList
from napari.layers import Image

from napari_blind_deconv.plugin.channels import channels_of, input_layers
from napari_blind_deconv.plugin.settings_form import set_tooltip, show_row

__all__ = ["CHANNELS", "ONE", "SELECTED", "RunOn"]

ONE, SELECTED, CHANNELS = "one", "selected", "channels"
_HELP = "Layers to deconvolve. With several, each has a run of its own, one after the other"


class RunOn(ComboBox):
    """A combo box of layers to run on, in a row that is hidden if there is no choice.

    The value is `ONE`, `SELECTED` or `CHANNELS`.

    Parameters
    ----------
    layers : LayerList
        Layers of the viewer.

    Attributes
    ----------
    chosen : list of Image
        The layers to run on, which are those that the box states.
    """

    def __init__(self, layers: LayerList) -> None:
        super().__init__(label="Run on", choices=[("this layer", ONE)], tooltip=f"{_HELP}.")
        self._layers = layers
        self._offers: dict[str, list[Image]] = {ONE: []}

    @property
    def chosen(self) -> list[Image]:
        """The layers to run on, which are those that the box states."""
        return self._offers[self.value]

    def offer_with(self, layer: Image | None) -> None:
        """Offer a layer, the selected layers if it is among them, and all channels of its image."""
        before = self.chosen
        self._offers = self._offers_with(layer)
        choices = list(zip(self._texts(), self._offers, strict=True))
        value = self.value if self.value in self._offers else ONE
        with self.changed.blocked():
            self.choices = choices[:1]  # new ones are then added in their order
            self.choices = choices
            self.value = value
        show_row(self, len(self._offers) > 1)
        self._show_names()
        if self.chosen != before:
            self.changed.emit(self.value)

    def _offers_with(self, layer: Image | None) -> dict[str, list[Image]]:
        if layer is None:
            return {ONE: []}
        selection = self._layers.selection
        selected = input_layers(each for each in self._layers if each in selection)
        channels = channels_of(layer, self._layers)
        offers = {ONE: [layer]}
        # napari selects all channels after it has split an image: that is one choice, not two.
        if len(selected) > 1 and layer in selected and selected != channels:
            offers[SELECTED] = selected
        if channels:
            offers[CHANNELS] = channels
        return offers

    def _texts(self) -> list[str]:
        """Return the texts of the offers."""
        counts = {key: len(layers) for key, layers in self._offers.items()}
        texts = {
            ONE: "this layer",
            SELECTED: f"{counts.get(SELECTED)} selected layers",
            CHANNELS: f"all {counts.get(CHANNELS)} channels",
        }
        return [texts[key] for key in self._offers]

    def _show_names(self) -> None:
        offers = [
            f"{text.capitalize()}: {', '.join(layer.name for layer in layers)}."
            for text, layers in zip(self._texts(), self._offers.values(), strict=True)
        ]
        details = ", with its own kernel, pixel size and optics.\n" + "\n".join(offers)
        set_tooltip(self, f"{_HELP}{details}" if len(offers) > 1 else f"{_HELP}.")
