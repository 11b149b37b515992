"""A lock on an output, so that only one run at a time writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["output_lock"]


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Keep other runs, of this or another process, from writing an output until the block ends.

    The operating system releases the lock when the process ends, even if it is killed.

    Raises
    ------
    ValueError
        If another run is writing the output.
    """
    lock_file = output.with_name(f".{output.name}.lock")
    # An iterator that is dropped may be closed by another thread than the one that locked.
    lock = FileLock(lock_file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"Another run is writing {output}; wait until it ends, or name another output."
        ) from None
    try:
        yield
    finally:
        try:
            # Windows cannot delete an open file; filelock deletes it there when it is released.
            with suppress(OSError):
                lock_file.unlink(missing_ok=True)
        finally:
            lock.release()
