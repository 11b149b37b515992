"""How far a result can be repeated: the same run on images made from the result itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_blind_deconv.engine.deconvolve import deconvolve
from napari_blind_deconv.engine.inputs import check_block
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelSource
from napari_blind_deconv.numerics.camera import CameraNoise
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.results import Snapshot
from napari_blind_deconv.settings import Settings

__all__ = ["Repeatable", "error_of_repeats"]

_SMOOTHING = 1.0  # pixels; a few repeats say little of a single one


class Repeatable(Protocol):
    """What of a `Result` a repeat needs."""

    @property
    def image(self) -> NDArray[np.float32]:
        """The estimate."""

    @property
    def kernel(self) -> Kernel:
        """Its kernel."""

    @property
    def kernel_is_held(self) -> bool:
        """Whether it was known."""

    @property
    def settings(self) -> Settings:
        """Those of its run."""


def error_of_repeats(
    image: Image | ArrayLike,
    result: Repeatable,
    *,
    axes: str | None = None,
    repeats: int = 4,
    should_stop: Callable[[], bool] | None = None,
    on_snapshot: Callable[[int, Snapshot], None] | None = None,
) -> NDArray[np.float32]:
    """Expected error of a result, pixel by pixel, by a parametric bootstrap.

    The estimate is taken for the truth: it is blurred by its kernel, given fresh noise of the
    image's own kind, and sharpened as the image was, kernel and all, with another seed. How far the
    outcomes lie from the estimate is how far the estimate may lie from the truth.

    Parameters
    ----------
    image : Image or array_like
        The image the result was made from, as in `deconvolve`; of colour the map is the mean over
        the channels.
    result : Result
        Or what of it is known from files.
    axes : str, optional
        Of an array, as in `deconvolve`.
    repeats : int
        Runs, each as long as the first; more make the map less noisy.
    should_stop : callable, optional
        Asked after every iteration; True ends with the repeats that are done.
    on_snapshot : callable, optional
        Called with the number of the repeat, from 0, and its snapshots.

    Returns
    -------
    ndarray
        Root mean square error ``(rows, columns)`` in the image's units, smoothed over a pixel; NaN
        if no repeat was finished.

    Notes
    -----
    It counts noise and what the method smooths away, not what the kernel or the model has wrong
    from the start. Seeds alone would say nothing: where noise ends a fit at its first step, all
    seeds give one picture.
    """
    stop = should_stop or (lambda: False)
    block = Image.of(image, axes)
    check_block(block)
    channels, estimate = block.by_channel(), block.with_pixels(result.image).by_channel()
    again = np.stack([_blurred(channel, result.kernel) for channel in estimate])
    noises = [CameraNoise.of(channel) for channel in channels]
    squares = []
    for repeat in range(repeats):
        random = np.random.default_rng([result.settings.seed, repeat])
        exposed = np.stack(
            [
                light + noise.deviation(light) * random.normal(size=light.shape)
                for light, noise in zip(again, noises, strict=True)
            ]
        )
        outcome = deconvolve(
            block.with_pixels(block.with_channels(exposed)),
            result.settings.with_changes(seed=(result.settings.seed + 1 + repeat) % 2**63),
            kernel=_choice_of(result),
            should_stop=stop,
            on_snapshot=_numbered(repeat, on_snapshot),
        )
        if stop():
            break
        found = block.with_pixels(outcome.image).by_channel()
        squares.append(np.square(found - estimate).mean(axis=0))
    if not squares:
        return np.full(channels.shape[1:], np.nan, np.float32)
    mean = ndimage.gaussian_filter(np.mean(squares, axis=0), _SMOOTHING)
    return np.sqrt(mean).astype(np.float32)


def _choice_of(result: Repeatable) -> KernelChoice:
    """What the run was told about the kernel."""
    if result.kernel_is_held:
        return KernelChoice.hold(result.kernel)
    if result.kernel.source is KernelSource.GUESS:
        return KernelChoice.start_from(result.kernel)
    return KernelChoice.find()


def _blurred(plane: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    """A plane through a kernel, mirrored at its border: what lies beyond is not known."""
    margins = [(side // 2,) * 2 for side in kernel.shape]
    wide = np.pad(plane, margins, mode="symmetric").astype(np.float32)
    convolution = Convolution(torch.from_numpy(kernel.weights))
    return convolution.forward(torch.from_numpy(wide)).numpy().astype(np.float64)


def _numbered(
    repeat: int, on_snapshot: Callable[[int, Snapshot], None] | None
) -> Callable[[Any], None] | None:
    return None if on_snapshot is None else lambda snapshot: on_snapshot(repeat, snapshot)
