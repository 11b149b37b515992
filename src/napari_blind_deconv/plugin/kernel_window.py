"""The form for the side of the kernel window: chosen automatically, or by hand."""

from __future__ import annotations

from magicgui.widgets import ComboBox, Label, SpinBox

from napari_blind_deconv.plugin.settings_form import set_tooltip
from napari_blind_deconv.settings import Settings

__all__ = ["KernelWindow"]

_FIELD = "kernel_size"
_AUTOMATIC, _CHOSEN = "automatic", "chosen"


class KernelWindow:
    """Widgets for the setting ``kernel_size``, with its size in pixels and in the layer's units.

    Attributes
    ----------
    choice, pixels, size : Widget
        The owner adds these widgets to its layout.
    """

    def __init__(self) -> None:
        self._help = " ".join((Settings.model_fields[_FIELD].description or "").split())
        self.choice = ComboBox(label="Window", choices=(_AUTOMATIC, _CHOSEN), tooltip=self._help)
        self.pixels = SpinBox(label="Side (px)", value=31, min=3, max=4095, step=2)
        self.size = Label(
            label="At most", tooltip="Size of the window; the kernel can be smaller, not larger."
        )

    @property
    def is_chosen(self) -> bool:
        """Whether the side is chosen by hand."""
        return bool(self.choice.value == _CHOSEN)

    def texts(self) -> list[str]:
        """Return the setting as ``name=value``, for `Settings.with_texts`."""
        return [f"{_FIELD}={self.pixels.value if self.is_chosen else None}"]

    def show_settings(self, settings: Settings) -> None:
        """Show the setting, if it is a single side for rows and columns."""
        if isinstance(settings.kernel_size, int):
            self.choice.value = _CHOSEN
            self.pixels.value = settings.kernel_size

    def reset(self) -> None:
        """Return to the automatic choice."""
        self.choice.value = _AUTOMATIC

    def show_message(self, message: str) -> None:
        """Show a message in place of a size."""
        self._update_spin_box()
        self.size.value = message

    def show_size(self, rows: int, columns: int, pixel: tuple[float, float, str]) -> None:
        """Show the size of the window, for the height, width and unit of a pixel."""
        self._update_spin_box()
        if not self.is_chosen:
            with self.pixels.changed.blocked():
                self.pixels.value = min(max(rows, columns), int(self.pixels.max))
        height, width, unit = pixel
        text = f"{rows} × {columns} px"
        if unit != "px":
            text += f" = {rows * height:.3g} × {columns * width:.3g} {unit}"
        self.size.value = text

    def _update_spin_box(self) -> None:
        """Enable the spin box if the side is chosen by hand; else its tooltip gives the reason."""
        self.pixels.enabled = self.is_chosen
        set_tooltip(
            self.pixels, self._help if self.is_chosen else "The window is chosen automatically."
        )
