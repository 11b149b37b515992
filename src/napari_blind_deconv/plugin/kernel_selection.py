"""The kernel that is chosen in the panel, for a run and for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelScope
from napari_blind_deconv.psf import at_pixel_size
from napari_blind_deconv.units import in_unit

__all__ = ["KernelSelection", "NamedKernel", "PixelGrid", "format_sides"]


_STATED = ("source", "pixel_size", "unit", "misfit", "width_deviation")


class PixelGrid(NamedTuple):
    """The pixels of an image.

    Attributes
    ----------
    sides : tuple of float
        Height and width of a pixel, or depth, height and width of a voxel; 1 if they are unknown.
    unit : str
        Their unit; ``"px"`` if they are unknown.
    """

    sides: tuple[float, ...]
    unit: str

    @property
    def is_volume(self) -> bool:
        """Whether the image is a volume."""
        return len(self.sides) == 3

    @property
    def micrometres(self) -> tuple[float, ...]:
        """The sides in µm; empty if they are unknown."""
        sides = [in_unit(side, self.unit, "µm") for side in self.sides]
        known = tuple(side for side in sides if side is not None)
        return known if len(known) == len(sides) else ()


class NamedKernel(NamedTuple):
    """A kernel, a Python expression for it, and a file that contains it."""

    kernel: Kernel
    code: str
    file: str


@dataclass(frozen=True)
class KernelSelection:
    """The chosen kernel, for a run and for scripts.

    Attributes
    ----------
    choice : KernelChoice
        The kernel for the run, or that it is estimated from the image.
    code : str
        Python expression for the kernel, which may use `read_psf`, `prepare_psf`, `gaussian_kernel`
        `widefield_psf` or `microscope_psf`; empty if the kernel is estimated from the image.
    file : str
        File that contains the kernel for the command line; empty if it is estimated.
    """

    choice: KernelChoice = field(default_factory=KernelChoice)
    code: str = ""
    file: str = ""

    @classmethod
    def of(cls, named: NamedKernel, pixels: PixelGrid, *, held: bool) -> KernelSelection:
        """Return the selection of a kernel, which is resampled to the pixels of an image."""
        kernel, code = _with_unit(named.kernel, pixels.unit), named.code
        fitted = _resampled(_Resampling.of(kernel, pixels))
        if fitted.pixel_size != kernel.pixel_size and code.startswith("read_psf"):
            code = f"prepare_psf({code}, {format_sides(pixels.sides)}, {pixels.unit!r})"
        choose = KernelChoice.hold if held else KernelChoice.start_from
        return cls(choose(fitted), code, named.file)

    def with_scope(self, scope: KernelScope) -> KernelSelection:
        """Return a copy for a stack, of which some part shares a kernel."""
        return replace(self, choice=replace(self.choice, scope=scope))


@dataclass(frozen=True)
class _Resampling:
    """A kernel that is resampled to some pixels; two are equal if their results are."""

    content: bytes
    pixels: PixelGrid
    kernel: Kernel = field(compare=False)

    @classmethod
    def of(cls, kernel: Kernel, pixels: PixelGrid) -> _Resampling:
        others = {name: value for name, value in vars(kernel).items() if name in _STATED}
        content = blake2b(np.ascontiguousarray(kernel.weights).tobytes())
        content.update(f"{kernel.shape} {others}".encode())
        return cls(content.digest(), pixels, kernel)


# The panel asks whenever something is chosen, and a large 3D kernel takes seconds.
@lru_cache(maxsize=4)
def _resampled(request: _Resampling) -> Kernel:
    return at_pixel_size(request.kernel, request.pixels.sides, request.pixels.unit)


def format_sides(sides: Sequence[float]) -> str:
    """Return lengths as a Python tuple."""
    return f"({', '.join(f'{side:.6g}' for side in sides)})"


def _with_unit(kernel: Kernel, unit: str) -> Kernel:
    """Return a kernel with its pixel size in a unit, if both are known."""
    size = [in_unit(side, kernel.unit, unit) for side in kernel.pixel_size or ()]
    known = tuple(side for side in size if side is not None)
    if not known or len(known) < len(size):
        return kernel
    return replace(kernel, pixel_size=known, unit=unit)
