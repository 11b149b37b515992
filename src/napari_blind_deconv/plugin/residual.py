"""The residual of a result as a layer, on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Layer
from qtpy.QtWidgets import QPushButton

from napari_blind_deconv.plugin.layers import residual_layer

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun
    from napari_blind_deconv.results import Result

__all__ = ["ResidualButton"]

_KIND = "residual"
_HELP = (
    "Add the input minus the result blurred again, in units of the noise: if it shows your "
    "specimen, the result does not explain the input."
)


class ResidualButton(QPushButton):
    """A button that adds the residual of the result shown as a layer.

    Parameters
    ----------
    viewer : Viewer
        Viewer that the layer is added to.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__("Residual")
        self._viewer = viewer
        self._run: ViewerRun | None = None
        self.clicked.connect(self.show_layer)
        self.show_run(None)

    def show_run(self, run: ViewerRun | None) -> None:
        """Offer the residual of a run; None for no run."""
        self._run = run
        self.refresh()

    def refresh(self) -> None:
        """Follow the plane on the screen, and the estimate that is the result."""
        result = None if self._run is None else self._run.result_shown()
        why_not = self._why_not(result)
        self.setEnabled(not why_not)
        self.setToolTip(why_not or _HELP)
        layer = self._layer_in_viewer()
        if self._run is not None and result is not None and layer is not None and not why_not:
            layer.data, arguments, _ = residual_layer(self._run.geometry, result)
            layer.metadata = arguments["metadata"]
            self._run.layers.add(_KIND, layer)

    def show_layer(self) -> None:
        """Show the layer of the residual; it is made unless there is one."""
        result = None if self._run is None else self._run.result_shown()
        if self._run is None or result is None:
            return
        layer = self._layer_in_viewer()
        if layer is None:
            data, arguments, _ = residual_layer(self._run.geometry, result)
            layer = self._viewer.add_image(data, **arguments)
            self._run.layers.add(_KIND, layer)
        layer.visible = True
        self._viewer.layers.selection.active = layer

    def _layer_in_viewer(self) -> Layer | None:
        return None if self._run is None else self._run.layers.on_request(_KIND)

    def _why_not(self, result: Result | None) -> str:
        if self._run is None:
            return "There is no result yet."
        if result is None:
            return f"This {self._run.task.image.block_kind} was not deconvolved."
        if not result.trust.residual.size:
            kind = self._run.task.image.block_kind
            return f"The residuals of a stack are not kept; deconvolve this {kind} alone to see it."
        if not np.isfinite(result.trust.residual).any():
            return "The field of view is too small for a residual with this kernel."
        return ""
