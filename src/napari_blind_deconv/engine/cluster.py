"""An existing dask.distributed cluster as an executor for the planes of a stack."""

from __future__ import annotations

import logging
import pkgutil
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import dask

from napari_blind_deconv import __version__
from napari_blind_deconv.engine.executors import BlockExecutor
from napari_blind_deconv.errors import DeconvolutionError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ClusterExecutor", "cluster"]

_CONNECTION_TIMEOUT = 10  # seconds
# Queues such as SLURM's end workers after their time and start others, minutes later on a busy
# cluster. A run that gives up too early loses only the planes that were under way.
_SECONDS_WITHOUT_WORKERS = 600
# Two planes per worker: no worker waits for its next plane, and few planes are in memory.
_PLANES_PER_WORKER = 2
_RETRIES = 2  # of a plane that raised an error
_PACKAGE = "napari-blind-deconv"
_VERSION = "napari_blind_deconv:__version__"
_LIBRARIES = {"distributed", "tornado", "asyncio"}  # which log what our sentences say
_KEPT = "the completed planes are kept, and a resumed run (--resume) continues with the others"

_Outcome = TypeVar("_Outcome")


class ClusterExecutor(BlockExecutor):
    """Executor that computes on the workers of a dask cluster.

    Each worker uses as many threads as dask assigned to it and chooses its own device. If a worker
    dies, another worker computes its planes, also one that comes later.

    Attributes
    ----------
    workers : set of str
        Addresses of the workers at the last check.

    Raises
    ------
    ValueError
        If there are no workers, or if one lacks this version of the package.
    """

    def __init__(self, client: Client) -> None:
        from distributed import KilledWorker
        from distributed.scheduler import NoWorkerError

        super().__init__(client.get_executor(pure=False, retries=_RETRIES))
        # With a scheduler that has a time limit of its own, for clusters without workers.
        self.fatal = (*self.fatal, NoWorkerError)
        self.deaths = (KilledWorker,)
        self._client = client
        self._connection = client.scheduler_comm
        self._empty_since: float | None = None
        self.workers: set[str] = set()
        new = self._look_for_workers()
        if not new:
            raise ValueError(
                "Expected a scheduler with workers, but the scheduler at "
                f"{client.scheduler_info()['address']} has none; start a worker first."
            )
        if fault := _fault_of_scheduler(client) or _fault_of_workers(client, new):
            raise ValueError(f"{fault}.")

    def submit(  # type: ignore[override]  # no keyword arguments
        self, fn: Callable[..., _Outcome], /, *arguments: Any
    ) -> Future[_Outcome]:
        """Compute ``fn(*arguments)`` on a worker and return its future."""
        self._check_connection()
        return super().submit(_with_worker_threads, fn, *arguments)

    def check(self) -> str:
        """Look which workers have come and gone, and say when the run waits and when it goes on.

        Raises
        ------
        DeconvolutionError
            If the connection is lost, if there have been no workers for ten minutes, or if a new
            worker lacks this version of the package.
        """
        self._check_connection()
        try:
            new = self._look_for_workers()
        except (OSError, TimeoutError):  # a busy scheduler, or a connection that is just lost
            return ""
        if fault := _fault_of_workers(self._client, new):
            raise DeconvolutionError(f"{fault}; {_KEPT}.")
        return self._wait_for_workers()

    def _wait_for_workers(self) -> str:
        """Return a sentence when a wait for workers begins or ends; raise when it is too long."""
        minutes = f"{_SECONDS_WITHOUT_WORKERS / 60:g} minutes"
        if self.workers and self._empty_since is not None:
            self._empty_since = None
            count = len(self.workers)
            return f"{count} worker{' is' if count == 1 else 's are'} back; the run continues."
        if self.workers:
            return ""
        if self._empty_since is None:
            self._empty_since = time.monotonic()
            return f"All workers ended; waiting for workers, at most {minutes} …"
        if time.monotonic() - self._empty_since > _SECONDS_WITHOUT_WORKERS:
            raise DeconvolutionError(_no_worker(f"within {minutes}"))
        return ""

    def _check_connection(self) -> None:
        # A client that connects again has forgotten what it submitted.
        if self._client.status != "running" or self._client.scheduler_comm is not self._connection:
            raise DeconvolutionError(_lost())

    def _look_for_workers(self) -> set[str]:
        """Return the workers that have come since the last time."""
        workers = set(self._client.nthreads(callback_timeout=_CONNECTION_TIMEOUT))
        new = workers - self.workers
        self.workers = workers
        self.ahead = _PLANES_PER_WORKER * max(len(workers), 1)
        return new


