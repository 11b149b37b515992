"""The input of a computation, in one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from numpy.typing import ArrayLike

from napari_blind_deconv.image import BlockKind, Image
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.settings import Settings

__all__ = ["Task"]


@dataclass(frozen=True, eq=False)
class Task:
    """An image to deconvolve, with the settings and the choice of the kernel.

    A task holds no widget, layer or open file, so it can be sent to another thread, process or
    machine.

    Attributes
    ----------
    image : Image
        A block or a stack of blocks.
    settings : Settings
    kernel : KernelChoice
        Default: the kernel is found in the image.
    intensity_range : tuple of float or None
        Intensities that become 0 and 1 in the fit, in the units of the image. None: the range of
        the image without hot pixels. Use one range for blocks that are to be compared.
    tile_side : int or None
        Networks compute at most ``tile_side ** 2`` pixels at once, so that larger planes are cut
        into tiles. None: no plane is cut. Tiles of a volume are at most so long along each axis;
        None: as long as free memory allows.
    """

    image: Image
    settings: Settings
    kernel: KernelChoice = field(default_factory=KernelChoice)
    intensity_range: tuple[float, float] | None = None
    tile_side: int | None = None

    @classmethod
    def of(
        cls,
        image: Image | Any,
        settings: Settings | None,
        changes: dict[str, Any],
        *,
        axes: str | None,
        kernel: KernelChoice | Kernel | ArrayLike | None,
        pixel_size: Sequence[float] | None = None,
        unit: str = "µm",
        intensity_range: tuple[float, float] | None = None,
        mask: ArrayLike | None = None,
        block: BlockKind = BlockKind.PLANE,
    ) -> Self:
        """Make a task from the arguments of the public functions.

        Parameters are those of `deconvolve` and `deconvolve_stack`; `changes` are changed settings.
        """
        converted = Image.of(image, axes)
        if block == BlockKind.VOLUME:
            converted = converted.as_volumes()
        if pixel_size is not None:
            converted = converted.with_pixel_size(pixel_size, unit)
        return cls(
            converted if mask is None else converted.with_mask(mask),
            (settings or Settings()).with_changes(**changes),
            KernelChoice.of(kernel),
            intensity_range,
        )
