"""The dock widget: choose, run, watch, stop. It wires; its parts have files of their own."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from napari.utils.notifications import Notification, notification_manager
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_blind_deconv.plugin.kernel_view import KernelView
from napari_blind_deconv.plugin.problem_report import problem_report
from napari_blind_deconv.plugin.result_panel import ResultPanel
from napari_blind_deconv.plugin.run import Observer, ViewerRun
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.plugin.runtime_estimator import format_duration
from napari_blind_deconv.plugin.trace_plot import TracePlot
from napari_blind_deconv.plugin.worker import Progress
from napari_blind_deconv.results import Result, StackResult

if TYPE_CHECKING:
    import napari

__all__ = ["BlindDeconvolutionWidget"]

_NO_TRACE_YET = "The trace appears here while a run is on."
_LONG = 90  # seconds that are worth a word of warning


class BlindDeconvolutionWidget(QWidget):
    """Sharpen the selected layer's current plane, a part of it, or its stack, without its PSF.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer; napari passes it by this name.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._run: ViewerRun | None = None
        self._first: tuple[int, float] | None = None  # count and time of the first report
        self.form = RunForm(napari_viewer)
        self.result = ResultPanel(napari_viewer)
        self._make_controls()
        self._lay_out()
        self.result.apply_to_all.connect(self._apply_to_all)
        self.result.picture_taken.connect(self._on_picture_taken)
        self.result.plane_shown.connect(self._show_plane)
        self.result.failed.connect(self._tell)
        self.result.deleted.connect(self._forget)
        self._show_running(False)

    # Construction

    def _make_controls(self) -> None:
        self.run_button = QPushButton("Run")
        self.run_button.clicked.connect(self.start)
        self.stop_button = QPushButton("Stop and keep")
        self.stop_button.clicked.connect(self._stop)
        self.progress = QProgressBar()
        self.status, self.warnings = QLabel(), QLabel()
        for label in (self.status, self.warnings):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.warnings.setVisible(False)
        self.trace_plot = TracePlot(_NO_TRACE_YET)
        self.kernel_view = KernelView()
        self.python_button = QPushButton("Copy as Python")
        self.python_button.setToolTip("Copy a script that does the run as it is chosen above.")
        self.python_button.clicked.connect(lambda: self._copy_script(as_python=True))
        self.command_button = QPushButton("Copy as command")
        self.command_button.setToolTip("Copy a command line that does the run as chosen above.")
        self.command_button.clicked.connect(lambda: self._copy_script(as_python=False))

    def _lay_out(self) -> None:
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addWidget(self.form)
        column.addLayout(_row(self.run_button, self.stop_button))
        for widget in (self.progress, self.status, self.warnings):
            column.addWidget(widget)
        column.addLayout(_row(self.trace_plot, self.kernel_view))
        self.result_fold = _fold("Result", self.result)
        column.addWidget(self.result_fold)
        column.addWidget(_fold("Kernel", self.form.kernel_section))
        column.addWidget(_fold("Settings", self.form.settings_section))
        column.addLayout(_row(self.python_button, self.command_button))
        column.addStretch()
        content = QWidget()
        content.setLayout(column)
        scroll = QScrollArea()  # the unfolded settings are taller than a laptop's screen
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    # Running

    def start(self) -> None:
        """Sharpen what is chosen; refuses a second run while one is on."""
        if self._run is not None:
            return
        self._forget()
        try:
            run = self._make_run()
        except Exception as error:  # a reader of lazy data can raise anything
            self._on_failure(str(error) or type(error).__name__, error)
            return
        self.form.preferences().save()
        self._first = None
        self.result.clear()
        self._say("Starting …")
        self.progress.setRange(0, 0)
        self._show_running(True)
        self.destroyed.connect(run.detach)  # the viewer may close and take the widget along
        self._run = run
        run.start()

    def _make_run(self) -> ViewerRun:
        observer = Observer(self._on_progress, self._on_end, self._on_failure)
        return ViewerRun(self._viewer, *self.form.task(), observer)

    def _forget(self) -> None:
        """Show nothing of how the last run went; its layers and its result stay."""
        self.trace_plot.empty = _NO_TRACE_YET
        self.trace_plot.clear()
        self.kernel_view.clear()

    def _stop(self) -> None:
        if self._run is not None:
            self._say("Stopping after this step …")
            self.stop_button.setEnabled(False)
            self.stop_button.setToolTip("It stops after the step in hand.")
            self._run.stop_and_keep()

    def _apply_to_all(self) -> None:
        self.form.take_kernel_to_all()
        self.start()

    def _on_progress(self, progress: Progress) -> None:
        if self.stop_button.isEnabled():
            self._say(progress.stage)
        assert self._run is not None
        if self._run.is_stack:
            self._show_planes_done(self._run, progress)
        elif progress.kernel is not None:
            self._show_picture(progress)

    def _show_picture(self, progress: Progress) -> None:
        """How far a single plane is."""
        assert progress.kernel is not None
        self.kernel_view.show_kernel(progress.kernel)
        if not progress.iteration:  # the linear estimate, before there is a fit
            return
        self.progress.setRange(0, progress.max_iterations)
        self.progress.setValue(progress.iteration)
        left = self._seconds_left(progress.iteration, progress.max_iterations)
        self.progress.setFormat(f"%v of %m · {_left(left, 'at most')}")
        if left is not None and left > _LONG and progress.device == "cpu":
            self._warn([f"Running on the CPU: at most {math.ceil(left / 60)} minutes."])
        self.trace_plot.extend(progress.trace, progress.best_iteration)

    def _show_planes_done(self, run: ViewerRun, progress: Progress) -> None:
        """How far a stack is, with the kernel and trace of the plane done last."""
        planes = run.task.image.blocks
        self.progress.setRange(0, planes)
        self.progress.setValue(run.done)
        # The kernel's search does not count.
        left = self._seconds_left(run.done, planes) if run.done else None
        self.progress.setFormat(f"%v of %m planes · {_left(left, 'about')}")
        if progress.block is not None and progress.block.result is not None:
            self._draw_curves(progress.block.result)

    def _seconds_left(self, done: int, of: int) -> float | None:
        """From the pace since the first report, so that what comes before does not count."""
        now = time.monotonic()
        if self._first is None:
            self._first = done, now
        first, started = self._first
        return None if done == first else (now - started) / (done - first) * (of - done)

    # How a run ends

    def _on_end(self, outcome: StackResult) -> None:
        run = self._run
        assert run is not None
        self.result.show_run(run)
        self.result_fold.expand(animate=False)
        result = run.result_shown()
        if run.is_stack:
            self._finish(_words_of_stack(outcome))
            self._show_plane(result)
            self._warn([f"{_planes(n)}: {flag.sentence}" for flag, n in outcome.flags.items()])
            return
        assert result is not None
        self._finish(
            f"{result.stop_reason.sentence} Picture of iteration {result.stop_iteration} kept of "
            f"{len(result.trace)}, in {result.seconds:.0f} s on the {result.device.upper()}."
        )
        self._show_result(result)

    def _on_picture_taken(self, result: Result) -> None:
        self._say(f"The picture of iteration {result.stop_iteration} is the result now.")
        self._show_result(result)

    def _show_plane(self, result: Result | None) -> None:
        """What the panel says of a plane of a stack, which may have no result."""
        if result is None:
            self._forget()
            self._warn(["This plane was not sharpened."])
        else:
            self._show_result(result)

    def _show_result(self, result: Result) -> None:
        """What the panel says of a result, chosen by the run or by hand."""
        self._draw_curves(result)
        self.form.kernel.remember(result.kernel)
        self._warn([flag.sentence for flag in result.flags])

    def _draw_curves(self, result: Result) -> None:
        self.trace_plot.clear()
        self.trace_plot.extend(result.trace, result.stop_iteration)
        self.kernel_view.show_kernel(result.kernel.weights)

    def _on_failure(self, sentence: str, error: BaseException | None = None) -> None:
        """The run could not start, or ended badly."""
        self._tell(sentence, error)
        self._finish(sentence)

    def _tell(self, sentence: str, error: BaseException | None = None) -> None:
        """Something could not be done; a run that is on goes on."""
        notify(sentence, self._report(sentence, error))
        self._say(sentence)

    def _finish(self, sentence: str) -> None:
        if self._run is not None:
            self.destroyed.disconnect(self._run.detach)
            self._run = None
        self.progress.setRange(0, 1)
        self.progress.reset()
        self._say(sentence)
        self._show_running(False)

    # What is said

    def _say(self, sentence: str) -> None:
        """One sentence on how it stands; warnings of the last run go."""
        self.status.setText(sentence)
        self._warn([])

    def _warn(self, sentences: list[str]) -> None:
        self.warnings.setText("\n".join(f"⚠ {sentence}" for sentence in sentences))
        self.warnings.setVisible(bool(sentences))

    def _report(self, sentence: str, error: BaseException | None) -> str:
        try:
            settings = self.form.settings()
        except ValueError:
            settings = None
        return problem_report(sentence, error, settings, self.form.describe_image())

    def _copy_script(self, *, as_python: bool) -> None:
        try:
            script = self.form.script()
        except Exception as error:  # a reader of lazy data can raise anything
            self._tell(str(error) or type(error).__name__, error)
            return
        _copy(script.as_python() if as_python else script.as_command())
        self._say("Copied; paste it into a script." if as_python else "Copied; paste it.")

    def _show_running(self, running: bool) -> None:
        self.run_button.setEnabled(not running)
        self.run_button.setToolTip(
            "A run is under way: wait or stop it." if running else "Sharpen what is chosen above."
        )
        self.stop_button.setEnabled(running)
        self.stop_button.setToolTip(
            "End now with the best picture so far." if running else "Nothing is running."
        )
        self.progress.setVisible(running)

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802 (Qt's name)
        """A closed dock keeps the best so far: napari takes the parent of its widget away."""
        super().changeEvent(event)
        undocked = event is not None and event.type() == QEvent.Type.ParentChange
        if undocked and self.parent() is None:
            self.result.clear()
            if self._run is not None:
                self._run.detach()
                self._run = None


def notify(sentence: str, details: str) -> None:
    """Show an error as napari does, with a button that copies its details for a bug report.

    napari keeps its notifications as long as it runs: they must not know the panel.
    """

    def copy(*_dialog: object) -> None:  # napari hands its dialog over
        _copy(details)

    actions = [("Copy details", copy)]
    notification_manager.dispatch(Notification(sentence, "error", actions))


def _planes(count: int) -> str:
    return f"{count} plane{'s' * (count != 1)}"


def _words_of_stack(result: StackResult) -> str:
    sentence = f"{_planes(result.done)} done."
    if result.missing:
        sentence = f"Stopped; {_planes(result.done)} done, {result.missing} left empty."
    for index, why in list(result.failures.items())[:1]:
        sentence += f" {len(result.failures)} could not be sharpened; plane {index}: {why}"
    return sentence


def _left(seconds: float | None, hedge: str) -> str:
    if seconds is None:
        return "estimating time"
    return f"{hedge} {format_duration(seconds)} left"


def _copy(text: str) -> None:
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row


def _fold(title: str, content: QWidget) -> QCollapsible:
    fold = QCollapsible(title)
    fold.setDuration(0)  # what slides is not seen sooner
    fold.addWidget(content)
    for layout in (fold.layout(), fold.content().layout()):
        if layout is not None:
            layout.setContentsMargins(0, 0, 0, 2)
    return fold
