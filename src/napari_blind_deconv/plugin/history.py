"""The runs of a session: which result is in the viewer, and which can be shown again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from psygnal import Signal

from napari_blind_deconv.plugin.channels import is_blended
from napari_blind_deconv.plugin.choices import Choices
from napari_blind_deconv.plugin.held_memory import held_bytes
from napari_blind_deconv.plugin.messages import format_blocks, stack_sentence
from napari_blind_deconv.verdict import verdict

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["Entry", "History"]

_MAX_BYTES = 512 * 2**20


@dataclass(eq=False)
class Entry:
    """A run of the session that has ended.

    Attributes
    ----------
    run : ViewerRun or None
        The run with its result; None if it failed, or if its result was dropped to save memory.
    choices : Choices
    name : str
        Name of the input.
    part : str
        What was deconvolved of it.
    ended : str
        Time of day.
    seconds : float
        Duration.
    sentence : str
        What became of the image, or why the run failed.
    has_failed : bool
    last_shown : int
        Number that rises with each result that is shown.
    """

    run: ViewerRun | None
    choices: Choices
    name: str
    part: str
    ended: str
    seconds: float
    sentence: str
    has_failed: bool = False
    last_shown: int = 0

    @property
    def short_sentence(self) -> str:
        """The first sentence on what became of the image, or the full one on a failure."""
        return self.sentence if self.has_failed else self.sentence.split(". ")[0].rstrip(".")

    @property
    def is_dropped(self) -> bool:
        """Whether the result was dropped to save memory."""
        return self.run is None and not self.has_failed

    @property
    def is_kept(self) -> bool:
        """Whether the user keeps the result."""
        return self.run is not None and self.run.layers.is_kept

    @property
    def is_in_viewer(self) -> bool:
        """Whether the result is in the viewer."""
        return self.run is not None and self.run.layers.is_in_viewer


class History:
    """The runs of a session, of which each input has one result in the viewer.

    When a run succeeds, its layers replace those of the last result of the same input. A result
    stays if the user keeps it, has renamed, locked or edited one of its layers, or uses one as
    input, mask or PSF; it then counts as kept. Results that were replaced are held in memory, up to
    a limit. Beyond it, first the estimates that are not in use are dropped, then the oldest results
    that are not kept.

    Parameters
    ----------
    viewer : Viewer
    layers_in_use : callable
        Returns the layers that are chosen for the next run.

    Attributes
    ----------
    entries : list of Entry
        In the order in which the runs ended.

    Signals
    -------
    changed : ()
        The entries, or what is known of them, have changed.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, layers_in_use: Callable[[], Iterable[Layer]]) -> None:
        self._viewer, self._layers_in_use = viewer, layers_in_use
        self.entries: list[Entry] = []
        self._begun: dict[ViewerRun, tuple[Choices, float]] = {}
        self._hidden: dict[ViewerRun, list[Layer]] = {}
        self._shown = 0
        viewer.layers.events.removed.connect(self._on_removed)

    # During a run

    def begin(self, run: ViewerRun, choices: Choices) -> None:
        """Note that a run begins; it is as visible as the result that it will replace."""
        self._begun[run] = choices, time.monotonic()
        replaced = self._replaceable(run.source)
        for old in replaced:
            run.layer.visible = old.layer.visible
        added = self._others_of(run) if is_blended(run.source, self._viewer.layers) else []
        self._hidden[run] = [old.layer for old in (*replaced, *added) if old.layer.visible]
        for layer in self._hidden[run]:
            layer.visible = False

    def finish(self, run: ViewerRun) -> None:
        """Add a run that has a result, in place of the last result of its input."""
        entry = self._end(run, _sentence_of(run))
        entry.run = run
        run.layers.changed.connect(self._on_changed)
        self._note_shown(entry)
        self._replace_by(run)
        if run.layer.visible and is_blended(run.source, self._viewer.layers):
            self._hide_others_of(run)  # one that is kept would be added to this one, or lie on it
        self._save_memory()
        self.changed.emit()

    def fail(self, run: ViewerRun, sentence: str) -> None:
        """Add a run that has failed; the last result of its input stays."""
        if run in self._begun:
            self._end(run, sentence).has_failed = True
            self.changed.emit()

    def cancel(self, run: ViewerRun) -> None:
        """Forget a run; the last result of its input stays."""
        self._begun.pop(run, None)
        self._show_hidden(run)

    # Afterwards

    def latest(self, source: Layer | None) -> ViewerRun | None:
        """Return the run of an input whose result is in the viewer and was shown last.

        None stands for any input.
        """
        candidates = [
            entry
            for entry in self.entries
            if entry.is_in_viewer and source in (None, entry.run and entry.run.source)
        ]
        return max(candidates, key=lambda entry: entry.last_shown).run if candidates else None

    def show(self, entry: Entry) -> None:
        """Show the result of an entry, which returns to the viewer if it was replaced."""
        run = entry.run
        if run is None:
            return
        self._note_shown(entry)
        if run.is_deleted:
            if not run.is_stack:  # it may have been deleted while another estimate was viewed
                run.preview(run.index_in_use)
            self._replace_by(run)
        self._hide_others_of(run)  # one that is kept would lie on this one
        run.layer.visible = True
        run.hide_source()
        self._save_memory()
        self.changed.emit()

    @property
    def shown(self) -> Entry | None:
        """The entry whose result was shown last; None before the first result."""
        return max(self.entries, key=lambda entry: entry.last_shown, default=None)

    def update(self, run: ViewerRun) -> None:
        """Take over that another estimate of a run is the result."""
        for entry in self.entries:
            if entry.run is run:
                entry.sentence = _sentence_of(run)
        self.changed.emit()

    def clear(self) -> None:
        """Forget all runs but those whose result is kept or in the viewer."""
        self.entries = [entry for entry in self.entries if entry.is_kept or entry.is_in_viewer]
        self.changed.emit()

    @property
    def nbytes(self) -> int:
        """Memory that the results take besides the layers in the viewer."""
        runs = [entry.run for entry in self.entries if entry.run is not None]
        return sum(held_bytes(run, self._viewer.layers) for run in runs)

    # Replacing

    def _end(self, run: ViewerRun, sentence: str) -> Entry:
        choices, started = self._begun.pop(run)
        self._show_hidden(run)
        entry = Entry(
            run=None,
            choices=choices,
            name=run.geometry.name,
            part=_part_of(run),
            ended=time.strftime("%H:%M"),
            seconds=time.monotonic() - started,
            sentence=sentence,
        )
        self.entries.append(entry)
        return entry

    def _show_hidden(self, run: ViewerRun) -> None:
        for layer in self._hidden.pop(run, []):
            layer.visible = True

    def _replaceable(self, source: Layer) -> list[ViewerRun]:
        """Return the runs whose result another result of the same input may replace."""
        runs = self._runs_in_viewer()
        in_use = [*self._layers_in_use(), *(run.source for run in (*runs, *self._begun))]
        free = []
        for run in runs:
            if run.source != source or run.layers.is_kept:
                continue
            if run.layers.is_changed or any(layer in in_use for layer in run.layers.all):
                run.layers.is_kept = True
            else:
                free.append(run)
        return free

    def _replace_by(self, run: ViewerRun) -> None:
        """Put a result in the place of the one of its input that is in the viewer."""
        free = [] if run.layers.is_kept else self._replaceable(run.source)
        replaced = [other for other in free if other is not run]
        if run.is_deleted and not replaced:
            run.layers.return_above(run.source)
        for other in replaced:
            run.layers.take_the_place_of(other.layers)
        run.hide_source()
        self._viewer.layers.selection.active = run.layer

    def _runs_in_viewer(self) -> list[ViewerRun]:
        runs = (entry.run for entry in self.entries)
        return [run for run in runs if run is not None and not run.is_deleted]

    def _others_of(self, run: ViewerRun) -> list[ViewerRun]:
        """Return the other runs on the same input whose result is in the viewer."""
        runs = self._runs_in_viewer()
        return [other for other in runs if other is not run and other.source == run.source]

    def _hide_others_of(self, run: ViewerRun) -> None:
        for other in self._others_of(run):
            other.layer.visible = False

    def _note_shown(self, entry: Entry) -> None:
        self._shown += 1
        entry.last_shown = self._shown

    # Memory

    def _save_memory(self) -> None:
        """Drop what was not shown for longest until the limit is kept."""
        others = [entry for entry in self.entries if entry.last_shown < self._shown]
        for drop in (_drop_estimates, _drop_result):
            for entry in sorted(others, key=lambda entry: (entry.is_in_viewer, entry.last_shown)):
                if self.nbytes <= _MAX_BYTES:
                    return
                drop(entry)

    def _on_changed(self) -> None:
        self.changed.emit()

    def _on_removed(self, event: Any) -> None:
        # The run hears of it after this, and then shows an input that it has hidden.
        for entry in self.entries:
            if entry.run is not None and entry.run.layer == event.value:
                for other in self._others_of(entry.run):
                    if other.layer.visible:
                        other.take_over_hiding(entry.run)
        self._save_memory()
        self.changed.emit()


