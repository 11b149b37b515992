"""The text of a bug report, without private data: it contains no paths and no pixels."""

from __future__ import annotations

import json
import platform
import re
import traceback
from pathlib import Path

from qtpy import API_NAME

from napari_blind_deconv.doctor import installed_version
from napari_blind_deconv.settings import Settings

__all__ = ["problem_report", "without_folders"]

# The folders of a path, in one of two forms: folders that start at a root or a drive, whose names
# may contain spaces but do not end in one (so that words between two paths are kept), or two or
# more relative folders without spaces.
_FOLDERS = re.compile(
    r"""(?<![^\s"'(\[<=,:]) (?:[A-Za-z]:|~)? [\\/]+ (?: [^\\/\n]* [^\\/\s"'(\[<=,:] [\\/]+ )+
    |   [^\s\\/"'(\[<=,:]+ [\\/]+ (?: [^\\/\s]+ [\\/]+ )+""",
    re.VERBOSE,
)
_PACKAGES = ("napari-blind-deconv", "napari", "torch", "numpy", "scipy", "qtpy")


def problem_report(
    sentence: str, error: BaseException | None, settings: Settings | None, image: str
) -> str:
    """Return a text to paste into a bug report.

    Parameters
    ----------
    sentence : str
        The message that the user has seen.
    error : BaseException or None
        The error; its traceback is included with file names but without folders.
    settings : Settings or None
        Settings of the run; None if the form's settings are not valid.
    image : str
        Shape and type of the pixels.
    """
    error_type = "" if error is None else f"{type(error).__name__}: "
    packages = (f"{name} {installed_version(name) or 'missing'}" for name in _PACKAGES)
    lines = [
        f"{error_type}{without_folders(sentence)}",
        f"image: {image}",
        f"system: {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        f"packages: {', '.join(packages)}, {API_NAME}",
    ]
    if settings is not None:
        lines.append(f"settings: {json.dumps(settings.model_dump(mode='json'))}")
    if error is not None:
        lines += [f"  {line}" for line in _tracebacks(error)]
    return "\n".join(lines)


def _tracebacks(error: BaseException) -> list[str]:
    """Return one line per error in the chain of causes, starting with the error itself."""
    lines = []
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        calls = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        lines.append(f"{type(cause).__name__} at {' > '.join(calls) or 'an unknown position'}")
        cause = cause.__cause__
    return lines


def without_folders(sentence: str) -> str:
    """Return a sentence in which all file paths are reduced to file names."""
    return _FOLDERS.sub("", sentence)
