"""One line on what a layer is, and rows to correct it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import NamedTuple

from magicgui.widgets import Label, LineEdit
from napari.components import Dims
from napari.layers import Image
from qtpy.QtCore import Qt

from napari_blind_deconv.optics import Optics, format_wavelengths
from napari_blind_deconv.plugin.axes import read_axes
from napari_blind_deconv.plugin.colours import link
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_optics import LayerOptics
from napari_blind_deconv.plugin.layouts import wrap
from napari_blind_deconv.plugin.pixel_size import read_pixel_size, read_steps
from napari_blind_deconv.plugin.settings_form import show_row
from napari_blind_deconv.plugin.stated import Stated
from napari_blind_deconv.plugin.viewing import plane_axes
from napari_blind_deconv.units import convert

__all__ = ["LayerLine"]


class LayerLine:
    """How a layer is read: a line of text, and rows in which the user can correct it.

    Parameters
    ----------
    failed : callable
        Called with a sentence if a correction cannot be read.

    Attributes
    ----------
    reading : Label
        The line.
    rows : dict of str to LineEdit
        The rows, which are hidden until the user asks for them.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._layer: Image | None = None
        self._is_open = False
        self._filled: tuple[Image | None, Stated] = None, Stated()
        self._texts: dict[str, str] = {}  # of the rows, before the user changes them
        self.text = ""
        self.reading = Label(
            label="Read as",
            tooltip="How the axes, the pixel size and the optics of the layer are read: from its "
            "labels, scale and units, from its metadata, or from its file. Click on “change” to "
            "correct them: what you state there goes before everything else.",
        )
        wrap(self.reading.native)
        self.reading.native.setTextInteractionFlags(
            Qt.TextInteractionFlag.LinksAccessibleByMouse
            | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
        )
        self.reading.native.linkActivated.connect(lambda _link: self.toggle())
        self.rows = {
            "axes": LineEdit(
                label="Axes",
                tooltip="One letter for each axis of the layer: T, C (channels) or Z, and at the "
                "end Y and X, such as CYX. Leave it empty to read them from the layer.",
            ),
            "pixel_size": LineEdit(
                label="Pixel size (µm)",
                tooltip="One number, or one each for Y and X, or for Z, Y and X, such as "
                "0.3, 0.1, 0.1. Leave it empty to read it from the layer.",
            ),
            "aperture": LineEdit(
                label="NA",
                tooltip="Numerical aperture of the objective, such as 1.4. Leave it empty to read "
                "it from the layer.",
            ),
            "index": LineEdit(
                label="Immersion index",
                tooltip="Refractive index of the immersion: 1 for air, 1.33 water, 1.4 silicone, "
                "1.47 glycerol, 1.515 oil. It matters for volumes only. Leave it empty to read it "
                "from the layer.",
            ),
            "emission": LineEdit(
                label="Emission (nm)",
                tooltip="Wavelength of the emitted light, one number for each channel, such as "
                "460, 520. Leave it empty to read it from the layer.",
            ),
        }
        for row in self.rows.values():
            row.native.editingFinished.connect(self._correct)

    @property
    def widgets(self) -> list[Label | LineEdit]:
        """All rows, in their order."""
        return [self.reading, *self.rows.values()]

    def show_layer(self, layer: Image | None, dims: Dims) -> None:
        """Describe a layer; with None, hide the line."""
        if layer is not self._layer:
            self._layer, self._is_open = layer, False
        stated = Stated() if layer is None else Stated.of(layer)
        if layer is None or (layer, stated) != self._filled:
            self._filled = layer, stated
            self._fill(stated)
        self.text = ""
        if layer is not None:
            known = _Known.of(layer, dims)
            self.text = known.in_words(layer)
            for name, text in known.in_rows().items():
                self.rows[name].native.setPlaceholderText(text)
        self._show_rows()

    def toggle(self) -> None:
        """Show the rows, or hide them."""
        self._is_open = not self._is_open
        self._show_rows()

    def _show_rows(self) -> None:
        action = link("#", "close" if self._is_open else "change", self.reading.native)
        self.reading.value = f"{escape(self.text)} {action}" if self.text else ""
        show_row(self.reading, bool(self.text))
        for row in self.rows.values():
            show_row(row, self._is_open and self._layer is not None)

    def _fill(self, stated: Stated) -> None:
        """Show in the rows what was stated about the layer."""
        known = _Known(stated.axes, dict(stated.spacing), stated.unit, stated.optics)
        self._texts = known.in_rows()
        for name, text in self._texts.items():
            self.rows[name].value = text

    def _correct(self) -> None:
        """Store in the layer what the user has changed in the rows."""
        layer = self._layer
        if layer is None:
            return
        texts = {name: row.value.strip() for name, row in self.rows.items()}
        changed = {name: text for name, text in texts.items() if text != self._texts[name]}
        if not changed:
            return
        try:
            new = Stated.parsed(layer, **{name: changed.get(name, "") for name in texts})
            stated = Stated.of(layer).changed(new, changed)
        except ValueError as error:
            self._failed(str(error))
            return
        stated.store(layer)


