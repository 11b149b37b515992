"""Recognise files: whether an input or a PSF is still the one that a run was started with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["content_hash", "file_identity"]

# A change inside of a large file shows in its time of change; its ends are cheap to read.
_HASHED_BYTES = 2**20
# Metadata of an OME-Zarr are read completely, chunks only listed.
_METADATA_NAMES = {"zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata"}


def file_identity(path: Path) -> dict[str, Any]:
    """Return what tells a file or a folder from others of the same name.

    Parameters
    ----------
    path : Path
        A file, or the folder of an OME-Zarr.

    Returns
    -------
    dict
        ``size`` in bytes, ``changed`` (time of the last change, in nanoseconds), and ``hash``: of
        the first and last MiB of a file; for a folder, of the names, sizes and times of its files
        and of its metadata.

    Raises
    ------
    OSError
        If the path cannot be read.
    """
    return _folder_identity(path) if path.is_dir() else _single_file_identity(path)


def content_hash(path: Path) -> str:
    """Return the hash of the complete content of a file, or that of the identity of a folder."""
    if path.is_dir():
        return str(_folder_identity(path)["hash"])
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _single_file_identity(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.sha256(file.read(_HASHED_BYTES))
        file.seek(max(status.st_size - _HASHED_BYTES, 0))
        digest.update(file.read(_HASHED_BYTES))
    return {"size": status.st_size, "changed": status.st_mtime_ns, "hash": digest.hexdigest()}


def _folder_identity(path: Path) -> dict[str, Any]:
    digest, size, changed = hashlib.sha256(), 0, 0
    for file in _files(path):
        status = file.stat()
        size, changed = size + status.st_size, max(changed, status.st_mtime_ns)
        name = file.relative_to(path).as_posix()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        if file.name in _METADATA_NAMES:
            digest.update(file.read_bytes())
    return {"size": size, "changed": changed, "hash": digest.hexdigest()}


def _files(path: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))
