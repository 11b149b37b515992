"""The command line as its users meet it: in this process where that will do, else in its own."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import guard
from typer.testing import CliRunner

from napari_blind_deconv import Settings
from napari_blind_deconv.cli import app

# What an image network costs is not what a test of files and commands is about.
LINEAR = ("--set", "solver=wiener")


def blind_deconv(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``blind-deconv`` in this process: no start of Python and PyTorch, which takes seconds.

    An exception that is no plain exit is raised, so that a traceback never passes.
    """
    words = [str(argument) for argument in arguments]
    with contextlib.chdir(cwd) if cwd else contextlib.nullcontext():
        done = CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


def command(*arguments: object) -> list[str]:
    """Return the words that start ``blind-deconv`` in a process of its own."""
    return [sys.executable, "-m", "napari_blind_deconv.cli", *map(str, arguments)]


def blind_deconv_process(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run ``blind-deconv`` in a process of its own, for what only a process shows."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=guard.SECONDS,
        check=False,
        **options,
    )


def as_options(settings: Settings) -> list[str]:
    """Return the options that set these settings."""
    values = settings.model_dump(mode="json")
    changed = settings.changes_from(Settings.preset("fast"))
    return [word for name in changed for word in ("--set", f"{name}={json.dumps(values[name])}")]


def limit_memory(most: int) -> Callable[[], None]:
    """Return a `preexec_fn` that limits the address space of a process, in bytes."""
    import resource  # not on Windows

    return lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most))


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let no file that this process writes grow beyond `room` bytes, as on a full disk."""
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
