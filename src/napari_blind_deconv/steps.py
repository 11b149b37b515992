"""Runs: iterators over what they report on the way, with an outcome at their end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Run", "mapped", "run_to_end"]

_Step = TypeVar("_Step")
_Told = TypeVar("_Told")
_Outcome = TypeVar("_Outcome")


class Run(Generic[_Step, _Outcome]):
    """A computation under way: iterate over what it reports, then ask for its result.

    ``yield from run`` gives the result as well.

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
        self._is_given_up = False

    def __iter__(self) -> Iterator[_Step]:
        return self

    def __next__(self) -> _Step:
        if self._outcomes:
            raise StopIteration(self._outcomes[0])
        if self._is_given_up:
            raise StopIteration
        try:
            return next(self._steps)
        except StopIteration as end:
            self._outcomes.append(end.value)
            raise
        except BaseException:
            self._is_given_up = True
            raise

    def result(self) -> _Outcome:
        """What the run comes to; what is left of it is run first, its reports unseen.

        `RuntimeError` if it failed before, or was given up.
        """
        for _ in self:
            pass
        if not self._outcomes:
            raise RuntimeError("The run has no result: it failed before, or was given up.")
        return self._outcomes[0]

    def close(self) -> None:
        """Give the run up."""
        self._is_given_up = True
        self._steps.close()


def run_to_end(steps: Generator[Any, None, _Outcome]) -> _Outcome:
    """What a generator returns at its end; what it yields goes unseen."""
    return Run(steps).result()


def mapped(
    steps: Generator[_Step, None, _Outcome] | Run[_Step, _Outcome],
    change: Callable[[_Step], _Told],
) -> Generator[_Told, None, _Outcome]:
    """The same with each of its steps changed on the way."""
    run = steps if isinstance(steps, Run) else Run(steps)
    for step in run:
        yield change(step)
    return run.result()
