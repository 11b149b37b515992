"""A run in a viewer: its thread, the layer it fills, and every way it can end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from napari.qt.threading import GeneratorWorker, create_worker
from numpy.typing import NDArray

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.plugin.kept_estimates import KeptEstimate, KeptEstimates
from napari_blind_deconv.plugin.layers import (
    Place,
    displayable,
    image_options,
    kernel_layer,
    layer_metadata,
    outputs_beside,
)
from napari_blind_deconv.plugin.worker import Failure, Progress, attempted, work
from napari_blind_deconv.results import BlockResult, Result, StackResult
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Observer", "ViewerRun"]

# Runs under way. A run outlives the dock that started it: closing the dock keeps the best so far.
_active: set[ViewerRun] = set()


@dataclass(frozen=True)
class Observer:
    """Who watches a run; all three are called in the GUI thread."""

    progressed: Callable[[Progress], None]
    ended: Callable[[StackResult], None]
    failed: Callable[[str, BaseException | None], None]


def _ignore(*_news: object) -> None: ...


_NOBODY = Observer(_ignore, _ignore, _ignore)


class ViewerRun:
    """A run over the planes of a layer, one or many.

    The live layer appears at once over what it is made from: a single plane sharpens before the
    user's eyes, a stack fills plane by plane. The kernel, and the trace of a single plane, join it
    at the end. The pictures of a single plane can then be looked through, and another one be taken.
    Taking the layer away ends the run and leaves nothing behind.

    Parameters
    ----------
    viewer : Viewer
    place : Place
        Where what the layer is made from lies.
    task : Task
        Copies of all that the computation needs; a stack is read plane by plane.
    observer : Observer
    """

    def __init__(self, viewer: Viewer, place: Place, task: Task, observer: Observer) -> None:
        self._viewer = viewer
        self.place = place
        self.task = task
        self.pictures = KeptEstimates()
        self.chosen = 0  # place among them of the one that the run has kept
        self._done = 0
        self._planes: dict[Index, Result] = {}
        self._result: StackResult  # once it has ended
        self._beside: list[Layer] = []
        self._image = self._first_image()
        self.layer = viewer.add_image(self._image, **image_options(place, layer_metadata(place)))
        self._observer = observer
        self._stop = Event()
        self._is_open = True
        self._discarded = False
        viewer.layers.events.removed.connect(self._on_layer_removed)
        self._worker: GeneratorWorker[Progress, None, StackResult | Failure] = create_worker(
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

    @property
    def is_stack(self) -> bool:
        """Whether it is of planes along other axes, be it one only."""
        return bool(self.task.image.stack_axes)

    @property
    def done(self) -> int:
        """How many planes are, whatever came of them."""
        return self._done

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

    # What it came to

    def index_shown(self) -> Index:
        """Position of the plane on the screen, or the one next to it; empty for a plane."""
        shape = self.task.image.stack_shape
        point = np.asarray(self._viewer.dims.point)[-self.layer.ndim :]
        at = np.round(self.layer.world_to_data(point))
        return tuple(int(np.clip(at[axis], 0, length - 1)) for axis, length in enumerate(shape))

    def result_shown(self) -> Result | None:
        """Result of that plane; None if it is not done, or could not be."""
        return self._planes.get(self.index_shown())

    def planes_shown(self) -> tuple[Image, NDArray[Any]]:
        """That plane before and after, the latter as it is displayed.

        Raises
        ------
        ValueError
            If it cannot be read.
        """
        index = self.index_shown()
        before = self.task.image.read(index)
        after = np.asarray(self.layer.data)
        return before, after[index] if self.is_stack else after.reshape(before.pixels.shape)

    def kernels(self) -> tuple[str, NDArray[np.float32]]:
        """Weights of all its kernels in one array, and its axes: see `StackPlan.all_kernels`."""
        own = {index: result.kernel for index, result in self._planes.items()}
        assert self._result.plan is not None
        return self._result.plan.all_kernels(self.task.image, own)

    # A single plane, afterwards

    def look_at(self, place: int) -> KeptEstimate:
        """Show a picture of the run, which has ended."""
        picture = self.pictures[place]
        self.layer.data = displayable(self.place, picture.image)
        return picture

    def take(self, place: int) -> Result:
        """Make a picture of the run the result: its layers are put in place of the present ones."""
        from napari_blind_deconv.engine.quality import judge  # torch is there

        picture, before = self.look_at(place), self._planes[()]
        kernel = before.kernel.with_weights(picture.kernel)
        judgement = judge(
            self.task.image.read(),
            picture.image,
            kernel,
            reason=before.stop_reason,
            slowed_at=before.slowed_at,
        )
        result = replace(
            before,
            stop_iteration=picture.iteration,
            image=picture.image,
            kernel=kernel,
            chosen_by_hand=place != self.chosen,
            **judgement._asdict(),
        )
        self._planes[()] = result
        for layer in self._beside:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._show_plane(result)
        return result

    # Its layers

    def _first_image(self) -> NDArray[Any]:
        """The input of a single plane, as it is displayed; of a stack nothing yet."""
        image = self.task.image
        if self.is_stack:
            return np.zeros(image.pixels.shape, np.float32)
        return displayable(self.place, image.array)

    def _draw(self, progress: Progress) -> None:
        if progress.image is not None:
            self.layer.data = displayable(self.place, progress.image)
            if progress.kernel is not None and progress.iteration:
                picture = KeptEstimate(progress.iteration, progress.image, progress.kernel)
                self.pictures.offer(picture)
        if progress.block is not None:
            self._keep(progress.block)

    def _keep(self, block: BlockResult) -> None:
        self._done += 1
        if not self.is_stack:
            if block.result is not None:
                self._planes[block.index] = block.result
            return
        shown = displayable(self.place, block.image).reshape(block.image.shape)
        self._image[block.index] = shown
        self.layer.refresh()
        if block.result is not None:  # its pixels are in the layer, its residual nowhere
            trust = replace(block.result.trust, residual=np.zeros((0, 0), np.float32))
            light = replace(block.result, image=self._image[block.index], trust=trust)
            self._planes[block.index] = light

    def _show(self, result: StackResult) -> None:
        self._result = result
        if not self.is_stack:
            plane = self._planes[()]
            kept = KeptEstimate(plane.stop_iteration, plane.image, plane.kernel.weights)
            self.chosen = self.pictures.conclude(kept)
            self._show_plane(plane)
            return
        choice = self.task.kernel
        record: dict[str, Any] = {
            "axes": self.task.image.axes,
            "settings": self.task.settings.model_dump(mode="json"),
            "kernel": "held" if choice.is_held else choice.scope.value,
            "failures": {str(index): why for index, why in result.failures.items()},
            "warnings": {flag.sentence: count for flag, count in result.flags.items()},
        }
        if result.plan is not None:
            record["intensity_ranges"] = [
                span and list(span) for span in result.plan.intensity_ranges
            ]
        self.layer.metadata = layer_metadata(self.place, record=record)
        self._lay_kernels_beside()

    def _show_plane(self, result: Result) -> None:
        self.layer.data = displayable(self.place, result.image)
        self.layer.metadata = layer_metadata(self.place, result)
        self._beside = [
            getattr(self._viewer, f"add_{kind}")(data, **arguments)
            for data, arguments, kind in outputs_beside(self.place, result)
        ]
        self._viewer.layers.selection.active = self.layer

    def _lay_kernels_beside(self) -> None:
        """The kernel of each plane beside it: views of those they share, which cost no memory."""
        if not self._planes:
            return
        axes, kernels = self.kernels()
        image = self.task.image
        if axes.removesuffix(image.space) == "C":
            shape = [image.channels if axis == "C" else 1 for axis in image.stack_axes]
            kernels = kernels[: image.channels].reshape(*shape, *kernels.shape[1:])
        window = kernels.shape[len(image.stack_shape) :]
        beside_all = np.broadcast_to(kernels, (*image.stack_shape, *window))
        _, arguments, _ = kernel_layer(self.place, beside_all, self.layer.metadata)
        self._beside = [self._viewer.add_image(beside_all, **arguments)]

    # Its thread

    def _on_progress(self, progress: Progress) -> None:
        if self._discarded:
            return
        self._draw(progress)
        self._observer.progressed(progress)

    def _on_result(self, result: StackResult | Failure) -> None:
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

    def _give_up(self, failure: Failure, observer: Observer) -> None:
        reason = str(failure)
        if self.is_stack and self._planes and not self._discarded:
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

    def _close(self) -> Observer:
        """Let go of the viewer; whom to tell how it ended."""
        self._is_open = False
        observer, self._observer = self._observer, _NOBODY
        self._stop.set()
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        return observer
