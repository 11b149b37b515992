"""Runs on several layers, one after the other; a single run is a series of one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.layers import Image as ImageLayer

from napari_blind_deconv.plugin.geometry import LayerGeometry
from napari_blind_deconv.plugin.run import ViewerRun
from napari_blind_deconv.plugin.run_observer import Observer
from napari_blind_deconv.plugin.worker import Progress
from napari_blind_deconv.results import StackResult
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["SeriesObserver", "SeriesOfRuns"]


@dataclass(frozen=True)
class SeriesObserver:
    """Callbacks of a series, all called in the GUI thread.

    Attributes
    ----------
    began : callable
        Called with the run on a layer when it begins, after its live layer was added.
    progressed : callable
        Called with each progress report of the present run.
    succeeded : callable
        Called with a run that has a result, once its layers have been added.
    ended_without_result : callable
        Called with a run that has no result, and why it failed; None if it was cancelled.
    failed : callable
        Called with a sentence for the user, and the error if there is one, when a layer cannot be
        deconvolved. The series goes on.
    ended : callable
        Called with a summary at the end of the series; it is empty if the only run has a result.
    """

    began: Callable[[ViewerRun], None]
    progressed: Callable[[Progress], None]
    succeeded: Callable[[ViewerRun], None]
    ended_without_result: Callable[[ViewerRun, str | None], None]
    failed: Callable[[str, BaseException | None], None]
    ended: Callable[[str], None]


class SeriesOfRuns:
    """Runs on layers, one after the other, each with a task of its own.

    All tasks are made at once, so that nothing that the user does during the series changes a later
    run. An error in one layer is reported, and the series goes on.

    Parameters
    ----------
    viewer : Viewer
        Viewer that the layers are added to.
    layers : sequence of Image
        The input layers; at least one.
    make_task : callable
        Returns geometry and task of the run on a layer.
    observer : SeriesObserver
    other_files : sequence of str
        As of `ViewerRun`.

    Attributes
    ----------
    current : ViewerRun or None
        The present run.
    finished : list of ViewerRun
        The runs that have a result.

    Raises
    ------
    ValueError, TypeError, OSError
        If no layer can be deconvolved; this is the error of the first one.
    """

    def __init__(
        self,
        viewer: Viewer,
        layers: Sequence[ImageLayer],
        make_task: Callable[[ImageLayer], tuple[LayerGeometry, Task]],
        observer: SeriesObserver,
        other_files: Sequence[str] = (),
    ) -> None:
        self._viewer = viewer
        self._observer = observer
        self._other_files = other_files
        self._layers = list(layers)
        self._waiting: deque[tuple[ImageLayer, LayerGeometry, Task]] = deque()
        self._refused: dict[ImageLayer, Exception] = {}
        self._troubles: dict[str, str] = {}
        self._ending = ""  # how the user has ended the series
        self.current: ViewerRun | None = None
        self.finished: list[ViewerRun] = []
        for layer in layers:
            try:
                self._waiting.append((layer, *make_task(layer)))
            except Exception as error:  # lazy data may raise any error when they are read
                self._refused[layer] = error
        if not self._waiting:
            raise next(iter(self._refused.values()))

    @property
    def is_one(self) -> bool:
        """Whether there is only one layer."""
        return len(self._layers) == 1

    @property
    def place(self) -> str:
        """Which layer is deconvolved, as the beginning of a line; empty if there is only one."""
        if self.is_one or self.current is None:
            return ""
        number = self._layers.index(self.current.source) + 1
        return f"Layer {number} of {len(self._layers)} · "

    def start(self) -> None:
        """Start the first run."""
        for layer, error in self._refused.items():
            self._report(layer.name, str(error) or type(error).__name__, error)
        self._go_on()

    def stop_and_keep(self) -> None:
        """End the series after the current iteration, and keep the best estimate so far."""
        self._end("Stopped")
        if self.current is not None:
            self.current.stop_and_keep()

    def cancel(self) -> None:
        """End the series and keep nothing of the present run; those that are finished stay."""
        if self.current is not None:
            self.current.cancel()

    def detach(self) -> None:
        """End the series and keep the best estimate so far, without calling the observer."""
        self._waiting.clear()
        if self.current is not None:
            self.current.detach()

    def _end(self, ending: str) -> None:
        self._ending = ending if self._waiting else ""
        self._waiting.clear()

    def _go_on(self) -> None:
        """Start the next run, or end the series."""
        while self._waiting:
            source, geometry, task = self._waiting.popleft()
            if source not in self._viewer.layers:
                self._report(geometry.name, "The layer was deleted.", None)
                continue
            observer = Observer(
                self._observer.progressed, self._on_ended, self._on_failed, self._on_cancelled
            )
            try:
                self.current = ViewerRun(
                    self._viewer, geometry, task, source, observer, self._other_files
                )
            except Exception as error:  # napari may refuse a layer
                self._report(geometry.name, str(error) or type(error).__name__, error)
                continue
            self._observer.began(self.current)
            self.current.start()
            return
        self.current = None
        self._observer.ended(self._summary())

    # How a run ends

    def _on_ended(self, _outcome: StackResult) -> None:
        assert self.current is not None
        self.finished.append(self.current)
        self._observer.succeeded(self.current)
        self._go_on()

    def _on_failed(self, sentence: str, error: BaseException | None) -> None:
        assert self.current is not None
        if error is None:  # another program has ended the run, perhaps because napari is closed
            self._end("Ended")
        self._observer.ended_without_result(self.current, sentence)
        self._report(self.current.geometry.name, sentence, error)
        self._go_on()

    def _on_cancelled(self) -> None:
        assert self.current is not None
        self._observer.ended_without_result(self.current, None)
        self._waiting.clear()
        self._ending = "Cancelled"
        self._go_on()

    def _report(self, name: str, sentence: str, error: BaseException | None) -> None:
        named = sentence if self.is_one else f"'{name}': {sentence}"
        self._troubles[named] = sentence
        self._observer.failed(named, error)

    def _summary(self) -> str:
        done, count = len(self.finished), len(self._layers)
        if self.is_one:
            return "Cancelled; nothing was kept." if self._ending else " ".join(self._troubles)
        ending = f"{self._ending}; " if self._ending else ""
        of = "" if done == count else f" of {count}"
        troubles = " ".join(self._troubles)
        return f"{ending}{done}{of} layers deconvolved" + (f"; {troubles}" if troubles else ".")
