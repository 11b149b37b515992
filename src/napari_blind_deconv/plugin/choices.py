"""What was chosen for a run besides its input, to choose it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from napari_blind_deconv.plugin.preferences import Preferences
from napari_blind_deconv.settings import Settings

if TYPE_CHECKING:
    from napari_blind_deconv.plugin.run_form import RunForm

__all__ = ["Choices"]


@dataclass(frozen=True)
class Choices:
    """Preset, settings and kernel of a run.

    Attributes
    ----------
    preset : str
        Name of the preset.
    settings : Settings
    stack_kernel : str
        Number of kernels of a stack.
    kernel : dict
        See :meth:`KernelForm.choices`.
    """

    preset: str
    settings: Settings
    stack_kernel: str
    kernel: dict[str, Any]

    @classmethod
    def of(cls, form: RunForm) -> Self:
        """Return what is chosen in a form; raise `ValueError` if the settings are not valid."""
        preset, scope = form.preset.value, form.stack_kernel.value
        return cls(preset, form.settings(), scope, form.kernel.choices())

    def show_in(self, form: RunForm) -> None:
        """Choose the same in a form."""
        form.kernel_window.reset()
        form.show_preferences(Preferences.of(self.preset, self.settings))
        form.seed.value = self.settings.seed
        form.stack_kernel.value = self.stack_kernel
        form.kernel.show_choices(self.kernel)

    @property
    def changes(self) -> str:
        """The settings that differ from the preset, as text; empty if there are none."""
        changes = self.settings.changes_from(Settings.preset(self.preset))
        fields = Settings.model_fields
        return ", ".join(f"{fields[name].title}: {value}" for name, value in changes.items())
