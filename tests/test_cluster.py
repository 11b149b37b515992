"""Stacks on a real cluster of worker processes."""

import logging
import os
import signal
import sys
import time
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import dask
import numpy as np
import pytest
import tifffile
from scipy import ndimage
from tests.command import LINEAR, blind_deconv
from tests.processes import quick_context
from tests.unreadable import Unreadable

import napari_blind_deconv as package
from napari_blind_deconv import DeconvolutionError, Settings, deconvolve_stack
from napari_blind_deconv.engine.blocks import _result_of
from napari_blind_deconv.engine.cluster import ClusterExecutor
from napari_blind_deconv.engine.cluster import cluster as cluster_at
from napari_blind_deconv.engine.executors import BlockExecutor
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stacks import run_stack
from napari_blind_deconv.image import Image
from napari_blind_deconv.jobs import Job, run_job, sidecar_of
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.results import BlockResult, StackResult
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
LINEAR_RUN = Settings(solver="wiener", kernel_start=1.5)
PSF = gaussian_kernel((9, 9), 1.5)
posix = pytest.mark.skipif(sys.platform == "win32", reason="kills a process by a POSIX signal")


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


@pytest.fixture(scope="module")
def local(stack) -> StackResult:
    return deconvolve_stack(stack, QUICK, axes="ZYX", kernel=PSF).result()


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


def test_finished_planes_are_left_out(cluster, stack, local):
    with cluster_at(cluster.scheduler_address) as executor:
        run = deconvolve_stack(
            stack, axes="ZYX", plan=local.plan, finished={(0,), (1,), (5,)}, executor=executor
        )
        blocks, result = list(run), run.result()
    assert sorted(block.index for block in blocks) == [(2,), (3,), (4,)]
    assert result.missing == 0


def test_unreadable_planes_do_not_block_later_planes(cluster, stack, local):
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
    data = Unreadable(stack[:1], unreadable=1 if again == "damaged" else 0)
    result = _result_of(failed(MemoryError()), Image(data, "ZYX"), (0,), BlockExecutor(None))
    assert "MemoryError" in result.failure
    assert result.image.any() == (again == "readable")


@pytest.mark.parametrize("kind", [BrokenProcessPool, CancelledError])
def test_a_plane_has_not_failed_when_all_workers_ended(stack, kind):
    with pytest.raises(kind):
        _result_of(failed(kind()), Image(stack, "ZYX"), (0,), BlockExecutor(None))


def failed(error: BaseException) -> Future:
    future = Future()
    future.set_exception(error)
    return future


def test_a_job_runs_on_a_cluster(cluster, stack, tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    job = Job(input=tmp_path / "in.tif", output=tmp_path / "out.ome.tif", settings=QUICK)
    summary = run_job(job, scheduler=cluster.scheduler_address).result()
    assert summary.finished
    assert summary.done == 6
    assert tifffile.imread(job.output).shape == stack.shape


def test_a_job_on_volumes_equals_a_local_one_and_is_resumed(cluster, tmp_path, monkeypatch):
    """A run that ends after its first volume, as if killed, is resumed with the others."""
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).random((4, 10, 32, 34)) > 0.98
    blurred = ndimage.gaussian_filter(5000 * points.astype(np.float32), (0, 1.5, 1.2, 1.2))
    volumes = np.random.default_rng(1).poisson(blurred + 20).astype(np.uint16)
    tifffile.imwrite("in.tif", volumes, imagej=True, metadata={"axes": "TZYX"})
    tifffile.imwrite("psf.tif", gaussian_kernel((7, 7, 7), (1.5, 1.2, 1.2)))
    options = ("--volume", "--psf", "psf.tif", "--pixel-size", "0.3,0.1,0.1")
    solver = ("--set", "solver=richardson-lucy", "--set", "max_iterations=8")
    remote = ("--scheduler", cluster.scheduler_address)

    def run(out: str, *more: str) -> np.ndarray:
        words = ("run", "in.tif", out, *options, *solver, *more)
        completed = blind_deconv(*words)
        assert completed.returncode == 0, completed.stderr
        return tifffile.imread(out)

    local = run("local.ome.tif")
    assert local.shape == volumes.shape
    np.testing.assert_allclose(run("remote.ome.tif", *remote), local, rtol=1e-5)
    job = Job.from_sidecar(sidecar_of(Path("remote.ome.tif")))
    killed = job.model_copy(update={"output": Path("killed.ome.tif")})
    steps = run_job(killed, scheduler=remote[1])
    first = next(step for step in steps if isinstance(step, BlockResult))
    steps.close()
    computed = []
    submit = ClusterExecutor.submit

    def counted(self, compute, task, index):
        computed.append(index)
        return submit(self, compute, task, index)

    monkeypatch.setattr(ClusterExecutor, "submit", counted)
    np.testing.assert_allclose(run("killed.ome.tif", *remote, "--resume"), local, rtol=1e-5)
    assert first.index not in computed
    assert 0 < len(computed) < 4


