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

from napari_blind_deconv.errors import DeconvolutionError
from napari_blind_deconv.jobs import Job, run_job
from napari_blind_deconv.steps import run_to_end

__all__ = ["environment", "plan_batch", "run_batch"]


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
) -> Iterator[tuple[Job, str]]:
    """Run jobs; yields each as it ends, with what went wrong or an empty text.

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
                yield futures[future], _trouble(future)
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


def _trouble(future: Future[str]) -> str:
    try:
        return future.result()
    except BrokenProcessPool:
        return "The process was killed, for want of memory maybe; --resume goes on."


def _run(job: Job, resume: bool, overwrite: bool) -> str:
    try:
        failures = run_to_end(run_job(job, resume=resume, overwrite=overwrite)).failures
    except (ValueError, TypeError, OSError, DeconvolutionError, MemoryError) as error:
        return str(error) or type(error).__name__
    if not failures:
        return ""
    index, reason = next(iter(failures.items()))
    return f"{len(failures)} plane(s) failed; plane {index}: {reason}"
