"""Ways of seeing input and result, which change the viewer for a while and restore it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["Blink", "SideBySide", "View"]


class View:
    """A way of seeing input and result, from its creation until `end` is called.

    Parameters
    ----------
    viewer : Viewer
    run : ViewerRun
        A run whose input layer and result layer are in the viewer.

    Signals
    -------
    interrupted : ()
        The user has changed the viewer such that this view has to end.
    """

    interrupted = Signal()

    def __init__(self, viewer: Viewer, run: ViewerRun) -> None:
        self._viewer, self._run = viewer, run
        self._pair = (run.source, run.layer)
        self._before: list[tuple[Any, str, Any]] = []

    def refresh(self) -> None:
        """Show the plane that is on the screen, with the pixels that it has now."""

    def end(self) -> None:
        """Restore the viewer."""
        while self._before:
            setattr(*self._before.pop())

    def _change(self, target: Any, name: str, value: Any) -> None:
        """Set an attribute of the viewer or of a layer until this view ends."""
        self._before.append((target, name, getattr(target, name)))
        setattr(target, name, value)


class Blink(View):
    """The input in place of the result."""

    def __init__(self, viewer: Viewer, run: ViewerRun) -> None:
        super().__init__(viewer, run)
        self._change(run.layer, "visible", False)
        self._change(run.source, "visible", True)


class SideBySide(View):
    """The input on the left and the result on the right, in napari's grid with linked cameras."""

    def __init__(self, viewer: Viewer, run: ViewerRun) -> None:
        super().__init__(viewer, run)
        for layer in viewer.layers:  # each visible layer has a place in the grid
            self._change(layer, "visible", layer in self._pair)
        for layer in self._pair:
            self._change(layer.name_overlay, "visible", True)
        grid = viewer.canvas.grid
        below, above = (viewer.layers.index(layer) for layer in self._pair)
        # The grid begins with the lowest layer; with a negative stride, with the uppermost one.
        self._change(grid, "stride", 1 if below < above else -1)
        self._change(grid, "shape", (1, 2))
        self._change(grid, "spacing", 4)  # pixels of the canvas
        self._change(grid, "enabled", True)
        grid.events.enabled.connect(self._on_grid)

    def end(self) -> None:
        """Restore the viewer."""
        self._viewer.canvas.grid.events.enabled.disconnect(self._on_grid)
        super().end()

    def _on_grid(self) -> None:
        self.interrupted.emit()
