"""What to do first, shown while no image is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.compat import isalive
from qtpy.QtWidgets import QLabel, QPushButton, QWidget

from napari_blind_deconv.plugin.layouts import in_column

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Welcome"]

_TEXT = "Open an image and press Run. Or try the sample, whose sharp original and kernel are known."


class Welcome(QWidget):
    """A text and a button that opens a sample; both are hidden while an image is open.

    Parameters
    ----------
    viewer : Viewer
        The viewer that the sample is opened in.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        text = QLabel(_TEXT)
        text.setWordWrap(True)
        self.button = QPushButton("Open the sample")
        self.button.setToolTip(
            "Open an image of microtubules, with its sharp original and its kernel."
        )
        self.button.clicked.connect(self._open_sample)
        in_column(self, text, self.button)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._update)
        self._update()

    def _open_sample(self) -> None:
        self._viewer.open_sample("napari-blind-deconv", "microtubules")

    def _update(self) -> None:
        if isalive(self):  # the viewer outlives the dock
            self.setVisible(not any(isinstance(layer, Image) for layer in self._viewer.layers))
