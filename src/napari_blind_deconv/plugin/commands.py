"""Commands for napari's menus and its command palette."""

from __future__ import annotations

import napari

from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget

__all__ = ["sharpen"]


def sharpen(viewer: napari.viewer.Viewer) -> None:
    """Open the panel and sharpen the selected layer's current plane at once."""
    _, panel = viewer.window.add_plugin_dock_widget("napari-blind-deconv", "Blind deconvolution")
    assert isinstance(panel, BlindDeconvolutionWidget)
    panel.form.input.take_selected_plane()
    panel.start()
