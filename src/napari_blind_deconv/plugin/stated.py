"""What was stated about a layer: by the user or, for a result, by what its input was read from."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from napari.layers import Image

from napari_blind_deconv.io.stored_array import check_sides
from napari_blind_deconv.optics import Optics, parse_wavelengths
from napari_blind_deconv.units import in_unit

__all__ = ["Stated"]

_KEY = "blind_deconvolution_input"
_LETTERS = "TCZYX"


@dataclass(frozen=True)
class Stated:
    """Axes, pixel size and optics of a layer, as its metadata remember them for this plugin.

    Attributes
    ----------
    axes : str
        One letter for each axis of the layer except colour, such as ``"CYX"``; may be empty.
    spacing : mapping
        Pixel size along Z, Y and X in `unit`, where it was stated.
    unit : str
        Unit of length.
    optics : Optics
        Objective, immersion, and emission wavelengths of the channels.
    """

    axes: str = ""
    spacing: Mapping[str, float] = field(default_factory=dict)
    unit: str = "µm"
    optics: Optics = field(default_factory=Optics)

    @classmethod
    def of(cls, layer: Image) -> Self:
        """Return what is stated in the metadata of a layer; nothing if nothing is."""
        record = layer.metadata.get(_KEY)
        if not isinstance(record, Mapping):
            return cls()
        axes, spacing = str(record.get("axes", "")), record.get("spacing")
        unit = str(record.get("unit", "µm"))
        sides = spacing if isinstance(spacing, Mapping) else {}
        is_length = in_unit(1, unit, "µm") is not None
        known = {axis: in_unit(sides.get(axis), unit, unit) for axis in "ZYX" if is_length}
        return cls(
            # napari copies metadata to layers with other axes, such as projections.
            axes if _fit(axes, layer.ndim) else "",
            {axis: side for axis, side in known.items() if side is not None},
            unit if is_length else "µm",
            Optics.of_record(record.get("optics")),
        )

    @classmethod
    def parsed(
        cls,
        layer: Image,
        axes: str,
        pixel_size: str,
        aperture: str,
        index: str,
        emission: str,
    ) -> Self:
        """Return what texts state; an empty text states nothing.

        Parameters
        ----------
        layer : Image
            The layer, whose axes are counted.
        axes : str
            Letters, such as ``"CYX"``.
        pixel_size : str
            In µm, such as ``"0.1"`` or ``"0.3, 0.1, 0.1"`` for Z, Y and X.
        aperture : str
            Numerical aperture.
        index : str
            Refractive index of the immersion, such as ``"1.515"``.
        emission : str
            Wavelengths of the channels in nm, such as ``"460, 520"``; ``"?"`` where one is unknown.

        Raises
        ------
        ValueError
            If a text is not such a number or list.
        """
        letters = re.sub(r"[\s,]", "", axes).upper()
        if letters and not _fit(letters, layer.ndim):
            raise ValueError(
                f"Expected one letter for each of the {layer.ndim} axes of {layer.name}, T, C or "
                f"Z and at the end YX, such as {_LETTERS[-layer.ndim :]}, got {axes!r}."
            )
        sides = _numbers(pixel_size, "the pixel size in µm, such as 0.1 or 0.3, 0.1, 0.1")
        if sides:
            check_sides(sides)
            sides = 2 * sides if len(sides) == 1 else sides
        optics = Optics(
            numerical_aperture=_number(aperture, "numerical aperture", "1.4"),
            refractive_index=_number(index, "refractive index", "1.515"),
            emission_wavelengths=parse_wavelengths(emission),
        )
        spacing = dict(zip("XYZ", reversed(sides), strict=False))
        return cls(letters, spacing, optics=optics)

    def changed(self, new: Stated, names: Collection[str]) -> Stated:
        """Return a copy with what is new under some of the names of :meth:`parsed`.

        Raises
        ------
        ValueError
            If the new optics contradict those that were stated before.
        """
        optics = replace(
            self.optics,
            numerical_aperture=(new if "aperture" in names else self).optics.numerical_aperture,
            refractive_index=(new if "index" in names else self).optics.refractive_index,
            emission_wavelengths=(new if "emission" in names else self).optics.emission_wavelengths,
        )
        size = new if "pixel_size" in names else self
        axes = (new if "axes" in names else self).axes
        return Stated(axes, size.spacing, size.unit, optics)

    def store(self, layer: Image) -> None:
        """Store this in the metadata of a layer, in place of what was stated before."""
        others = {key: value for key, value in layer.metadata.items() if key != _KEY}
        layer.metadata = others | self.as_metadata()

    def as_metadata(self) -> dict[str, Any]:
        """Return the part of a layer's metadata that states this; empty if nothing is stated."""
        if self == Stated():
            return {}
        record = {"axes": self.axes, "spacing": dict(self.spacing), "unit": self.unit}
        return {_KEY: record | {"optics": self.optics.as_record()}}


def _fit(letters: str, count: int) -> bool:
    """Return whether letters are those of so many axes, each once, with rows and columns last."""
    return (
        len(letters) == len(set(letters)) == count
        and set(letters) <= set(_LETTERS)
        and letters.endswith("YX")
    )


def _number(text: str, name: str, example: str) -> float | None:
    numbers = _numbers(text, f"the {name}, such as {example}")
    if len(numbers) > 1:
        raise ValueError(f"Expected one {name}, got {text!r}.")
    return numbers[0] if numbers else None


def _numbers(text: str, expected: str) -> list[float]:
    items = [item for item in re.split(r"[,;×x\s]+", text.strip()) if item]
    try:
        return [float(item) for item in items]
    except ValueError:
        raise ValueError(f"Expected {expected}, got {text!r}.") from None
