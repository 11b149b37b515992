"""What the buttons that save have in common: the dialog, and the sentence of an error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_blind_deconv.plugin.problem_report import without_folders
from napari_blind_deconv.plugin.worker import Failure

__all__ = ["ask_for_output", "why_not_saved"]


def ask_for_output(
    parent: QWidget,
    title: str,
    proposed: str,
    endings: Mapping[str, str],
    suffixes: Collection[str],
) -> tuple[Path, bool] | None:
    """Ask the user for the file of an output.

    Parameters
    ----------
    parent : QWidget
    title, proposed : str
        Title of the dialog, and the path that it proposes.
    endings : mapping
        Ending of a name for each filter of the dialog. A name without one of the `suffixes` gets
        that of the chosen filter, or else the first one.
    suffixes : collection of str

    Returns
    -------
    tuple of Path and bool, or None
        The file, and whether the user agreed to replace it; None if the dialog was cancelled.
    """
    name, chosen = QFileDialog.getSaveFileName(parent, title, proposed, ";;".join(endings))
    if not name:
        return None
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        path = path.with_name(path.name + endings.get(chosen, next(iter(endings.values()))))
    # The dialog asks before it replaces a file, but not a folder, nor a name with another ending.
    # Paths are compared because Qt separates folders with slashes, also on Windows.
    return path, path == Path(name) and path.is_file()


def why_not_saved(error: BaseException) -> str:
    """Return the sentence for the user about an output that could not be saved."""
    sentence = getattr(error, "strerror", None) or str(Failure(error))
    # A path cannot be wrapped, and would be wider than the panel.
    return without_folders(sentence)
