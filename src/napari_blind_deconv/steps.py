"""Runs: iterators over progress reports, with a result at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Run", "mapped", "run_to_end"]

_Step = TypeVar("_Step")
_Changed = TypeVar("_Changed")
_Outcome = TypeVar("_Outcome")


class Run(Generic[_Step, _Outcome]):
    """A computation in progress: iterate over its reports, then call `result`.

    In a generator, ``yield from run`` passes the reports on and returns the result.

    Examples
    --------
    >>> def steps():
    ...     yield "half"
    ...     return 42
    >>> run = Run(steps())
    >>> list(run), run.result()
    (['half'], 42)
    """

    def __init__(self, steps: Generator[_Step, None, _Outcome]) -> None:
        self._steps = steps
        self._outcomes: list[_Outcome] = []
        self._is_closed = False

    def __iter__(self) -> Iterator[_Step]:
        return self

    def __next__(self) -> _Step:
        if self._outcomes:
            raise StopIteration(self._outcomes[0])
        if self._is_closed:
            raise StopIteration
        try:
            return next(self._steps)
        except StopIteration as end:
            self._outcomes.append(end.value)
            raise
        except BaseException:
            self._is_closed = True
            raise

    def result(self) -> _Outcome:
        """Complete the run, discard the remaining reports and return the result.

        Raises
        ------
        RuntimeError
            If the run failed or was closed before.
        """
        for _ in self:
            pass
        if not self._outcomes:
            raise RuntimeError("The run has no result, because it failed or was closed.")
        return self._outcomes[0]

    def close(self) -> None:
        """End the run without a result."""
        self._is_closed = True
        self._steps.close()


def run_to_end(steps: Generator[Any, None, _Outcome]) -> _Outcome:
    """Run a generator to its end, discard what it yields and return its result."""
    return Run(steps).result()


def mapped(
    steps: Generator[_Step, None, _Outcome] | Run[_Step, _Outcome],
    change: Callable[[_Step], _Changed],
) -> Generator[_Changed, None, _Outcome]:
    """Yield the reports of a run after a change, and return its result unchanged."""
    run = steps if isinstance(steps, Run) else Run(steps)
    for step in run:
        yield change(step)
    return run.result()
