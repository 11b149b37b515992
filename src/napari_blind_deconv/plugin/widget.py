"""The dock widget. It connects the form, the run and the panels, which have their own modules."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import (
    QFrame,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_blind_deconv.plugin.choices import Choices
from napari_blind_deconv.plugin.help_button import HelpButton
from napari_blind_deconv.plugin.history import Entry, History
from napari_blind_deconv.plugin.history_view import HistoryView
from napari_blind_deconv.plugin.kernel_view import KernelView
from napari_blind_deconv.plugin.layouts import Section, in_row
from napari_blind_deconv.plugin.messages import (
    copy_to_clipboard,
    format_time_left,
    notify,
    result_sentence,
    stack_sentence,
)
from napari_blind_deconv.plugin.plots import Plots
from napari_blind_deconv.plugin.problem_report import problem_report
from napari_blind_deconv.plugin.result_panel import ResultPanel
from napari_blind_deconv.plugin.run import Observer, ViewerRun
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.plugin.trace_plot import TracePlot
from napari_blind_deconv.plugin.verdict_label import VerdictLabel
from napari_blind_deconv.plugin.welcome import Welcome
from napari_blind_deconv.plugin.worker import Progress
from napari_blind_deconv.results import Result, StackResult
from napari_blind_deconv.verdict import NextStep, verdict

if TYPE_CHECKING:
    import napari

__all__ = ["BlindDeconvolutionWidget"]

_TRACE_PLACEHOLDER = "The trace appears here during a run."
# What the user has to do before a next step can be run.
_PREPARED = {
    NextStep.MICROSCOPE: "Check NA and emission under Kernel, then press Run.",
    NextStep.REGION: "Draw a rectangle, then press Run.",
}


class BlindDeconvolutionWidget(QWidget):
    """Panel to deconvolve a plane of a layer, a region of it or a stack, without a known PSF.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer. napari passes it by this name.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._run: ViewerRun | None = None
        self._last: ViewerRun | None = None  # the run whose result is shown
        # Count and time of the first progress report, from which the time left is estimated.
        self._first_report: tuple[int, float] | None = None
        self.welcome = Welcome(napari_viewer)
        self.form = RunForm(napari_viewer)
        self.result = ResultPanel(napari_viewer)
        self.history = History(napari_viewer, self.form.layers_in_use)
        self.history_view = HistoryView(self.history)
        self._make_controls()
        self._lay_out()
        self.result.apply_to_all.connect(self._apply_to_all)
        self.result.estimate_chosen.connect(self._on_estimate_chosen)
        self.result.plane_shown.connect(self._show_plane)
        self.result.failed.connect(self._show_error)
        self.form.failed.connect(self._show_error)
        self.result.saved.connect(self._show_status)
        self.result.deleted.connect(self._show_last)
        self.form.input.layer.changed.connect(self._show_last)
        self.history_view.chosen.connect(self._show_again)
        self.history_view.not_shown.connect(self._show_status)
        self.history_view.settings_chosen.connect(self._choose_again)
        self._show_running(False)

    # Construction

    def _make_controls(self) -> None:
        self.run_button = QPushButton("Run")
        self.run_button.clicked.connect(self.start)
        self.stop_button = QPushButton("Stop and keep")
        self.stop_button.clicked.connect(self._stop)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self._cancel)
        self.progress = QProgressBar()
        self.verdict = VerdictLabel()
        self.verdict.chosen.connect(self._try_next)
        self.progress.setToolTip("Iterations or planes that are done, and the time that is left.")
        self.status, self.warnings = QLabel(), QLabel()
        for label in (self.status, self.warnings):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.warnings.setVisible(False)
        self.trace_plot = TracePlot(_TRACE_PLACEHOLDER)
        self.kernel_view = KernelView()
        self.help_button = HelpButton()
        self.python_button = QPushButton("Copy as Python")
        self.python_button.setToolTip("Copy a Python script that does the run chosen above.")
        self.python_button.clicked.connect(lambda: self._copy_script(as_python=True))
        self.command_button = QPushButton("Copy as command")
        self.command_button.setToolTip("Copy a command line that does the run chosen above.")
        self.command_button.clicked.connect(lambda: self._copy_script(as_python=False))

    def _lay_out(self) -> None:
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addWidget(self.welcome)
        column.addWidget(self.form)
        column.addLayout(in_row(self.run_button, self.stop_button, self.cancel_button))
        texts = (self.verdict, self.status, self.warnings, self.result.left_out.notes)
        for widget in (self.progress, *texts):
            column.addWidget(widget)
        column.addWidget(Plots(self.trace_plot, self.kernel_view))
        self.result_section = Section(
            "Result", self.result, "View, compare, choose and reuse the result of the last run."
        )
        column.addWidget(self.result_section)
        column.addWidget(
            Section("History", self.history_view, "Go back to the results of earlier runs.")
        )
        self.kernel_section = Section(
            "Kernel", self.form.kernel_section, "Choose the origin of the kernel and its size."
        )
        column.addWidget(self.kernel_section)
        column.addWidget(
            Section("Settings", self.form.settings_section, "Change what the preset has set.")
        )
        column.addLayout(in_row(self.python_button, self.command_button))
        column.addWidget(self.help_button)
        column.addStretch()
        content = QWidget()
        content.setLayout(column)
        scroll = QScrollArea()  # the unfolded settings are higher than a laptop's screen
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    # Running

    def start(self) -> None:
        """Start the chosen run; does nothing while a run is in progress."""
        if self._run is not None:
            return
        self._clear_plots()
        self._show_warnings([])
        # Its end restores what is visible, so it must not come after the run has hidden an input.
        self.result.comparison.show_as(None)
        try:
            run = self._make_run()
            choices = Choices.of(self.form)
        except Exception as error:  # lazy data may raise any error when they are read
            self._on_failure(str(error) or type(error).__name__, error)
            return
        self.form.preferences().save()
        self._first_report = None
        self._last = None
        self.result.clear()
        self.history.begin(run, choices)
        self._show_status("Starting …")
        self.progress.setRange(0, 0)
        self._show_running(True)
        self.destroyed.connect(run.detach)  # closing the viewer deletes this widget
        self._run = run
        run.start()

    def _make_run(self) -> ViewerRun:
        observer = Observer(self._on_progress, self._on_end, self._on_failure, self._on_cancelled)
        source = self.form.input.chosen_layer()
        files = self.form.other_files()
        return ViewerRun(self._viewer, *self.form.task(), source, observer, files)

    def _clear_plots(self) -> None:
        """Clear trace, kernel and verdict of the last run; its layers and its result are kept."""
        self.trace_plot.placeholder = _TRACE_PLACEHOLDER
        self.trace_plot.clear()
        self.kernel_view.clear()
        self.verdict.show_verdict(None)

    def _stop(self) -> None:
        if self._run is not None:
            self._show_status("Stopping …")
            self.stop_button.setEnabled(False)
            self.stop_button.setToolTip("The run is stopping.")
            self._run.stop_and_keep()

    def _cancel(self) -> None:
        if self._run is not None:
            self._run.cancel()

    def _apply_to_all(self) -> None:
        self.form.apply_kernel_to_all()
        self.start()

    def _try_next(self, step: NextStep) -> None:
        """Do what the verdict offers, or prepare it if the user has to add something."""
        self.form.prepare(step)
        if step is NextStep.GAUSSIAN:
            self.start()
            return
        if step is NextStep.MICROSCOPE:
            self.kernel_section.expand(animate=False)
        self._show_status(_PREPARED[step])

    def _on_progress(self, progress: Progress) -> None:
        if self.stop_button.isEnabled():
            self._show_status(progress.stage)
        assert self._run is not None
        if self._run.is_stack:
            self._show_planes_done(self._run, progress)
        elif progress.kernel is not None:
            self._show_iteration(progress)

    def _show_iteration(self, progress: Progress) -> None:
        """Show the progress of a single plane."""
        assert progress.kernel is not None
        self.kernel_view.show_kernel(progress.kernel)
        if progress.max_iterations != self.progress.maximum():  # a new stage has another speed
            self._first_report = None
        self.progress.setRange(0, progress.max_iterations)
        self.progress.setValue(progress.iteration)
        left = self._seconds_left(progress.iteration, progress.max_iterations)
        self.progress.setFormat(f"%v of %m · {format_time_left(left, 'at most')}")
        self.trace_plot.extend(progress.trace, progress.best_iteration)

    def _show_planes_done(self, run: ViewerRun, progress: Progress) -> None:
        """Show the progress of a stack, with kernel and trace of the last finished plane."""
        planes = run.task.image.blocks
        self.progress.setRange(0, planes)
        self.progress.setValue(run.planes.done)
        # Time is measured from the first finished plane on, without the search for the kernel.
        left = self._seconds_left(run.planes.done, planes) if run.planes.done else None
        self.progress.setFormat(f"%v of %m planes · {format_time_left(left, 'about')}")
        if progress.block is not None and progress.block.result is not None:
            self._show_trace_and_kernel(progress.block.result)

    def _seconds_left(self, done: int, total: int) -> float | None:
        """Return the time left at the speed since the first report; None if it is not known yet."""
        now = time.monotonic()
        if self._first_report is None:
            self._first_report = done, now
        first, started = self._first_report
        return None if done == first else (now - started) / (done - first) * (total - done)

    # How a run ends

    def _on_end(self, _outcome: StackResult) -> None:
        assert self._run is not None
        self.history.finish(self._run)
        self.result_section.expand(animate=False)
        self._finish("")

    def _show_last(self) -> None:
        """Show the result of the chosen layer that was shown last; else show no result."""
        if self._run is None and isalive(self):
            self._show_run(self.history.latest(self.form.input.layer.value))

    def _show_run(self, run: ViewerRun | None) -> None:
        self._last = run
        if run is None:
            self.result.clear()
            self._clear_plots()
            self._show_status("")
            self._show_warnings([])
            return
        self.result.show_run(run)
        result = run.result_shown()
        if run.is_stack:
            self._show_status(stack_sentence(run.outcome))
            self._show_plane(result)
        elif result is not None:
            self._show_status(result_sentence(result))
            self._show_result(result)

    def _show_again(self, entry: Entry) -> None:
        """Show a result of the history, and choose its input."""
        self.result.clear()
        self.history.show(entry)
        if entry.run is not None and entry.run.source in self._viewer.layers:
            self.form.input.layer.value = entry.run.source
        self._show_run(entry.run)

    def _choose_again(self, choices: Choices) -> None:
        choices.show_in(self.form)
        self._show_status("The form has the settings of this run; press Run to use them.")

    def _on_estimate_chosen(self, result: Result) -> None:
        self._show_status(f"The estimate of iteration {result.stop_iteration} is now the result.")
        self._show_result(result)
        if self._last is not None:
            self.history.update(self._last)

    def _show_plane(self, result: Result | None) -> None:
        """Show a plane of a stack, which may have no result."""
        if result is None:
            self._clear_plots()
        else:
            self._show_result(result)
        assert self._last is not None
        self._show_warnings(self._last.planes.warning_lines(self._last.index_shown()))

    def _show_result(self, result: Result) -> None:
        """Show a result, chosen by the run or by the user."""
        self._show_trace_and_kernel(result)
        self.form.kernel.set_last_kernel(result.kernel)
        assert self._last is not None
        height, width, unit = self._last.geometry.pixel_size
        found = verdict(result, (height, width), unit)
        self.verdict.show_verdict(found)
        self._show_warnings([f.sentence for f in result.flags if f not in found.flags])

    def _show_trace_and_kernel(self, result: Result) -> None:
        self.trace_plot.clear()
        self.trace_plot.extend(result.trace, result.stop_iteration)
        self.kernel_view.show_kernel(result.kernel.weights)

    def _on_cancelled(self) -> None:
        """Return to the state before the run; its thread ends soon."""
        if self._run is not None:
            self.history.cancel(self._run)
        self._finish("Cancelled; nothing was kept.")

    def _on_failure(self, sentence: str, error: BaseException | None = None) -> None:
        """Show why a run could not start, or failed."""
        self._show_error(sentence, error)
        if self._run is not None:
            self.history.fail(self._run, sentence)
        self._finish(sentence)

    def _show_error(self, sentence: str, error: BaseException | None = None) -> None:
        """Show an error; a run in progress continues."""
        notify(sentence, self._problem_report(sentence, error))
        self._show_status(sentence)

    def _finish(self, sentence: str) -> None:
        if self._run is not None:
            self.destroyed.disconnect(self._run.detach)
            self._run = None
        self.progress.setRange(0, 1)
        self.progress.reset()
        self._show_running(False)
        self._show_last()
        if sentence:
            self._show_status(sentence)

    # Texts and buttons

    def _show_status(self, sentence: str) -> None:
        """Show a sentence on the state of the run."""
        self.status.setText(sentence)

    def _show_warnings(self, sentences: list[str]) -> None:
        self.warnings.setText("\n".join(f"⚠ {sentence}" for sentence in sentences))
        self.warnings.setVisible(bool(sentences))

    def _problem_report(self, sentence: str, error: BaseException | None) -> str:
        try:
            settings = self.form.settings()
        except ValueError:
            settings = None
        return problem_report(sentence, error, settings, self.form.describe_image())

    def _copy_script(self, *, as_python: bool) -> None:
        try:
            script = self.form.script()
        except Exception as error:  # lazy data may raise any error when they are read
            self._show_error(str(error) or type(error).__name__, error)
            return
        copy_to_clipboard(script.as_python() if as_python else script.as_command())
        self._show_status(
            "Copied; paste it into a script." if as_python else "Copied; paste it into a terminal."
        )

    def _show_running(self, running: bool) -> None:
        self.run_button.setEnabled(not running)
        self.run_button.setToolTip(
            "A run is under way: wait for it, or stop it."
            if running
            else "Deconvolve the input chosen above."
        )
        for button, help_text in (
            (self.stop_button, "End the run and keep the best estimate so far."),
            (self.cancel_button, "End the run and keep nothing."),
        ):
            button.setEnabled(running)
            button.setToolTip(help_text if running else "There is no run to end.")
        self.progress.setVisible(running)
        self.history_view.show_running(running)

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802 (Qt's name)
        """End the run and keep its best estimate when napari removes the widget from its dock."""
        super().changeEvent(event)
        undocked = event is not None and event.type() == QEvent.Type.ParentChange
        if undocked and self.parent() is None:
            self.result.clear()
            if self._run is not None:
                self.history.cancel(self._run)
                self._run.detach()
                self._run = None
