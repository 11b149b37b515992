"""A run continues only with the same inputs, options and version, and with planes that exist."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from tests.command import blind_deconv

import napari_blind_deconv
from napari_blind_deconv import Settings
from napari_blind_deconv.io.partial import partial_folder
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, run_job, sidecar_of
from napari_blind_deconv.kernel import KernelScope
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.results import BlockResult
from napari_blind_deconv.synthetic import fluorescence_scene

LINEAR = Settings(solver="wiener", kernel_start=1.5)
OUTPUTS = ("out.tif", "out.ome.tif", "out.ome.zarr")
PLANES = 3


@pytest.fixture(scope="module")
def planes() -> np.ndarray:
    scenes = [fluorescence_scene((24, 32), seed=seed).observed for seed in range(PLANES)]
    return np.stack(scenes)


def write_stack(path: Path, planes: np.ndarray) -> None:
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "ZYX"})


@pytest.fixture
def job(tmp_path, planes) -> Job:
    write_stack(tmp_path / "in.tif", planes)
    return Job(input=tmp_path / "in.tif", output=tmp_path / "out.ome.tif", settings=LINEAR)


def named(job: Job, name: str) -> Job:
    return job.model_copy(update={"output": job.output.with_name(name)})


def interrupt(job: Job, after: int = 2, **options) -> None:
    """Stop a run when some planes are finished."""
    finished = []
    run = run_job(job, should_stop=lambda: len(finished) == after, **options)
    finished.extend(step for step in run if isinstance(step, BlockResult))
    assert not run.result().finished


def pixels_of(output: Path) -> np.ndarray:
    with open_image(output) as result:
        return result.image.pixels.compute()


@pytest.fixture
def complete(job) -> np.ndarray:
    """The result of a run that is not interrupted."""
    whole = named(job, "whole.ome.tif")
    run_job(whole).result()
    pixels = pixels_of(whole.output)
    for path in (whole.output, sidecar_of(whole.output)):
        path.unlink()
    return pixels


def files(job: Job) -> set[str]:
    return {path.name for path in job.output.parent.iterdir()}


class TestOrigin:
    @pytest.mark.parametrize("change", ["pixels", "shape", "type", "time"])
    def test_another_input_is_refused(self, job, planes, change):
        interrupt(job)
        status = job.input.stat()
        if change == "pixels":
            write_stack(job.input, planes[::-1])
            os.utime(job.input, ns=(status.st_atime_ns, status.st_mtime_ns))
        elif change == "shape":
            write_stack(job.input, np.pad(planes, [(0, 0), (0, 4), (0, 4)]))
        elif change == "type":
            write_stack(job.input, planes.astype(np.float32))
        else:
            os.utime(job.input)
        with pytest.raises(ValueError, match="comes from a run with another input"):
            run_job(job, resume=True).result()
        assert not job.output.exists()
        assert run_job(job, overwrite=True).result().done == PLANES

    def test_another_psf_of_the_same_name_is_refused(self, job, tmp_path):
        psf = tmp_path / "psf.tif"
        tifffile.imwrite(psf, gaussian_kernel((9, 9), 1.5))
        job = job.model_copy(update={"psf": psf})
        interrupt(job)
        tifffile.imwrite(psf, gaussian_kernel((9, 9), 2.5))
        with pytest.raises(ValueError, match="comes from a run with another PSF"):
            run_job(job, resume=True).result()

    def test_a_psf_may_be_an_ome_zarr(self, job, tmp_path):
        tifffile.imwrite(tmp_path / "plane.tif", gaussian_kernel((17, 17), 1.5))
        psf = job.model_copy(
            update={"input": tmp_path / "plane.tif", "output": tmp_path / "psf.ome.zarr"}
        )
        run_job(psf).result()
        positive = np.clip(pixels_of(psf.output), 0, None)
        zarr.open_array(psf.output / "0", mode="r+")[:] = positive
        job = job.model_copy(update={"psf": psf.output})
        interrupt(job)
        assert run_job(job, resume=True).result().finished

    def test_another_version_is_refused(self, job, monkeypatch):
        interrupt(job)
        monkeypatch.setattr(napari_blind_deconv, "__version__", "99.0")
        with pytest.raises(ValueError, match="comes from a run with another version"):
            run_job(job, resume=True).result()

    def test_a_result_of_an_input_that_has_changed_is_not_finished(self, job, planes):
        run_job(job).result()
        status = job.input.stat()
        write_stack(job.input, planes[::-1])
        os.utime(job.input, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(ValueError, match="replaced only with --overwrite"):
            run_job(job, resume=True).result()

    def test_an_ome_zarr_is_recognised_by_its_chunks(self, job, planes):
        zarr_job = named(job, "in.ome.zarr")
        run_job(zarr_job).result()
        job = job.model_copy(update={"input": zarr_job.output})
        interrupt(job)
        chunk = next(path for path in (zarr_job.output / "0" / "c").rglob("*") if path.is_file())
        chunk.write_bytes(chunk.read_bytes())
        with pytest.raises(ValueError, match="another input"):
            run_job(job, resume=True).result()


class TestPlanes:
    @pytest.mark.parametrize("damage", ["deleted", "cut", "zeros"])
    def test_a_plane_without_its_pixels_is_computed_again(self, job, complete, damage):
        interrupt(job)
        chunk = partial_folder(job.output) / "0" / "c" / "1" / "0" / "0"
        content = chunk.read_bytes()
        if damage == "deleted":
            chunk.unlink()
        else:
            chunk.write_bytes(content[:-20] if damage == "cut" else bytes(len(content)))
        assert run_job(job, resume=True).result().done == PLANES - 1
        np.testing.assert_array_equal(pixels_of(job.output), complete)

    def test_a_failed_plane_of_zeros_is_finished(self, job, planes):
        stack = planes.astype(np.float32)
        stack[0] = 0
        write_stack(job.input, stack)
        interrupt(job, 2)
        assert run_job(job, resume=True).result().done == PLANES - 2

    def test_the_pixels_are_on_disk_before_their_record(self, job, monkeypatch):
        fsync, seen = os.fsync, []
        records = partial_folder(job.output) / "planes.jsonl"

        def watched(handle):
            written = records.read_text().count('"index"') if records.is_file() else 0
            seen.append((os.fstat(handle).st_ino, written))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", watched)
        interrupt(job)
        for plane in range(2):
            chunk = partial_folder(job.output) / "0" / "c" / str(plane) / "0" / "0"
            for path in (chunk, chunk.parent, chunk.parents[2]):
                assert (path.stat().st_ino, plane) in seen, "written to disk before its record"

    @pytest.mark.parametrize(
        "line", ["[" * 100_000, "7", "null", '{"index": [0]}', '{"index": "a", "failure": 3}', "\0"]
    )
    def test_a_damaged_record_is_a_plane_to_compute(self, job, complete, line):
        interrupt(job)
        records = partial_folder(job.output) / "planes.jsonl"
        records.write_text(f"{line}\n", encoding="utf-8")
        assert run_job(job, resume=True).result().done == PLANES
        np.testing.assert_array_equal(pixels_of(job.output), complete)

    @pytest.mark.parametrize("text", ["", "[" * 100_000, "7", "{}", '{"origin": 1, "plan": 2}'])
    def test_a_damaged_plan_is_one_sentence(self, job, text):
        interrupt(job)
        (partial_folder(job.output) / "plan.json").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="it is damaged or from another version") as caught:
            run_job(job, resume=True).result()
        assert "\n" not in str(caught.value)
        assert run_job(job, overwrite=True).result().done == PLANES

    def test_a_damaged_array_is_one_sentence(self, job):
        interrupt(job)
        (partial_folder(job.output) / "0" / "zarr.json").write_text("{}")
        with pytest.raises(ValueError, match="it is damaged or from another version"):
            run_job(job, resume=True).result()


class TestFinished:
    @pytest.mark.parametrize("name", OUTPUTS)
    def test_what_is_missing_is_written_from_what_is_stored(self, job, tmp_path, name):
        job = named(job, name).model_copy(update={"kernel": KernelScope.PLANE})
        extra = {"kernel_out": tmp_path / "k.tif", "trace_out": tmp_path / "t.csv"}
        run_job(job, **extra).result()
        kernels = tifffile.imread(tmp_path / "k.tif")
        traces = (tmp_path / "t.csv").read_text()
        for path in extra.values():
            path.unlink()
        summary = run_job(job, **extra, resume=True).result()
        assert (summary.finished, summary.done) == (True, 0)
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "k.tif"), kernels)
        assert (tmp_path / "t.csv").read_text() == traces
        rows = list(csv.DictReader(traces.splitlines()))
        assert {int(row["z"]) for row in rows} == set(range(PLANES))
        sidecar = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))
        sidecar_of(job.output).unlink()
        (tmp_path / "k.tif").unlink()
        done = run_job(job, kernel_out=tmp_path / "k.tif", resume=True).result()
        assert (done.finished, done.done) == (True, 0)
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "k.tif"), kernels)
        again = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))
        assert again["job"] == sidecar["job"]
        assert [p["kernel"] for p in again["planes"]] == [p["kernel"] for p in sidecar["planes"]]

    def test_the_kernel_of_a_sidecar_of_0_1_0_is_written(self, job, tmp_path, planes):
        """It listed no planes for a single one, and wrote only the weights of its kernel."""
        tifffile.imwrite(job.input, planes[0])
        run_job(job).result()
        record = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))
        [plane] = record.pop("planes")
        for name in ("input", "PSF", "kernels"):
            record.pop(name)
        weights = plane.pop("kernel")["weights"]
        old = {**record, **plane, "kernel": weights, "blur": "set"}
        for name in ("index", "failure"):
            old.pop(name)
        sidecar_of(job.output).write_text(json.dumps(old), encoding="utf-8")
        summary = run_job(job, kernel_out=tmp_path / "k.tif", resume=True).result()
        assert (summary.finished, summary.done) == (True, 0)
        np.testing.assert_allclose(tifffile.imread(tmp_path / "k.tif"), weights, rtol=1e-6)

    def test_traces_that_are_lost_are_one_sentence(self, job, tmp_path):
        run_job(job).result()
        sidecar_of(job.output).unlink()
        with pytest.raises(ValueError, match="none are stored with it"):
            run_job(job, trace_out=tmp_path / "t.csv", resume=True).result()


class TestOverwriting:
    def test_an_interrupted_run_continues_with_the_command_it_names(self, job, complete):
        job.output.write_bytes(b"an older result")
        interrupt(job, overwrite=True)
        assert job.output.read_bytes() == b"an older result"
        arguments = ("--set", "solver=wiener", "--set", "kernel_start=1.5", "--resume")
        done = blind_deconv("run", job.input, job.output, *arguments)
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(pixels_of(job.output), complete)

    def test_one_that_may_replace_nothing_does_not(self, job):
        interrupt(job)
        job.output.write_bytes(b"written meanwhile")
        with pytest.raises(ValueError, match="replaced only with --overwrite"):
            run_job(job, resume=True).result()
        assert job.output.read_bytes() == b"written meanwhile"

    @pytest.mark.parametrize("content", ["thesis.txt", "labels/0/zarr.json"])
    def test_a_folder_of_other_things_is_not_replaced(self, job, content):
        folder = job.output.with_name("docs.zarr")
        file = folder / content
        file.parent.mkdir(parents=True)
        file.write_text("precious")
        for options in ({"overwrite": True}, {"resume": True}):
            with pytest.raises(ValueError, match=r"docs\.zarr contains other files"):
                run_job(named(job, "docs.zarr"), **options).result()
        assert file.read_text() == "precious"

    def test_a_result_is_replaced(self, job):
        job = named(job, "out.ome.zarr")
        run_job(job).result()
        other = LINEAR.with_changes(kernel_start=2.5)
        before = pixels_of(job.output)
        run_job(job.model_copy(update={"settings": other}), overwrite=True).result()
        assert not np.array_equal(pixels_of(job.output), before)


class TestLeftovers:
    """What a kill leaves is cleared by the next run, and by nobody else's."""

    def leave(self, job: Job) -> None:
        folder = job.output.parent
        stem, suffix = job.output.stem, job.output.suffix
        (folder / f".{stem}.abc.part{suffix}").write_bytes(b"half")
        (folder / f".{job.output.name}.abc.part.json").write_bytes(b"half")
        partial_folder(job.output).mkdir()

    @pytest.mark.parametrize("resume", [False, True])
    def test_temporary_files_and_an_empty_folder_go(self, job, resume):
        self.leave(job)
        (job.output.parent / ".other.abc.part.tif").write_bytes(b"of another run")
        assert run_job(job, resume=resume).result().finished
        expected = {"in.tif", job.output.name, f"{job.output.name}.json", ".other.abc.part.tif"}
        assert files(job) == expected

    def test_a_resume_of_a_finished_run_clears_too(self, job):
        run_job(job).result()
        self.leave(job)
        assert run_job(job, resume=True).result().done == 0
        assert files(job) == {"in.tif", job.output.name, f"{job.output.name}.json"}

    def test_an_old_result_under_a_hidden_name_comes_back(self, job):
        """As after a kill between two renames of folders."""
        job = named(job, "out.ome.zarr")
        run_job(job).result()
        before = pixels_of(job.output)
        shutil.move(job.output, job.output.with_name(".out.ome.zarr.replaced"))
        with pytest.raises(ValueError, match="replaced only with --overwrite"):
            run_job(job.model_copy(update={"axes": "ZYX"})).result()
        np.testing.assert_array_equal(pixels_of(job.output), before)
        assert files(job) == {"in.tif", "out.ome.zarr", "out.ome.zarr.json"}

    def test_temporary_files_of_zarr_do_not_get_into_the_result(self, job):
        job = named(job, "out.ome.zarr")
        interrupt(job)
        chunk = partial_folder(job.output) / "0" / "c" / "1" / "0" / "0"
        chunk.with_suffix(".abc.partial").write_bytes(b"half")
        assert run_job(job, resume=True).result().finished
        assert not list(job.output.rglob("*.partial"))
        assert {path.name for path in job.output.iterdir()} == {"0", "zarr.json"}


NO_SIDECARS = ("[" * 100_000, "7", '{"job": 3}', '{"job": []}', '{"job": {"settings": []}}', "\0")


@pytest.mark.parametrize("text", NO_SIDECARS, ids=range(len(NO_SIDECARS)))
def test_a_sidecar_of_any_content_is_one_sentence(job, text):
    run_job(job).result()
    sidecar_of(job.output).write_text(text, encoding="utf-8")
    commands = (
        ("run", "--from-sidecar", sidecar_of(job.output), "--overwrite"),
        ("report", job.output),
        ("run", job.input, job.output, "--set", "solver=wiener", "--resume"),
    )
    for command in commands:
        done = blind_deconv(*command)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("error:") == 1


@pytest.mark.parametrize(
    "change", [{"planes": 3}, {"planes": [7]}, {"planes": [{"index": 7}]}, {"kernels": 7}]
)
def test_a_report_of_a_sidecar_with_other_types_is_one_sentence(job, change):
    run_job(job).result()
    record = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))
    sidecar_of(job.output).write_text(json.dumps({**record, **change}), encoding="utf-8")
    done = blind_deconv("report", job.output)
    assert done.returncode == 2, done.stderr
