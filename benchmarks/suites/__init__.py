"""What is measured: each module of this package holds one ``SUITE``, found by being there."""

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
    """What was asked for on the command line.

    Attributes
    ----------
    data : Path
        Folder of the benchmark images.
    methods : tuple of str
        Names of methods in place of the suite's own.
    preset : str or None
        A preset of ours in place of the suite's methods, with `changes` such as ``sparsity=0.1``.
    """

    data: Path
    device: str = "auto"
    seed: int = 0
    methods: tuple[str, ...] = ()
    preset: str | None = None
    changes: tuple[str, ...] = ()

    @property
    def context(self) -> Context:
        """What methods need of this."""
        return Context(self.device, self.seed)

    @property
    def has_own_methods(self) -> bool:
        """Whether the suites' own choice of methods is overruled."""
        return bool(self.methods or self.preset or self.changes)

    def refuse_methods(self, suite: str) -> None:
        """For suites that bring their own."""
        if self.has_own_methods:
            raise ValueError(
                f"The suite {suite!r} brings its own methods; it takes no --method, --preset or "
                "--set."
            )

    def chosen(self, usual: Iterable[str]) -> list[Method]:
        """The methods asked for, or else the usual ones."""
        if self.methods and (self.preset or self.changes):
            raise ValueError("Got both --method and --preset or --set; accepted is one of them.")
        if self.preset is not None or self.changes:
            preset = self.preset or "fast"
            settings = Settings.preset(preset).with_texts(list(self.changes))
            return [DoubleDip(" ".join([preset, *self.changes]), settings)]
        known = find_methods()
        unknown = set(self.methods) - set(known)
        if unknown:
            names = ", ".join(map(repr, known))
            raise ValueError(f"There is no method {unknown.pop()!r}; methods are {names}.")
        return [known[name] for name in self.methods or usual]


Key = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class Task:
    """One measurement: its name, and what to call for its figures.

    `version` changes when the settings of the method do.
    """

    group: str
    case: str
    method: str
    run: Callable[[], dict[str, Any]] = field(compare=False)
    seed: int = 0
    version: str = ""

    @property
    def key(self) -> Key:
        """What tells it from the others of its suite, and from itself with other settings."""
        return self.group, self.case, self.method, self.seed, self.version


class Suite(Protocol):
    """A set of measurements, and the tables made of them."""

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def alone(self) -> bool:
        """Whether each task wants the whole machine, and a process of its own, to itself."""

    def tasks(self, options: Options) -> Iterator[Task]:
        """Everything to measure; `FileNotFoundError` if the images are not there."""

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Markdown of what was measured; pictures go into the folder `figures`."""


def find_suites() -> dict[str, Suite]:
    """All suites by name."""
    found = (
        importlib.import_module(f"{__name__}.{module.name}").SUITE
        for module in pkgutil.iter_modules(__path__)
    )
    return {suite.name: suite for suite in found}
