"""What the planes of a stack share. With its plan a plane can be computed anywhere, or again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.settings import Settings

__all__ = ["Index", "KernelMode", "Plan"]

Index = tuple[int, ...]
"""Position of a plane along the axes before its rows."""


class KernelMode(StrEnum):
    """Where the kernel of a plane comes from."""

    PER_CHANNEL = "per-channel"  # found on one plane of its channel, then held
    SHARED = "shared"  # found on one plane of the stack
    PER_SLICE = "per-slice"  # its own
    GIVEN = "given"  # known

    @classmethod
    def named(cls, text: str) -> KernelMode:
        """The mode of this name, of those that are to be found; `ValueError` for any other."""
        modes = [mode for mode in cls if mode is not cls.GIVEN]
        if text not in modes:
            names = ", ".join(repr(str(mode)) for mode in modes)
            raise ValueError(f"The kernel is {text!r}; accepted are {names} and a known PSF.")
        return cls(text)


@dataclass(frozen=True)
class Plan:
    """What was decided for a whole stack.

    Attributes
    ----------
    axes : str
        Of the stack, such as ``"TCZYX"``, with an S at the end for colour.
    shape : tuple of int
        Lengths of the axes before rows.
    plane_shape : tuple of int
        Rows and columns.
    colours : tuple of int
        Number of samples of colour; empty for grey.
    settings : Settings
        As asked for; planes whose kernel is known take fewer iterations with `warm_start`.
    kernel_mode, warm_start, device, seed
        As in `deconvolve_stack`.
    tile_side : int
        Planes of more than its square, in pixels, are cut into tiles.
    intensity_ranges : tuple
        Of each channel, None for one without any contrast.
    kernels : tuple
        Of each channel; None where planes find their own.
    """

    axes: str
    shape: tuple[int, ...]
    plane_shape: tuple[int, int]
    colours: tuple[int, ...]
    settings: Settings
    kernel_mode: KernelMode
    warm_start: bool
    device: str
    seed: int
    tile_side: int
    intensity_ranges: tuple[tuple[float, float] | None, ...]
    kernels: tuple[NDArray[np.float32] | None, ...]

    def indices(self) -> Iterator[Index]:
        """Positions of all planes, in the order of the array."""
        return np.ndindex(self.shape)

    def channel_of(self, index: Index) -> int:
        """Channel of a plane; 0 for a stack without."""
        place = self.axes.find("C")
        return index[place] if place >= 0 else 0

    def kernels_on_one_window(self) -> NDArray[np.float32] | None:
        """Kernels of all channels ``(C, rows, columns)``, zeros around the smaller ones.

        None where planes find their own; a channel that has none is empty.
        """
        known = [kernel.shape for kernel in self.kernels if kernel is not None]
        if not known:
            return None
        rows, columns = (max(sides) for sides in zip(*known, strict=True))
        window = np.zeros((len(self.kernels), rows, columns), np.float32)
        for place, kernel in zip(window, self.kernels, strict=True):
            if kernel is not None:  # all sides are odd, so centres fall on centres
                top, left = (rows - kernel.shape[0]) // 2, (columns - kernel.shape[1]) // 2
                place[top : top + kernel.shape[0], left : left + kernel.shape[1]] = kernel
        return window

    def as_record(self) -> dict[str, Any]:
        """Ready for JSON, kernels and all."""
        kernels = [None if kernel is None else kernel.tolist() for kernel in self.kernels]
        return {
            **{name: value for name, value in asdict(self).items() if name != "kernels"},
            "settings": self.settings.model_dump(mode="json"),
            "kernels": kernels,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """The plan of :meth:`as_record`; `ValueError` for anything else."""
        try:
            changes = {
                **{name: tuple(record[name]) for name in ("shape", "plane_shape", "colours")},
                "settings": Settings(**record["settings"]),
                "kernel_mode": KernelMode(record["kernel_mode"]),
                "intensity_ranges": tuple(
                    None if span is None else (float(span[0]), float(span[1]))
                    for span in record["intensity_ranges"]
                ),
                "kernels": tuple(
                    None if kernel is None else np.array(kernel, np.float32)
                    for kernel in record["kernels"]
                ),
            }
            return cls(**{**record, **changes})
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"The record is no plan of a stack ({error!r}).") from error
