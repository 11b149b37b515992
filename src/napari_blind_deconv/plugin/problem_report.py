"""What a bug report needs, and nothing that is the user's: no paths, no pixels."""

from __future__ import annotations

import json
import platform
import re
import traceback
from pathlib import Path

from qtpy import API_NAME

from napari_blind_deconv.doctor import installed_version
from napari_blind_deconv.settings import Settings

__all__ = ["problem_report"]

# Folders from a root or a drive, whose names may have spaces but do not end in one (between two
# paths stand words), or else two and more without spaces.
_FOLDERS = re.compile(
    r"""(?<![^\s"'(\[<=,:]) (?:[A-Za-z]:|~)? [\\/]+ (?: [^\\/\n]* [^\\/\s"'(\[<=,:] [\\/]+ )+
    |   [^\s\\/"'(\[<=,:]+ [\\/]+ (?: [^\\/\s]+ [\\/]+ )+""",
    re.VERBOSE,
)
_PACKAGES = ("napari-blind-deconv", "napari", "torch", "numpy", "scipy", "qtpy")


def problem_report(
    sentence: str, error: BaseException | None, settings: Settings | None, image: str
) -> str:
    """Text to paste into a bug report.

    Parameters
    ----------
    sentence : str
        What the user was told.
    error : BaseException or None
        With its traceback, of which names of files are told without their folders.
    settings : Settings or None
        None if they could not be.
    image : str
        Shape and type of the pixels.
    """
    kind = "" if error is None else f"{type(error).__name__}: "
    packages = (f"{name} {installed_version(name) or 'missing'}" for name in _PACKAGES)
    lines = [
        f"{kind}{_without_paths(sentence)}",
        f"image: {image}",
        f"system: {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        f"packages: {', '.join(packages)}, {API_NAME}",
    ]
    if settings is not None:
        lines.append(f"settings: {json.dumps(settings.model_dump(mode='json'))}")
    if error is not None:
        lines += [f"  {place}" for place in _places(error)]
    return "\n".join(lines)


def _places(error: BaseException) -> list[str]:
    """Where it happened, the innermost cause first."""
    places = []
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        told = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        places.append(f"{type(cause).__name__} at {' > '.join(told) or 'an unknown place'}")
        cause = cause.__cause__
    return places


def _without_paths(sentence: str) -> str:
    """A sentence with folders taken off the names of files."""
    return _FOLDERS.sub("", sentence)
