"""An output belongs to one run at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["output_lock"]


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Keep other runs, of this process or another, from an output until the block ends.

    The system lets go of it when a process dies, however it dies.

    Raises
    ------
    ValueError
        In one sentence, if another run has it.
    """
    place = output.with_name(f".{output.name}.lock")
    lock = FileLock(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"Another run is writing {output}; wait for it, or name another output."
        ) from None
    try:
        yield
    finally:
        try:
            with suppress(OSError):  # Windows deletes no open file, and does it upon release
                place.unlink(missing_ok=True)
        finally:
            lock.release()
