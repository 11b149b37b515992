"""What the panel remembers from one session to the next, in napari's own settings."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from napari.settings import get_plugin_settings

from napari_blind_deconv.settings import PRESET_HELP, Settings

__all__ = ["DEVICES", "Preferences"]

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Preferences:
    """The choices of the last run.

    Attributes
    ----------
    preset, device : str
    changes : dict
        Settings that differ from the preset's.
    """

    preset: str = next(iter(PRESET_HELP))
    device: str = DEVICES[0]
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, preset: str, settings: Settings, device: str) -> Preferences:
        """What makes these settings of that preset."""
        return cls(preset, device, settings.changes_from(Settings.preset(preset)))

    @classmethod
    def load(cls) -> Preferences:
        """Those of the last session; the defaults for what no longer makes sense."""
        stored = get_plugin_settings("napari-blind-deconv").panel
        try:
            found = cls(stored.preset, stored.device, json.loads(stored.changes or "{}"))
            found.settings()
        except (ValueError, TypeError):
            return cls()
        return found if found.preset in PRESET_HELP else cls()

    def save(self) -> None:
        """Remember them, where the user's settings can be written."""
        stored = get_plugin_settings("napari-blind-deconv").panel
        with suppress(OSError):  # a home that is read-only is no reason against a run
            stored.preset, stored.device = self.preset, self.device
            stored.changes = json.dumps(self.changes)

    def settings(self) -> Settings:
        """The settings they make."""
        return Settings.preset(self.preset).with_changes(**self.changes)
