"""The choices that the panel stores between sessions, in napari's own settings."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from napari.settings import get_plugin_settings

from napari_blind_deconv.settings import PRESET_HELP, Settings

__all__ = ["Preferences"]

# The seed is not stored: a run is repeated by choosing its seed, not by accident.
_NOT_STORED = {"seed"}


@dataclass(frozen=True)
class Preferences:
    """The preset and the changed settings of the last run.

    Attributes
    ----------
    preset : str
        Name of the preset.
    changes : dict
        Settings that differ from the preset, the device among them.
    """

    preset: str = next(iter(PRESET_HELP))
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, preset: str, settings: Settings) -> Preferences:
        """Return the preferences that give these settings, starting from a preset."""
        changes = settings.changes_from(Settings.preset(preset))
        return cls(preset, {k: v for k, v in changes.items() if k not in _NOT_STORED})

    @classmethod
    def load(cls) -> Preferences:
        """Return the stored preferences, or the defaults if the stored ones are not valid."""
        stored = get_plugin_settings("napari-blind-deconv").panel
        try:
            changes = json.loads(stored.changes or "{}")
            loaded = cls(stored.preset, {"device": stored.device, **changes})
            settings = loaded.settings()
        except (ValueError, TypeError):
            return cls()
        return cls.of(loaded.preset, settings) if loaded.preset in PRESET_HELP else cls()

    def save(self) -> None:
        """Store the preferences in napari's settings."""
        stored = get_plugin_settings("napari-blind-deconv").panel
        changes = dict(self.changes)
        device = changes.pop("device", Settings.model_fields["device"].default)
        with suppress(OSError):  # a read-only home directory must not prevent a run
            stored.preset, stored.device = self.preset, device
            stored.changes = json.dumps(changes)

    def settings(self) -> Settings:
        """Return the settings: the preset with the changes applied."""
        return Settings.preset(self.preset).with_changes(**self.changes)
