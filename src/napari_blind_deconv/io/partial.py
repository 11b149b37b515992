"""State of an unfinished output: the folder of its planes, and what killed runs leave behind."""

from __future__ import annotations

import glob
import shutil
from pathlib import Path
from typing import Any

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.io.images import is_array_folder
from napari_blind_deconv.io.provenance import read_json

__all__ = [
    "COMPLETE_PLAN",
    "COMPLETE_TIFF",
    "LEVEL",
    "PLAN",
    "RECORDS",
    "SCALED_LEVEL",
    "clear_leftovers",
    "damaged",
    "finalize",
    "has_partial",
    "has_planes",
    "is_zarr",
    "may_replace",
    "partial_folder",
    "read_plan",
]

# Files of the folder that collects planes until the output is complete.
PLAN, RECORDS, LEVEL = "plan.json", "planes.jsonl", "0"
# The planes of an OME-Zarr as 16-bit integers; they take the place of the others at the end.
SCALED_LEVEL = "1"
# The plan is renamed to this when the result is complete, before the result itself is renamed.
COMPLETE_PLAN, COMPLETE_TIFF = "whole.json", "whole.tif"


def is_zarr(path: Path) -> bool:
    """Whether an output of this name is an OME-Zarr."""
    return path.suffix.lower() == ".zarr"


def partial_folder(output: Path) -> Path:
    """Return the folder that collects planes until the output is complete."""
    return output.with_name(f"{output.name}.partial")


def has_partial(output: Path) -> bool:
    """Whether a run of this output has started and its output has not appeared yet."""
    return any((partial_folder(output) / name).is_file() for name in (PLAN, COMPLETE_PLAN))


def has_planes(output: Path) -> bool:
    """Whether that run has finished at least one plane.

    Without a finished plane nothing is lost if the run starts again, so the user is not asked.
    """
    return any((partial_folder(output) / name).is_file() for name in (RECORDS, COMPLETE_PLAN))


def read_plan(folder: Path) -> dict[str, Any]:
    """Read what a store was created with."""
    try:
        plan = read_json(folder / PLAN)
        kinds = {"origin": dict, "plan": dict, "overwrite": bool}
        if not all(isinstance(plan[name], kind) for name, kind in kinds.items()):
            raise TypeError("its entries have other types")
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(folder, error) from error
    return plan


def damaged(folder: Path, reason: Exception | str) -> ValueError:
    """Return the error for a folder of planes that cannot be read."""
    text = first_line(reason) if isinstance(reason, Exception) else reason
    return ValueError(
        f"Expected the planes of an interrupted run in {folder}, but it is damaged or from another "
        f"version ({text}); delete that folder, or start again with --overwrite."
    )


def may_replace(output: Path) -> bool:
    """Whether the interrupted run of this output was allowed to replace an existing output."""
    try:
        return bool(read_plan(partial_folder(output))["overwrite"])
    except (ValueError, OSError):
        return False


def clear_leftovers(output: Path, *others: Path) -> None:
    """Delete what killed runs left beside an output, and give a hidden old result its name back.

    These are unfinished temporary files of the output and of `others`, a folder of planes without
    a plan, and the old result of an OME-Zarr that was being replaced.
    """
    for path in (output, *others):
        _delete_temporaries(path.parent, f".{glob.escape(path.stem)}.*.part{path.suffix}")
    folder, old = partial_folder(output), _replaced_folder(output)
    if old.is_dir():
        if output.exists():
            shutil.rmtree(old)
        else:
            old.rename(output)
    if folder.is_dir():
        _delete_temporaries(folder, ".*.part*")
        _delete_temporaries(folder, "**/*.partial")  # of zarr
        if not has_partial(output) and is_array_folder(folder):
            shutil.rmtree(folder)


def _delete_temporaries(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink(missing_ok=True)


def finalize(output: Path) -> None:
    """Rename a complete result to its output, if a run was killed before it did so.

    Each step can be repeated, so that this function can be killed at any moment, too.
    """
    folder = partial_folder(output)
    if (folder / COMPLETE_PLAN).is_file():
        if is_zarr(output):
            if (folder / SCALED_LEVEL).is_dir():
                if (folder / LEVEL).is_dir():  # missing if killed right after this
                    shutil.rmtree(folder / LEVEL)
                (folder / SCALED_LEVEL).rename(folder / LEVEL)
            _replace_folder(folder, output)
        else:
            if (folder / COMPLETE_TIFF).is_file():  # missing if killed right after the rename
                (folder / COMPLETE_TIFF).replace(output)
            shutil.rmtree(folder)
    if is_zarr(output):
        for name in (RECORDS, COMPLETE_PLAN):
            (output / name).unlink(missing_ok=True)


def _replace_folder(folder: Path, target: Path) -> None:
    """Rename a folder to `target`; an existing `target` is deleted only after that."""
    old = _replaced_folder(target)
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.replace(old)
    folder.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def _replaced_folder(output: Path) -> Path:
    """Return the hidden name of an old OME-Zarr while it is being replaced."""
    return output.with_name(f".{output.name}.replaced")
