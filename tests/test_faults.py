"""Faults around a run: killed processes, lack of memory, simultaneous runs, errors in threads."""

import builtins
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from tests import guard
from tests.command import LINEAR, blind_deconv, blind_deconv_process, command, limit_memory
from tests.processes import quick_context

from napari_blind_deconv import Settings, deconvolve_stack
from napari_blind_deconv.engine.cluster import cluster
from napari_blind_deconv.engine.objective import Objective
from napari_blind_deconv.io.partial import partial_folder
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, run_job, sidecar_of
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plugin.worker import Failure, catch_errors
from napari_blind_deconv.results import BlockResult
from napari_blind_deconv.synthetic import fluorescence_scene

# Runs on files use the linear estimate. What they compute does not matter here.
LINEAR_RUN = Settings(solver="wiener", kernel_start=1.5)
OTHER_RUN = LINEAR_RUN.with_changes(kernel_start=2.5)
QUICK = Settings(channels=(8,), max_iterations=4, kernel_features=16, stop_at_noise=False)
KILLS = 12
PLANES = 5
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and limits of POSIX")


@pytest.fixture(scope="module")
def planes() -> np.ndarray:
    scenes = [fluorescence_scene((40, 48), seed=seed).observed for seed in range(PLANES)]
    return np.stack(scenes)


@pytest.fixture
def stack(tmp_path, planes) -> Path:
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "ZYX"})
    return path