@contextmanager
def cluster(address: str) -> Iterator[ClusterExecutor]:
    """Connect to a cluster.

    Parameters
    ----------
    address : str
        Address of the scheduler, such as ``tcp://host:8786``.

    Yields
    ------
    ClusterExecutor

    Raises
    ------
    ValueError
        If no scheduler answers, if it has no workers, if the scheduler or a worker lacks this
        version of the package, or if dask.distributed is not installed here.
    DeconvolutionError
        If the connection to the scheduler is lost, or if all workers are lost and none comes back
        within ten minutes. Planes returned before are valid.
    """
    try:
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import NoWorkerError
    except ImportError as error:
        raise ValueError(
            "dask.distributed is not installed; try pip install 'napari-blind-deconv[cluster]'."
        ) from error
    with _quiet_libraries(), _connected(address) as client:
        try:
            yield ClusterExecutor(client)
        except NoWorkerError as error:
            raise DeconvolutionError(_no_worker("in the time that the scheduler allows")) from error
        except (CancelledError, CommClosedError) as error:
            raise DeconvolutionError(_lost()) from error


def _lost() -> str:
    return f"The connection to the scheduler was lost; {_KEPT}."


def _no_worker(when: str) -> str:
    return (
        f"No worker is left: all workers of the cluster ended, and none came back {when}; {_KEPT} "
        "once workers are started."
    )


def _connected(address: str) -> Client:
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    try:
        with warnings.catch_warnings():
            # A table of all libraries; what matters, our own version, is asked for.
            warnings.simplefilter("ignore", VersionMismatchWarning)
            return Client(address, timeout=_CONNECTION_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            "Expected the address of a running dask.distributed scheduler, such as "
            f"tcp://host:8786, but no scheduler answers at {address}."
        ) from error


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence what dask logs and warns about while it is used; our errors are one sentence."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in _LIBRARIES]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        # A large plane is a "large graph" to dask.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _fault_of_workers(client: Client, workers: set[str]) -> str | None:
    """Return what is wrong with the package at these workers, or None.

    They import a function of the standard library to answer, since they may not have ours.
    """
    if not workers:
        return None
    found = client.run(pkgutil.resolve_name, _VERSION, workers=sorted(workers), on_error="return")
    return _fault({f"the worker at {address}": version for address, version in found.items()})


def _fault_of_scheduler(client: Client) -> str | None:
    """Return what is wrong with the package at the scheduler, which imports it to read tasks."""
    try:
        version = client.run_on_scheduler(pkgutil.resolve_name, _VERSION)
    except Exception as error:  # whatever the import raised there
        version = error
    return _fault({"the scheduler": version})


def _fault(versions: dict[str, Any]) -> str | None:
    """Return what is wrong with the package in one of these places, or None."""
    for place, version in sorted(versions.items()):
        if isinstance(version, str) and version != __version__:
            found = f"{version} at {place}"
        elif isinstance(version, ImportError | AttributeError):
            found = f"none at {place}"
        else:  # the right one, or a worker that ended before it answered
            continue
        return (
            f"Expected {_PACKAGE} {__version__}, as here, at the scheduler and all workers, got "
            f"{found}; install it there with pip install '{_PACKAGE}[cluster]=={__version__}'"
        )
    return None


def _with_worker_threads(fn: Callable[..., _Outcome], *arguments: Any) -> _Outcome:
    import torch
    from distributed import get_worker

    torch.set_num_threads(get_worker().state.nthreads)
    return fn(*arguments)
