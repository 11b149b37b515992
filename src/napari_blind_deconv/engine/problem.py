"""One image to deconvolve, checked: what solvers work on, and the way back to the user's units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import check_block, check_kernel, kernel_window
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.convolution import canvas_shape, crop_to_field_of_view
from napari_blind_deconv.numerics.intensity import IntensityMap, without_hot_pixels
from napari_blind_deconv.numerics.location import (
    crop_or_pad,
    moved_back,
    origin_at_centroid,
    recentre,
)
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.spectrum import white_noise
from napari_blind_deconv.settings import DataTerm, Location, Settings, SparsityScale
from napari_blind_deconv.task import Task

__all__ = ["Problem"]

# A kernel that is found gets this much room to change, in its own sides, and so many pixels.
_MARGIN = 1.3
_SMALLEST_WINDOW = 11


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked task on one block.

    Attributes
    ----------
    task : Task
    device : torch.device
        What computes.
    observed : ndarray
        The image ``(C, *space)`` mapped to [0, 1].
    despeckled : ndarray
        The same without hot and dead pixels.
    intensity : IntensityMap
    noise : float
        Standard deviation, in these units.
    window : tuple of int
        Sides of the kernel.
    kernel : Kernel or None
        The one that is held, or that the fit starts from; None as long as it is not found, or if
        the network's own start is to serve.
    centroid : tuple of float
        Of a kernel that is held, in pixels from its origin: at most half of one along an axis.
    """

    task: Task
    device: torch.device
    observed: NDArray[np.float32]
    despeckled: NDArray[np.float32]
    intensity: IntensityMap
    noise: float
    window: tuple[int, ...]
    kernel: Kernel | None
    centroid: tuple[float, ...]

    @classmethod
    def of(cls, task: Task) -> Self:
        """Check and prepare a task; raises as `deconvolve` says."""
        image, choice = task.image, task.kernel
        check_block(image)
        if choice.kernel is not None:
            check_kernel(choice.kernel, image)
        channels = image.by_channel()
        intensity = (
            IntensityMap.of(channels)
            if task.intensity_range is None
            else IntensityMap.given(task.intensity_range)
        )
        observed = intensity.to_unit(channels)
        despeckled = without_hot_pixels(observed)
        problem = cls(
            task=task,
            device=choose_device(task.settings.device),
            observed=observed,
            despeckled=despeckled,
            intensity=intensity,
            noise=white_noise(despeckled.mean(axis=0)),
            window=(),
            kernel=None,
            centroid=(0.0,) * len(image.space),
        )
        return problem._with_known_kernel()

    def _with_known_kernel(self) -> Self:
        """With what is known of the kernel before anything is searched for."""
        known, start = self.task.kernel.kernel, self.settings.kernel_start
        if known is not None:
            # A kernel that is held stays as it is known, but for zeros around it. Where the origin
            # of a guess lay does not matter: the fit recentres.
            weights, centroid = origin_at_centroid(known.weights)
            known = known.with_weights(weights)
            if self.is_held:
                return replace(self, kernel=known, window=known.shape, centroid=centroid)
        window = kernel_window(self.settings, self.task.image.block_shape)
        problem = replace(self, window=window)
        if known is not None:
            return problem.starting_from(known)
        if isinstance(start, str):
            return problem
        return replace(problem, kernel=Kernel(gaussian_kernel(window, start), KernelSource.SET))

    def starting_from(self, kernel: Kernel) -> Self:
        """The same with the kernel's start, and a window around it unless one was set."""
        if self.settings.kernel_size is not None:
            return replace(self, kernel=kernel)
        return replace(self, kernel=kernel, window=_window_around(kernel.shape, self.window))

    @property
    def settings(self) -> Settings:
        """Those of the task."""
        return self.task.settings

    @property
    def is_held(self) -> bool:
        """Whether the kernel is known and stays as it is."""
        return self.task.kernel.is_held

    @property
    def wants_a_search(self) -> bool:
        """Whether nobody says what the kernel starts from."""
        return self.kernel is None and self.settings.kernel_start == "auto"

    @property
    def kernel_start(self) -> NDArray[np.float32] | None:
        """Weights of the kernel, or of its start, in its window; None: the network's own start."""
        if self.kernel is None or self.is_held:
            return None if self.kernel is None else self.kernel.weights
        return crop_or_pad(self.kernel.weights, self.window)

    def estimated(self, weights: NDArray[np.float32]) -> Kernel:
        """What has become of the kernel: its weights now, and how it came about."""
        start = self.kernel or Kernel(weights, KernelSource.SET)
        image = self.task.image
        if image.pixel_size is None:
            return start.with_weights(weights)
        return replace(start, weights=weights, pixel_size=image.pixel_size, unit=image.unit)

    def is_explained_by(self, data: float) -> bool:
        """Whether a data term leaves no more than the noise unexplained (Morozov's principle)."""
        halved = 1 if self.settings.data_term is DataTerm.SQUARED else 2  # as Huber's loss is
        return self.settings.stop_at_noise and halved * data <= self.noise**2

    @property
    def luminance(self) -> NDArray[np.float32]:
        """Mean of the channels ``(*space)``, without hot and dead pixels."""
        return self.despeckled.mean(axis=0)

    @property
    def canvas_shape(self) -> tuple[int, ...]:
        """Eq. 16: wide enough for all light the field of view received."""
        return canvas_shape(self.observed.shape[1:], self.window)

    @property
    def sparsity_weight(self) -> float:
        """The regulariser's λ in the objective."""
        if self.settings.sparsity_scale is SparsityScale.NOISE:
            return self.settings.sparsity * self.noise
        return self.settings.sparsity

    def to_output(
        self, canvas: Tensor, kernel: Tensor, *, search: bool = True
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Line 15: locate the estimate and give it the input's flux, layout and units.

        A GPU is waited for. Without `search` the content is taken to lie where the kernel says,
        which is quicker. Returns the image and the weights of its kernel.
        """
        estimate, weights = canvas.cpu().numpy(), kernel.cpu().numpy()
        if not self.is_held and self.settings.location is Location.SIMILARITY:
            reference = self.despeckled if search else None
            image, weights = recentre(estimate, weights, reference)
        else:
            # A kernel whose centroid lies below its origin wants the picture as much further down.
            moved = moved_back(estimate, [-c for c in self.centroid])
            image = crop_to_field_of_view(moved, self.window)
        values = self.intensity.from_unit(_with_flux_of(self.despeckled, image))
        return self.task.image.with_channels(values), weights


def _with_flux_of(observed: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float32]:
    """One gain a channel, above the offset that became 0, that gives the input's mean.

    Huber and an early stop leave the mean a few percent off.
    """
    space = tuple(range(1, observed.ndim))
    wanted = observed.mean(axis=space, keepdims=True)
    found = image.mean(axis=space, keepdims=True)
    return image * np.where((wanted > 0) & (found > 0), wanted / np.maximum(found, 1e-6), 1)


def _window_around(kernel: Sequence[int], largest: Sequence[int]) -> tuple[int, ...]:
    """A window with room for a kernel to change in."""
    return tuple(
        min(max(_SMALLEST_WINDOW, int(_MARGIN * side)) | 1, limit)
        for side, limit in zip(kernel, largest, strict=True)
    )
