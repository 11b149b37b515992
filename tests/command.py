"""The command line as its users meet it: a subprocess."""

import json
import subprocess
import sys
from collections.abc import Callable

from tests import guard

from napari_blind_deconv import Settings


def command(*arguments: object) -> list[str]:
    """Words to start ``blind-deconv`` by."""
    return [sys.executable, "-m", "napari_blind_deconv.cli", *map(str, arguments)]


def blind_deconv(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=guard.SECONDS,
        check=False,
        **options,
    )


def as_options(settings: Settings) -> list[str]:
    """What to type for these settings."""
    told = settings.model_dump(mode="json")
    changed = settings.changes_from(Settings.preset("fast"))
    return [word for name in changed for word in ("--set", f"{name}={json.dumps(told[name])}")]


def limited(kind: str, most: int) -> Callable[[], None]:
    """A `preexec_fn` that limits what a process may have, as ``"FSIZE"`` or ``"AS"``; in bytes."""
    import resource  # not on Windows

    return lambda: resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (most, most))
