"""The section of the panel with all settings, device and seed among them."""

from __future__ import annotations

from magicgui.widgets import ComboBox, SpinBox
from magicgui.widgets.bases import Widget
from qtpy.QtWidgets import QPushButton, QWidget

from napari_blind_deconv.plugin.layouts import in_column
from napari_blind_deconv.plugin.settings_form import SettingsForm, form_rows
from napari_blind_deconv.settings import DEVICE_NAMES, Settings

__all__ = ["SettingsSection"]

_WITH_OWN_WIDGETS = ("kernel_size", "device", "seed")
_GENERATED = [name for name in Settings.model_fields if name not in _WITH_OWN_WIDGETS]


class SettingsSection(QWidget):
    """Rows for all settings but the kernel window, in their groups.

    Attributes
    ----------
    fields : SettingsForm
    device : ComboBox
    seed : SpinBox
    reset_button : QPushButton
    """

    def __init__(self) -> None:
        super().__init__()
        self.fields = SettingsForm(_GENERATED)
        self.device = ComboBox(
            label="Device",
            choices=DEVICE_NAMES,
            tooltip="What computes the result. auto uses a GPU if there is one, else the CPU.",
        )
        self.seed = SpinBox(
            label="Seed",
            max=2**31 - 1,
            tooltip="Seed of the random numbers: the same seed gives the same result.",
        )
        self.reset_button = QPushButton("Reset")
        self.reset_button.setToolTip("Reset preset, device, seed and kernel to their defaults.")
        widgets = {**self.fields.widgets, "device": self.device, "seed": self.seed}
        rows: list[Widget | str] = []
        for group, names in Settings.groups().items():
            rows += [group, *(widgets[name] for name in names if name in widgets)]
        in_column(self, self.reset_button, form_rows(rows))

    def show_device(self, name: str) -> None:
        """Choose a device, which is added if it is not offered yet, for example a second GPU."""
        if name not in self.device.choices:
            self.device.choices = (*DEVICE_NAMES, name)
        self.device.value = name
