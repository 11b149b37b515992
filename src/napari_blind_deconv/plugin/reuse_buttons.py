"""Buttons that use the panel's choices elsewhere: in a script, in a terminal, on a folder."""

from __future__ import annotations

from psygnal import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_blind_deconv.plugin.batch_dialog import BatchDialog
from napari_blind_deconv.plugin.batch_run import BatchChoices
from napari_blind_deconv.plugin.layouts import in_row
from napari_blind_deconv.plugin.messages import copy_to_clipboard
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.plugin.snippets import with_own_outputs

__all__ = ["ReuseButtons"]


class ReuseButtons(QWidget):
    """The buttons *Copy as Python*, *Copy as command* and *Batch of a folder …*.

    Parameters
    ----------
    form : RunForm
        The choices.

    Signals
    -------
    done : str
        Something was done, as the sentence states.
    failed : str, Exception
        The choices cannot be used, for the reason given.
    """

    done = Signal(str)
    failed = Signal(str, Exception)

    def __init__(self, form: RunForm) -> None:
        super().__init__()
        self._form = form
        self._dialog: BatchDialog | None = None
        self.python_button = QPushButton("Copy as Python")
        self.python_button.setToolTip("Copy a Python script that does the run chosen above.")
        self.python_button.clicked.connect(lambda: self._copy(as_python=True))
        self.command_button = QPushButton("Copy as command")
        self.command_button.setToolTip("Copy a command line that does the run chosen above.")
        self.command_button.clicked.connect(lambda: self._copy(as_python=False))
        self.batch_button = QPushButton("Batch of a folder …")
        self.batch_button.setToolTip(
            "Deconvolve all images of a folder with the settings and the kernel chosen here."
        )
        self.batch_button.clicked.connect(self.open_batch)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(in_row(self.python_button, self.command_button))
        column.addWidget(self.batch_button)

    def open_batch(self) -> BatchDialog | None:
        """Open the window for a batch, and return it; None if a choice is not valid."""
        try:
            choices = BatchChoices.of(self._form)
        except Exception as error:  # the layer of a PSF may raise any error when it is read
            self.failed.emit(str(error) or type(error).__name__, error)
            return None
        if self._dialog is None:
            self._dialog = BatchDialog(self)
        self._dialog.show_choices(choices)
        return self._dialog

    def close_batch(self) -> None:
        """Close the window for a batch, which ends after the present file."""
        if self._dialog is not None:
            self._dialog.close()

    def _copy(self, *, as_python: bool) -> None:
        try:
            scripts = [self._form.script(layer) for layer in self._form.input.chosen_layers()]
        except Exception as error:  # lazy data may raise any error when they are read
            self.failed.emit(str(error) or type(error).__name__, error)
            return
        scripts = with_own_outputs(scripts)
        texts = [each.as_python() if as_python else each.as_command() for each in scripts]
        copy_to_clipboard("\n".join(texts))
        where = "a script" if as_python else "a terminal"
        self.done.emit(f"Copied; paste it into {where}.")
