"""Many files, each a job of its own: a bad one is told of, and the others go on."""

from __future__ import annotations

import glob
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from napari_blind_deconv.errors import DeconvolutionError
from napari_blind_deconv.jobs import Job, run_job

__all__ = ["FileReport", "environment", "plan_batch", "run_batch"]


class FileReport(NamedTuple):
    """How one file of a batch ended.

    Attributes
    ----------
    trouble : str
        What went wrong; empty if nothing did.
    warnings : tuple of str
        What gives reason to doubt the result.
    """

    trouble: str = ""
    warnings: tuple[str, ...] = ()


def plan_batch(patterns: Sequence[str], folder: Path, suffix: str) -> list[tuple[Path, Path]]:
    """Inputs and outputs of names and patterns such as ``in/*.tif``.

    Raises
    ------
    ValueError
        If there are none, or two would have the same output.
    """
    found = [Path(name) for pattern in patterns for name in sorted(_matches(pattern))]
    sources = list(dict.fromkeys(found))
    if not sources:
        raise ValueError(f"No file is called {' or '.join(patterns)}.")
    pairs = [(source, folder / f"{_stem(source)}{suffix}") for source in sources]
    times = Counter(target for _, target in pairs)
    for source, target in pairs:
        if times[target] > 1:
            raise ValueError(
                f"{source} and another input would both become {target}; accepted are inputs of "
                "different names."
            )
    return pairs


def _matches(pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return [pattern]
    return glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern


def _stem(path: Path) -> str:
    stem = path.stem
    return stem.removesuffix(".ome")


def run_batch(
    jobs: Sequence[Job], *, at_a_time: int = 1, resume: bool = False, overwrite: bool = False
) -> Iterator[tuple[Job, FileReport]]:
    """Run jobs; yields each as it ends, with what is to be told of it.

    Parameters
    ----------
    jobs : sequence of Job
    at_a_time : int
        Processes; they share the cores. 1 computes in this process.
    resume, overwrite : bool
        As in `run_job`.
    """
    if at_a_time == 1:
        for job in jobs:
            yield job, _run(job, resume, overwrite)
        return
    threads = max(1, (os.cpu_count() or 1) // at_a_time)
    context = multiprocessing.get_context("spawn")
    # Threads that wait for one another are slow.
    with (
        environment(OMP_NUM_THREADS=str(threads)),
        ProcessPoolExecutor(at_a_time, mp_context=context) as pool,
    ):
        futures = {pool.submit(_run, job, resume, overwrite): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], _report(future)
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C nobody waits for those in the queue


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables for processes that start within the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _report(future: Future[FileReport]) -> FileReport:
    try:
        return future.result()
    except BrokenProcessPool:
        return FileReport("The process was killed, for want of memory maybe; --resume goes on.")


def _run(job: Job, resume: bool, overwrite: bool) -> FileReport:
    try:
        summary = run_job(job, resume=resume, overwrite=overwrite).result()
    except (ValueError, TypeError, OSError, DeconvolutionError, MemoryError) as error:
        return FileReport(str(error) or type(error).__name__)
    trouble = ""
    if summary.failures:
        index, reason = next(iter(summary.failures.items()))
        which = f"{len(summary.failures)} plane(s) failed; plane {index}: " if index else ""
        trouble = f"{which}{reason}"
    return FileReport(trouble, tuple(summary.warning_lines()))
