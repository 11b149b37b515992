"""Run the tasks of a suite, several at a time if requested, and write each result at once."""

from __future__ import annotations

import datetime
import json
import math
import multiprocessing
import os
import platform
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.suites import Key, Options, Suite, Task, find_suites
from napari_blind_deconv.batch import environment
from napari_blind_deconv.engine.devices import choose_device

__all__ = ["HERE", "read_records", "results_file", "run_suite"]

HERE = Path(__file__).parent
_SIGNIFICANT_DIGITS = 5
_NAMES = ("group", "case", "method", "seed", "version")

_tasks: dict[Key, Task] = {}  # those of the suite that this worker process runs


def results_file(folder: Path, suite: str) -> Path:
    """Return the path of the JSON-lines file of a suite."""
    return folder / f"{suite}.jsonl"


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read all complete lines of a file; a killed run may have left an incomplete one."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def run_suite(
    suite: Suite, options: Options, folder: Path, *, jobs: int, again: bool, only: str, command: str
) -> Iterator[dict[str, Any]]:
    """Measure what the file does not contain yet, and yield each record after it is written.

    Parameters
    ----------
    suite : Suite
        The suite to measure.
    options : Options
        Device, seed, methods and folder of the images.
    folder : Path
        Folder of the JSON-lines files.
    jobs : int
        Number of parallel tasks. The threads of the processor are divided among them.
    again : bool
        Repeat all tasks. Reports use the latest records.
    only : str
        Run only tasks whose printed name, ``group | case | method``, contains this text.
    command : str
        Command line of this run, for the records.
    """
    path = results_file(folder, suite.name)
    jobs = 1 if suite.alone else jobs
    threads = max(1, (os.cpu_count() or 1) // jobs)
    origin = {**_origin(options, threads, jobs), "command": command}
    measured = set() if again else {_key(r) for r in read_records(path) if "failure" not in r}
    keys = [
        task.key
        for task in suite.tasks(options)
        if only in f"{task.group} | {task.case} | {task.method}"
        and (*task.key, origin["device"]) not in measured
    ]
    folder.mkdir(parents=True, exist_ok=True)
    _end_last_line(path)
    # If the threads of BLAS and OpenMP wait for one another, they are slower than a single thread.
    thread_limits = environment(OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS="1")
    with thread_limits, _pool(suite, options, jobs, threads) as pool:
        futures = {pool.submit(_measure, key): key for key in keys}
        try:
            for future in as_completed(futures):
                names = dict(zip(_NAMES, futures[future], strict=True))
                record = {"suite": suite.name, **names, **_outcome(future), "origin": origin}
                record = _plain(record)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
                yield record
        finally:
            pool.shutdown(cancel_futures=True)


def _pool(suite: Suite, options: Options, jobs: int, threads: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare_worker,
        initargs=(suite.name, options, threads),
        max_tasks_per_child=1 if suite.alone else None,
    )


def _end_last_line(path: Path) -> None:
    """End an incomplete line that a killed run left, so that the next record has its own line."""
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")


def _prepare_worker(suite: str, options: Options, threads: int) -> None:
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _tasks.update({task.key: task for task in find_suites()[suite].tasks(options)})


def _exit_with_parent() -> None:
    """End this worker when its parent ends.

    Otherwise the workers of a killed run would continue beside those of the next run.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure(key: Key) -> dict[str, Any]:
    return _tasks[key].run()


def _outcome(future: Future[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a task or its failure, so that one failure does not end the run.

    If a worker was killed, the task that caused it is unknown. This does end the run.
    """
    error = future.exception()
    if error is None or isinstance(error, BrokenProcessPool):
        return future.result()
    return {"failure": f"{type(error).__name__}: {error}"}


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return *(record[name] for name in _NAMES), record["origin"]["device"]


def _origin(options: Options, threads: int, jobs: int) -> dict[str, Any]:
    device = choose_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "device": f"{device.type}, {name}",
        "threads": threads,
        "jobs": jobs,
        "torch": version("torch"),
    }


def _processor() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability}, {os.cpu_count()} cores"


def _commit() -> str:
    """Return the commit that is measured, with "-dirty" if the code differs from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        code = _git("status", "--porcelain", "--", "../src", "*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if code else commit


def _git(*words: str) -> str:
    completed = subprocess.run(
        ["git", *words], cwd=HERE, capture_output=True, encoding="utf-8", check=True
    )
    return completed.stdout.strip()


def _plain(value: Any) -> Any:
    """Convert to values of JSON with shortened floats. NaN and infinity become null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return float(f"{number:.{_SIGNIFICANT_DIGITS}g}") if math.isfinite(number) else None
    return value
