"""The plan of a stack: settings, intensity ranges and kernels that its planes share.

A plane depends on its own pixels and on the plan only, so it can be computed on any machine, or
again later, with the same result.
"""

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

__all__ = ["WARM_START_DIVISOR", "StackPlan", "all_kernels", "warm_started"]

# A plane with a known kernel starts closer to its result, so fewer iterations are enough.
WARM_START_DIVISOR = 5


@dataclass(frozen=True, eq=False)
class StackPlan:
    """Settings, intensity ranges and kernels for all planes of a stack.

    Attributes
    ----------
    settings : Settings
        Requested settings. With `warm_start`, planes that share a kernel found in the stack take
        fewer iterations than these settings allow.
    choice : KernelChoice
        Requested choice of the kernel.
    warm_start : bool
        As in `deconvolve_stack`.
    tile_side : int or None
        As in `Task`; None for volumes that each find their own kernel.
    intensity_ranges : tuple
        Intensity range of each channel; None for a channel without contrast.
    kernels : tuple
        Kernel of each channel; None where each plane finds its own kernel.
    """

    settings: Settings
    choice: KernelChoice
    warm_start: bool
    tile_side: int | None
    intensity_ranges: tuple[tuple[float, float] | None, ...]
    kernels: tuple[Kernel | None, ...]

    def task_of(self, block: Image, channel: int) -> Task:
        """Return the task of a plane that is in memory."""
        kernel, settings, choice = self.kernels[channel], self.settings, self.choice
        if kernel is not None:
            if self.warm_start and not choice.is_held:
                settings = warm_started(settings)
            choice = KernelChoice.hold(kernel)
        return Task(block, settings, choice, self.intensity_ranges[channel], self.tile_side)

    def as_record(self) -> dict[str, Any]:
        """Return the plan, with its kernels, as a dictionary for JSON."""
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
        """Return the plan of :meth:`as_record`.

        Raises
        ------
        ValueError
            If the record is not a plan.
        """
        try:
            side = record["tile_side"]
            kernels = tuple(
                None if kernel is None else Kernel.from_record(kernel)
                for kernel in record["kernels"]
            )
            return cls(
                settings=Settings(**record["settings"]),
                choice=KernelChoice.from_record(record["choice"]),
                warm_start=bool(record["warm_start"]),
                tile_side=None if side is None else int(side),
                intensity_ranges=tuple(
                    None if span is None else (float(span[0]), float(span[1]))
                    for span in record["intensity_ranges"]
                ),
                kernels=kernels,
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(
                f"Expected the record of a stack plan, got one that cannot be read ({error!r})."
            ) from error


def all_kernels(
    image: Image, shared: Sequence[Kernel | None], own: Mapping[Index, Kernel | None]
) -> tuple[str, NDArray[np.float32]]:
    """Return the weights of all kernels of a stack as one array.

    Smaller kernels are padded with zeros; missing kernels are zeros.

    Parameters
    ----------
    image : Image
        The stack.
    shared : sequence of Kernel or None
        Kernel of each channel, as `StackPlan.kernels`.
    own : mapping
        Kernels of the planes that found their own, by index.

    Returns
    -------
    axes : str
        Axes of the array.
    weights : ndarray
        ``(C, *kernel)`` if the planes of a channel share a kernel, else ``(*stack, *kernel)``.
    """
    if any(kernel is not None for kernel in shared):
        return f"C{image.space}", _pad_to_one_window(shared)
    windows = _pad_to_one_window([own.get(index) for index in image.indices()])
    shape = (*image.stack_shape, *windows.shape[1:])
    return f"{image.stack_axes}{image.space}", windows.reshape(shape)


def warm_started(settings: Settings) -> Settings:
    """Return settings with fewer iterations, for a plane whose kernel was found before."""
    fewer = math.ceil(settings.max_iterations / WARM_START_DIVISOR)
    return settings.with_changes(max_iterations=fewer)


def _pad_to_one_window(kernels: Sequence[Kernel | None]) -> NDArray[np.float32]:
    """Return the weights ``(n, *kernel)`` of kernels padded to the largest; zeros for None."""
    shapes = [kernel.shape for kernel in kernels if kernel is not None] or [(1, 1)]
    sides = tuple(max(lengths) for lengths in zip(*shapes, strict=True))
    windows = np.zeros((len(kernels), *sides), np.float32)
    for window, kernel in zip(windows, kernels, strict=True):
        if kernel is not None:  # all sides are odd, so the centres coincide
            inner = tuple(
                slice((side - inner_side) // 2, (side + inner_side) // 2)
                for side, inner_side in zip(sides, kernel.shape, strict=True)
            )
            window[inner] = kernel.weights
    return windows
