"""What is deconvolved at once, planes or volumes, and the words for it."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["BlockKind"]


class BlockKind(StrEnum):
    """What is deconvolved at once."""

    PLANE = "plane"
    VOLUME = "volume"

    @classmethod
    def named(cls, name: str) -> BlockKind:
        """Return a kind by its name; raise `ValueError` for an unknown one."""
        if name not in list(cls):
            names = " or ".join(repr(str(known)) for known in cls)
            raise ValueError(f"Expected {names} as the block, got {name!r}.")
        return cls(name)

    @classmethod
    def with_axes(cls, count: int) -> BlockKind:
        """Return the kind with a number of axes: a plane has 2, a volume 3."""
        return cls.VOLUME if count == 3 else cls.PLANE

    @property
    def with_its_axes(self) -> str:
        """The kind and its axes, such as ``"plane (rows, columns)"``."""
        planes = "planes, " if self is BlockKind.VOLUME else ""
        return f"{self} ({planes}rows, columns)"

    @property
    def element(self) -> str:
        """What it consists of: ``"pixel"`` or ``"voxel"``."""
        return "voxel" if self is BlockKind.VOLUME else "pixel"

    def worded(self, text: str) -> str:
        """Return a text for the user that speaks of pixels with what this kind consists of."""
        pixel, element = BlockKind.PLANE.element, self.element
        return text.replace(pixel, element).replace(pixel.capitalize(), element.capitalize())
