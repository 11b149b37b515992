"""Commands for napari's menus and its command palette."""

from __future__ import annotations

import napari

from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget

__all__ = ["deconvolve_selected"]


def deconvolve_selected(viewer: napari.viewer.Viewer) -> None:
    """Open the panel and deconvolve the current plane of the selected layer."""
    _, panel = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    assert isinstance(panel, BlindDeconvolutionWidget)
    panel.form.input.choose_selected_plane()
    panel.start()
