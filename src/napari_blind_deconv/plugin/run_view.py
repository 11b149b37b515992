"""What is known of a run: its progress, and the verdict, status, warnings, trace and kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_blind_deconv.plugin.kernel_view import KernelView
from napari_blind_deconv.plugin.plots import Plots
from napari_blind_deconv.plugin.run_progress import RunProgress
from napari_blind_deconv.plugin.trace_plot import TracePlot
from napari_blind_deconv.plugin.verdict_label import VerdictLabel
from napari_blind_deconv.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_blind_deconv.plugin.run import ViewerRun
    from napari_blind_deconv.plugin.worker import Progress
    from napari_blind_deconv.results import Result

__all__ = ["RunView"]

_TRACE_PLACEHOLDER = "The trace appears here during a run."


class RunView(QWidget):
    """A run in progress, or the result that is shown.

    Parameters
    ----------
    notes : QWidget
        Placed below the warnings.

    Attributes
    ----------
    progress : RunProgress
    verdict : VerdictLabel
    status, warnings : QLabel
    trace_plot : TracePlot
    kernel_view : KernelView
    """

    def __init__(self, notes: QWidget) -> None:
        super().__init__()
        self.progress = RunProgress()
        self.verdict = VerdictLabel()
        self.status, self.warnings = QLabel(), QLabel()
        for label in (self.status, self.warnings):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.trace_plot = TracePlot(_TRACE_PLACEHOLDER)
        self.kernel_view = KernelView()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        texts = (self.verdict, self.status, self.warnings, notes)
        for widget in (self.progress, *texts, Plots(self.trace_plot, self.kernel_view)):
            column.addWidget(widget)
        self.show_warnings([])

    def clear(self) -> None:
        """Show no run."""
        self.clear_plots()
        self.show_status("")
        self.show_warnings([])

    def clear_plots(self) -> None:
        """Clear trace, kernel and verdict of the last run; its layers and its result are kept."""
        self.trace_plot.clear()
        self.kernel_view.clear()
        self.verdict.show_verdict(None)

    def show_status(self, sentence: str) -> None:
        """Show a sentence on the state of the run."""
        self.status.setText(sentence)

    def show_warnings(self, sentences: Iterable[str]) -> None:
        """Show warnings, each in a line; hidden if there are none."""
        self.warnings.setText("\n".join(f"⚠ {sentence}" for sentence in sentences))
        self.warnings.setVisible(bool(self.warnings.text()))

    # A run in progress

    def begin(self) -> None:
        """Show that a run has begun."""
        self.clear_plots()
        self.progress.begin()

    def show_progress(self, run: ViewerRun, progress: Progress) -> None:
        """Show a report of a run."""
        if run.is_stack:
            image = run.task.image
            self.progress.show_blocks(run.planes.done, image.blocks, image.block_kind)
            if progress.block is not None and progress.block.result is not None:
                self._show_trace_and_kernel(run, progress.block.result)
        elif progress.kernel is not None:
            self.kernel_view.show_kernel(progress.kernel, run.pixels.sides)
            self.progress.show_iteration(progress.iteration, progress.max_iterations)
            self.trace_plot.extend(progress.trace, progress.best_iteration)

    # A result

    def show_result(self, run: ViewerRun, result: Result | None) -> None:
        """Show the result of a run; of a stack, that of the plane on the screen, if it has one."""
        if result is None:
            self.clear_plots()
        else:
            self._show_trace_and_kernel(run, result)
            found = verdict(result, *run.pixels)
            self.verdict.show_verdict(found)
            self.show_warnings(
                flag.sentence_of(result.block_kind)
                for flag in result.flags
                if flag not in found.flags
            )
        if run.is_stack:
            self.show_warnings(run.planes.warning_lines(run.index_shown()))

    def _show_trace_and_kernel(self, run: ViewerRun, result: Result) -> None:
        self.trace_plot.clear()
        self.trace_plot.extend(result.trace, result.stop_iteration)
        self.kernel_view.show_kernel(result.kernel.weights, run.pixels.sides)
