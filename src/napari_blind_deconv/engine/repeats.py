"""Expected error of a result, from repeated runs on images simulated from the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_blind_deconv.engine.deconvolve import deconvolve
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelSource
from napari_blind_deconv.numerics.camera import CameraNoise
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.pixel_faults import fill
from napari_blind_deconv.results import Snapshot
from napari_blind_deconv.settings import Settings

__all__ = ["Repeatable", "error_of_repeats"]

# A few repeats estimate the error of a single pixel badly, so the map is smoothed.
_SMOOTHING = 1.0  # pixels


class Repeatable(Protocol):
    """The attributes of a `Result` that a repeat needs."""

    @property
    def image(self) -> NDArray[np.float32]:
        """Estimate in the units of the input."""

    @property
    def kernel(self) -> Kernel:
        """Kernel of the estimate."""

    @property
    def kernel_is_held(self) -> bool:
        """Whether the kernel was known and held."""

    @property
    def settings(self) -> Settings:
        """Settings of the run."""


def error_of_repeats(
    image: Image | ArrayLike,
    result: Repeatable,
    *,
    axes: str | None = None,
    mask: ArrayLike | None = None,
    repeats: int = 4,
    should_stop: Callable[[], bool] | None = None,
    on_snapshot: Callable[[int, Snapshot], None] | None = None,
) -> NDArray[np.float32]:
    """Estimate the error of every pixel of a result by a parametric bootstrap.

    The estimate is treated as the truth. In every repeat it is blurred with its kernel, noise like
    that of the image is added, and the outcome is deconvolved with the settings of the run and
    another seed; the kernel is found again unless it was held. The differences between these
    results and the estimate estimate the difference between the estimate and the truth.

    Parameters
    ----------
    image : Image or array_like
        Image of the result, as in `deconvolve`. For a colour image, the map is the mean over the
        channels.
    result : Result
        The result, or an object with the same image, kernel and settings, read from files.
    axes : str, optional
        Axes of an array, as in `deconvolve`.
    mask : array_like, optional
        Pixels to leave out, as in `deconvolve`.
    repeats : int
        Number of runs, each as long as the first. More runs make the map less noisy.
    should_stop : callable, optional
        As in `deconvolve`. If it returns True, the map is made from the completed repeats.
    on_snapshot : callable, optional
        Called with the number of the repeat, from 0, and each of its snapshots.

    Returns
    -------
    ndarray
        Root mean square error ``(rows, columns)`` in the units of the image, smoothed by a Gaussian
        of σ = 1 pixel. NaN where the image has no valid pixels, and if no repeat was completed.

    Notes
    -----
    The map includes the effect of noise and the detail that the method smooths away. It does not
    include errors of the kernel or of the model that all repeats share. A change of the seed alone
    is not enough: where the noise ends a fit at its first iteration, all seeds give the same
    result.
    """
    stop = should_stop or (lambda: False)
    block = Image.of(image, axes)
    if mask is not None:
        block = block.with_mask(mask)
    inspection = Inspection.of(block)
    valid = inspection.valid_luminance
    # The repeats leave out the same pixels, which do not carry simulated noise.
    block = replace(block, masked=~valid)
    estimate = np.stack([fill(c, valid) for c in block.with_pixels(result.image).by_channel()])
    blurred = np.stack([_blur(channel, result.kernel) for channel in estimate])
    noises = [CameraNoise.of(channel, valid) for channel in inspection.channels]
    squared_errors = []
    for repeat in range(repeats):
        random = np.random.default_rng([result.settings.seed, repeat])
        noisy = np.stack(
            [
                light + noise.deviation(light) * random.normal(size=light.shape)
                for light, noise in zip(blurred, noises, strict=True)
            ]
        )
        outcome = deconvolve(
            block.with_pixels(block.with_channels(noisy)),
            result.settings.with_changes(seed=(result.settings.seed + 1 + repeat) % 2**63),
            kernel=_kernel_choice(result),
            should_stop=stop,
            on_snapshot=_with_number(repeat, on_snapshot),
        )
        if stop():
            break
        repeated = block.with_pixels(outcome.image).by_channel()
        repeated = np.where(valid, repeated, np.nan)
        squared_errors.append(np.square(repeated - estimate).mean(axis=0))
    if not squared_errors:
        return np.full(valid.shape, np.nan, np.float32)
    mean = ndimage.gaussian_filter(fill(np.mean(squared_errors, axis=0), valid), _SMOOTHING)
    return np.where(valid, np.sqrt(mean), np.nan).astype(np.float32)


def _kernel_choice(result: Repeatable) -> KernelChoice:
    """Return the choice of the kernel that the run was started with."""
    if result.kernel_is_held:
        return KernelChoice.hold(result.kernel)
    if result.kernel.source is KernelSource.GUESS:
        return KernelChoice.start_from(result.kernel)
    return KernelChoice.find()


def _blur(plane: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    """Blur a plane. It is mirrored at its border, because the light beyond is not known."""
    margins = [(side // 2,) * 2 for side in kernel.shape]
    wide = np.pad(plane, margins, mode="symmetric").astype(np.float32)
    convolution = Convolution(torch.from_numpy(kernel.weights))
    return convolution.forward(torch.from_numpy(wide)).numpy().astype(np.float64)


def _with_number(
    repeat: int, on_snapshot: Callable[[int, Snapshot], None] | None
) -> Callable[[Any], None] | None:
    return None if on_snapshot is None else lambda snapshot: on_snapshot(repeat, snapshot)