def assert_equal(blocks: list[BlockResult], local: StackResult) -> None:
    assert sorted(block.index for block in blocks) == [(z,) for z in range(len(local.image))]
    for block in blocks:
        np.testing.assert_allclose(block.image, local.image[block.index], rtol=1e-3, atol=0.5)


def end(_compute, *_arguments):
    """End the worker, as the system does when it is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def end_workers(cluster, client) -> None:
    cluster.scale(0)
    while client.nthreads():
        time.sleep(0.05)


class TestWorkersThatEnd:
    @pytest.fixture
    def client(self, cluster):
        with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
            yield client

    @posix
    @pytest.mark.parametrize("killed", [1, 2])
    def test_the_planes_of_killed_workers_are_computed_by_others(
        self, cluster, client, stack, local, killed
    ):
        """By the other worker, or by those that come when both are gone."""
        blocks = []
        with cluster_at(cluster.scheduler_address) as executor:
            run = deconvolve_stack(stack, axes="ZYX", plan=local.plan, executor=executor)
            for block in run:
                blocks.append(block)
                if len(blocks) == 1:
                    for victim in list(client.run(os.getpid).values())[:killed]:
                        os.kill(victim, signal.SIGKILL)
            assert not run.result().failures
        assert_equal(blocks, local)

    @posix
    def test_only_the_plane_that_ends_its_workers_fails(self, cluster, stack, local, monkeypatch):
        """Planes that wait at the same worker are innocent."""
        monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
        with cluster_at(cluster.scheduler_address) as executor:
            submit = executor.submit
            tries = []

            def submit_fatal_plane(compute, task, index):
                tries.append(index)
                return submit(*([end] if index == (1,) else []), compute, task, index)

            monkeypatch.setattr(executor, "submit", submit_fatal_plane)
            run = deconvolve_stack(stack, axes="ZYX", plan=local.plan, executor=executor)
            blocks = {block.index: block for block in run}
            failures = run.result().failures
        assert list(failures) == [(1,)]
        assert "all workers that computed this plane ended" in failures[(1,)]
        assert tries.count((1,)) == 2
        np.testing.assert_array_equal(blocks[(1,)].image, stack[1])
        blocks[(1,)] = BlockResult((1,), local.image[1])
        assert_equal(list(blocks.values()), local)

    def test_a_run_waits_for_workers_that_come_later(
        self, cluster, client, stack, local, monkeypatch
    ):
        """The pool is empty for a while, as one of SLURM whose jobs have reached their time."""
        with cluster_at(cluster.scheduler_address) as executor:
            check, blocks, gaps, notices = executor.check, [], [], []

            def check_and_start_workers():
                notices.append(check())
                if not executor.workers:
                    gaps.append(len(blocks))
                    cluster.scale(2)

            monkeypatch.setattr(executor, "check", check_and_start_workers)
            for block in deconvolve_stack(stack, axes="ZYX", plan=local.plan, executor=executor):
                blocks.append(block)
                if len(blocks) == 1:
                    end_workers(cluster, client)
        assert gaps
        assert_equal(blocks, local)
        waiting, back = (notice for notice in notices if notice)
        assert waiting == "All workers ended; waiting for workers, at most 10 minutes …"
        assert back.endswith(" back; the run continues.")

    def test_the_command_tells_of_a_wait_in_one_line(self, cluster, stack, tmp_path, monkeypatch):
        texts = iter(["All workers ended; waiting for workers …", "", "1 worker is back"])
        monkeypatch.setattr(ClusterExecutor, "check", lambda _: next(texts, ""))
        tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, metadata={"axes": "ZYX"})
        files = tmp_path / "in.tif", tmp_path / "out.ome.tif"
        done = blind_deconv("run", *files, *LINEAR, "--scheduler", cluster.scheduler_address)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("waiting for workers …") == 1
        assert done.stderr.count("1 worker is back") == 1

    def test_a_run_ends_when_no_worker_is_left(self, cluster, client, stack, tmp_path, monkeypatch):
        monkeypatch.setattr("napari_blind_deconv.engine.cluster._SECONDS_WITHOUT_WORKERS", 0)
        tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, metadata={"axes": "ZYX"})
        job = Job(input=tmp_path / "in.tif", output=tmp_path / "out.ome.tif", settings=LINEAR_RUN)
        done = []

        def lose_all_workers():
            for step in run_job(job, scheduler=cluster.scheduler_address):
                done.extend([step] if isinstance(step, BlockResult) else [])
                if len(done) == 1:
                    end_workers(cluster, client)

        try:
            with pytest.raises(
                DeconvolutionError, match=r"No worker is left: .* are kept, .*--resume"
            ):
                lose_all_workers()
        finally:
            cluster.scale(2)
            client.wait_for_workers(2)
        assert 1 <= len(done) < len(stack)
        rest = run_job(job, resume=True, scheduler=cluster.scheduler_address).result()
        assert rest.finished
        assert rest.done == len(stack) - len(done)

    def test_a_limit_of_the_scheduler_ends_the_run_too(self, cluster):
        error = distributed.scheduler.NoWorkerError("task", 1.0)

        def run():
            with cluster_at(cluster.scheduler_address) as executor:
                _result_of(failed(error), Image(np.zeros((1, 1, 1)), "ZYX"), (0,), executor)

        with pytest.raises(DeconvolutionError, match=r"No worker is left: .* scheduler allows"):
            run()

    @pytest.mark.parametrize("use", ["check", "submit"])
    def test_a_connection_that_was_made_again_has_forgotten_the_planes(self, cluster, use):
        with cluster_at(cluster.scheduler_address) as executor:
            executor.check()
            executor._connection = None  # that of the client is another one now
            calls = {"check": executor.check, "submit": lambda: executor.submit(print)}
            with pytest.raises(DeconvolutionError, match="connection to the scheduler was lost"):
                calls[use]()


def pretend(version: str | None) -> None:
    """Let this worker have another version of the package, or none."""
    package.__version__ = version
    sys.modules["napari_blind_deconv"] = package if version else None


class TestVersions:
    @pytest.fixture(params=["0.0.9", None])
    def found(self, request, cluster):
        """What is found at a worker that has another version, or none."""
        with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
            worker = min(client.nthreads())
            client.run(pretend, request.param, workers=[worker])
            yield f"got {request.param or 'none'} at the worker at {worker}"
            client.run(pretend, package.__version__, workers=[worker])

    def test_they_are_asked_for_before_anything_is_written(self, cluster, stack, tmp_path, found):
        tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, metadata={"axes": "ZYX"})
        files = tmp_path / "in.tif", tmp_path / "out.ome.tif"
        done = blind_deconv("run", *files, *LINEAR, "--scheduler", cluster.scheduler_address)
        assert done.returncode == 2
        assert f"Expected napari-blind-deconv {package.__version__}" in done.stderr
        assert found in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]

    def test_a_worker_that_comes_later_is_asked_too(self, cluster, monkeypatch):
        with cluster_at(cluster.scheduler_address) as executor:
            executor.check()
            late = executor.workers.pop()
            with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
                client.run(pretend, "0.0.9", workers=[late])
                with pytest.raises(DeconvolutionError, match=r"got 0\.0\.9 at .* are kept"):
                    executor.check()
                client.run(pretend, package.__version__, workers=[late])

    def test_the_scheduler_is_asked_too(self, cluster, monkeypatch):
        monkeypatch.setattr(package, "__version__", "0.0.9")  # the scheduler is in this process
        with pytest.raises(ValueError, match=r"got 0\.0\.9 at the scheduler"):
            cluster_at(cluster.scheduler_address).__enter__()


def test_the_libraries_log_again_after_the_run(cluster):
    names = ["distributed", "distributed.client", "tornado", "asyncio"]
    before = [logging.getLogger(name).level for name in names]
    with cluster_at(cluster.scheduler_address):
        assert not any(logging.getLogger(name).isEnabledFor(logging.CRITICAL) for name in names)
    assert [logging.getLogger(name).level for name in names] == before


def test_a_scheduler_that_does_not_answer_is_reported_in_one_sentence(monkeypatch):
    monkeypatch.setattr("napari_blind_deconv.engine.cluster._CONNECTION_TIMEOUT", 0.5)
    with pytest.raises(ValueError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        cluster_at("tcp://127.0.0.1:9").__enter__()
    with pytest.raises(ValueError, match="no scheduler answers at nowhere"):
        cluster_at("nowhere").__enter__()
