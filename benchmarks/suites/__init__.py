"""Suites of measurements. Each module of this package has one ``SUITE``; all modules are read."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from benchmarks.methods import Context, Method, find_methods
from benchmarks.methods.double_dip import DoubleDip
from napari_blind_deconv import Settings

__all__ = ["Key", "Options", "Suite", "Task", "find_suites"]


@dataclass(frozen=True)
class Options:
    """Options of the command line.

    Attributes
    ----------
    data : Path
        Folder of the benchmark images.
    methods : tuple of str
        Names of methods that replace those of the suite.
    preset : str or None
        Preset that replaces the methods of the suite, with `changes` such as ``sparsity=0.1``.
    """

    data: Path
    device: str = "auto"
    seed: int = 0
    methods: tuple[str, ...] = ()
    preset: str | None = None
    changes: tuple[str, ...] = ()

    @property
    def context(self) -> Context:
        """Device and seed, for the methods."""
        return Context(self.device, self.seed)

    @property
    def has_own_methods(self) -> bool:
        """Whether the methods of the suites are replaced."""
        return bool(self.methods or self.preset or self.changes)

    def refuse_methods(self, suite: str) -> None:
        """Raise `ValueError` if methods are chosen for a suite that has fixed methods."""
        if self.has_own_methods:
            raise ValueError(
                f"The suite {suite!r} has fixed methods; it accepts no --method, --preset or --set."
            )

    def chosen(self, default: Iterable[str]) -> list[Method]:
        """Return the methods of the command line, or else the default methods."""
        if self.methods and (self.preset or self.changes):
            raise ValueError("Expected --method, or --preset with --set, got both.")
        if self.preset is not None or self.changes:
            preset = self.preset or "fast"
            settings = Settings.preset(preset).with_texts(list(self.changes))
            return [DoubleDip(" ".join([preset, *self.changes]), settings)]
        known = find_methods()
        unknown = set(self.methods) - set(known)
        if unknown:
            names = ", ".join(map(repr, known))
            raise ValueError(f"There is no method {unknown.pop()!r}; methods are {names}.")
        return [known[name] for name in self.methods or default]


Key = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class Task:
    """One measurement: its name, and a function that returns its figures.

    `version` changes with the settings of the method.
    """

    group: str
    case: str
    method: str
    run: Callable[[], dict[str, Any]] = field(compare=False)
    seed: int = 0
    version: str = ""

    @property
    def key(self) -> Key:
        """Identity within the suite, and among runs with other settings."""
        return self.group, self.case, self.method, self.seed, self.version


class Suite(Protocol):
    """A set of measurements, and the tables of their results."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def alone(self) -> bool:
        """Whether each task needs the complete machine and a process of its own."""

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield all measurements; raises `FileNotFoundError` if images are missing."""

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return Markdown with the results, and write its figures into the folder `figures`."""


def find_suites() -> dict[str, Suite]:
    """Return all suites by name."""
    suites = (
        importlib.import_module(f"{__name__}.{module.name}").SUITE
        for module in pkgutil.iter_modules(__path__)
    )
    return {suite.name: suite for suite in suites}
