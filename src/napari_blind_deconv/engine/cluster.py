"""The planes of a stack on an existing dask.distributed cluster, by the same plan as at home."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from napari_blind_deconv.engine.solver import Watch
from napari_blind_deconv.engine.stacks import deconvolve_slice, failed_slice, unread_slice
from napari_blind_deconv.errors import DeconvolutionError, first_line
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.results import SliceResult, StackResult
from napari_blind_deconv.steps import run_to_end

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["connect", "deconvolve_on_cluster"]

_SECONDS_TO_ANSWER = 10
# So many planes a worker are on their way, so that none waits and few are in memory.
_AHEAD = 2
_RETRIES = 2


def connect(address: str) -> Client:
    """A client of the scheduler at an address such as ``tcp://host:8786``.

    Raises
    ------
    ValueError
        In one sentence, if nothing answers there or dask.distributed is missing.
    """
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


def deconvolve_on_cluster(
    image: Image,
    plan: StackPlan,
    client: Client,
    *,
    finished: Collection[Index] = (),
    on_slice: Callable[[SliceResult], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> StackResult:
    """Sharpen the planes of a stack on a cluster; `deconvolve_stack` says what is done to each.

    Planes are read here and sent, a few ahead of the workers, so that neither side ever holds the
    stack. Each worker chooses its own device. A plane whose worker dies is given to another; one
    that keeps failing is reported like any bad plane.

    Parameters
    ----------
    image, plan, finished
        As in `deconvolve_stack`.
    client : distributed.Client
        Of a cluster whose workers have this package installed.
    on_slice : callable
        Called here with the `SliceResult` of each plane, as they come.
    should_stop : callable
        Asked after every plane; True gives up those under way.

    Raises
    ------
    DeconvolutionError
        If the scheduler is lost; planes handed over before are good.
    """
    from distributed import as_completed

    waiting = (index for index in image.indices() if index not in finished)
    [shared] = client.scatter([plan], broadcast=True)
    places: dict[Future[SliceResult], Index] = {}
    failures: dict[Index, str] = {}
    done = 0

    def take(result: SliceResult) -> None:
        nonlocal done
        on_slice(result)
        done += 1
        if result.failure is not None:
            failures[result.index] = result.failure

    def send() -> Iterator[Future[SliceResult]]:
        for index in waiting:
            try:
                plane = image.read(index)
            except ValueError as error:
                take(unread_slice(index, image, error))
                continue
            channel = image.channel_of(index)
            future = client.submit(
                _work, plane, shared, channel, index, pure=False, retries=_RETRIES
            )
            places[future] = index
            yield future

    sent = send()
    ahead = _AHEAD * max(len(client.nthreads()), 1)
    with _loss_told():
        under_way = as_completed(list(islice(sent, ahead)), loop=client.loop)
        for future in under_way:
            index = places.pop(future)
            take(_outcome(future, image, index))
            if should_stop():
                client.cancel(list(places))
                break
            for follower in islice(sent, 1):
                under_way.add(follower)
    missing = image.blocks - done - len(finished)
    return StackResult(image=None, plan=plan, failures=failures, done=done, missing=missing)


@contextmanager
def _loss_told() -> Iterator[None]:
    """What dask raises when its scheduler is gone, as one sentence."""
    from distributed.comm.core import CommClosedError

    try:
        yield
    except (CancelledError, CommClosedError) as error:
        raise DeconvolutionError(
            "The scheduler was lost; the planes that are done are kept, and resuming goes on."
        ) from error


def _work(plane: Image, plan: StackPlan, channel: int, index: Index) -> SliceResult:
    """What a worker does: one plane, with its share of the machine's cores."""
    import torch
    from distributed import get_worker

    torch.set_num_threads(get_worker().state.nthreads)
    return run_to_end(deconvolve_slice(plan.task_of(plane, channel), index, Watch()))


def _outcome(future: Future[SliceResult], image: Image, index: Index) -> SliceResult:
    error = future.exception()
    if error is None:
        return future.result()
    try:
        return failed_slice(index, image.read(index), _told(error))
    except ValueError:
        return unread_slice(index, image, _told(error))


def _told(error: BaseException) -> Exception:
    return RuntimeError(
        f"The cluster failed on this plane ({type(error).__name__}: {first_line(error)})."
    )
