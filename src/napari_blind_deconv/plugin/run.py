"""A run in a viewer: its thread, its layers, and every way in which it can end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Layer
from napari.qt.threading import GeneratorWorker, create_worker
from numpy.typing import NDArray

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.plugin.channels import is_blended
from napari_blind_deconv.plugin.finished_planes import FinishedPlanes
from napari_blind_deconv.plugin.geometry import LayerGeometry
from napari_blind_deconv.plugin.kept_estimates import KeptEstimate, KeptEstimates
from napari_blind_deconv.plugin.kernel_selection import PixelGrid
from napari_blind_deconv.plugin.layers import (
    displayable,
    image_options,
    kernel_layer,
    kernel_of_each_plane,
    layer_metadata,
    outputs_beside,
    stack_record,
)
from napari_blind_deconv.plugin.result_layers import ResultLayers
from napari_blind_deconv.plugin.run_observer import NO_OBSERVER, Observer
from napari_blind_deconv.plugin.viewing import shown_index
from napari_blind_deconv.plugin.worker import Failure, Progress, catch_errors, work
from napari_blind_deconv.results import Result, StackResult
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["ViewerRun"]

# Runs in progress. A run outlives the dock that started it: when the dock is closed, the run ends
# and keeps its best estimate so far.
_active: set[ViewerRun] = set()


class ViewerRun:
    """A run over one or many planes or volumes of a layer.

    The live layer is added at once, on top of the input. It shows the current estimate of a single
    plane or volume; for a stack, it is filled plane by plane, or volume by volume. At the end of
    the run, a hidden layer with the kernel is added, and for a single plane another one with the
    trace. The user can then view the estimates, unless it was a stack, and choose one of them as
    the result. Deleting the live layer cancels the run, and no other layer is added.

    A layer that is blended with those below it would be added to its input, so that such an input
    is hidden, as are all channels of a composite; it is shown again if the result is deleted.

    Parameters
    ----------
    viewer : Viewer
        Viewer that the layers are added to.
    geometry : LayerGeometry
        Position and display settings of the input.
    task : Task
        What to compute. It does not depend on the input layer; the planes of a stack are read
        during the run.
    source : Image
        The input layer. It may be deleted during the run.
    observer : Observer
    other_files : sequence of str
        Files besides that of `source` that the task was made from: a PSF, a mask.

    Attributes
    ----------
    layers : ResultLayers
        The live layer, and those that are made from the result.
    estimates : KeptEstimates
        Estimates of a single plane or volume.
    kept_index, index_in_use : int
        Indices among them of the estimate that the run has kept, and of the one that is the result.
    planes : FinishedPlanes
        The planes or volumes that are finished.
    outcome : StackResult
        The result, once the run has ended.
    """

    def __init__(
        self,
        viewer: Viewer,
        geometry: LayerGeometry,
        task: Task,
        source: ImageLayer,
        observer: Observer,
        other_files: Sequence[str] = (),
    ) -> None:
        self._viewer = viewer
        self.geometry = geometry
        self.task = task
        self.source = source
        self._other_files = other_files
        self.estimates = KeptEstimates()
        self.kept_index = self.index_in_use = 0
        self.planes = FinishedPlanes(task.image, geometry)
        self.outcome: StackResult  # set when the run has ended
        live = viewer.add_image(
            self.planes.shown, **image_options(geometry, layer_metadata(geometry))
        )
        self.layers = ResultLayers(viewer, geometry, live)
        self._hides_source = False
        if is_blended(source, viewer.layers):  # on top, it could hide other channels
            self.layers.return_above(source)
        self.hide_source()
        self._observer = observer
        self._stop = Event()
        self._is_open = True
        viewer.layers.events.removed.connect(self._on_layer_removed)
        self._worker: GeneratorWorker[Progress, None, StackResult | Failure] = create_worker(
            catch_errors,
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
    def layer(self) -> ImageLayer:
        """The live layer, which shows the result at the end."""
        return self.layers.estimate

    @property
    def is_stack(self) -> bool:
        """Whether the image has axes besides those of a block, even if there is only one block."""
        return bool(self.task.image.stack_axes)

    @property
    def is_deleted(self) -> bool:
        """Whether the live layer was removed from the viewer."""
        return not self.layers.is_in_viewer

    @property
    def is_source_deleted(self) -> bool:
        """Whether the input layer was removed from the viewer."""
        return self.source not in self._viewer.layers

    def hide_source(self) -> None:
        """Hide an input that would be added to the result, until the result is removed."""
        if self.source.visible and is_blended(self.source, self._viewer.layers):
            self.source.visible, self._hides_source = False, True

    def take_over_hiding(self, other: ViewerRun) -> None:
        """Keep the input hidden that another run has hidden, whose result is removed."""
        self._hides_source |= other._hides_source
        other._hides_source = False

    def start(self) -> None:
        """Start the computation."""
        _active.add(self)
        self._worker.start()

    def stop_and_keep(self) -> None:
        """End the run after the current iteration; its result is the best estimate so far."""
        self._stop.set()

    def cancel(self) -> None:
        """End the run and keep nothing."""
        self._viewer.layers.remove(self.layer)

    def detach(self) -> None:
        """End the run and keep the best estimate so far, without calling the observer."""
        self._observer = NO_OBSERVER
        self.stop_and_keep()

    # Results

    def index_shown(self) -> Index:
        """Return the index of the block shown, or of the nearest one; ``()`` for a single one."""
        return self.plane_index_shown()[: len(self.geometry.stack_axes)]

    def plane_index_shown(self) -> Index:
        """Return the index of the plane shown, or of the nearest one: of a volume, also along Z."""
        shown = shown_index(self.layer, self._viewer.dims)
        return tuple(shown[axis] for axis in self.geometry.sliced_axes)

    def result_shown(self) -> Result | None:
        """Return the result of the block shown; None if it is not finished or has failed."""
        return self.planes.results.get(self.index_shown())

    def planes_shown(self) -> tuple[Image, NDArray[Any]]:
        """Return the input of the plane shown, and the displayed pixels of its result.

        Raises
        ------
        ValueError
            If the input cannot be read.
        """
        before = self.task.image.as_planes().read(self.plane_index_shown())
        index: list[int | slice] = list(shown_index(self.layer, self._viewer.dims))
        for axis in self.geometry.axes:
            index[axis] = slice(None)
        return before, np.asarray(self.layer.data)[tuple(index)]

    @property
    def pixels(self) -> PixelGrid:
        """The pixels of what was deconvolved: those of a plane, or the voxels of a volume."""
        image = self.task.image
        if image.pixel_size is None:
            return PixelGrid((1.0,) * len(image.space), "px")
        return PixelGrid(image.pixel_size, image.unit)

    def kernels(self) -> tuple[str, NDArray[np.float32]]:
        """Return the weights of all kernels, and the axes of that array; see `all_kernels`."""
        assert self.outcome.plan is not None
        return self.planes.kernels(self.outcome.plan)

    @property
    def has_one_kernel(self) -> bool:
        """Whether all planes have the same kernel."""
        return not self.is_stack or len(self.kernels()[1]) == 1

    def input_files(self) -> tuple[Path, ...]:
        """Return the files that the run was made from, as far as they are known and still exist."""
        paths = (self.source.source.path, *self._other_files)
        files = (Path(path) for path in paths if path is not None)
        return tuple(path for path in files if path.exists())

    # Estimates of a single plane or volume, after the run

    def preview(self, index: int) -> KeptEstimate:
        """Show an estimate in the live layer, and return it."""
        estimate = self.estimates[index]
        self.layers.show(displayable(self.geometry, estimate.image))
        return estimate

    def choose(self, index: int) -> Result:
        """Make an estimate the result, replace the layers accordingly, and return the result."""
        estimate = self.preview(index)
        result = estimate.as_result(
            self.task.image.read(), self.planes.results[()], by_hand=index != self.kept_index
        )
        self.planes.results[()], self.index_in_use = result, index
        self._show_single(result)
        return result

    def forget_estimates(self) -> None:
        """Keep only the estimate that is the result, to save memory."""
        if len(self.estimates) > 1:
            self.estimates.keep_only(self.index_in_use)
            self.kept_index = self.index_in_use = 0

    # Layers

    def _draw(self, progress: Progress) -> None:
        if progress.image is not None:
            self.layers.show(displayable(self.geometry, progress.image))
            if progress.kernel is not None and progress.iteration:
                self.estimates.offer(
                    KeptEstimate(progress.iteration, progress.image, progress.kernel)
                )
        if progress.block is not None:
            self.planes.add(progress.block)
            if self.is_stack:
                result = progress.block.result
                self.layers.refresh(None if result is None else result.image)

    def _show(self, result: StackResult) -> None:
        self.outcome = result
        if not self.is_stack:
            single = self.planes.results[()]
            kept = KeptEstimate(single.stop_iteration, single.image, single.kernel.weights)
            self.kept_index = self.index_in_use = self.estimates.add_result(kept)
            self._show_single(single)
            return
        record = stack_record(self.task, result)
        self.layer.metadata = layer_metadata(self.geometry, record=record)
        self._add_kernel_layer()

    def _show_single(self, result: Result) -> None:
        self.layers.show(displayable(self.geometry, result.image))
        self.layer.metadata = layer_metadata(self.geometry, result)
        self.layers.set_beside(outputs_beside(self.geometry, result))
        self._viewer.layers.selection.active = self.layer

    def _add_kernel_layer(self) -> None:
        if self.planes.results:
            kernels = kernel_of_each_plane(self.task.image, *self.kernels())
            self.layers.set_beside([kernel_layer(self.geometry, kernels, self.layer.metadata)])

    # Thread

    def _on_progress(self, progress: Progress) -> None:
        if self.is_deleted:
            return
        self._draw(progress)
        self._observer.progressed(progress)

    def _on_result(self, result: StackResult | Failure) -> None:
        observer = self._close()
        if isinstance(result, Failure):
            self._on_failure(result, observer)
            return
        if self.is_deleted:
            return
        try:
            self._show(result)
            self._viewer.layers.selection.active = self.layer
        except Exception as error:  # napari may refuse a layer; the panel must stay usable
            sentence = f"The result could not be shown ({error})."
            self._record_failure(sentence)
            observer.failed(sentence, error)
            return
        observer.ended(result)

    def _on_failure(self, failure: Failure, observer: Observer) -> None:
        reason = str(failure)
        if self.is_stack and self.planes.results and not self.is_deleted:
            reason += f" The finished {self.task.image.block_kind}s are kept."
            self._record_failure(reason)
        elif not self.is_deleted:
            self._viewer.layers.remove(self.layer)
        observer.failed(reason, failure.error)

    def _on_finished(self) -> None:
        # `finished` is the only signal of a worker that is quit while its generator returns.
        if self._is_open:
            sentence = "The run was ended by another program; the last estimate is kept."
            self._record_failure(sentence)
            self._close().failed(sentence, None)
        # Not earlier: PySide6 crashes if a worker is deleted within one of its own calls.
        _active.discard(self)

    def _record_failure(self, sentence: str) -> None:
        """State in the metadata of a layer without a result how its run ended."""
        self.layer.metadata = layer_metadata(self.geometry, record={"failure": sentence})

    def _on_layer_removed(self, event: Any) -> None:
        removed: Layer = event.value
        # Not `is`: napari passes proxies of its layers to plugins.
        if removed != self.layer:
            return
        if self._hides_source and self.source in self._viewer.layers:
            self.source.visible = True
        self._hides_source = False
        if self._is_open:
            self.stop_and_keep()
            observer, self._observer = self._observer, NO_OBSERVER
            observer.cancelled()

    def _close(self) -> Observer:
        """Return the observer that is to be called at the end; the run calls none after that."""
        self._is_open = False
        observer, self._observer = self._observer, NO_OBSERVER
        self._stop.set()
        return observer
