"""The memory that the results of a session take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_blind_deconv.plugin.layer_array import full_data

if TYPE_CHECKING:
    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["held_bytes"]


def held_bytes(run: ViewerRun, layers: Iterable[Layer]) -> int:
    """Return the memory that a run takes besides that of other layers, in bytes."""
    shared = {id(_memory_of(pixels)) for pixels in _pixels_of(layers)}
    held = {id(memory): memory.nbytes for memory in map(_memory_of, _arrays_of(run))}
    return sum(nbytes for key, nbytes in held.items() if key not in shared)


def _arrays_of(run: ViewerRun) -> Iterator[NDArray[Any]]:
    for index in range(len(run.estimates)):
        yield run.estimates[index].image
        yield run.estimates[index].kernel
    for result in run.planes.results.values():
        yield from (result.image, result.kernel.weights, result.trace, result.trust.residual)
    if isinstance(run.task.image.pixels, np.ndarray):
        yield run.task.image.pixels
    yield run.planes.shown
    yield from _pixels_of([run.source, *run.layers.all])


def _pixels_of(layers: Iterable[Layer]) -> Iterator[NDArray[Any]]:
    for layer in layers:
        pixels = full_data(layer) if isinstance(layer, Image) else layer.data
        if isinstance(pixels, np.ndarray):
            yield pixels


def _memory_of(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array that owns the memory of another one."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