@pytest.fixture(scope="module", params=["out.ome.tif", "out.ome.zarr"])
def replaced(request, tmp_path_factory, planes) -> Path:
    """The result of another run on the same stack, which tests copy and replace."""
    folder = tmp_path_factory.mktemp("replaced")
    tifffile.imwrite(folder / "in.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    job = Job(input=folder / "in.tif", output=folder / request.param, settings=OTHER_RUN)
    run_job(job).result()
    return job.output


def pixels_of(output: Path) -> np.ndarray:
    with open_image(output) as result:
        return result.image.pixels.compute()


def files_beside(output: Path) -> set[str]:
    return {path.name for path in output.parent.iterdir()}


def continue_run(job: Job) -> None:
    """Continue a job, in a process that may be killed."""
    torch.set_num_threads(1)
    run_job(job, resume=True, overwrite=True).result()


class TestKilled:
    @posix
    @pytest.mark.parametrize("name", ["out.ome.tif", "out.ome.zarr"])
    def test_a_kill_at_any_moment_loses_nothing(self, stack, name):
        """Kill twelve processes for each kind of output; after each, another run continues."""
        complete_job = Job(
            input=stack, output=stack.parent / f"complete_{name}", settings=LINEAR_RUN
        )
        started = time.monotonic()
        run_job(complete_job).result()
        duration = time.monotonic() - started
        expected = pixels_of(complete_job.output)
        job = complete_job.model_copy(update={"output": stack.parent / name})
        processes = quick_context()
        random = np.random.default_rng(0)
        kills = 0
        while kills < KILLS:
            child = processes.Process(target=continue_run, args=(job,))
            child.start()
            child.join(random.uniform(0, 0.6 * duration))
            if child.is_alive():
                child.kill()  # unlike os.kill, no error if it ends at this moment
                child.join()
                kills += 1
            elif child.exitcode == 0:
                np.testing.assert_array_equal(pixels_of(job.output), expected)
                for path in (job.output, sidecar_of(job.output)):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            else:
                pytest.fail(f"after {kills} kills, a run ended with exit code {child.exitcode}")
        continue_run(job)
        np.testing.assert_array_equal(pixels_of(job.output), expected)
        assert Job.from_sidecar(sidecar_of(job.output)) == job
        assert not partial_folder(job.output).exists()

    @pytest.mark.parametrize("fatal", range(9))
    def test_a_kill_between_any_two_final_steps_loses_nothing(
        self, stack, replaced, monkeypatch, fatal
    ):
        """Kill the process at each rename or removal in turn; the old output is never lost."""
        shutil.copytree(replaced.parent, stack.parent, dirs_exist_ok=True)
        job = Job(input=stack, output=stack.parent / replaced.name, settings=LINEAR_RUN)
        name = replaced.name
        before = pixels_of(job.output)
        steps = 0

        def deadly(real):
            def step(*arguments, **options):
                nonlocal steps
                if threading.current_thread() is not threading.main_thread():
                    return real(*arguments, **options)  # threads of zarr would wait for ever
                steps += 1
                if steps == fatal + 1:
                    raise SystemExit("killed")
                return real(*arguments, **options) if steps <= fatal else None

            return step

        kept = []
        with monkeypatch.context() as patched, suppress(SystemExit):
            for step in run_job(job, overwrite=True):
                if not isinstance(step, BlockResult):
                    continue
                kept.append(step)
                if len(kept) == PLANES:
                    patched.setattr(Path, "replace", deadly(Path.replace))
                    patched.setattr(Path, "unlink", deadly(Path.unlink))
                    patched.setattr(shutil, "rmtree", deadly(shutil.rmtree))
        assert len(kept) == PLANES
        moved = stack.parent / f".{name}.replaced"  # exists between two renames of folders
        survivor = pixels_of(job.output if job.output.exists() else moved)
        summary = run_job(job, resume=True, overwrite=True).result()
        assert summary.finished
        assert summary.done == 0, "no plane is computed again"
        after = pixels_of(job.output)
        assert not np.array_equal(after, before)
        assert any(np.array_equal(survivor, complete) for complete in (before, after))
        assert {name, f"{name}.json"} <= files_beside(job.output)
        assert not partial_folder(job.output).exists()
        again = run_job(job, resume=True).result()
        assert again.finished
        assert again.done == 0
        np.testing.assert_array_equal(pixels_of(job.output), after)

    def test_a_finished_run_is_not_repeated(self, stack):
        job = Job(input=stack, output=stack.parent / "out.ome.tif", settings=LINEAR_RUN)
        run_job(job).result()
        written = job.output.stat().st_mtime_ns
        again = run_job(job, resume=True).result()
        assert (again.finished, again.done, again.planes) == (True, 0, PLANES)
        assert job.output.stat().st_mtime_ns == written
        os.utime(stack)  # newer than the result
        with pytest.raises(ValueError, match="is replaced only with --overwrite"):
            run_job(job, resume=True).result()


HOLD = """
import sys, time
from pathlib import Path
from napari_blind_deconv.io.output_lock import output_lock
with output_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


class TestSimultaneousRuns:
    def test_a_second_run_is_refused_until_the_first_has_ended(self, stack):
        output = stack.parent / "out.ome.tif"
        hold = [sys.executable, "-c", HOLD, str(output)]
        with subprocess.Popen(hold, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            assert first.stdout.readline() == "locked\n"
            second = blind_deconv("run", stack, output, *LINEAR, "--overwrite")
            first.kill()
        assert second.returncode == 2, second.stderr
        assert "Another run is writing" in second.stderr
        assert not output.exists()
        run_job(Job(input=stack, output=output, settings=LINEAR_RUN)).result()
        assert files_beside(output) == {"in.tif", "out.ome.tif", "out.ome.tif.json"}

    def test_a_second_run_in_the_same_process_is_refused(self, stack):
        job = Job(input=stack, output=stack.parent / "out.tif", settings=LINEAR_RUN)
        first = run_job(job)
        next(first)
        with pytest.raises(ValueError, match="Another run is writing"):
            run_job(job, overwrite=True).result()
        assert first.result().finished


class TestMemory:
    @posix
    @pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not heed the limit")
    def test_a_memory_limit_is_reported_in_one_sentence(self, tmp_path):
        image = fluorescence_scene((640, 640)).observed
        tifffile.imwrite(tmp_path / "in.tif", image)
        tifffile.imwrite(tmp_path / "psf.tif", gaussian_kernel((9, 9), 1.5))
        arguments = ("run", tmp_path / "in.tif", tmp_path / "out.tif", *LINEAR)
        psf = ("--psf", tmp_path / "psf.tif")
        done = blind_deconv_process(*arguments, *psf, preexec_fn=limit_memory(2 * 2**30))
        assert "Traceback" not in done.stderr
        if done.returncode == 0:  # smaller tiles fitted into the memory
            assert tifffile.imread(tmp_path / "out.tif").shape == image.shape
        else:
            assert done.returncode in (1, 2), done.stderr
            assert "memory" in done.stderr
            assert not (tmp_path / "out.tif").exists()

    def test_a_gpu_with_too_little_memory_gets_smaller_tiles(self, monkeypatch):
        image = fluorescence_scene((160, 192)).observed
        original = Objective.of
        refused = []

        def full(self, canvas, convolution):
            if canvas.shape[-2] > 120:
                refused.append(canvas.shape)
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return original(self, canvas, convolution)

        monkeypatch.setattr(Objective, "of", full)
        kernel = gaussian_kernel((9, 9), 1.5)
        result = deconvolve_stack(image[None], QUICK, axes="ZYX", kernel=kernel).result()
        assert refused
        assert not result.failures
        assert result.image[0].std() > image.std(), "the plane is deconvolved"

    def test_a_gpu_without_memory_fails_single_planes_and_not_the_run(self, planes, monkeypatch):
        original = Objective.of

        def full(self, canvas, convolution):
            if canvas.mean() > 0.5:  # the bright plane, in the intensity range of all planes
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return original(self, canvas, convolution)

        monkeypatch.setattr(Objective, "of", full)
        data = planes[:3].astype(np.float32)
        data[1] += 2000
        kernel = gaussian_kernel((9, 9), 1.5)
        result = deconvolve_stack(data, QUICK, axes="ZYX", kernel=kernel).result()
        assert list(result.failures) == [(1,)]
        assert "not enough memory" in result.failures[(1,)]
        np.testing.assert_array_equal(result.image[1], data[1])


def every_exception() -> list[type[BaseException]]:
    types = [kind for kind in vars(builtins).values() if isinstance(kind, type)]
    kinds = {kind for kind in types if issubclass(kind, BaseException)}
    # These have a special meaning in a generator. Groups and Unicode errors need arguments.
    reserved = {StopIteration, StopAsyncIteration, GeneratorExit}
    simple = {k for k in kinds - reserved if not issubclass(k, BaseExceptionGroup | UnicodeError)}
    return sorted({*simple, UnicodeError, torch.OutOfMemoryError}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", every_exception(), ids=lambda kind: kind.__name__)
def test_whatever_a_thread_raises_is_reported(kind):
    """The error is returned as a result, because a worker of napari reports only some errors."""

    def steps(reason):
        yield 1
        raise kind(reason)

    run = catch_errors(steps, "the reason")
    assert next(run) == 1
    with pytest.raises(StopIteration) as end:
        next(run)
    failure = end.value.value
    assert isinstance(failure, Failure)
    assert type(failure.error) is kind
    assert "the reason" in str(failure)


def is_reachable(address: str) -> bool:
    try:
        with cluster(address):
            return True
    except ValueError:
        return False


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sockets that are closed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_lost_scheduler_is_reported_in_one_sentence(stack, planes):
    """No line of the libraries stands above it, and a local run continues from the done planes."""
    tifffile.imwrite(stack, np.concatenate([planes] * 8), imagej=True, metadata={"axes": "ZYX"})
    address_file = stack.parent / "scheduler.json"
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [
            *(sys.executable, "-m", "distributed.cli.dask_scheduler"),
            *("--port", "0", "--no-dashboard", "--scheduler-file", str(address_file)),
        ],
        **quiet,
    )
    worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "distributed.cli.dask_worker"),
            *("--scheduler-file", str(address_file), "--nthreads", "1", "--no-dashboard"),
            *("--death-timeout", "5"),
        ],
        **quiet,
    )
    try:
        deadline = time.monotonic() + guard.SECONDS
        while not address_file.is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        address = json.loads(address_file.read_text())["address"]
        while not is_reachable(address) and time.monotonic() < deadline:
            time.sleep(0.2)
        run = ("run", stack, stack.parent / "out.ome.tif", *LINEAR)
        with subprocess.Popen(
            command(*run, "--scheduler", address), stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("in.tif: Z 40")
            scheduler.kill()  # while the kernel is found, or while planes are computed
            lines = process.stderr.read().splitlines()
        assert process.returncode == 1
        messages = [line for line in lines if line and not line.startswith("in.tif: ")]
        assert len(messages) == 1, lines
        assert "The connection to the scheduler was lost" in messages[0]
        assert blind_deconv(*run, "--resume").returncode == 0
    finally:
        for child in (scheduler, worker):
            child.kill()
            child.wait()
