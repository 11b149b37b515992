"""Results as 16-bit integers: nothing is clipped, and the values can be read back."""

import json
import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from tests.command import LINEAR, blind_deconv

from napari_blind_deconv import Settings
from napari_blind_deconv.io.partial import COMPLETE_PLAN, LEVEL, SCALED_LEVEL, partial_folder
from napari_blind_deconv.io.provenance import read_provenance
from napari_blind_deconv.io.scaling import PixelType, Scaling
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.io.store import StackStore
from napari_blind_deconv.job import Job, finished_record, sidecar_of
from napari_blind_deconv.jobs import run_job
from napari_blind_deconv.report import Report
from napari_blind_deconv.synthetic import fluorescence_scene

QUICK = Settings(solver="wiener", kernel_start=1.5)
OUTPUTS = ["o.tif", "o.ome.tif", "o.ome.zarr"]


def stack(dtype: str, largest: float) -> np.ndarray:
    planes = [fluorescence_scene((40, 48), seed=seed).observed for seed in range(2)]
    planes = np.stack([planes[0], 1.5 * planes[1]]) - 0.3
    return (planes / planes.max() * largest).clip(0).astype(dtype)


def job_of(folder: Path, pixels: np.ndarray, output: str, **options: object) -> Job:
    """Write a stack as ImageJ's TIFF, and return the job that deconvolves it."""
    tifffile.imwrite(folder / "in.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    return Job(input=folder / "in.tif", output=folder / output, settings=QUICK, **options)


def stored(path: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(path / "0")) if path.is_dir() else tifffile.imread(path)


def values(path: Path) -> np.ndarray:
    with open_image(path) as opened:
        return opened.image.pixels.compute()


class TestScaling:
    @pytest.mark.parametrize(
        ("low", "high", "dtype", "line"),
        [
            (100, 5000, "u2", (1, 0)),
            (0, 65535, "u2", (1, 0)),
            (-0.4, 5000, "u2", (1, 0)),  # rounded to 0
            (-20.5, 5000, "u2", (1, -20)),
            (-20000, 5000, "i2", (1, -20000)),
            (70000, 90000, "u4", (1, 70000)),
            (100, 150, "u2", (50 / 65535, 100)),  # whole numbers would be too coarse
            (-3, 5000, "f4", (5003 / 65535, -3)),
            (-50000, 50000, "i4", (100000 / 65535, -50000)),
            (7, 7, "u2", (1, 7)),
        ],
    )
    def test_integers_keep_their_units_if_that_is_precise(self, low, high, dtype, line):
        planes = [np.full((2, 3), low, np.float32), np.full((2, 3), high, np.float32)]
        scaling = Scaling.for_planes(planes, np.dtype(dtype))
        assert (scaling.scale, scaling.offset) == pytest.approx(line)
        for plane in planes:
            read = scaling.unpacked(da.from_array(scaling.packed(plane))).compute()
            np.testing.assert_allclose(read, plane, atol=0.5001 * scaling.scale, rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
    def test_no_value_is_clipped(self, dtype):
        plane = np.random.default_rng(0).normal(0, 3e4, (50, 60)).astype(np.float32)
        scaling = Scaling.for_planes([plane], np.dtype(dtype))
        numbers = scaling.packed(plane).astype(np.float64)
        assert np.abs(scaling.offset + scaling.scale * numbers - plane).max() <= (
            0.5001 * scaling.scale
        )

    def test_pixels_without_a_value_are_counted(self):
        plane = np.array([[np.nan, -np.inf, np.inf, 2.0, 3.0]], np.float32)
        scaling = Scaling.for_planes([plane], np.dtype("f4"))
        assert scaling.not_finite == 3
        assert scaling.loss.startswith("3 pixels are NaN or infinite")
        np.testing.assert_array_equal(scaling.packed(plane), [[0, 0, 65535, 0, 65535]])

    def test_a_result_without_any_value_can_be_stored(self):
        plane = np.full((2, 3), np.nan, np.float32)
        scaling = Scaling.for_planes([plane], np.dtype("f4"))
        assert not scaling.packed(plane).any()

    @pytest.mark.parametrize(
        "record", [None, [], {"scale": 1}, {"scale": "x"}, {"scale": -1, "offset": 0}]
    )
    def test_any_other_record_is_no_scaling(self, record):
        assert Scaling.from_record(record) is None
        assert Scaling.from_record({"scaling": record}) is None

    def test_another_type_is_refused_in_one_sentence(self):
        with pytest.raises(ValueError, match=r"Expected float32 or uint16 .*, got 'uint8'\.$"):
            PixelType.named("uint8")


class TestResults:
    @pytest.mark.parametrize(
        ("output", "dtype", "largest"),
        [
            ("o.tif", "u2", 3000),
            ("o.ome.zarr", "u1", 200),
            *((output, "f4", 1.0) for output in OUTPUTS),
        ],
    )
    def test_the_values_are_read_back(self, tmp_path, output, dtype, largest):
        pixels = stack(dtype, largest)
        summary = run_job(job_of(tmp_path, pixels, output, dtype="uint16")).result()
        run_job(job_of(tmp_path, pixels, f"exact_{output}")).result()
        exact = values(tmp_path / f"exact_{output}")
        assert stored(tmp_path / output).dtype == np.uint16
        assert stored(tmp_path / f"exact_{output}").dtype == np.float32
        read = values(tmp_path / output).astype(np.float64)
        assert np.abs(read - exact).max() <= 0.501 * summary.scaling.scale
        if dtype == "u2":
            assert summary.scaling.scale == 1

    @pytest.mark.parametrize("output", OUTPUTS)
    def test_sidecar_and_file_state_the_scaling(self, tmp_path, output):
        job = job_of(tmp_path, stack("f4", 1.0), output, dtype="uint16")
        scaling = run_job(job).result().scaling
        sidecar = json.loads(sidecar_of(job.output).read_text())
        for record in (sidecar, read_provenance(job.output)):
            assert record["scaling"] == scaling.as_record()
            assert Job.from_record(record["job"]) == job
        if output == "o.tif":
            with tifffile.TiffFile(job.output) as tiff:
                assert tiff.imagej_metadata["c0"] == scaling.offset
                assert tiff.imagej_metadata["c1"] == scaling.scale

    def test_a_colour_image_is_scaled(self, tmp_path):
        colours = np.moveaxis(np.stack([stack("f4", 1.0)[0]] * 3), 0, -1)
        tifffile.imwrite(tmp_path / "in.tif", colours, photometric="rgb")
        for dtype in PixelType:
            output = tmp_path / f"{dtype}.tif"
            run_job(
                Job(input=tmp_path / "in.tif", output=output, settings=QUICK, dtype=dtype)
            ).result()
            assert stored(output).dtype == dtype.value
        exact, scaled = (values(tmp_path / f"{dtype}.tif") for dtype in PixelType)
        np.testing.assert_allclose(scaled, exact, atol=1e-4)

    def test_a_float_result_can_be_the_input_again(self, tmp_path):
        job = job_of(tmp_path, stack("f4", 1.0), "o.ome.tif", dtype="uint16")
        run_job(job).result()
        again = Job(input=job.output, output=tmp_path / "p.ome.tif", settings=QUICK)
        run_job(again).result()
        assert values(again.output).max() < 5

    @pytest.mark.parametrize(("dtype", "largest"), [("u2", 3000), ("f4", 1.0)])
    def test_a_report_judges_the_values(self, tmp_path, dtype, largest):
        pixels = stack(dtype, largest)
        for name in PixelType:
            run_job(job_of(tmp_path, pixels, f"{name}.tif", dtype=name)).result()
        exact, scaled = (Report.of(tmp_path / f"{name}.tif", (1,)) for name in PixelType)
        assert scaled.trust.residual_level == pytest.approx(exact.trust.residual_level, rel=0.01)

    def test_a_description_of_another_program_is_no_scaling(self, tmp_path):
        pixels = stack("u2", 3000)
        for number, text in enumerate(("scaling", '{"scaling": 3}', "[" * 100_000)):
            path = tmp_path / f"{number}.tif"
            tifffile.imwrite(path, pixels, description=text, metadata=None)
            np.testing.assert_array_equal(values(path), pixels)

    def test_the_command_says_how_values_are_stored_and_what_is_lost(self, tmp_path):
        pixels = stack("f4", 1.0)
        pixels[1, 3, 4] = np.nan
        job = job_of(tmp_path, pixels, "o.ome.tif")
        done = blind_deconv("run", job.input, job.output, *LINEAR, "--dtype", "uint16")
        assert done.returncode == 0
        assert "The pixels are 16-bit integers: value = " in done.stderr
        assert "warning: 1 pixel is NaN or infinite" in done.stderr

    def test_another_type_is_refused_before_anything_is_written(self, tmp_path):
        job = job_of(tmp_path, stack("f4", 1.0), "o.ome.tif")
        done = blind_deconv("run", job.input, job.output, *LINEAR, "--dtype", "int8")
        assert done.returncode == 2
        assert "Expected float32 or uint16" in done.stderr
        assert not job.output.exists()

    def test_a_batch_writes_integers_and_tells_what_is_lost(self, tmp_path):
        pixels = stack("f4", 1.0)
        pixels[1, 3, 4] = np.nan
        job = job_of(tmp_path, pixels, "o.ome.tif")
        options = (*LINEAR, "--dtype", "uint16", "--out", tmp_path / "out")
        done = blind_deconv("batch", job.input, *options)
        assert "in.tif: warning: 1 pixel is NaN or infinite" in done.stderr
        assert stored(tmp_path / "out" / "in_deblurred.ome.tif").dtype == np.uint16


def die(*_arguments: object) -> None:
    raise KeyboardInterrupt


def killed_in(name: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a job that is killed when the store calls this function."""
    with monkeypatch.context() as patch:
        patch.setattr(f"napari_blind_deconv.io.store.{name}", die)
        with pytest.raises(KeyboardInterrupt):
            run_job(job).result()


class TestInterruptions:
    def interrupted(self, job: Job) -> None:
        run = run_job(job)
        next(step for step in run if hasattr(step, "failure"))
        run.close()

    def test_another_type_is_refused_when_a_run_continues(self, tmp_path):
        job = job_of(tmp_path, stack("u2", 3000), "o.ome.zarr")
        self.interrupted(job)
        other = job.model_copy(update={"dtype": PixelType.UINT16})
        with pytest.raises(ValueError, match=r"different options \(dtype\)"):
            run_job(other, resume=True).result()

    @pytest.mark.parametrize("output", ["o.tif", "o.ome.zarr"])
    def test_a_run_that_continues_gives_the_same(self, tmp_path, output):
        job = job_of(tmp_path, stack("f4", 1.0), output, dtype="uint16")
        run_job(job).result()
        expected = stored(job.output)
        run_again = job.model_copy(update={"output": tmp_path / f"again_{output}"})
        self.interrupted(run_again)
        assert run_job(run_again, resume=True).result().finished
        np.testing.assert_array_equal(stored(run_again.output), expected)

    @pytest.mark.parametrize("state", ["both arrays", "one array", "renamed"])
    def test_a_zarr_killed_while_it_is_finished_is_finished_later(
        self, tmp_path, monkeypatch, state
    ):
        job = job_of(tmp_path, stack("f4", 1.0), "o.ome.zarr", dtype="uint16")
        run_job(job).result()
        expected = stored(job.output)
        killed = job.model_copy(update={"output": tmp_path / "killed.ome.zarr"})
        folder = partial_folder(killed.output)

        killed_in("finalize", killed, monkeypatch)
        assert (folder / COMPLETE_PLAN).is_file()
        if state != "both arrays":
            shutil.rmtree(folder / LEVEL)
        if state == "renamed":
            (folder / SCALED_LEVEL).rename(folder / LEVEL)
        assert run_job(killed, resume=True).result().finished
        np.testing.assert_array_equal(stored(killed.output), expected)
        assert sorted(path.name for path in killed.output.iterdir()) == ["0", "zarr.json"]

    def test_a_half_written_array_of_integers_is_written_again(self, tmp_path, monkeypatch):
        job = job_of(tmp_path, stack("f4", 1.0), "o.ome.zarr", dtype="uint16")
        killed_in("write_ome_metadata", job, monkeypatch)
        assert (partial_folder(job.output) / SCALED_LEVEL).is_dir()
        next((partial_folder(job.output) / SCALED_LEVEL).rglob("c/1/*/*")).unlink()
        assert run_job(job, resume=True).result().finished
        assert stored(job.output)[1].any()

    def test_a_finished_result_is_that_of_its_type_only(self, tmp_path):
        job = job_of(tmp_path, stack("u2", 3000), "o.tif", dtype="uint16")
        run_job(job).result()
        assert finished_record(job) is not None
        assert finished_record(job.model_copy(update={"dtype": PixelType.FLOAT32})) is None

    def test_a_sidecar_without_a_type_is_that_of_float32(self, tmp_path):
        job = job_of(tmp_path, stack("u2", 3000), "o.tif")
        record = job.as_record()
        assert record.pop("dtype") == "float32"
        assert record.pop("series") is None
        assert Job.from_record(record) == job


def test_the_store_reads_its_planes_once_for_the_scaling(tmp_path, monkeypatch):
    read = []
    planes = StackStore._planes
    monkeypatch.setattr(
        StackStore, "_planes", lambda *arguments: (read.append(1) or p for p in planes(*arguments))
    )
    run_job(job_of(tmp_path, stack("u2", 3000), "o.tif", dtype="uint16")).result()
    assert len(read) == 4  # once for the range, once to write
