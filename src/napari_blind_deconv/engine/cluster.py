"""An existing dask.distributed cluster as an executor for the planes of a stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from napari_blind_deconv.errors import DeconvolutionError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ClusterExecutor", "cluster"]

_CONNECTION_TIMEOUT = 10  # seconds
# Two planes per worker: no worker waits for its next plane, and few planes are in memory.
_PLANES_PER_WORKER = 2
_RETRIES = 2  # of a plane whose worker died

_Outcome = TypeVar("_Outcome")


class ClusterExecutor(Executor):
    """Executor that computes on the workers of a dask cluster.

    Each worker uses as many threads as dask assigned to it and chooses its own device. If a worker
    dies, another worker computes its planes, at most twice.

    Attributes
    ----------
    ahead : int
        Number of planes to submit ahead of the results.
    """

    def __init__(self, client: Client) -> None:
        self._executor = client.get_executor(pure=False, retries=_RETRIES)
        self.ahead = _PLANES_PER_WORKER * max(len(client.nthreads()), 1)

    def submit(  # type: ignore[override]  # no keyword arguments
        self, fn: Callable[..., _Outcome], /, *arguments: Any
    ) -> Future[_Outcome]:
        """Compute ``fn(*arguments)`` on a worker and return its future."""
        future: Future[_Outcome] = self._executor.submit(_with_worker_threads, fn, *arguments)
        return future


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
        If no scheduler answers, if it has no workers, or if dask.distributed is not installed.
    DeconvolutionError
        If the connection to the scheduler is lost. Planes returned before are valid.
    """
    with _connected(address) as client:
        from distributed.comm.core import CommClosedError

        try:
            yield ClusterExecutor(client)
        except (CancelledError, CommClosedError) as error:
            raise DeconvolutionError(
                "The connection to the scheduler was lost; the completed planes are kept, and a "
                "resumed run continues with the others."
            ) from error


def _connected(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "dask.distributed is not installed; try pip install 'napari-blind-deconv[cluster]'."
        ) from error
    try:
        client = Client(address, timeout=_CONNECTION_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            "Expected the address of a running dask.distributed scheduler, such as "
            f"tcp://host:8786, but no scheduler answers at {address}."
        ) from error
    if not client.nthreads():
        client.close()
        raise ValueError(
            f"Expected a scheduler with workers, but the scheduler at {address} has none; start a "
            "worker first."
        )
    return client


def _with_worker_threads(fn: Callable[..., _Outcome], *arguments: Any) -> _Outcome:
    import torch
    from distributed import get_worker

    torch.set_num_threads(get_worker().state.nthreads)
    return fn(*arguments)
