"""How wide the kernel may be: chosen automatically, or by hand."""

from __future__ import annotations

from magicgui.widgets import ComboBox, Label, SpinBox

from napari_blind_deconv.settings import Settings

__all__ = ["KernelWindow"]

_FIELD = "kernel_size"
_AUTOMATIC, _CHOSEN = "automatic", "chosen"


class KernelWindow:
    """The setting ``kernel_size``, and what it means in pixels and in the layer's units.

    Attributes
    ----------
    choice, pixels, size : Widget
        To be laid out by the owner.
    """

    def __init__(self) -> None:
        help_text = " ".join((Settings.model_fields[_FIELD].description or "").split())
        self.choice = ComboBox(label="Window", choices=(_AUTOMATIC, _CHOSEN), tooltip=help_text)
        self.pixels = SpinBox(
            label="Side (px)", value=31, min=3, max=4095, step=2, tooltip=help_text
        )
        self.size = Label(label="At most")

    @property
    def is_chosen(self) -> bool:
        """Whether it is chosen by hand."""
        return bool(self.choice.value == _CHOSEN)

    def texts(self) -> list[str]:
        """What stands here, as ``name=value`` for `Settings.with_texts`."""
        return [f"{_FIELD}={self.pixels.value if self.is_chosen else None}"]

    def show_settings(self, settings: Settings) -> None:
        """Take over the setting, if it is one side for rows and columns."""
        if isinstance(settings.kernel_size, int):
            self.choice.value = _CHOSEN
            self.pixels.value = settings.kernel_size

    def reset(self) -> None:
        """Back to choosing it automatically."""
        self.choice.value = _AUTOMATIC

    def say(self, sentence: str) -> None:
        """Say something in place of a size."""
        self._allow_typing()
        self.size.value = sentence

    def show_size(self, rows: int, columns: int, pixel: tuple[float, float, str]) -> None:
        """Say how large it is, for pixels of some height and width in some unit."""
        self._allow_typing()
        if not self.is_chosen:
            with self.pixels.changed.blocked():
                self.pixels.value = min(max(rows, columns), int(self.pixels.max))
        height, width, unit = pixel
        told = f"{rows} × {columns} px"
        if unit != "px":
            told += f" = {rows * height:.3g} × {columns * width:.3g} {unit}"
        self.size.value = told

    def _allow_typing(self) -> None:
        self.pixels.enabled = self.is_chosen
        self.pixels.native.setToolTip(
            self.pixels.tooltip or "" if self.is_chosen else "The window is chosen automatically."
        )
