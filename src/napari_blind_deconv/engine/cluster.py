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

_SECONDS_TO_ANSWER = 10
# So many planes a worker are on their way, so that none waits and few are in memory.
_AHEAD = 2
_RETRIES = 2

_Outcome = TypeVar("_Outcome")


class ClusterExecutor(Executor):
    """Computes on the workers of a cluster, each with its share of its machine's cores.

    Each worker chooses its own device. What a worker that dies had in hand is given to another,
    twice.

    Attributes
    ----------
    ahead : int
        Planes that should be on their way at a time.
    """

    def __init__(self, client: Client) -> None:
        self._executor = client.get_executor(pure=False, retries=_RETRIES)
        self.ahead = _AHEAD * max(len(client.nthreads()), 1)

    def submit(  # type: ignore[override]  # by keyword is not wanted
        self, fn: Callable[..., _Outcome], /, *arguments: Any
    ) -> Future[_Outcome]:
        """Compute ``fn(*arguments)`` on a worker."""
        future: Future[_Outcome] = self._executor.submit(_with_its_cores, fn, *arguments)
        return future


@contextmanager
def cluster(address: str) -> Iterator[ClusterExecutor]:
    """The cluster whose scheduler is at an address such as ``tcp://host:8786``.

    Raises
    ------
    ValueError
        In one sentence, if nothing answers there or dask.distributed is missing.
    DeconvolutionError
        If the scheduler is lost; planes handed over before are good.
    """
    with _connected(address) as client:
        from distributed.comm.core import CommClosedError

        try:
            yield ClusterExecutor(client)
        except (CancelledError, CommClosedError) as error:
            raise DeconvolutionError(
                "The scheduler was lost; the planes that are done are kept, and resuming goes on."
            ) from error


def _connected(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "A cluster needs dask.distributed; pip install 'napari-blind-deconv[cluster]'."
        ) from error
    try:
        client = Client(address, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"No scheduler answers at {address}; accepted is the address of a running "
            "dask.distributed scheduler, such as tcp://host:8786."
        ) from error
    if not client.nthreads():
        client.close()
        raise ValueError(f"The scheduler at {address} has no workers; start some first.")
    return client


def _with_its_cores(fn: Callable[..., _Outcome], *arguments: Any) -> _Outcome:
    import torch
    from distributed import get_worker

    torch.set_num_threads(get_worker().state.nthreads)
    return fn(*arguments)
