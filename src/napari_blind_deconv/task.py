"""What is asked for: all that a computation needs, in one record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from numpy.typing import ArrayLike

from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.settings import Settings

__all__ = ["Task"]


@dataclass(frozen=True, eq=False)
class Task:
    """An image to deconvolve, and how. It knows no widget, layer or file, and may go anywhere.

    Attributes
    ----------
    image : Image
        A block, or a stack of them.
    settings : Settings
    kernel : KernelChoice
        Default: it is found.
    intensity_range : tuple of float or None
        Intensities that are 0 and 1 in the fit; None: the image's own, hot pixels left out.
        Blocks that are to be compared want the same.
    tile_side : int or None
        Planes of more than its square, in pixels, are cut into tiles; None: they are not.
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
        intensity_range: tuple[float, float] | None = None,
    ) -> Self:
        """What the public functions are asked for, as they say it; `changes` are of settings."""
        found = Image.of(image, axes)
        if found.space != "YX":
            raise ValueError(
                f"The image is of volumes ({found.space}); accepted are planes, of which a volume "
                "may be a stack."
            )
        return cls(
            found,
            (settings or Settings()).with_changes(**changes),
            KernelChoice.of(kernel),
            intensity_range,
        )
