"""Helpers that run the command line, in this process or in a separate one."""

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

# Tests of files and commands use the linear estimate, because the image network takes longer.
LINEAR = ("--set", "solver=wiener")


def blind_deconv(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``blind-deconv`` in this process, because starting Python and PyTorch takes seconds.

    Any exception other than `SystemExit` is raised, so that a traceback fails the test.
    """
    words = [str(argument) for argument in arguments]
    with contextlib.chdir(cwd) if cwd else contextlib.nullcontext():
        outcome = CliRunner().invoke(app, words)
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return subprocess.CompletedProcess(words, outcome.exit_code, outcome.stdout, outcome.stderr)


def command(*arguments: object) -> list[str]:
    """Return the arguments that start ``blind-deconv`` in a separate process."""
    return [sys.executable, "-m", "napari_blind_deconv.cli", *map(str, arguments)]


def blind_deconv_process(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run ``blind-deconv`` in a separate process, for behaviour that only a process shows."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=guard.SECONDS,
        check=False,
        **options,
    )


def as_options(settings: Settings) -> list[str]:
    """Return the command-line options for these settings."""
    values = settings.model_dump(mode="json")
    changed = settings.changes_from(Settings.preset("fast"))
    return [word for name in changed for word in ("--set", f"{name}={json.dumps(values[name])}")]


def limit_memory(max_bytes: int) -> Callable[[], None]:
    """Return a `preexec_fn` that limits the address space of a process."""
    import resource  # not on Windows

    return lambda: resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))


@contextlib.contextmanager
def full_disk(max_bytes: int) -> Iterator[None]:
    """Limit the size of all files that this process writes, as on a full disk."""
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
