"""Runs as generators: they yield steps on the way and *return* their outcome."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

__all__ = ["mapped", "run_to_end"]

_Step = TypeVar("_Step")
_Told = TypeVar("_Told")
_Outcome = TypeVar("_Outcome")


def run_to_end(steps: Generator[Any, None, _Outcome]) -> _Outcome:
    """What a run returns at its end; its steps go unseen."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: _Outcome = end.value
            return outcome


def mapped(
    steps: Generator[_Step, None, _Outcome], change: Callable[[_Step], _Told]
) -> Generator[_Told, None, _Outcome]:
    """The same run with each of its steps changed on the way."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            outcome: _Outcome = end.value
            return outcome
        yield change(step)
