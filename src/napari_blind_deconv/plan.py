"""What the planes of a stack share. With its plan a plane can be computed anywhere, or again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.task import Task

__all__ = ["WARM_SHARE", "StackPlan", "warm_started"]

# With its kernel known a plane starts this much nearer to its end.
WARM_SHARE = 5


@dataclass(frozen=True, eq=False)
class StackPlan:
    """What was decided for a whole stack.

    Attributes
    ----------
    settings : Settings
        As asked for; with `warm_start`, planes whose kernel was found for them take fewer
        iterations.
    choice : KernelChoice
        As asked for.
    warm_start : bool
        As in `deconvolve_stack`.
    tile_side : int
        Planes of more than its square, in pixels, are cut into tiles.
    intensity_ranges : tuple
        Of each channel, None for one without any contrast.
    kernels : tuple
        Of each channel; None where planes find their own.
    """

    settings: Settings
    choice: KernelChoice
    warm_start: bool
    tile_side: int
    intensity_ranges: tuple[tuple[float, float] | None, ...]
    kernels: tuple[Kernel | None, ...]

    def task_of(self, block: Image, channel: int) -> Task:
        """What is to be done with a plane in memory."""
        kernel, settings, choice = self.kernels[channel], self.settings, self.choice
        if kernel is not None:
            if self.warm_start and not choice.is_held:
                settings = warm_started(settings)
            choice = KernelChoice.hold(kernel)
        return Task(block, settings, choice, self.intensity_ranges[channel], self.tile_side)

    def all_kernels(
        self, image: Image, own: Mapping[Index, Kernel | None]
    ) -> tuple[str, NDArray[np.float32]]:
        """Weights of all kernels in one array, and its axes.

        Those of the channels ``(C, *kernel)`` where planes share them, else those of the planes
        ``(*stack, *kernel)``; zeros around the smaller ones, and for those that are missing.

        Parameters
        ----------
        image : Image
            The stack.
        own : mapping
            Kernels that planes have found for themselves, by position.
        """
        if any(kernel is not None for kernel in self.kernels):
            return f"C{image.space}", _on_one_window(self.kernels)
        windows = _on_one_window([own.get(index) for index in image.indices()])
        shape = (*image.stack_shape, *windows.shape[1:])
        return f"{image.stack_axes}{image.space}", windows.reshape(shape)

    def as_record(self) -> dict[str, Any]:
        """Ready for JSON, kernels and all."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "choice": self.choice.as_record(),
            "warm_start": self.warm_start,
            "tile_side": self.tile_side,
            "intensity_ranges": [span and list(span) for span in self.intensity_ranges],
            "kernels": [kernel and kernel.as_record() for kernel in self.kernels],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """The plan of :meth:`as_record`; `ValueError` for anything else."""
        try:
            kernels = tuple(
                None if kernel is None else Kernel.from_record(kernel)
                for kernel in record["kernels"]
            )
            return cls(
                settings=Settings(**record["settings"]),
                choice=KernelChoice.from_record(record["choice"]),
                warm_start=bool(record["warm_start"]),
                tile_side=int(record["tile_side"]),
                intensity_ranges=tuple(
                    None if span is None else (float(span[0]), float(span[1]))
                    for span in record["intensity_ranges"]
                ),
                kernels=kernels,
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"The record is no plan of a stack ({error!r}).") from error


def warm_started(settings: Settings) -> Settings:
    """Settings for what starts from a kernel that was found for it before."""
    fewer = math.ceil(settings.max_iterations / WARM_SHARE)
    return settings.with_changes(max_iterations=fewer)


def _on_one_window(kernels: Sequence[Kernel | None]) -> NDArray[np.float32]:
    """Weights of kernels ``(n, *kernel)``, zeros around the smaller ones and for those missing."""
    known = [kernel.shape for kernel in kernels if kernel is not None] or [(1, 1)]
    sides = tuple(max(along) for along in zip(*known, strict=True))
    windows = np.zeros((len(kernels), *sides), np.float32)
    for window, kernel in zip(windows, kernels, strict=True):
        if kernel is not None:  # all sides are odd, so centres fall on centres
            inner = tuple(
                slice((side - own) // 2, (side + own) // 2)
                for side, own in zip(sides, kernel.shape, strict=True)
            )
            window[inner] = kernel.weights
    return windows
