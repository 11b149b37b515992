"""Processes that start at once: a server imports what they need, and forks."""

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import BaseContext


def quick_context() -> BaseContext:
    """Return the context of such processes; the server has imported all and computed nothing.

    dask's cluster asks the same server, once it runs. Windows has none.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["napari_blind_deconv.engine.blocks", "tests.test_faults", "distributed"]
    )
    forkserver.ensure_running()
    return context
