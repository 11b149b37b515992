"""Expected error of a result, pixel by pixel."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_blind_deconv.engine.log_gaussian import local_models
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.sampling import grid_for
from napari_blind_deconv.engine.wiener import Wiener, noise_to_signal_of
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.numerics.local_model import expected_deviation
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.task import Task

__all__ = ["Judged", "expected_error"]


class Judged(Protocol):
    """The attributes of a `Result` that tell its expected error."""

    @property
    def image(self) -> NDArray[np.float32]:
        """Estimate in the units of the input."""

    @property
    def kernel_used(self) -> Kernel:
        """Kernel of the estimate, scaled by the strength of its run."""


def expected_error(
    image: Image | ArrayLike,
    result: Judged,
    *,
    axes: str | None = None,
    mask: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Return the standard deviation of the scene around a result, given the image.

    It is computed from the model of the log-gaussian estimate: the noise of each pixel, the local
    amplitude of detail, and what the kernel leaves of it. It takes as long as a linear estimate.

    Parameters
    ----------
    image : Image or array_like
        Image of the result, as in `deconvolve`. For a colour image, the map is the root mean square
        over the channels.
    result : Result
        The result, or an object with the same image and kernel, read from files.
    axes : str, optional
        Axes of an array, as in `deconvolve`.
    mask : array_like, optional
        Pixels to leave out, as in `deconvolve`.

    Returns
    -------
    ndarray
        Expected error ``(rows, columns)``, or ``(planes, rows, columns)`` of a volume, in the units
        of the image, float32. NaN where the image has no valid pixels.

    Notes
    -----
    The map contains noise, and detail that blur and noise hide. It does not contain errors of the
    kernel: if this is much too wide or too narrow, the true error is larger.
    """
    block = Image.of(image, axes).as_one_block()
    kernel = result.kernel_used
    if block.pixel_size is None and kernel.pixel_size and len(block.space) == 3:
        block = block.with_pixel_size(kernel.pixel_size, kernel.unit)
    if mask is not None:
        block = block.with_mask(mask)
    grid = grid_for(block, kernel)
    if grid is None:
        return _expected_error(block, result.image, result)
    error = _expected_error(grid.reduced(block), grid.sampled(result.image), result)
    return grid.expanded(error)


def _expected_error(
    block: Image, estimate: NDArray[np.float32], result: Judged
) -> NDArray[np.float32]:
    # The run has compared the pixel sizes of kernel and image.
    held = KernelChoice.hold(replace(result.kernel_used, pixel_size=None))
    problem = Problem.of(Task(block, Settings(), held))
    kernel = problem.kernel_start
    assert kernel is not None
    ratio = noise_to_signal_of(problem, kernel)
    models = local_models(problem, Wiener.solved(problem, kernel, ratio).canvas, ratio)
    channels = problem.intensity.to_unit(block.with_pixels(estimate).by_channel())
    variances = [
        np.square(expected_deviation(channel, model))
        for channel, model in zip(channels, models, strict=True)
    ]
    unit = problem.intensity.high - problem.intensity.low
    error = unit * np.sqrt(np.mean(variances, axis=0))
    return np.where(problem.inspection.valid_luminance, error, np.nan).astype(np.float32)
