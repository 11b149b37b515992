"""Worker processes that start quickly: a server imports their modules once, and forks."""

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import BaseContext


def quick_context() -> BaseContext:
    """Return the context of such processes.

    The server has imported the modules, but has computed nothing. The cluster of dask uses the same
    server after it has started. Windows has no such server.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["napari_blind_deconv.engine.blocks", "tests.test_faults", "distributed"]
    )
    forkserver.ensure_running()
    return context
