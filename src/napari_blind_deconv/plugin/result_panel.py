"""What a user can do with a result: view its estimates, compare, save and reuse its kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.images import write_plane
from napari_blind_deconv.plugin.comparison import Comparison
from napari_blind_deconv.plugin.estimate_slider import EstimateSlider
from napari_blind_deconv.plugin.kernel_view import describe_widths
from napari_blind_deconv.plugin.left_out import LeftOut

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["ResultPanel"]


class ResultPanel(QWidget):
    """The result of the last finished run; for a stack, the result of the plane shown.

    Signals
    -------
    plane_shown : Result or None
        The viewer shows another plane of the stack; None if that plane has no result.
    estimate_chosen : Result
        The user has made another estimate of the run the result.
    failed : str
        An action failed, for the reason given.
    apply_to_all : ()
        The user wants to apply the kernel to the whole layer.
    deleted : ()
        The result layer was deleted.
    """

    plane_shown = Signal(object)
    estimate_chosen = Signal(object)
    failed = Signal(str)
    apply_to_all = Signal()
    deleted = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._run: ViewerRun | None = None
        self.kernel_label = QLabel()
        self.kernel_label.setWordWrap(True)
        self.save_button = QPushButton("Save kernel …")
        self.save_button.clicked.connect(self._ask_and_save)
        self.apply_button = QPushButton("Apply to all")
        self.apply_button.clicked.connect(lambda: self.apply_to_all.emit())
        self.slider = EstimateSlider()
        self.slider.previewed.connect(self._preview)
        self.slider.chosen.connect(self._choose)
        self.comparison = Comparison(viewer)
        self.left_out = LeftOut(viewer)
        buttons = QHBoxLayout()
        buttons.addWidget(self.save_button)
        buttons.addWidget(self.apply_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.left_out, self.slider, self.comparison, self.kernel_label):
            column.addWidget(widget)
        column.addLayout(buttons)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.current_step.connect(self._on_step)
        self._index: Index = ()
        self.clear()

    def clear(self) -> None:
        """Let go of the run; an estimate that is only viewed is replaced by the result."""
        run, in_use = self._run, self.slider.in_use
        if run is not None and run.layer in self._viewer.layers and self.slider.is_preview:
            run.preview(in_use)
        self._run = None
        self.slider.clear()
        self.comparison.compare(None)
        self.left_out.show_run(None)
        self._show_kernel()

    def show_run(self, run: ViewerRun) -> None:
        """Show the result of a run that has ended."""
        self._run = run
        self._index = run.index_shown()
        self._show_estimates()
        self.comparison.compare(run)
        self.left_out.show_run(run)
        self._show_kernel()

    def save_kernel(self, path: Path) -> None:
        """Write the kernel of the plane shown as TIFF, with its pixel size."""
        assert self._run is not None
        result = self._run.result_shown()
        assert result is not None
        kernel = Image(result.kernel.weights, **self._run.geometry.calibration)
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

    def _preview(self, index: int) -> None:
        if self._run is not None:
            self._run.preview(index)
            self.comparison.refresh()

    def _choose(self, index: int) -> None:
        if self._run is not None:
            result = self._run.choose(index)
            self.comparison.refresh()
            self._show_kernel()
            self.estimate_chosen.emit(result)

    def _show_estimates(self) -> None:
        run = self._run
        assert run is not None
        result = run.result_shown()
        if not run.is_stack:
            estimates = run.estimates
            iterations = [estimates[index].iteration for index in range(len(estimates))]
            self.slider.set_iterations(iterations, run.kept_index, run.index_in_use)
        else:
            self.slider.set_iterations([] if result is None else [result.stop_iteration], 0, 0)

    def _on_step(self, _event: object) -> None:
        """Update the panel if the viewer shows another plane of the stack."""
        if self._run is None or not self._run.is_stack:
            return
        index = self._run.index_shown()
        if index == self._index:
            return
        self._index = index
        self._show_estimates()
        self.comparison.refresh()
        self.left_out.show_plane()
        self._show_kernel()
        self.plane_shown.emit(self._run.result_shown())

    def _show_kernel(self) -> None:
        result = None if self._run is None else self._run.result_shown()
        text = "The widths of the kernel appear here after a run."
        if self._run is not None and result is not None:
            text = describe_widths(result.kernel, *self._run.geometry.pixel_size)
        elif self._run is not None:
            text = "This plane has no kernel."
        self.kernel_label.setText(text)
        for button, help_text in (
            (self.save_button, "Save the kernel as TIFF, to use it as a PSF elsewhere."),
            (
                self.apply_button,
                "Deconvolve the whole layer, with all its planes, and hold this kernel fixed.",
            ),
        ):
            button.setEnabled(result is not None)
            button.setToolTip(help_text if result is not None else "There is no kernel yet.")

    def _on_removed(self, event: object) -> None:
        if self._run is not None and getattr(event, "value", None) == self._run.layer:
            self.clear()
            self.deleted.emit()
