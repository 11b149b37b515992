"""The button that saves a result, and the thread that writes it."""

from __future__ import annotations

import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from napari.qt.threading import GeneratorWorker, create_worker
from psygnal import Signal
from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication
from qtpy.QtWidgets import QApplication, QPushButton

from napari_blind_deconv.jobs import OUTPUT_SUFFIXES
from napari_blind_deconv.plugin.layers import file_name
from napari_blind_deconv.plugin.save_dialog import ask_for_output, why_not_saved
from napari_blind_deconv.plugin.saving import RunToSave
from napari_blind_deconv.plugin.worker import Failure, catch_errors

if TYPE_CHECKING:
    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["SaveButton"]

_Steps: TypeAlias = Generator[int, None, Path | Failure]

_SECONDS_BETWEEN_LOOKS = 0.05
_TEXT = "Save result …"
_TIFF, _ZARR, _IMAGEJ = ".ome.tif", ".ome.zarr", ".tif"
_FILTERS = {
    "OME-TIFF (*.ome.tif)": _TIFF,
    "OME-Zarr (*.ome.zarr)": _ZARR,
    "TIFF for ImageJ (*.tif)": _IMAGEJ,
}


class SaveButton(QPushButton):
    """A button that asks for a file and writes the result of a run there, in a thread.

    Signals
    -------
    saved : str
        The result was saved, as the sentence states.
    failed : str
        The result could not be saved, for the reason given.
    """

    saved = Signal(str)
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__(_TEXT)
        self._run: ViewerRun | None = None
        self._planes = 0  # of the result that is being saved
        self._worker: GeneratorWorker[int, None, Path | Failure] | None = None
        self.clicked.connect(self._ask_and_save)
        self._update()

    def show_run(self, run: ViewerRun | None) -> None:
        """Offer to save the result of a run; None for no run."""
        self._run = run
        self._update()

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Start to write the result; a signal tells how it ended."""
        assert self._run is not None
        run = RunToSave.of(self._run, path)
        self._planes = len(run.blocks)
        self._steps = catch_errors(run.write, path, overwrite)
        self._worker = create_worker(
            _all_of,
            self._steps,
            _start_thread=False,
            _connect={
                "yielded": self._show_progress,
                "returned": self._on_end,
                "finished": self._on_finished,
            },
        )
        self._update()
        self._worker.start()
        self._at_the_end = partial(_complete, self._worker, self._steps)
        _application().aboutToQuit.connect(self._at_the_end)

    def _ask_and_save(self) -> None:
        if self._run is None:
            return
        endings = {
            text: end for text, end in _FILTERS.items() if end != _ZARR or not self._is_colour
        }
        proposed = str(_proposed_path(self._run))
        answer = ask_for_output(self, "Save the result", proposed, endings, OUTPUT_SUFFIXES)
        if answer is not None:
            path, overwrite = answer
            self.save(path, overwrite=overwrite)

    @property
    def _is_colour(self) -> bool:
        return self._run is not None and self._run.task.image.is_colour

    def _update(self) -> None:
        has_result = self._run is not None and self._run.outcome.plan is not None
        self.setEnabled(has_result and self._worker is None)
        if self._worker is not None:
            self.setText("Saving …")
            self.setToolTip("The result is being saved.")
            return
        self.setText(_TEXT)
        self.setToolTip(
            "Save the result as OME-TIFF or OME-Zarr, in the units of the image, with pixel size "
            "and channels; how it was made goes into the file and into a .json beside it."
            if has_result
            else "There is no result yet."
        )

    # Called in the GUI thread, perhaps after the panel was closed

    def _show_progress(self, done: int) -> None:
        if isalive(self) and self._planes > 1:
            self.setText(f"Saving … {done} of {self._planes}")

    def _on_end(self, ended: Path | Failure) -> None:
        if not isalive(self):
            return
        if isinstance(ended, Failure):
            self.failed.emit(why_not_saved(ended.error))
        else:
            self.saved.emit(f"Saved as {ended.name}.")

    def _on_finished(self) -> None:
        self._steps.close()  # if another program has ended the thread, the file is deleted here
        _application().aboutToQuit.disconnect(self._at_the_end)
        self._worker = None
        if isalive(self):
            self._update()


def _application() -> QCoreApplication:
    application = QApplication.instance()
    assert application is not None
    return application


def _all_of(steps: _Steps) -> _Steps:
    """Return a generator as one that `create_worker` can call."""
    return (yield from steps)


def _complete(worker: GeneratorWorker[int, None, Path | Failure], steps: _Steps) -> None:
    """Write the rest of a file when the user ends napari, which also ends the thread."""
    while worker.is_running:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    for _ in steps:
        pass


def _proposed_path(run: ViewerRun) -> Path:
    """Return a name for the result, beside the file of its input if there is one."""
    name = Path(file_name(run.geometry.name)).stem.removesuffix(".tif").removesuffix(".ome")
    source = run.source.source.path
    folder = Path() if source is None or not Path(source).exists() else Path(source).parent
    return folder / f"{name}_deblurred{_TIFF}"
