"""What a user can do with a result: view its estimates, compare, save and reuse its kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_blind_deconv.image import Index
from napari_blind_deconv.io.images import TIFF_SUFFIXES
from napari_blind_deconv.plugin.comparison import Comparison
from napari_blind_deconv.plugin.estimate_slider import EstimateSlider
from napari_blind_deconv.plugin.kernel_view import describe_kernels
from napari_blind_deconv.plugin.layer_options import LayerOptions
from napari_blind_deconv.plugin.layouts import in_row
from napari_blind_deconv.plugin.left_out import LeftOut
from napari_blind_deconv.plugin.result_saver import SaveButton
from napari_blind_deconv.plugin.save_dialog import ask_for_output, why_not_saved
from napari_blind_deconv.plugin.saving import RunToSave
from napari_blind_deconv.plugin.strength import StrengthSlider

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
    saved : str
        The result was saved, as the sentence states.
    failed : str
        An action failed, for the reason given.
    apply_to_all : ()
        The user wants to apply the kernel to the whole layer.
    deleted : ()
        The result layer was deleted.
    """

    plane_shown = Signal(object)
    estimate_chosen = Signal(object)
    saved = Signal(str)
    failed = Signal(str)
    apply_to_all = Signal()
    deleted = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._run: ViewerRun | None = None
        self.kernel_label = QLabel()
        self.kernel_label.setWordWrap(True)
        self.kernel_label.setToolTip("Full widths at half maximum of the estimated kernel.")
        self.save_button = SaveButton()
        self.save_button.saved.connect(self.saved.emit)
        self.save_button.failed.connect(self.failed.emit)
        self.kernel_button = QPushButton("Save kernel …")
        self.kernel_button.clicked.connect(self._ask_and_save_kernel)
        self.apply_button = QPushButton("Apply to all")
        self.apply_button.clicked.connect(lambda: self.apply_to_all.emit())
        self.slider = EstimateSlider()
        self.slider.previewed.connect(self._preview)
        self.slider.chosen.connect(self._choose)
        self.comparison = Comparison(viewer)
        self.strength = StrengthSlider(viewer)
        self.strength.previewed.connect(lambda: self.comparison.show_as(None))
        self.left_out = LeftOut(viewer)
        self.layer_options = LayerOptions(viewer)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.comparison)
        for widget in (self.strength, self.slider, self.save_button, self.left_out):
            column.addWidget(widget)
        column.addWidget(self.kernel_label)
        column.addLayout(in_row(self.kernel_button, self.apply_button))
        column.addWidget(self.layer_options)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.current_step.connect(self._on_step)
        self._index: Index = ()
        self._plane: Index = ()
        self.clear()

    def clear(self) -> None:
        """Let go of the run; an estimate that is only viewed is replaced by the result."""
        run, in_use = self._run, self.slider.in_use
        if run is not None and run.layer in self._viewer.layers and self.slider.is_preview:
            run.preview(in_use)
        self._run = None
        self.slider.clear()
        self.slider.setVisible(True)
        self.comparison.compare(None)
        self.strength.show_run(None)
        self.left_out.show_run(None)
        self.save_button.show_run(None)
        self.layer_options.show_run(None)
        self._show_kernel()

    def show_run(self, run: ViewerRun) -> None:
        """Show the result of a run that has ended."""
        self._run = run
        self._index, self._plane = run.index_shown(), run.plane_index_shown()
        self._show_estimates()
        self.comparison.compare(run)
        self.strength.show_run(run)
        self.left_out.show_run(run)
        self.save_button.show_run(run)
        self.layer_options.show_run(run)
        self._show_kernel()

    def save_kernel(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the kernels of the run as TIFF, with their pixel size, one page for each."""
        assert self._run is not None
        axes, kernels = self._run.kernels()
        RunToSave.of(self._run, path).write_kernels(path, axes, kernels, overwrite)

    def _ask_and_save_kernel(self) -> None:
        endings = {"TIFF (*.tif *.tiff)": ".tif"}
        answer = ask_for_output(self, "Save the kernel", "kernel.tif", endings, TIFF_SUFFIXES)
        if answer is None:
            return
        path, overwrite = answer
        try:
            self.save_kernel(path, overwrite=overwrite)
        except Exception as error:  # with PySide6, one that escapes would end napari
            self.failed.emit(why_not_saved(error))
        else:
            self.saved.emit(f"Saved as {path.name}.")

    def _preview(self, index: int) -> None:
        if self._run is not None:
            self._run.preview(index)
            self.comparison.refresh()
            self.strength.refresh()

    def _choose(self, index: int) -> None:
        if self._run is not None:
            result = self._run.choose(index)
            self.comparison.refresh()
            self.strength.refresh()
            self._show_kernel()
            self.estimate_chosen.emit(result)

    def _show_estimates(self) -> None:
        """Offer the estimates of a single plane; of a stack, none but the results are kept."""
        run = self._run
        assert run is not None
        self.slider.setVisible(not run.is_stack)
        if not run.is_stack:
            estimates = run.estimates
            iterations = [estimates[index].iteration for index in range(len(estimates))]
            self.slider.set_iterations(iterations, run.kept_index, run.index_in_use)

    def _on_step(self, _event: object) -> None:
        """Update the panel if the viewer shows another plane or volume."""
        if self._run is None:
            return
        index, plane = self._run.index_shown(), self._run.plane_index_shown()
        if plane != self._plane:
            self._plane = plane
            self.comparison.refresh()
        if index == self._index:
            return
        self._index = index
        self.strength.refresh()
        self.left_out.show_plane()
        self._show_kernel()
        self.plane_shown.emit(self._run.result_shown())

    def _show_kernel(self) -> None:
        run = self._run
        self.kernel_label.setText(describe_kernels(run))
        has_kernel = run is not None and bool(run.planes.results)
        has_own = run is not None and run.result_shown() is not None
        has_input = run is not None and not run.is_source_deleted
        for button, is_enabled, help_text in (
            (
                self.kernel_button,
                has_kernel,
                "Save the kernel as TIFF, to use it as a PSF elsewhere; of a stack with several "
                "kernels, each is a page of its own.",
            ),
            (
                self.apply_button,
                has_own and has_input,
                "Deconvolve the whole layer, with all its planes, and hold this kernel fixed; of "
                "a stack, the kernel of the plane shown.",
            ),
        ):
            button.setEnabled(is_enabled)
            kind = None if run is None else run.task.image.block_kind
            why_not = f"This {kind} has no kernel." if has_kernel else "There is no kernel yet."
            if has_own:
                why_not = "The input layer was deleted."
            button.setToolTip(help_text if is_enabled else why_not)

    def _on_removed(self, event: object) -> None:
        if self._run is not None and getattr(event, "value", None) == self._run.layer:
            self.clear()
            self.deleted.emit()
