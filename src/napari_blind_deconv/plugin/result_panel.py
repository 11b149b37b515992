"""What can be done with a result: look through its pictures, compare, keep and reuse its kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.images import write_plane
from napari_blind_deconv.plugin.comparison import Comparison
from napari_blind_deconv.plugin.estimate_slider import EstimateSlider
from napari_blind_deconv.plugin.kernel_view import kernel_words

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["ResultPanel"]


class ResultPanel(QWidget):
    """The last run, once it has ended: of a stack, the plane on the screen.

    Signals
    -------
    plane_shown : Result or None
        That of another plane of a stack is shown now; None if it has none.
    picture_taken : Result
        Another of the run's pictures is the result now.
    failed : str
        Something could not be done.
    apply_to_all : ()
        The kernel is wanted for all of the layer.
    deleted : ()
        The result layer was.
    """

    plane_shown = Signal(object)
    picture_taken = Signal(object)
    failed = Signal(str)
    apply_to_all = Signal()
    deleted = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._run: ViewerRun | None = None
        self.kernel_words = QLabel()
        self.kernel_words.setWordWrap(True)
        self.save_button = QPushButton("Save kernel …")
        self.save_button.clicked.connect(self._ask_and_save)
        self.apply_button = QPushButton("Apply to all")
        self.apply_button.clicked.connect(lambda: self.apply_to_all.emit())
        self.slider = EstimateSlider()
        self.slider.looked_at.connect(self._look_at)
        self.slider.taken.connect(self._take)
        self.comparison = Comparison(viewer)
        buttons = QHBoxLayout()
        buttons.addWidget(self.save_button)
        buttons.addWidget(self.apply_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.slider, self.comparison, self.kernel_words):
            column.addWidget(widget)
        column.addLayout(buttons)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.current_step.connect(self._on_step)
        self._index: Index = ()
        self.clear()

    def clear(self) -> None:
        """There is no result; what was looked at only gives way to what is in use."""
        run, in_use = self._run, self.slider.in_use
        if run is not None and run.layer in self._viewer.layers and self.slider.is_elsewhere:
            run.look_at(in_use)
        self._run = None
        self.slider.clear()
        self.comparison.compare(None)
        self._show_kernel()

    def show_run(self, run: ViewerRun) -> None:
        """Offer what can be done with a run that has ended."""
        self._run = run
        self._index = run.index_shown()
        self._offer_pictures()
        self.comparison.compare(run)
        self._show_kernel()

    def save_kernel(self, path: Path) -> None:
        """Write the kernel of the plane shown as TIFF, with its pixel size."""
        assert self._run is not None
        result = self._run.result_shown()
        assert result is not None
        kernel = Image(result.kernel.weights, **self._run.place.calibration)
        write_plane(path, kernel, result.provenance())

    def _ask_and_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the kernel", "kernel.tif", "TIFF (*.tif *.tiff)"
        )
        if not name:
            return
        try:
            self.save_kernel(Path(name).with_suffix(Path(name).suffix or ".tif"))
        except (OSError, ValueError) as error:
            self.failed.emit(getattr(error, "strerror", None) or str(error))

    def _look_at(self, place: int) -> None:
        if self._run is not None:
            self._run.look_at(place)
            self.comparison.refresh()

    def _take(self, place: int) -> None:
        if self._run is not None:
            result = self._run.take(place)
            self._show_kernel()
            self.picture_taken.emit(result)

    def _offer_pictures(self) -> None:
        assert self._run is not None
        result = self._run.result_shown()
        if not self._run.is_stack:
            pictures = self._run.pictures
            iterations = [pictures[place].iteration for place in range(len(pictures))]
            self.slider.offer(iterations, self._run.chosen)
        else:
            self.slider.offer([] if result is None else [result.stop_iteration], 0)

    def _on_step(self, _event: object) -> None:
        """Another plane may be on the screen."""
        if self._run is None or not self._run.is_stack:
            return
        index = self._run.index_shown()
        if index == self._index:
            return
        self._index = index
        self._offer_pictures()
        self.comparison.refresh()
        self._show_kernel()
        self.plane_shown.emit(self._run.result_shown())

    def _show_kernel(self) -> None:
        result = None if self._run is None else self._run.result_shown()
        words = "The kernel's widths stand here after a run."
        if self._run is not None and result is not None:
            words = kernel_words(result.kernel.weights, *self._run.place.pixel_size)
        elif self._run is not None:
            words = "This plane has no kernel."
        self.kernel_words.setText(words)
        for button, help_text in (
            (self.save_button, "Write the kernel as TIFF, to be used as a PSF elsewhere."),
            (self.apply_button, "Sharpen all of the layer, planes and all, with this kernel held."),
        ):
            button.setEnabled(result is not None)
            button.setToolTip(help_text if result is not None else "There is no kernel yet.")

    def _on_removed(self, event: object) -> None:
        if self._run is not None and getattr(event, "value", None) == self._run.layer:
            self.clear()
            self.deleted.emit()
