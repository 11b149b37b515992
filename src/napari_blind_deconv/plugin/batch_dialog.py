"""The window for a batch of a folder: folders, what will be done, progress, and the outcomes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from threading import Event

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit, LineEdit
from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.compat import isalive
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QDialog,
    QLabel,
    QListWidget,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_blind_deconv.plugin.batch_run import (
    PATTERNS,
    BatchChoices,
    FileOutcome,
    FolderBatch,
    Outcome,
    run_folder,
)
from napari_blind_deconv.plugin.layouts import in_row
from napari_blind_deconv.plugin.messages import copy_to_clipboard
from napari_blind_deconv.plugin.settings_form import form_rows
from napari_blind_deconv.plugin.worker import Failure, catch_errors

__all__ = ["BatchDialog"]

_SIGNS = {Outcome.DONE: "✓", Outcome.FAILED: "✗", Outcome.SKIPPED: "–"}
_PROPOSED = "deblurred"  # folder of the results within that of the images


class BatchDialog(QDialog):
    """A window in which the images of a folder are run with the choices of the panel.

    Closing it ends the batch after the present file.

    Parameters
    ----------
    parent : QWidget
        The panel.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Batch of a folder")
        self.resize(520, 480)
        self._choices: BatchChoices | None = None
        self._worker: GeneratorWorker[FileOutcome | str, None, int | Failure] | None = None
        self._stop = Event()
        self._counts: Counter[Outcome] = Counter()
        self._total = 0
        self._make_rows()
        self._make_controls()
        self._lay_out()
        # With the panel, when the viewer is closed. The function must not refer to this window.
        self.destroyed.connect(lambda *_, stop=self._stop: stop.set())
        self._show_plan()

    def _make_rows(self) -> None:
        folder = FileDialogMode.EXISTING_DIRECTORY
        self.folder = FileEdit(label="Images", mode=folder, tooltip="Folder with the images.")
        self.patterns = LineEdit(
            label="Names",
            value=PATTERNS,
            tooltip="Names of the images: patterns, separated by commas, such as *.tif, *.zarr. "
            "TIFF, OME-TIFF and OME-Zarr can be read.",
        )
        self.output = FileEdit(
            label="Results",
            mode=folder,
            tooltip="Folder for the results, another one than that of the images; it is created.",
        )
        self.folder.changed.connect(self._propose_output)
        for row in (self.folder, self.patterns, self.output):
            row.changed.connect(self._show_plan)

    def _make_controls(self) -> None:
        self.plan, self.status = QLabel(), QLabel()
        for label in (self.plan, self.status):
            label.setWordWrap(True)
        self.run_button = QPushButton("Run")
        self.run_button.clicked.connect(self.start)
        self.stop_button = QPushButton("Stop")
        self.stop_button.clicked.connect(self.stop)
        self.command_button = QPushButton("Copy as command")
        self.command_button.clicked.connect(self._copy_command)
        self.progress = QProgressBar()
        self.progress.setToolTip("Images that are done.")
        self.progress.setVisible(False)
        self.outcomes = QListWidget()
        self.outcomes.setWordWrap(True)
        self.outcomes.setToolTip("How the run on each image has ended.")
        self.open_button = QPushButton("Open the results' folder")
        self.open_button.clicked.connect(self._open_results)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.addWidget(form_rows([self.folder, self.patterns, self.output]))
        column.addWidget(self.plan)
        column.addLayout(in_row(self.run_button, self.stop_button, self.command_button))
        for widget in (self.progress, self.status, self.outcomes, self.open_button):
            column.addWidget(widget)

    # What will be done

    def show_choices(self, choices: BatchChoices) -> None:
        """Take choices of the panel, unless a batch is under way, and show the window."""
        if self._worker is None:
            self._choices = choices
            self._show_plan()
        self.show()
        self.raise_()

    def batch(self) -> FolderBatch:
        """Return the batch that is chosen; raise `ValueError` if a folder is missing."""
        assert self._choices is not None
        folder, output = _chosen(self.folder), _chosen(self.output)
        if folder is None:
            raise ValueError("Choose the folder of the images.")
        if output is None:
            raise ValueError("Choose a folder for the results.")
        return FolderBatch(folder, self.patterns.value, output, self._choices)

    def _propose_output(self) -> None:
        folder = _chosen(self.folder)
        if folder is not None:
            self.output.value = folder / _PROPOSED

    def _show_plan(self) -> None:
        """State what will be done, or why it cannot be done."""
        if self._choices is None or self._worker is not None:
            return
        why_not = ""
        try:
            batch = self.batch()
            count = len(batch.pairs())
        except (ValueError, OSError) as error:
            why_not = str(error)
            self.plan.setText(why_not)
        else:
            self.plan.setText(
                f"{count} image{'s' * (count != 1)} → {batch.output}, as the panel was set when "
                f"this window was opened: {batch.choices.described}. Whole images are run, each "
                "with the axes and the pixel size of its file: Process, Read as and Leave out of "
                "the panel do not apply. Results that are finished are skipped."
            )
        self._update_buttons(why_not)

    def _update_buttons(self, why_not: str = "") -> None:
        is_running = self._worker is not None
        if is_running:
            why_not = "A batch is under way: wait for it, or stop it."
        for button, help_text in (
            (self.run_button, "Deconvolve the images as stated above."),
            (self.command_button, "Copy a command line that runs the same batch."),
        ):
            button.setEnabled(not why_not)
            button.setToolTip(why_not or help_text)
        can_stop = is_running and not self._stop.is_set()
        self.stop_button.setEnabled(can_stop)
        self.stop_button.setToolTip(
            "End the batch after the present image; run it again to continue."
            if can_stop
            else "The batch is stopping."
            if is_running
            else "There is no batch to stop."
        )
        output = _chosen(self.output)
        is_there = output is not None and output.is_dir()
        self.open_button.setEnabled(is_there)
        self.open_button.setToolTip(
            "Open the folder with the results." if is_there else "The folder is not there yet."
        )

    def _copy_command(self) -> None:
        try:
            copy_to_clipboard(self.batch().as_command())
        except (ValueError, OSError) as error:
            self.status.setText(str(error))
        else:
            self.status.setText("Copied; paste it into a terminal.")

    def _open_results(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.output.value)))

    # Running

    def start(self) -> None:
        """Start the batch in a thread; does nothing while one is under way."""
        if self._worker is not None:
            return
        try:
            batch = self.batch()
            self._total = len(batch.pairs())
        except (ValueError, OSError) as error:
            self.status.setText(str(error))
            return
        self._stop.clear()
        self._counts.clear()
        self.outcomes.clear()
        self.progress.setRange(0, self._total)
        self.progress.setValue(0)
        self.progress.setFormat("%v of %m")
        self._worker = create_worker(
            catch_errors,
            run_folder,
            batch,
            self._stop,
            _start_thread=False,
            _connect={
                "yielded": self._show_outcome,
                "returned": self._on_end,
                "finished": self._on_finished,
            },
        )
        self._show_running(True)
        self._worker.start()

    def stop(self) -> None:
        """End the batch after the present file."""
        if self._worker is not None:
            self._stop.set()
            self.status.setText(f"Stopping after this image … {self.status.text()}")
            self._update_buttons()

    def reject(self) -> None:
        """Close the window, and end the batch after the present file."""
        self.stop()
        super().reject()

    def _show_running(self, running: bool) -> None:
        self.progress.setVisible(running)
        for row in (self.folder, self.patterns, self.output):
            row.native.setEnabled(not running)
        self._update_buttons()

    # Called in the GUI thread, perhaps after the window was deleted

    def _show_outcome(self, report: FileOutcome | str) -> None:
        if not isalive(self):
            return
        if isinstance(report, str):
            self.status.setText(report)
            return
        if report.outcome is None:
            self.status.setText(f"{report.number} of {self._total} · {report.name}")
            return
        self._counts[report.outcome] += 1
        self.progress.setValue(report.number)
        sentence = f": {report.sentence}" if report.sentence else ""
        text = f"{_SIGNS[report.outcome]} {report.name} – {report.outcome}{sentence}"
        self.outcomes.addItem(text)
        self.outcomes.scrollToBottom()

    def _on_end(self, ended: int | Failure) -> None:
        if isalive(self):
            self.status.setText(str(ended) if isinstance(ended, Failure) else self._summary())

    def _on_finished(self) -> None:
        self._worker = None
        if isalive(self):
            self._show_running(False)
            self._show_plan()

    def _summary(self) -> str:
        stopped = "Stopped; " if self._stop.is_set() and self._counts.total() < self._total else ""
        parts = [f"{stopped}{self._counts[Outcome.DONE]} of {self._total} images deconvolved"]
        for outcome in (Outcome.FAILED, Outcome.SKIPPED):
            if self._counts[outcome]:
                parts.append(f"{self._counts[outcome]} {outcome}")
        return f"{', '.join(parts)}."


def _chosen(row: FileEdit) -> Path | None:
    """Return the folder in a row; None if it is empty, which magicgui gives as ``Path()``."""
    path = Path(str(row.value))
    return None if path == Path() else path
