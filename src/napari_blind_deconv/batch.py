"""Run many jobs. A file that fails is reported, and the others are still deconvolved."""

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
    """How the job of one file ended.

    Attributes
    ----------
    trouble : str
        Why the job, or some of its planes, failed; empty if it succeeded.
    warnings : tuple of str
        Reasons to doubt the result, as sentences.
    notes : tuple of str
        What was found in the image besides the scene, as sentences.
    is_earlier : bool
        Whether an earlier run of the same job had finished the result, so that none was needed.
    """

    trouble: str = ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_earlier: bool = False


def plan_batch(patterns: Sequence[str], folder: Path, suffix: str) -> list[tuple[Path, Path]]:
    """Return the pairs of input and output for the files of a batch.

    Parameters
    ----------
    patterns : sequence of str
        Names of files, and patterns such as ``in/*.tif``.
    folder : Path
        Folder of the outputs.
    suffix : str
        Added to the stem of each input to name its output.

    Raises
    ------
    ValueError
        If no file matches, or if two inputs would have the same output.
    """
    matches = [Path(name) for pattern in patterns for name in sorted(_matches(pattern))]
    sources = list(dict.fromkeys(matches))  # without duplicates, in their order
    if not sources:
        raise ValueError(f"No file matches {' or '.join(patterns)}.")
    pairs = [(source, folder / f"{_stem(source)}{suffix}") for source in sources]
    counts = Counter(target for _, target in pairs)
    for source, target in pairs:
        if counts[target] > 1:
            raise ValueError(
                f"Expected inputs with different names, but {source} and another input would both "
                f"become {target}."
            )
    return pairs


def _matches(pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return [pattern]
    return glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob accepts no absolute pattern


def _stem(path: Path) -> str:
    stem = path.stem
    return stem.removesuffix(".ome")


def run_batch(
    jobs: Sequence[Job], *, at_a_time: int = 1, resume: bool = False, overwrite: bool = False
) -> Iterator[tuple[Job, FileReport]]:
    """Run jobs, and yield each job with its report when it ends.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs, in the order in which they start.
    at_a_time : int
        Number of processes, which share the cores. With 1, the jobs run in this process.
    resume, overwrite : bool
        As in `run_job`.

    Yields
    ------
    tuple of Job and FileReport
        In the order in which the jobs end.
    """
    if at_a_time == 1:
        for job in jobs:
            yield job, _run(job, resume, overwrite)
        return
    threads = max(1, (os.cpu_count() or 1) // at_a_time)
    context = multiprocessing.get_context("spawn")
    # With more threads than cores, threads wait for each other, which is slow.
    with (
        environment(OMP_NUM_THREADS=str(threads)),
        ProcessPoolExecutor(at_a_time, mp_context=context) as pool,
    ):
        futures = {pool.submit(_run, job, resume, overwrite): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], _report(future)
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C must not start the jobs in the queue


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for processes that start within the block."""
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
        return FileReport("The process was killed, possibly out of memory; --resume continues.")


def _run(job: Job, resume: bool, overwrite: bool) -> FileReport:
    try:
        summary = run_job(job, resume=resume, overwrite=overwrite).result()
    except (ValueError, TypeError, OSError, DeconvolutionError, MemoryError) as error:
        return FileReport(str(error) or type(error).__name__)
    trouble = ""
    if summary.failures:
        kind = summary.block
        index, reason = next(iter(summary.failures.items()))
        # A single plane has an empty index, and its failure needs no number of planes.
        planes = f"{len(summary.failures)} {kind}(s) failed; {kind} {index}: " if index else ""
        trouble = f"{planes}{reason}"
    is_earlier = summary.finished and not summary.done
    warnings, notes = tuple(summary.warning_lines()), tuple(summary.finding_lines())
    return FileReport(trouble, warnings, notes, is_earlier)
