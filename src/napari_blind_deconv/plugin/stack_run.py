"""A run over the planes of a layer: what is computed, and the layer it fills."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
from napari.components import Dims
from napari.layers import Image
from numpy.typing import NDArray

from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.image import Index
from napari_blind_deconv.plugin.layers import (
    Place,
    displayable,
    full_data,
    image_options,
    is_shown_flat,
    kernel_layer,
    layer_metadata,
)
from napari_blind_deconv.plugin.run import LayerRun, Observer
from napari_blind_deconv.plugin.torch_loading import load_torch
from napari_blind_deconv.results import SliceResult, StackResult
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["StackProgress", "StackRun", "stack_axes", "stack_of"]

_UNNAMED = "ZTC"  # what axes without a name are taken for


def stack_of(
    layer: Image, dims: Dims, span: tuple[int, int] | None = None
) -> tuple[Place, ImageData]:
    """Where planes of a layer lie, and they themselves, not read yet.

    All of them, or those of a span (last one included) of the first axis.

    Raises
    ------
    ValueError
        In one sentence, if the layer has no planes or shows other axes than its last two.
    """
    if layer.ndim < 3:
        raise ValueError(f"{layer.name} is one plane; accepted is a layer with more.")
    if not is_shown_flat(layer, dims):
        raise ValueError(
            f"The screen does not show the last two axes of {layer.name}; "
            "roll the dimensions back to run over its planes."
        )
    axes = stack_axes(layer)
    data = full_data(layer)
    start = 0
    if span is not None:
        start = span[0]
        data = data[span[0] : span[1] + 1]
    corner = (start, *[0] * (layer.ndim - 1))
    place = replace(
        Place.of(layer, dims),
        position=corner,
        translate=layer.affine.inverse(layer.data_to_world(corner)),
    )
    return place, ImageData(data, axes, **place.calibration)


def stack_axes(layer: Image) -> str:
    """The layer's axes as letters: by their labels where those say, else Z, T and C in turn."""
    labels = [str(label).upper()[:1] for label in layer.axis_labels[: layer.ndim - 2]]
    known = [label if label in "TCZ" and labels.count(label) == 1 else "" for label in labels]
    free = [letter for letter in _UNNAMED if letter not in known]
    if known.count("") > len(free):
        raise ValueError(
            f"{layer.name} has {layer.ndim} axes; accepted are at most three before rows and "
            "columns."
        )
    return "".join(letter or free.pop(0) for letter in known) + ("YXS" if layer.rgb else "YX")


@dataclass(frozen=True)
class StackProgress:
    """What the screen shows next: how far it is, and a plane if one is done."""

    done: int
    planes: int
    index: Index
    result: SliceResult | None = None


def work(task: Task, stop: Event) -> Generator[StackProgress, None, StackResult]:
    """Run a task on a stack; `stop` ends it and leaves out the plane in hand."""
    load_torch()
    from napari_blind_deconv.engine.stacks import deconvolve_stack  # torch takes seconds to load

    finished: list[SliceResult] = []
    steps = deconvolve_stack(
        task.image,
        task.settings,
        kernel=task.kernel,
        should_stop=stop.is_set,
        on_slice=finished.append,
    )
    done, last = 0, None
    while True:
        try:
            index, _ = next(steps)
        except StopIteration as end:
            yield from _told(finished, done, task.image.blocks)
            return end.value
        told = list(_told(finished, done, task.image.blocks))
        yield from told
        done += len(told)
        if index != last:
            last = index
            yield StackProgress(done, task.image.blocks, index)


def _told(
    finished: list[SliceResult], done: int, planes: int
) -> Generator[StackProgress, None, None]:
    """The planes that are done and not yet told of."""
    while finished:
        done += 1
        result = finished.pop(0)
        yield StackProgress(done, planes, result.index, result)


class StackRun(LayerRun[StackProgress, StackResult]):
    """A run over planes: the result layer appears at once, empty, and fills plane by plane."""

    def __init__(
        self,
        viewer: Viewer,
        place: Place,
        task: Task,
        observer: Observer[StackProgress, StackResult],
    ) -> None:
        self._stack = task.image
        self._image = np.zeros(task.image.pixels.shape, np.float32)
        layer = viewer.add_image(self._image, **image_options(place, layer_metadata(place)))
        super().__init__(viewer, place, layer, work, task, observer)

    def _draw(self, progress: StackProgress) -> None:
        if progress.result is not None:
            self._worth_keeping = True
            plane = progress.result.image
            self._image[progress.index] = displayable(self.place, plane).reshape(plane.shape)
            self.layer.refresh()

    def _show(self, result: StackResult) -> None:
        record = {"axes": self._stack.axes, **result.plan.as_record()}
        record.pop("kernels")
        record["failures"] = {str(index): why for index, why in result.failures.items()}
        self.layer.metadata = layer_metadata(self.place, record=record)
        kernels = result.plan.kernels_on_one_window()
        if kernels is not None:
            _, arguments, _ = kernel_layer(self.place, kernels[0], self.layer.metadata)
            self._viewer.add_image(self._beside_every_plane(kernels), **arguments)

    def _beside_every_plane(self, kernels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Each channel's kernel at all its planes: a view, which costs no memory."""
        lengths = self._stack.stack_shape
        shape = [
            length if axis == "C" else 1
            for axis, length in zip(self._stack.stack_axes, lengths, strict=True)
        ]
        placed = kernels.reshape(*shape, *kernels.shape[1:])
        return np.broadcast_to(placed, (*lengths, *kernels.shape[1:]))
