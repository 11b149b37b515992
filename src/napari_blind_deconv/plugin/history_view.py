"""The list of the runs of a session, to go back to them."""

from __future__ import annotations

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_blind_deconv.plugin.choices import Choices
from napari_blind_deconv.plugin.history import Entry, History
from napari_blind_deconv.plugin.layouts import in_row

__all__ = ["HistoryView"]

_HELP = "Click a run to show its result again, with its verdict, trace and kernel."
_HEIGHT = 170  # pixels
_NO_RUN = "No run has ended yet."
_NOT_CHOSEN = "Choose a run in the list first."
_DROPPED = "The result is no longer in memory; use its settings to run again."
_RUNNING = "A run is under way: wait for it, or stop it."
_USE_SETTINGS = "Put its preset, settings and choice of the kernel into the form."
_KEEP = "Keep its result in the viewer and in memory when other runs follow."
_CLEAR = "Forget all runs whose result is neither kept nor in the viewer."
_KEPT_MARK = "★ "


class HistoryView(QWidget):
    """One line for each run: a click shows its result, a button its settings.

    Parameters
    ----------
    history : History

    Signals
    -------
    chosen : Entry
        The user wants to see the result of this run.
    not_shown : str
        The result cannot be shown, for the reason given.
    settings_chosen : Choices
        The user wants these choices in the form.
    """

    chosen = Signal(Entry)
    not_shown = Signal(str)
    settings_chosen = Signal(Choices)

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history
        self._is_running = False
        self._shown: Entry | None = None  # at the last refresh
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.list.setFixedHeight(_HEIGHT)
        self.list.setSpacing(3)
        self.list.setMinimumWidth(100)
        self.list.itemClicked.connect(self._show)
        self.list.itemActivated.connect(self._show)  # the Enter key
        self.list.currentRowChanged.connect(self._update_buttons)
        self.settings_button = QPushButton("Use its settings")
        self.settings_button.clicked.connect(self._use_settings)
        self.keep_button = QPushButton("Keep")
        self.keep_button.setCheckable(True)
        self.keep_button.clicked.connect(self._keep)
        self.clear_button = QPushButton("Clear")
        self.clear_button.clicked.connect(history.clear)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.list)
        column.addLayout(in_row(self.settings_button, self.keep_button, self.clear_button))
        history.changed.connect(self.refresh)
        self.refresh()

    def show_running(self, running: bool) -> None:
        """Offer results only while no run is in progress."""
        self._is_running = running
        self._update_buttons()

    def refresh(self) -> None:
        """Show the entries of the history, the last one first."""
        has_new = self._history.shown is not self._shown
        self._shown = self._history.shown
        chosen = self._shown if has_new else self._chosen()
        with signals_blocked(self.list):
            self.list.clear()
            for entry in reversed(self._history.entries):
                item = QListWidgetItem(_text_of(entry))
                item.setData(Qt.ItemDataRole.UserRole, entry)
                item.setToolTip(_tooltip_of(entry))
                self.list.addItem(item)
                if entry is chosen:
                    self.list.setCurrentItem(item)
        self._update_buttons()

    def _chosen(self) -> Entry | None:
        item = self.list.currentItem()
        return None if item is None else item.data(Qt.ItemDataRole.UserRole)

    def _show(self, item: QListWidgetItem) -> None:
        entry: Entry = item.data(Qt.ItemDataRole.UserRole)
        if entry.run is not None:
            self.chosen.emit(entry)
        else:
            self.not_shown.emit(entry.sentence if entry.has_failed else _DROPPED)

    def _use_settings(self) -> None:
        entry = self._chosen()
        if entry is not None:
            self.settings_chosen.emit(entry.choices)

    def _keep(self, kept: bool) -> None:
        entry = self._chosen()
        if entry is not None and entry.run is not None:
            entry.run.layers.is_kept = kept

    def _update_buttons(self) -> None:
        entry, has_entries = self._chosen(), bool(self._history.entries)
        no_entry = _NOT_CHOSEN if has_entries else _NO_RUN
        for widget, is_enabled, help_text, why_not in (
            (
                self.list,
                has_entries and not self._is_running,
                _HELP,
                _RUNNING if has_entries else _NO_RUN,
            ),
            (self.settings_button, entry is not None, _USE_SETTINGS, no_entry),
            (
                self.keep_button,
                entry is not None and entry.run is not None,
                _KEEP,
                no_entry if entry is None else "This run has no result that could be kept.",
            ),
            (self.clear_button, has_entries, _CLEAR, _NO_RUN),
        ):
            widget.setEnabled(is_enabled)
            widget.setToolTip(help_text if is_enabled else why_not)
        self.keep_button.setChecked(entry is not None and entry.is_kept)


def _text_of(entry: Entry) -> str:
    mark = _KEPT_MARK if entry.is_kept else ""
    heading = f"{mark}{entry.ended} {entry.name}, {entry.part}, {entry.seconds:.0f} s"
    notes = [entry.choices.preset, entry.choices.changes, "no longer in memory" * entry.is_dropped]
    return f"{heading}\n{entry.short_sentence}\n{'; '.join(filter(None, notes))}"


def _tooltip_of(entry: Entry) -> str:
    if entry.has_failed:
        return "This run failed; its settings can be used again."
    if entry.is_dropped:
        return _DROPPED
    return _HELP
