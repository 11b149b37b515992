"""A checked task in the units of the fit, and the conversion of estimates to the input's units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import fitted_kernel, kernel_window
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.field_of_view import (
    canvas_shape,
    crop_to_field_of_view,
    fast_window,
)
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.location import (
    centre_kernel,
    crop_or_pad,
    moved_back,
    origin_at_centroid,
    recentre,
)
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.spectrum import noise_deviation
from napari_blind_deconv.settings import DataTerm, Location, Settings, SparsityScale
from napari_blind_deconv.task import Task

__all__ = ["Problem"]

# The kernel window is larger than the kernel found, so that the fit can widen the kernel.
_WINDOW_MARGIN = 1.3  # sides of the window over the sides of the kernel
_MIN_WINDOW = 11  # pixels


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked task on one block, in the units of the fit.

    Attributes
    ----------
    task : Task
    device : torch.device
        Device that computes.
    inspection : Inspection
        What was found in the image, and the mask of its valid pixels.
    observed : ndarray
        Image ``(C, *space)`` mapped to [0, 1]; pixels that are not valid are filled smoothly.
    intensity : IntensityMap
        Map between the intensities of the image and [0, 1].
    noise : float
        Standard deviation of the noise, in the units of `observed`.
    window : tuple of int
        Sides of the kernel window in pixels.
    kernel : Kernel or None
        Kernel that is held, or that the fit starts from, as it is reported. None before the kernel
        is found, or if the fit starts from the initial output of the kernel network.
    kernel_start : ndarray or None
        Weights ``(*window)`` of the kernel that is used, or of its start: `kernel`, scaled by
        `Settings.strength`.
    centroid : tuple of float
        Offset of the centroid of a held kernel, as it is used, from its origin, in pixels; at most
        0.5 along each axis, times the strength.
    """

    task: Task
    device: torch.device
    inspection: Inspection
    observed: NDArray[np.float32]
    intensity: IntensityMap
    noise: float
    window: tuple[int, ...]
    kernel: Kernel | None
    kernel_start: NDArray[np.float32] | None
    centroid: tuple[float, ...]

    @classmethod
    def of(cls, task: Task, inspection: Inspection | None = None) -> Self:
        """Check and prepare a task; raises the errors of `deconvolve`.

        A block that was inspected before is not inspected again.
        """
        image, choice = task.image, task.kernel
        inspection = inspection or Inspection.of(image)
        if choice.kernel is not None:
            fitted = replace(choice, kernel=fitted_kernel(choice.kernel, image))
            task = replace(task, kernel=fitted)
        channels = inspection.channels
        intensity = (
            IntensityMap.of(channels)
            if task.intensity_range is None
            else IntensityMap.given(task.intensity_range)
        )
        observed = intensity.to_unit(channels)
        problem = cls(
            task=task,
            device=choose_device(task.settings.device),
            inspection=inspection,
            observed=observed,
            intensity=intensity,
            noise=noise_deviation(observed.mean(axis=0), inspection.valid_share, inspection.noise),
            window=(),
            kernel=None,
            kernel_start=None,
            centroid=(0.0,) * len(image.space),
        )
        return problem._with_known_kernel()

    def _with_known_kernel(self) -> Self:
        """Return a copy with the kernel and window that are known before the search."""
        known, start = self.task.kernel.kernel, self.settings.kernel_start
        if known is not None:
            # A held kernel is only padded with zeros. The origin of a guess does not matter,
            # because the result is recentred.
            weights, centroid = origin_at_centroid(known.weights)
            known = known.with_weights(weights)
            if self.is_held:
                moved = tuple(self.settings.strength * c for c in centroid)
                return replace(self._with_kernel(known), centroid=moved)
        window = kernel_window(self.settings, self.task.image.block_shape)
        problem = replace(self, window=window)
        if known is not None:
            return problem.with_kernel_start(known)
        if isinstance(start, str):
            return problem
        return problem.with_kernel_start(Kernel(gaussian_kernel(window, start), KernelSource.SET))

    def with_strength(self, strength: float) -> Self:
        """Return a copy of a problem with a held kernel, at another strength."""
        settings = self.settings.with_changes(strength=strength)
        return replace(self, task=replace(self.task, settings=settings))._with_known_kernel()

    def with_kernel_start(self, kernel: Kernel) -> Self:
        """Return a copy whose fit starts from a kernel.

        The window is fitted to the kernel, unless `kernel_size` is set. That of a volume, which no
        network refines, is the window of the kernel.
        """
        if self.is_volume:
            return self._with_kernel(kernel)
        window = self.window
        if self.settings.kernel_size is None:
            window = _window_around(kernel.shape, window)
        return self._with_kernel(kernel.with_weights(crop_or_pad(kernel.weights, window)))

    def _with_kernel(self, kernel: Kernel) -> Self:
        """Return a copy that reports a kernel, and uses it scaled by the strength."""
        used = kernel.scaled(self.settings.strength).weights
        # A window that grows stays within the image, as that of a given kernel does.
        window = tuple(
            min(side, max(given, length - 1 | 1))
            for side, given, length in zip(
                used.shape, kernel.shape, self.observed.shape[1:], strict=True
            )
        )
        if self.is_volume:
            window = fast_window(self.observed.shape[1:], window)
        if window != used.shape:
            used = crop_or_pad(used, window)
        return replace(self, kernel=kernel, kernel_start=used, window=window)

    @property
    def settings(self) -> Settings:
        """Settings of the task."""
        return self.task.settings

    @property
    def is_held(self) -> bool:
        """Whether the kernel is known and stays unchanged."""
        return self.task.kernel.is_held

    def on_device(self, values: NDArray[Any]) -> Tensor:
        """Return values on the device that computes; on a CPU, in the same memory."""
        return torch.as_tensor(values, device=self.device)

    @property
    def needs_kernel_search(self) -> bool:
        """Whether the kernel must be searched in the image."""
        return self.kernel is None and self.settings.kernel_start == "auto"

    @property
    def is_too_large_for_networks(self) -> bool:
        """Whether the networks would take more memory than the largest tile may take."""
        side = self.task.tile_side
        return side is not None and math.prod(self.observed.shape[1:]) > side**2

    def estimated_kernel(self, weights: NDArray[np.float32]) -> Kernel:
        """Return the kernel with its estimated weights, its source and the image's pixel size."""
        start = self.kernel or Kernel(weights, KernelSource.SET)
        image = self.task.image
        if image.pixel_size is None:
            return start.with_weights(weights)
        return replace(start, weights=weights, pixel_size=image.pixel_size, unit=image.unit)

    def is_explained_by(self, data: float) -> bool:
        """Return whether a data term is as small as the noise (Morozov's discrepancy principle)."""
        # Huber's loss is half of the square for small residuals.
        factor = 1 if self.settings.data_term is DataTerm.SQUARED else 2
        return self.settings.stop_at_noise and factor * data <= self.noise**2

    @property
    def luminance(self) -> NDArray[np.float32]:
        """Mean of the channels ``(*space)``; pixels that are not valid are filled smoothly."""
        return self.observed.mean(axis=0)

    @property
    def is_volume(self) -> bool:
        """Whether the block is a volume."""
        return self.task.image.block_kind is BlockKind.VOLUME

    @property
    def canvas_shape(self) -> tuple[int, ...]:
        """Shape of the canvas (Eq. 16), which covers all light that reaches the field of view."""
        return canvas_shape(self.observed.shape[1:], self.window)

    @property
    def sparsity_weight(self) -> float:
        """Factor λ of the regulariser in the objective."""
        if self.settings.sparsity_scale is SparsityScale.NOISE:
            return self.settings.sparsity * self.noise
        return self.settings.sparsity

    def to_output(
        self, canvas: Tensor, kernel: Tensor, *, search: bool = True, converges: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Locate an estimate (Algorithm 1, line 15) and convert it to the units of the input.

        The call waits for the GPU.

        Parameters
        ----------
        canvas : Tensor
            Estimate ``(C, *canvas)``.
        kernel : Tensor
            Weights of the kernel that was used.
        search : bool
            Whether to locate the estimate by its likeness to the input, unless it converges. If
            False, the kernel alone defines the location, which is faster.
        converges : bool
            Whether the estimate is that of one fixed kernel, which defines its location and its
            flux. If False, it was stopped on the way, and is scaled to the mean of the input in
            each channel.

        Returns
        -------
        image : ndarray
            Estimate in the layout and units of the input.
        weights : ndarray
            Weights of the kernel that is reported.
        """
        estimate, weights = canvas.cpu().numpy(), kernel.cpu().numpy()
        if not self.is_held and self.settings.location is Location.SIMILARITY:
            reference = self.observed if search and not converges else None
            image, weights = recentre(estimate, weights, reference)
        else:
            # A kernel whose centroid is not at its origin shifts the estimate the other way. The
            # shift is undone here.
            moved = moved_back(estimate, [-c for c in self.centroid])
            image = crop_to_field_of_view(moved, self.window)
        if not converges:
            image = _with_flux_of(self.observed, image, self.inspection.valid)
        values = self.intensity.from_unit(image)
        estimate = self.task.image.with_channels(self.inspection.with_kept_pixels(values))
        return estimate, self._reported(weights)

    def _reported(self, used: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the weights that are reported for an estimate with those that were used.

        Both are the same unless the kernel was scaled, which no network fits, or padded.
        """
        if self.settings.strength == 1 and not self.is_volume:
            return used
        assert self.kernel is not None
        if self.is_held or self.settings.location is Location.CENTRE:
            return self.kernel.weights
        centred, _ = centre_kernel(self.kernel.weights)
        return centred / centred.sum()


def _with_flux_of(
    observed: NDArray[np.float32], image: NDArray[np.float32], valid: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Scale each channel of an estimate to the mean of the valid pixels of the input.

    The Huber loss and early stopping leave the mean a few percent off.
    """
    space = tuple(range(1, observed.ndim))
    target, mean = (a.mean(axis=space, keepdims=True, where=valid) for a in (observed, image))
    return image * np.where((target > 0) & (mean > 0), target / np.maximum(mean, 1e-6), 1)


def _window_around(kernel: Sequence[int], largest: Sequence[int]) -> tuple[int, ...]:
    """Return the sides of a window that leaves room for the kernel to grow."""
    return tuple(
        min(max(_MIN_WINDOW, int(_WINDOW_MARGIN * side)) | 1, limit)
        for side, limit in zip(kernel, largest, strict=True)
    )