class _Known(NamedTuple):
    """What is known about a layer, as the rows show it, and notes on where it comes from."""

    axes: str
    sides: dict[str, float]
    unit: str
    optics: Optics
    axes_note: str = ""
    size_note: str = ""

    @classmethod
    def of(cls, layer: Image, dims: Dims) -> _Known:
        pixels = read_pixel_size(layer, plane_axes(layer, dims))
        try:
            axes, note = read_axes(layer)
        except ValueError:  # single planes can be deconvolved all the same
            axes, note = "", ""
        height, width, unit = pixels.size
        sides = {} if unit == "px" else {"Y": height, "X": width}
        if sides and axes:
            sides |= {axis: s for axis, s in read_steps(layer, axes, unit).items() if axis == "Z"}
        optics = LayerOptics.of(layer).optics
        return cls(axes.removesuffix("S"), sides, unit, optics, note, pixels.note)

    def in_words(self, layer: Image) -> str:
        """Return such as ``"Z 25 × Y 395 × X 695, 0.65 µm, Z step 0.3 µm, NA 1.4"``."""
        counts = full_data(layer).shape[: layer.ndim]
        letters = self.axes or " " * layer.ndim
        is_one_note = self.axes_note == self.size_note
        axes = " × ".join(f"{a} {n}".strip() for a, n in zip(letters, counts, strict=True))
        lengths = dict.fromkeys(f"{self.sides[axis]:.3g}" for axis in "YX" if axis in self.sides)
        size = f"{' × '.join(lengths)} {self.unit}" if lengths else "pixel size unknown"
        parts = [
            _noted(axes, "" if is_one_note else self.axes_note),
            _noted(size, "" if is_one_note else self.size_note),
        ]
        if "Z" in self.sides:
            parts.append(f"Z step {self.sides['Z']:.3g} {self.unit}")
        if self.optics.described:
            parts.append(self.optics.described)
        return _noted(", ".join(parts), self.axes_note if is_one_note else "")

    def in_rows(self) -> dict[str, str]:
        """Return the texts that the rows would contain."""
        sides = [self.sides[axis] for axis in "ZYX" if axis in self.sides]
        micrometres = [convert(side, self.unit, "µm") for side in sides]
        aperture, index = self.optics.numerical_aperture, self.optics.refractive_index
        return {
            "axes": self.axes,
            "pixel_size": ", ".join(f"{side:.6g}" for side in micrometres if side),
            "aperture": f"{aperture:g}" if aperture else "",
            "index": f"{index:g}" if index else "",
            "emission": format_wavelengths(self.optics.emission_wavelengths),
        }


def _noted(text: str, note: str) -> str:
    return f"{text} ({note})" if note else text
