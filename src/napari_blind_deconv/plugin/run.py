"""A run in a viewer: its thread, its layers, and every way it can end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari.layers import Image, Layer
from napari.qt.threading import GeneratorWorker, create_worker

from napari_blind_deconv.plugin.kept_pictures import KeptPicture, KeptPictures
from napari_blind_deconv.plugin.layers import (
    Place,
    Source,
    displayable,
    image_layer,
    layer_metadata,
    outputs_beside,
)
from napari_blind_deconv.plugin.worker import Failure, Progress, attempted, work
from napari_blind_deconv.results import Result
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["LayerRun", "Observer", "Run"]

_Progress = TypeVar("_Progress")
_Result = TypeVar("_Result")

# Runs under way. A run outlives the dock that started it: closing the dock keeps the best so far.
_active: set[LayerRun[Any, Any]] = set()


@dataclass(frozen=True)
class Observer(Generic[_Progress, _Result]):
    """Who watches a run; all three are called in the GUI thread."""

    progressed: Callable[[_Progress], None]
    ended: Callable[[_Result], None]
    failed: Callable[[str, BaseException | None], None]


def _ignore(*_news: object) -> None: ...


_NOBODY: Observer[Any, Any] = Observer(_ignore, _ignore, _ignore)


class LayerRun(ABC, Generic[_Progress, _Result]):
    """A computation in its thread, the layer it fills, and every way it can end.

    Taking the layer away ends the run and leaves nothing behind.

    Parameters
    ----------
    viewer : Viewer
    place : Place
        Where what the layer is made from lies.
    layer : Image
        In the viewer, there from the start.
    work : callable
        ``work(task, stop)``: a generator that yields progress, returns the result, and ends soon
        after the event `stop` is set.
    task : Task
        All that the computation needs.
    observer : Observer
    """

    def __init__(
        self,
        viewer: Viewer,
        place: Place,
        layer: Image,
        work: Callable[[Task, Event], Generator[_Progress, None, _Result]],
        task: Task,
        observer: Observer[_Progress, _Result],
    ) -> None:
        self._viewer = viewer
        self.place = place
        self.layer = layer
        self._observer = observer
        self._stop = Event()
        self._is_open = True
        self._discarded = False
        self._worth_keeping = False  # whether the layer holds what an error must not take along
        viewer.layers.events.removed.connect(self._on_layer_removed)
        self._worker: GeneratorWorker[_Progress, None, _Result | Failure] = create_worker(
            attempted,
            work,
            task,
            self._stop,
            _start_thread=False,
            _connect={
                "yielded": self._on_progress,
                "returned": self._on_result,
                "finished": self._on_finished,
            },
        )

    @abstractmethod
    def _draw(self, progress: _Progress) -> None:
        """Bring the layer up to date."""

    @abstractmethod
    def _show(self, result: _Result) -> None:
        """Bring the layer to its end, and lay beside it what belongs there."""

    def start(self) -> None:
        """Start computing."""
        _active.add(self)
        self._worker.start()

    def stop_and_keep(self) -> None:
        """End after the iteration in hand; what is done so far becomes the result."""
        self._stop.set()

    def detach(self) -> None:
        """Nobody watches any more: keep what is done so far and say nothing."""
        self._observer = _NOBODY
        self.stop_and_keep()

    def _on_progress(self, progress: _Progress) -> None:
        if self._discarded:
            return
        self._draw(progress)
        self._observer.progressed(progress)

    def _on_result(self, result: _Result | Failure) -> None:
        observer = self._close()
        if isinstance(result, Failure):
            self._give_up(result, observer)
            return
        if self._discarded:
            observer.failed("The result layer was deleted, so the run was ended.", None)
            return
        try:
            self._show(result)
            self._viewer.layers.selection.active = self.layer
        except Exception as error:  # whatever napari has against a layer, the widget goes on
            sentence = f"The result could not be shown ({error})."
            self._note(sentence)
            observer.failed(sentence, error)
            return
        observer.ended(result)

    def _give_up(self, failure: Failure, observer: Observer[_Progress, _Result]) -> None:
        reason = str(failure)
        if self._worth_keeping and not self._discarded:
            reason += " What was done stays."
            self._note(reason)
        elif not self._discarded:
            self._viewer.layers.remove(self.layer)
        observer.failed(reason, failure.error)

    def _on_finished(self) -> None:
        # A worker that is quit while its generator returns says neither `returned` nor `aborted`.
        if self._is_open:
            sentence = "The run was ended from outside; its last picture stays."
            self._note(sentence)
            self._close().failed(sentence, None)
        _active.discard(self)  # not before: PySide6 crashes if a worker goes within its own call

    def _note(self, sentence: str) -> None:
        """Let a layer that stays without a result say how its run ended."""
        self.layer.metadata = layer_metadata(self.place, record={"failure": sentence})

    def _on_layer_removed(self, event: Any) -> None:
        removed: Layer = event.value
        if removed == self.layer:  # not `is`: napari hands plugins proxies of its layers
            self._discarded = True
            self.stop_and_keep()

    def _close(self) -> Observer[_Progress, _Result]:
        """Let go of the viewer; whom to tell how it ended."""
        self._is_open = False
        observer, self._observer = self._observer, _NOBODY
        self._stop.set()
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        return observer


class Run(LayerRun[Progress, Result]):
    """A run on one plane.

    The live layer appears at once over the image and sharpens; kernel and trace layers join it at
    the end. Its pictures can then be looked through, and another one be taken.
    """

    def __init__(
        self, viewer: Viewer, source: Source, task: Task, observer: Observer[Progress, Result]
    ) -> None:
        self.source = source
        self.pictures = KeptPictures()
        self.chosen = 0  # place among them of the one that the run has kept
        self._result: Result | None = None
        self._beside: list[Layer] = []
        data, arguments, _kind = image_layer(source, source.pixels, layer_metadata(source))
        layer = viewer.add_image(data, **arguments)
        super().__init__(viewer, source, layer, work, task, observer)

    @property
    def result(self) -> Result | None:
        """What it came to, once it has ended: with the picture in use."""
        return self._result

    def look_at(self, place: int) -> KeptPicture:
        """Show a picture of the run, which has ended."""
        picture = self.pictures[place]
        self.layer.data = displayable(self.source, picture.image)
        return picture

    def take(self, place: int) -> Result:
        """Make a picture of the run the result: its layers are put in place of the present ones."""
        assert self._result is not None
        picture = self.look_at(place)
        from napari_blind_deconv.engine.quality import judge  # torch is there

        before = self._result
        kernel = before.kernel.with_weights(picture.kernel)
        judgement = judge(
            self.source.image,
            picture.image,
            kernel,
            reason=before.stop_reason,
            slowed_at=before.slowed_at,
        )
        self._result = replace(
            before,
            stop_iteration=picture.iteration,
            image=picture.image,
            kernel=kernel,
            chosen_by_hand=place != self.chosen,
            **judgement._asdict(),
        )
        self.layer.metadata = layer_metadata(self.source, self._result)
        for layer in self._beside:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._lay_beside(self._result)
        return self._result

    def _draw(self, progress: Progress) -> None:
        if progress.image is None or progress.kernel is None:
            return
        self.layer.data = displayable(self.source, progress.image)
        if progress.iteration:
            self.pictures.offer(KeptPicture(progress.iteration, progress.image, progress.kernel))

    def _show(self, result: Result) -> None:
        self._result = result
        kept = KeptPicture(result.stop_iteration, result.image, result.kernel.weights)
        self.chosen = self.pictures.conclude(kept)
        self.layer.data = displayable(self.source, result.image)
        self.layer.metadata = layer_metadata(self.source, result)
        self._lay_beside(result)

    def _lay_beside(self, result: Result) -> None:
        self._beside = [
            getattr(self._viewer, f"add_{kind}")(data, **arguments)
            for data, arguments, kind in outputs_beside(self.source, result)
        ]
        self._viewer.layers.selection.active = self.layer
