"""One image to deblur, checked: what to fit, and the way back to the user's units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_blind_deconv.engine.inputs import (
    IntensityMap,
    check_image,
    check_kernel,
    kernel_window,
    local_median,
    to_channels,
    without_hot_pixels,
)
from napari_blind_deconv.numerics.blur import crop_to_field_of_view
from napari_blind_deconv.numerics.location import moved_back, origin_at_centroid, recentre
from napari_blind_deconv.numerics.parametric_blur import Blur
from napari_blind_deconv.numerics.spectrum import white_noise
from napari_blind_deconv.settings import DataTerm, Location, Settings, SparsityScale

__all__ = ["Problem"]

# A kernel that is found gets this much room to change, in its own sides, and so many pixels.
_MARGIN = 1.3
_SMALLEST_WINDOW = 11


@dataclass(frozen=True)
class Problem:
    """A checked input: what to fit, and how its answer goes back to the user's units."""

    settings: Settings
    image: NDArray[Any]
    rgb: bool
    unit: NDArray[np.float32]  # (C, H, W), the image mapped to [0, 1]
    calm: NDArray[np.float32]  # the same without hot and dead pixels
    intensity: IntensityMap
    noise: float  # in the fit's units
    psf: NDArray[np.float32] | None  # its origin on the pixel of its centroid
    psf_centroid: tuple[float, float]  # the fraction of a pixel that is left
    window: tuple[int, int]
    blur: Blur | None = None  # found in the image, or guessed by the caller

    @classmethod
    def of(
        cls,
        image: ArrayLike,
        settings: Settings,
        *,
        psf: ArrayLike | None,
        psf_guess: ArrayLike | None = None,
        rgb: bool,
        intensity_range: tuple[float, float] | None = None,
    ) -> Self:
        """Check and prepare an input; raises as `deconvolve` says."""
        array = check_image(image, rgb=rgb)
        shape = (array.shape[0], array.shape[1])
        known, centroid = None, (0.0, 0.0)
        if psf is not None:
            known, centroid = origin_at_centroid(check_kernel(psf, shape))
        window = kernel_window(settings, shape) if known is None else known.shape
        blur = None if psf_guess is None else _guessed(psf_guess, shape)
        if blur is not None and settings.kernel_size is None:
            window = _around(blur, window)
        channels = to_channels(array, rgb=rgb)
        median = local_median(channels)
        intensity = (
            IntensityMap.of(channels, median)
            if intensity_range is None
            else IntensityMap.given(intensity_range)
        )
        unit = intensity.to_unit(channels)
        calm = without_hot_pixels(unit, intensity.to_unit(median))
        noise = white_noise(calm.mean(axis=0))
        return cls(
            settings, array, rgb, unit, calm, intensity, noise, known, centroid, window, blur
        )

    @property
    def wants_a_search(self) -> bool:
        """Whether nobody says what the kernel starts from."""
        told = self.psf is not None or self.blur is not None
        return not told and self.settings.kernel_start == "auto"

    def with_blur(self, blur: Blur) -> Self:
        """The same with the kernel's start found, and a window around it unless one was set."""
        if self.settings.kernel_size is not None:
            return replace(self, blur=blur)
        return replace(self, blur=blur, window=_around(blur, self.window))

    def is_explained_by(self, data: float) -> bool:
        """Whether a data term leaves no more than the noise unexplained (Morozov's principle)."""
        halved = 1 if self.settings.data_term is DataTerm.SQUARED else 2  # as Huber's loss is
        return self.settings.stop_at_noise and halved * data <= self.noise**2

    @property
    def luminance(self) -> NDArray[np.float32]:
        """Mean of the channels ``(H, W)``, without hot and dead pixels."""
        return self.calm.mean(axis=0)

    @property
    def canvas_shape(self) -> tuple[int, int]:
        """Eq. 16: wide enough for all light the field of view received."""
        rows, columns = self.unit.shape[-2:]
        return rows + self.window[0] - 1, columns + self.window[1] - 1

    @property
    def sparsity_weight(self) -> float:
        """The regulariser's λ in the objective."""
        if self.settings.sparsity_scale is SparsityScale.NOISE:
            return self.settings.sparsity * self.noise
        return self.settings.sparsity

    @property
    def start(self) -> str:
        """What the kernel starts from, as `Result.blur` says it."""
        if self.psf is not None:
            return "given"
        return "set" if self.blur is None else self.blur.kind

    def answer(
        self, canvas: Tensor, kernel: Tensor, *, search: bool = True
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Line 15: locate the picture, and give it the flux of the input; a GPU is waited for.

        Without `search` the content is taken to lie where the kernel says, which is quicker.
        """
        canvas, kernel = canvas.cpu(), kernel.cpu()
        if self.psf is None and self.settings.location is Location.SIMILARITY:
            reference = torch.from_numpy(self.calm) if search else None
            image, centred = recentre(canvas, kernel, reference)
        else:
            # A kernel whose centroid lies below its origin wants the picture as much further down.
            moved = moved_back(canvas.numpy(), [-c for c in self.psf_centroid])
            image = crop_to_field_of_view(torch.from_numpy(moved), self.window).numpy()
            centred = kernel.numpy()
        return self.to_user(_with_flux_of(self.calm, image)), centred

    def to_user(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """Channels ``(C, H, W)`` of the fit to the shape and units of the input."""
        values = self.intensity.from_unit(unit)
        if not self.rgb:
            return values[0]
        return np.concatenate([np.moveaxis(values, 0, -1), self.image[..., 3:]], axis=-1).astype(
            np.float32
        )


def _with_flux_of(observed: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float32]:
    """One gain a channel, above the offset that became 0, that gives the input's mean.

    Huber and an early stop leave the mean a few percent off.
    """
    wanted = observed.mean(axis=(1, 2), keepdims=True)
    found = image.mean(axis=(1, 2), keepdims=True)
    return image * np.where((wanted > 0) & (found > 0), wanted / np.maximum(found, 1e-6), 1)


def _guessed(psf: ArrayLike, image_shape: tuple[int, int]) -> Blur:
    """A caller's guess, centred: where its origin lay does not matter, the fit recentres."""
    kernel, _ = origin_at_centroid(check_kernel(psf, image_shape))
    return Blur("guess", kernel, math.nan)


def _around(blur: Blur, largest: tuple[int, int]) -> tuple[int, int]:
    """A window with room for a blur to change in."""
    rows, columns = (
        min(max(_SMALLEST_WINDOW, int(_MARGIN * side)) | 1, limit)
        for side, limit in zip(blur.kernel.shape, largest, strict=True)
    )
    return rows, columns
