"""What the panel remembers from one session to the next, in napari's own settings."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from napari.settings import get_plugin_settings

from napari_blind_deconv.settings import PRESET_HELP, Settings

__all__ = ["Preferences"]

# Not remembered: a run is repeated by choosing its seed, not by accident.
_FORGOTTEN = {"seed"}


@dataclass(frozen=True)
class Preferences:
    """The choices of the last run.

    Attributes
    ----------
    preset : str
    changes : dict
        Settings that differ from the preset's, the device among them.
    """

    preset: str = next(iter(PRESET_HELP))
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, preset: str, settings: Settings) -> Preferences:
        """What makes these settings of that preset."""
        changes = settings.changes_from(Settings.preset(preset))
        return cls(preset, {k: v for k, v in changes.items() if k not in _FORGOTTEN})

    @classmethod
    def load(cls) -> Preferences:
        """Those of the last session; the defaults for what no longer makes sense."""
        stored = get_plugin_settings("napari-blind-deconv").panel
        try:
            changes = json.loads(stored.changes or "{}")
            found = cls(stored.preset, {"device": stored.device, **changes})
            settings = found.settings()
        except (ValueError, TypeError):
            return cls()
        return cls.of(found.preset, settings) if found.preset in PRESET_HELP else cls()

    def save(self) -> None:
        """Remember them, where the user's settings can be written."""
        stored = get_plugin_settings("napari-blind-deconv").panel
        changes = dict(self.changes)
        device = changes.pop("device", Settings.model_fields["device"].default)
        with suppress(OSError):  # a home that is read-only is no reason against a run
            stored.preset, stored.device = self.preset, device
            stored.changes = json.dumps(changes)

    def settings(self) -> Settings:
        """The settings they make."""
        return Settings.preset(self.preset).with_changes(**self.changes)
