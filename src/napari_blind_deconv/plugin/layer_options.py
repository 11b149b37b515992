"""Two switches for the layers of a result: keep them, and show kernel and trace in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QWidget
from superqt.utils import signals_blocked

from napari_blind_deconv.plugin.layouts import in_column

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["LayerOptions"]

_View = tuple[tuple[float, ...], float]
"""Centre and zoom of the camera."""

_NO_RESULT = "There is no result yet."
_DELETED = "The layers of kernel and trace were deleted."
_KEEP = (
    "On: the next run on the same layer adds its result beside this one. Off: it replaces this "
    "one, which History can show again."
)
_BESIDE = (
    "Show the layers of the kernel and the trace, to the right of the image at its scale. The eyes "
    "in the list of layers do the same."
)


class LayerOptions(QWidget):
    """Check boxes that follow the layers of a result.

    Parameters
    ----------
    viewer : Viewer
        Viewer with the layers.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._run: ViewerRun | None = None
        self._views: tuple[_View, _View] | None = None  # before and after showing both
        self.keep = QCheckBox("Keep this result")
        self.keep.toggled.connect(self._keep)
        self.beside = QCheckBox("Kernel and trace in the viewer")
        self.beside.toggled.connect(self._show_beside)
        in_column(self, self.keep, self.beside)
        self.show_run(None)

    def show_run(self, run: ViewerRun | None) -> None:
        """Offer the switches for a run; None for no run."""
        if self._run is not None:
            self._run.layers.changed.disconnect(self._update)
        self._run = run
        if run is not None:
            run.layers.changed.connect(self._update)
        self._update()

    def _update(self) -> None:
        run = self._run
        has_beside = run is not None and bool(run.layers.beside)
        for box, is_enabled, help_text, why_not in (
            (self.keep, run is not None, _KEEP, _NO_RESULT),
            (self.beside, has_beside, _BESIDE, _NO_RESULT if run is None else _DELETED),
        ):
            box.setEnabled(is_enabled)
            box.setToolTip(help_text if is_enabled else why_not)
        with signals_blocked(self.keep), signals_blocked(self.beside):
            self.keep.setChecked(run is not None and run.layers.is_kept)
            self.beside.setChecked(run is not None and run.layers.shows_beside)

    def _keep(self, kept: bool) -> None:
        if self._run is not None:
            self._run.layers.is_kept = kept

    def _show_beside(self, shown: bool) -> None:
        """Show kernel and trace, and a view that contains them; or return to the view before."""
        if self._run is None:
            return
        self._run.layers.show_beside(shown)
        camera = self._viewer.scene.camera
        if shown:
            before = camera.center, camera.zoom
            self._viewer.reset_view()
            self._views = before, (camera.center, camera.zoom)
        elif self._views is not None and self._views[1] == (camera.center, camera.zoom):
            camera.center, camera.zoom = self._views[0]