def _drop_estimates(entry: Entry) -> None:
    if entry.run is not None:
        entry.run.forget_estimates()


def _drop_result(entry: Entry) -> None:
    if not entry.is_kept:
        entry.run = None


def _sentence_of(run: ViewerRun) -> str:
    """Return what became of the image of a run that has a result."""
    if run.is_stack:
        return stack_sentence(run.outcome, run.task.image.block_kind)
    return verdict(run.planes.results[()], *run.pixels).sentence


def _part_of(run: ViewerRun) -> str:
    """Return which part of its input a run has deconvolved, as text."""
    geometry, image = run.geometry, run.task.image
    if run.is_stack:
        first, planes = geometry.position[0], image.stack_shape[0]
        many = format_blocks(image.blocks, image.block_kind)
        return f"{many}, {first} to {first + planes - 1}" if first else many
    leading = [str(i) for a, i in enumerate(geometry.position) if a not in geometry.block_axes]
    parts = [f"{image.block_kind} {', '.join(leading)}"] if leading else []
    rows, columns = image.block_shape[-2:]
    sides = f"{' × '.join(map(str, image.block_shape))} px"
    if columns < geometry.columns or geometry.corner != (0, 0):
        row, column = geometry.corner
        parts.append(f"{rows} × {columns} px at {row}, {column}")
    return "; ".join(parts) or sides
