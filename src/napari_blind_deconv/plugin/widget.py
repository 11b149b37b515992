"""The dock widget. It connects the form, the run and the panels, which have their own modules."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QFrame, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_blind_deconv.plugin.choices import Choices
from napari_blind_deconv.plugin.help_button import HelpButton
from napari_blind_deconv.plugin.history import Entry, History
from napari_blind_deconv.plugin.history_view import HistoryView
from napari_blind_deconv.plugin.layouts import Section, in_row
from napari_blind_deconv.plugin.messages import notify, result_sentence, stack_sentence
from napari_blind_deconv.plugin.problem_report import problem_report
from napari_blind_deconv.plugin.result_panel import ResultPanel
from napari_blind_deconv.plugin.reuse_buttons import ReuseButtons
from napari_blind_deconv.plugin.run import ViewerRun
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.plugin.run_view import RunView
from napari_blind_deconv.plugin.series_of_runs import SeriesObserver, SeriesOfRuns
from napari_blind_deconv.plugin.welcome import Welcome
from napari_blind_deconv.plugin.worker import Progress
from napari_blind_deconv.results import Result
from napari_blind_deconv.verdict import NextStep

if TYPE_CHECKING:
    import napari

__all__ = ["BlindDeconvolutionWidget"]

# What the user has to do before a next step can be run.
_PREPARED = {
    NextStep.MICROSCOPE: "Check NA and emission under Kernel, then press Run.",
    NextStep.REGION: "Draw a rectangle, then press Run.",
}


class BlindDeconvolutionWidget(QWidget):
    """Panel to deconvolve a plane of a layer, a region of it, a stack or a volume.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer. napari passes it by this name.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._series: SeriesOfRuns | None = None  # what is under way
        self._last: ViewerRun | None = None  # the run whose result is shown
        self._why_not = ""  # why the choices cannot be run
        self.welcome = Welcome(napari_viewer)
        self.form = RunForm(napari_viewer)
        self.result = ResultPanel(napari_viewer)
        self.history = History(napari_viewer, self.form.layers_in_use)
        self.history_view = HistoryView(self.history)
        self._make_controls()
        self._lay_out()
        self.result.apply_to_all.connect(self._apply_to_all)
        self.result.strength.applied.connect(self._apply_strength)
        self.result.estimate_chosen.connect(self._on_estimate_chosen)
        self.result.plane_shown.connect(self._show_result)
        self.result.failed.connect(self._show_error)
        self.form.failed.connect(self._show_error)
        self.form.kernel.beads.done.connect(self._show_status)
        self.form.kernel.beads.failed.connect(self._show_error)
        self.form.checked.connect(self._update_run_button)
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
        self.view = view = RunView(self.result.left_out.notes)
        self.progress, self.verdict = view.progress, view.verdict
        self.status, self.warnings = view.status, view.warnings
        self.trace_plot, self.kernel_view = view.trace_plot, view.kernel_view
        self.verdict.chosen.connect(self._try_next)
        self.help_button = HelpButton()
        self.reuse = ReuseButtons(self.form)
        self.reuse.done.connect(self._show_status)
        self.reuse.failed.connect(self._show_error)

    def _lay_out(self) -> None:
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addWidget(self.welcome)
        column.addWidget(self.form)
        column.addLayout(in_row(self.run_button, self.stop_button, self.cancel_button))
        column.addWidget(self.view)
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
        column.addWidget(self.reuse)
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

    @property
    def _run(self) -> ViewerRun | None:
        """The run in progress."""
        return None if self._series is None else self._series.current

    def start(self) -> None:
        """Start the chosen run or runs; does nothing while one is in progress."""
        if self._series is not None:
            return
        self.view.clear_plots()
        self.view.show_warnings([])
        # Its end restores what is visible, so it must not come after the run has hidden an input.
        self.result.comparison.show_as(None)
        try:
            series = self._make_series()
        except Exception as error:  # lazy data may raise any error when they are read
            sentence = str(error) or type(error).__name__
            self._finish()
            self._show_error(sentence, error)
            return
        self.form.preferences().save()
        self._last = None
        self.result.clear()
        self._series = series
        self._show_running(True)
        self.destroyed.connect(series.detach)  # closing the viewer deletes this widget
        series.start()

    def _make_series(self) -> SeriesOfRuns:
        layers, files = self.form.input.chosen_layers(), self.form.other_files()
        observer = SeriesObserver(
            began=partial(self._on_begin, Choices.of(self.form)),
            progressed=self._on_progress,
            succeeded=self.history.finish,
            ended_without_result=self._on_end_without_result,
            failed=self._show_error,
            ended=self._on_end,
        )
        return SeriesOfRuns(self._viewer, layers, self.form.task, observer, files)

    def _on_begin(self, choices: Choices, run: ViewerRun) -> None:
        self.history.begin(run, choices)
        self.view.begin()
        self._show_stage("Starting …")

    def _stop(self) -> None:
        if self._series is not None:
            self._show_status("Stopping …")
            self.stop_button.setEnabled(False)
            self.stop_button.setToolTip("The run is stopping.")
            self._series.stop_and_keep()

    def _cancel(self) -> None:
        if self._series is not None:
            self._series.cancel()

    def _apply_to_all(self) -> None:
        assert self._last is not None
        self.form.apply_kernel_to_all(self._last.task.image.block_kind)
        self.start()

    def _apply_strength(self, strength: float) -> None:
        """Run again with a strength, and with the kernel of the last result."""
        run = self._last
        result = None if run is None else run.result_shown()
        self.form.set_strength(strength)
        # Finding it again gives the same kernel, unless the networks have corrected it. The several
        # kernels of a stack are found again.
        if run is not None and run.has_one_kernel and result and result.has_fitted_kernel:
            self.form.kernel.hold_last()
        self.start()

    def _try_next(self, step: NextStep) -> None:
        """Do what the verdict offers, or prepare it if the user has to add something."""
        if self._last is not None and self._last.is_source_deleted:
            self._show_status("The input layer was deleted; choose another layer to run on.")
            return
        self.form.prepare(step)
        if step is NextStep.GAUSSIAN:
            self.start()
            return
        if step is NextStep.MICROSCOPE:
            self.kernel_section.expand(animate=False)
        self._show_status(_PREPARED[step])

    def _on_progress(self, progress: Progress) -> None:
        if self.stop_button.isEnabled():
            self._show_stage(progress.stage)
        assert self._run is not None
        self.view.show_progress(self._run, progress)

    def _show_stage(self, stage: str) -> None:
        place = "" if self._series is None else self._series.place
        self._show_status(f"{place}{stage}")

    # How a run ends

    def _on_end_without_result(self, run: ViewerRun, failure: str | None) -> None:
        if failure is None:
            self.history.cancel(run)
        else:
            self.history.fail(run, failure)

    def _on_end(self, summary: str) -> None:
        """Show the result of the chosen layer, if there is one, and how the series has ended."""
        assert self._series is not None
        has_results = bool(self._series.finished)
        self._finish()
        if has_results:
            self.result_section.expand(animate=False)
            summary = f"{summary} {self.status.text()}".strip()
        self._show_status(summary)

    def _show_last(self) -> None:
        """Show the result of the chosen layer that was shown last; else show no result."""
        if self._series is None and isalive(self):
            self._show_run(self.history.latest(self.form.input.layer.value))

    def _show_run(self, run: ViewerRun | None) -> None:
        self._last = run
        if run is None:
            self.result.clear()
            self.view.clear()
            return
        self.result.show_run(run)
        result = run.result_shown()
        if run.is_stack:
            self._show_status(stack_sentence(run.outcome, run.task.image.block_kind))
        elif result is not None:
            self._show_status(result_sentence(result))
        self._show_result(result)

    def _show_again(self, entry: Entry) -> None:
        """Show a result of the history, and choose its input."""
        self.result.clear()
        self.history.show(entry)
        if entry.run is not None and not entry.run.is_source_deleted:
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

    def _show_result(self, result: Result | None) -> None:
        """Show a result, chosen by the run or by the user; a plane of a stack may have none."""
        assert self._last is not None
        self.view.show_result(self._last, result)
        if result is not None:
            self.form.kernel.set_last_kernel(result.kernel)

    def _show_error(self, sentence: str, error: BaseException | None = None) -> None:
        """Show an error; a run in progress continues."""
        notify(sentence, self._problem_report(sentence, error))
        self._show_status(sentence)

    def _finish(self) -> None:
        if self._series is not None:
            self.destroyed.disconnect(self._series.detach)
            self._series = None
        self.progress.finish()
        self._show_running(False)
        self._show_last()

    # Texts and buttons

    def _show_status(self, sentence: str) -> None:
        """Show a sentence on the state of the run."""
        self.status.setText(sentence)

    def _problem_report(self, sentence: str, error: BaseException | None) -> str:
        try:
            settings = self.form.settings()
        except ValueError:
            settings = None
        return problem_report(sentence, error, settings, self.form.describe_image())

    def _show_running(self, running: bool) -> None:
        self._update_run_button()
        for button, help_text in (
            (self.stop_button, "End the run and keep the best estimate so far."),
            (self.cancel_button, "End the run and keep nothing."),
        ):
            button.setEnabled(running)
            button.setToolTip(help_text if running else "There is no run to end.")
        self.progress.setVisible(running)
        self.history_view.show_running(running)

    def _update_run_button(self, why_not: str | None = None) -> None:
        """State how many layers are run on, or why the choices cannot be run; None: as before."""
        self._why_not = self._why_not if why_not is None else why_not
        if not isalive(self):  # the viewer outlives the dock
            return
        running, count = self._series is not None, len(self.form.input.run_on.chosen)
        why_not = "A run is under way: wait for it, or stop it." if running else self._why_not
        self.run_button.setEnabled(not why_not)
        self.run_button.setText("Run" if count < 2 else f"Run {count} layers")
        self.run_button.setToolTip(why_not or "Deconvolve the input chosen above.")

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802 (Qt's name)
        """End the run and keep its best estimate when napari removes the widget from its dock."""
        super().changeEvent(event)
        undocked = event is not None and event.type() == QEvent.Type.ParentChange
        if undocked and self.parent() is None:
            self.result.clear()
            self.reuse.close_batch()
            if self._series is not None:
                if self._run is not None:
                    self.history.cancel(self._run)
                self._series.detach()
                self._series = None
