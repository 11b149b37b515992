"""Stacks on a real cluster of worker processes."""

import os
import signal
import sys
from concurrent.futures import Future
from pathlib import Path

import dask
import numpy as np
import pytest
import tifffile
from tests.processes import quick_context
from tests.unreadable import Unreadable

from napari_blind_deconv import Settings, deconvolve_stack
from napari_blind_deconv.engine.blocks import _result_of
from napari_blind_deconv.engine.cluster import cluster as cluster_at
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stacks import run_stack
from napari_blind_deconv.image import Image
from napari_blind_deconv.jobs import Job, run_job
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.synthetic import fluorescence_scene
from napari_blind_deconv.task import Task

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning"
    ),  # of processes and sockets that are killed
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

QUICK = Settings(
    channels=(8, 16), max_iterations=4, kernel_features=64, stop_at_noise=False, device="cpu"
)
PSF = gaussian_kernel((9, 9), 1.5)


@pytest.fixture(scope="module")
def cluster():
    method = quick_context().get_start_method()
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": method}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    planes = [fluorescence_scene((40, 48), seed=seed).observed for seed in range(6)]
    return np.stack(planes).astype(np.float32)


def test_a_cluster_gives_the_same_result_as_a_local_run(cluster, stack):
    stack = stack.copy()
    stack[4] = np.nan
    local = deconvolve_stack(stack, QUICK, axes="ZYX", kernel=PSF).result()
    with cluster_at(cluster.scheduler_address) as executor:
        run = deconvolve_stack(stack, axes="ZYX", plan=local.plan, executor=executor)
        blocks = {block.index: block for block in run}
        remote = run.result()
    assert remote.done == 6
    assert remote.missing == 0
    assert remote.failures == local.failures
    assert list(remote.failures) == [(4,)]
    for index, result in blocks.items():
        if index != (4,):
            np.testing.assert_allclose(result.image, local.image[index], rtol=1e-3, atol=0.5)


def fail_once(mark: Path) -> str:
    """Raise an error in the first call, like a worker that is out of memory for a moment."""
    if not mark.exists():
        mark.touch()
        raise MemoryError
    return "computed"


def test_a_task_that_fails_on_a_worker_is_repeated(cluster, tmp_path):
    with cluster_at(cluster.scheduler_address) as executor:
        assert executor.submit(fail_once, tmp_path / "mark").result() == "computed"


def test_finished_planes_are_left_out(cluster, stack):
    local = deconvolve_stack(stack, QUICK, axes="ZYX", kernel=PSF).result()
    with cluster_at(cluster.scheduler_address) as executor:
        run = deconvolve_stack(
            stack, axes="ZYX", plan=local.plan, finished={(0,), (1,), (5,)}, executor=executor
        )
        blocks, result = list(run), run.result()
    assert sorted(block.index for block in blocks) == [(2,), (3,), (4,)]
    assert result.missing == 0


def test_unreadable_planes_do_not_block_later_planes(cluster, stack):
    local = deconvolve_stack(stack, QUICK, axes="ZYX", kernel=PSF).result()
    many = Image(Unreadable(np.concatenate([stack, stack]), 5), "ZYX")
    with cluster_at(cluster.scheduler_address) as executor:
        task = Task(many, QUICK)
        steps = run_stack(task, RunControl(), plan=local.plan, executor=executor)
        result = run_to_end(steps)
    assert executor.ahead < 5
    assert sorted(result.failures) == [(0,), (1,), (2,), (3,), (4,)]
    assert result.done == 12
    assert result.missing == 0


@pytest.mark.parametrize("again", ["damaged", "readable"])
def test_a_plane_that_fails_on_the_cluster_is_reported_whether_readable_or_not(stack, again):
    failed = Future()
    failed.set_exception(MemoryError())
    data = Unreadable(stack[:1], unreadable=1 if again == "damaged" else 0)
    result = _result_of(failed, Image(data, "ZYX"), (0,))
    assert "MemoryError" in result.failure
    assert result.image.any() == (again == "readable")


def test_a_job_runs_on_a_cluster(cluster, stack, tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    job = Job(input=tmp_path / "in.tif", output=tmp_path / "out.ome.tif", settings=QUICK)
    summary = run_job(job, scheduler=cluster.scheduler_address).result()
    assert summary.finished
    assert summary.done == 6
    assert tifffile.imread(job.output).shape == stack.shape


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by a POSIX signal")
def test_the_planes_of_a_killed_worker_are_computed_by_others(cluster, stack):
    local = deconvolve_stack(stack, QUICK, axes="ZYX", kernel=PSF).result()
    blocks = []
    with (
        distributed.Client(cluster.scheduler_address, set_as_default=False) as client,
        cluster_at(cluster.scheduler_address) as executor,
    ):
        victims = list(client.run(os.getpid).values())
        run = deconvolve_stack(stack, axes="ZYX", plan=local.plan, executor=executor)
        for block in run:
            blocks.append(block)
            if len(blocks) == 1:
                os.kill(victims[0], signal.SIGKILL)
        result = run.result()
    assert result.done == 6
    assert not result.failures
    for block in blocks:
        np.testing.assert_allclose(block.image, local.image[block.index], rtol=1e-3, atol=0.5)


def test_a_scheduler_that_does_not_answer_is_reported_in_one_sentence(monkeypatch):
    monkeypatch.setattr("napari_blind_deconv.engine.cluster._CONNECTION_TIMEOUT", 0.5)
    with pytest.raises(ValueError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        cluster_at("tcp://127.0.0.1:9").__enter__()
    with pytest.raises(ValueError, match="no scheduler answers at nowhere"):
        cluster_at("nowhere").__enter__()
