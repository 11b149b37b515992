"""What a run on many workers asks of an executor, besides `concurrent.futures.Executor`."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import Any, TypeVar

__all__ = ["BlockExecutor"]

# Blocks submitted to an executor ahead of the results: two per local core, so that no worker waits.
_AHEAD = 2 * (os.cpu_count() or 1)

_Outcome = TypeVar("_Outcome")


class BlockExecutor(Executor):
    """Another executor, with what `submit_blocks` needs to know of its workers.

    Attributes
    ----------
    ahead : int
        Number of blocks to submit ahead of the results. It may change during the run.
    fatal : tuple of exception types
        Errors of a future after which no other result comes.
    deaths : tuple of exception types
        Errors of a future whose workers ended again and again. The block may be innocent: its
        workers may have been ended by their queue, or by another block.
    """

    fatal: tuple[type[BaseException], ...] = (BrokenExecutor, CancelledError)
    deaths: tuple[type[BaseException], ...] = ()

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.ahead: int = getattr(executor, "ahead", _AHEAD)

    def submit(  # type: ignore[override]  # no keyword arguments
        self, fn: Callable[..., _Outcome], /, *arguments: Any
    ) -> Future[_Outcome]:
        """Compute ``fn(*arguments)`` on a worker and return its future."""
        return self._executor.submit(fn, *arguments)

    def check(self) -> str:
        """Return what has changed for the whole run, as a sentence; empty if nothing has.

        Raises
        ------
        DeconvolutionError
            If no worker can be expected to compute what was submitted.
        """
        return ""
