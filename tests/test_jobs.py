"""Jobs on files: axes and sizes are kept, interrupted runs continue, no incomplete file is left."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile
import zarr
from skimage import data
from tests.command import LINEAR, as_options, blind_deconv, full_disk

from napari_blind_deconv import Kernel, KernelChoice, Settings, Snapshot, Stage, deconvolve
from napari_blind_deconv.io.partial import partial_folder
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.io.store import StackStore
from napari_blind_deconv.jobs import Job, Summary, run_job, sidecar_of
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.reasons import QualityFlag
from napari_blind_deconv.report import Report
from napari_blind_deconv.results import TRACE_DTYPE, BlockResult
from napari_blind_deconv.synthetic import fluorescence_scene

QUICK = Settings(solver="wiener", kernel_start=1.5)
SEARCHING = Settings(solver="wiener")
NETWORK = Settings(channels=(8,), kernel_features=16, stop_at_noise=False)
FAST = as_options(QUICK)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Planes in the order of ImageJ: Z, C, Y, X."""
    planes = [fluorescence_scene((40, 48), seed=seed).observed for seed in range(6)]
    return np.stack(planes).reshape(3, 2, 40, 48)


@pytest.fixture
def hyperstack(tmp_path, pixels) -> Path:
    path = tmp_path / "in.tif"
    tifffile.imwrite(
        path,
        pixels,
        imagej=True,
        resolution=(10, 10),
        metadata={"axes": "ZCYX", "unit": "um", "spacing": 0.4},
    )
    return path


def interrupted(job: Job, after: int) -> Summary:
    """Run a job until `after` planes are done."""
    blocks = []
    run = run_job(job, should_stop=lambda: len(blocks) == after)
    blocks.extend(step for step in run if isinstance(step, BlockResult))
    assert len(blocks) == after
    return run.result()


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def sidecar_record(output: Path) -> dict[str, Any]:
    return json.loads(sidecar_of(output).read_text(encoding="utf-8"))


def test_a_tiled_plane_with_its_own_kernel_has_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_blind_deconv.engine.stack_plan.largest_tile", lambda _: 96)
    monkeypatch.setattr("napari_blind_deconv.engine.planes._LONGER_WITHOUT_NETWORKS", 1)
    tifffile.imwrite(tmp_path / "in.tif", fluorescence_scene((120, 130)).observed)
    job = Job(
        input=tmp_path / "in.tif",
        output=tmp_path / "out.tif",
        settings=SEARCHING,
        kernel="per-slice",
    )
    run_job(job).result()
    [plane] = sidecar_record(job.output)["planes"]
    assert plane["tiles"] > 1
    assert Report.of(job.output).kernel.shape == np.shape(plane["kernel"]["weights"])


class TestSinglePlane:
    @pytest.fixture
    def job(self, tmp_path, pixels) -> Job:
        tifffile.imwrite(tmp_path / "in.tif", pixels[0, 0])
        return Job(input=tmp_path / "in.tif", output=tmp_path / "out.tif", settings=QUICK)

    @pytest.mark.parametrize("name", ["out.tif", "out.ome.tif", "out.ome.zarr"])
    def test_it_equals_the_result_of_the_function(self, job, pixels, name):
        job = job.model_copy(update={"output": job.output.with_name(name)})
        run = run_job(job)
        [block] = [step for step in run if isinstance(step, BlockResult)]
        alone = deconvolve(pixels[0, 0], QUICK)
        assert block.index == ()
        np.testing.assert_array_equal(block.result.kernel, alone.kernel)
        with open_image(job.output) as written:
            assert written.image.axes == "YX"
            np.testing.assert_array_equal(written.image.pixels.compute(), alone.image)
        summary = run.result()
        assert (summary.finished, summary.planes, summary.done) == (True, 1, 1)
        assert not summary.stopped

    def test_it_equals_the_function_with_a_psf_and_a_guess(self, job, pixels, tmp_path):
        psf = gaussian_kernel((9, 9), 1.5)
        tifffile.imwrite(tmp_path / "psf.tif", psf)
        for name, kernel in {"psf": psf, "psf_guess": KernelChoice.start_from(psf)}.items():
            one = job.model_copy(
                update={name: tmp_path / "psf.tif", "output": tmp_path / f"{name}.out.tif"}
            )
            run_job(one).result()
            alone = deconvolve(pixels[0, 0], QUICK, kernel=kernel)
            np.testing.assert_array_equal(tifffile.imread(one.output), alone.image)

    def test_its_sidecar_lists_one_plane(self, job, pixels):
        run_job(job).result()
        record = sidecar_record(job.output)
        alone = deconvolve(pixels[0, 0], QUICK)
        [plane] = record["planes"]
        assert plane["index"] == []
        assert plane["failure"] is None
        own = set(alone.provenance()) - {"software", "settings", "versions"}
        assert own <= plane.keys()
        assert not {"settings", "versions"} & plane.keys(), "these are stored once for all planes"
        expected = json.loads(json.dumps(alone.provenance()))
        for name in own - {"seconds"}:
            assert plane[name] == expected[name], name
        assert record["versions"] == alone.versions
        assert record["job"]["settings"] == QUICK.model_dump(mode="json")
        np.testing.assert_array_equal(
            Kernel.from_record(plane["kernel"]).weights, alone.kernel.weights
        )

    def test_kernel_and_trace_are_written(self, job, pixels, tmp_path):
        kernel, trace = tmp_path / "k.tif", tmp_path / "t.csv"
        settings = NETWORK.with_changes(max_iterations=4)
        job = job.model_copy(update={"settings": settings})
        run_job(job, kernel_out=kernel, trace_out=trace).result()
        alone = deconvolve(pixels[0, 0], settings)
        assert alone.trace["stage"].tolist().count("double-dip") == 4
        np.testing.assert_array_equal(tifffile.imread(kernel), alone.kernel.weights)
        rows = rows_of(trace)
        assert list(rows[0]) == list(TRACE_DTYPE.names)
        losses = [float(row["loss"]) for row in rows]
        np.testing.assert_allclose(losses, alone.trace["loss"])
        stored = sidecar_record(job.output)["planes"][0]["trace"]
        np.testing.assert_allclose([row[2] for row in stored], losses)
        with tifffile.TiffFile(job.output) as tiff:
            assert '"trace"' not in tiff.imagej_metadata["Info"], "in the sidecar only"

    def test_a_stopped_run_writes_the_best_estimate_so_far(self, job):
        settings = NETWORK.with_changes(max_iterations=1000, patience=1000)
        job = job.model_copy(update={"settings": settings})
        fitted = []
        run = run_job(job, should_stop=lambda: len(fitted) == 3)
        for step in run:
            if isinstance(step, Snapshot) and step.stage is Stage.DOUBLE_DIP and step.iteration:
                fitted.append(step)
        summary = run.result()
        assert (summary.finished, summary.stopped, summary.done) == (True, True, 1)
        assert len(fitted) == 3
        assert np.isfinite(tifffile.imread(job.output)).all()
        [plane] = sidecar_record(job.output)["planes"]
        assert plane["stop_reason"] == "stopped"
        assert not partial_folder(job.output).exists()

    def test_a_run_stopped_at_once_writes_a_result(self, job):
        summary = run_job(job, should_stop=lambda: True).result()
        assert (summary.finished, summary.stopped) == (True, True)
        assert tifffile.imread(job.output).shape == (40, 48)

    def test_a_closed_run_leaves_no_file(self, job):
        run = run_job(job)
        next(run)
        run.close()
        assert [path.name for path in job.output.parent.iterdir()] == ["in.tif"]

    def test_a_plane_that_fails_is_an_error_and_leaves_no_file(self, job):
        job = job.model_copy(update={"settings": QUICK.with_changes(kernel_size=99)})
        with pytest.raises(ValueError, match="no larger than the image"):
            run_job(job).result()
        assert [path.name for path in job.output.parent.iterdir()] == ["in.tif"]

    def test_a_computed_plane_is_not_computed_again(self, job, pixels, monkeypatch):
        """Interrupted after the fit, before the output gets its name."""
        with monkeypatch.context() as patched:
            patched.setattr(StackStore, "finish", lambda *_: pytest.fail("killed"))
            with pytest.raises(pytest.fail.Exception):
                run_job(job).result()
        assert not job.output.exists()
        summary = run_job(job, resume=True).result()
        assert (summary.finished, summary.done) == (True, 0)
        np.testing.assert_array_equal(
            tifffile.imread(job.output), deconvolve(pixels[0, 0], QUICK).image
        )

    def test_a_sidecar_of_0_1_0_can_be_read(self, job):
        """In version 0.1.0 the sidecar of a single plane had no list of planes."""
        run_job(job).result()
        record = sidecar_record(job.output)
        [plane] = record.pop("planes")
        old = {**record, **{k: v for k, v in plane.items() if k not in ("index", "failure")}}
        sidecar_of(job.output).write_text(json.dumps(old), encoding="utf-8")
        summary = run_job(job, resume=True).result()
        assert (summary.finished, summary.planes, summary.done) == (True, 1, 0)
        assert list(summary.warnings) == plane["warnings"]
        assert Report.of(job.output).kernel.shape == np.shape(plane["kernel"]["weights"])


class TestWarnings:
    @pytest.fixture
    def sharp(self, tmp_path) -> Path:
        """Three planes without blur, so that each has a warning."""
        planes = np.stack([data.camera()[y : y + 128, 120:248] for y in (100, 120, 140)])
        tifffile.imwrite(tmp_path / "in.tif", planes, imagej=True, metadata={"axes": "ZYX"})
        return tmp_path / "in.tif"

    def test_warnings_are_counted_and_written_to_the_sidecar(self, sharp, tmp_path):
        job = Job(input=sharp, output=tmp_path / "out.tif", settings=SEARCHING)
        summary = run_job(job).result()
        no_blur = QualityFlag.NO_BLUR.sentence
        assert summary.warnings[no_blur] == 3
        assert f"3 planes: {no_blur}" in summary.warning_lines()
        assert all(no_blur in plane["warnings"] for plane in sidecar_record(job.output)["planes"])
        again = run_job(job, resume=True).result()
        assert (again.done, again.warnings) == (0, summary.warnings)

    def test_the_command_prints_the_warnings_of_a_stack(self, sharp, tmp_path):
        done = blind_deconv("run", sharp, tmp_path / "out.tif", *LINEAR)
        assert done.returncode == 0, done.stderr
        assert f"warning: 3 planes: {QualityFlag.NO_BLUR.sentence}" in done.stderr

    def test_the_command_prints_the_warnings_of_a_plane(self, sharp, tmp_path):
        arguments = ("run", sharp, tmp_path / "out.tif", *LINEAR, "--select", "1,:,:")
        done = blind_deconv(*arguments)
        assert done.returncode == 0, done.stderr
        assert f"warning: {QualityFlag.NO_BLUR.sentence}" in done.stderr
        again = blind_deconv(*arguments, "--resume")
        assert "is complete already" in again.stderr
        assert f"warning: {QualityFlag.NO_BLUR.sentence}" in again.stderr


class TestSelecting:
    def test_a_selection_indexes_the_array_in_the_file(self, hyperstack, pixels):
        with open_image(hyperstack, select="1,:,3:20,4:30") as part:
            assert part.image.axes == "CYX"
            np.testing.assert_array_equal(part.image.pixels, pixels[1, :, 3:20, 4:30])
        with open_image(hyperstack, select="0:2,1,:,:") as part:
            assert part.image.axes == "ZYX"
            np.testing.assert_array_equal(part.image.pixels, pixels[0:2, 1])

    @pytest.mark.parametrize("select", ["9,0,:,:", "0,0,1,:", "0,0,:", "0,0,5:5,:", ":,:,:,:,:"])
    def test_a_selection_outside_of_the_array_is_refused(self, hyperstack, select):
        with pytest.raises(ValueError, match="of lengths"):
            open_image(hyperstack, select=select)


class TestOpening:
    def test_imagej(self, hyperstack, pixels):
        with open_image(hyperstack) as stack:
            assert stack.image.axes == "CZYX"
            assert stack.image.blocks == 6
            assert stack.image.spacing == pytest.approx({"Y": 0.1, "X": 0.1, "Z": 0.4})
            assert stack.image.unit == "µm"
            np.testing.assert_array_equal(stack.image.pixels.compute(), pixels.swapaxes(0, 1))

    def test_steps_are_converted_to_the_units_of_the_stack(self, tmp_path):
        """Z has the unit of X, and T is in seconds; a step in an unknown unit is ignored."""
        metadata = {
            "axes": "TZYX",
            **{"PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm"},
            **{"PhysicalSizeY": 200, "PhysicalSizeYUnit": "nm"},
            **{"PhysicalSizeZ": 0.002, "PhysicalSizeZUnit": "mm"},
            **{"TimeIncrement": 100, "TimeIncrementUnit": "ms"},
        }
        image = np.zeros((2, 3, 20, 30), np.uint8)
        tifffile.imwrite(tmp_path / "t.ome.tif", image, ome=True, metadata=metadata)
        with open_image(tmp_path / "t.ome.tif") as stack:
            assert stack.image.spacing == pytest.approx({"T": 0.1, "Z": 2, "Y": 0.2, "X": 0.1})
            assert stack.image.unit == "µm"
        metadata["PhysicalSizeZUnit"] = "reference frame"
        tifffile.imwrite(tmp_path / "t.ome.tif", image, ome=True, metadata=metadata)
        with open_image(tmp_path / "t.ome.tif") as stack:
            assert set(stack.image.spacing) == {"T", "Y", "X"}

    def test_the_frame_interval_of_an_imagej_stack_is_in_seconds(self, tmp_path):
        metadata = {"axes": "TYX", "finterval": 1.5, "tunit": "min"}
        image = np.zeros((3, 20, 30), np.uint8)
        tifffile.imwrite(tmp_path / "t.tif", image, imagej=True, metadata=metadata)
        with open_image(tmp_path / "t.tif") as stack:
            assert stack.image.spacing["T"] == pytest.approx(90)

    def test_steps_of_an_ome_zarr_are_converted(self, tmp_path):
        units = {"t": "millisecond", "z": "nanometer", "y": "micrometer", "x": "micrometer"}
        group = zarr.open_group(tmp_path / "t.zarr", mode="w", zarr_format=2)
        group.create_array("0", shape=(2, 3, 20, 30), dtype="u1", chunks=(1, 1, 20, 30))
        kinds = {"t": "time"}
        axes = [
            {"name": name, "type": kinds.get(name, "space"), "unit": unit}
            for name, unit in units.items()
        ]
        scale = [{"type": "scale", "scale": [100.0, 400.0, 0.2, 0.1]}]
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
        with open_image(tmp_path / "t.zarr") as stack:
            assert stack.image.spacing == pytest.approx({"T": 0.1, "Z": 0.4, "Y": 0.2, "X": 0.1})

    def test_planes_are_read_lazily(self, hyperstack):
        with open_image(hyperstack) as stack:
            assert all(side == 1 for side in stack.image.pixels.chunksize[:2])

    def test_axes_can_be_corrected(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "t.tif", np.zeros((5, 20, 30), np.uint8), photometric="minisblack"
        )
        with open_image(tmp_path / "t.tif") as guessed:
            assert guessed.image.axes == "ZYX"
            assert "assumed to be ZYX" in guessed.described
        with open_image(tmp_path / "t.tif", "tyx") as corrected:
            assert corrected.image.axes == "TYX"
            assert not corrected.notes
        with open_image(tmp_path / "t.tif", "YXC") as turned:
            assert turned.image.pixels.shape == (30, 5, 20)

    @pytest.mark.parametrize("axes", ["ZY", "ZZYX", "QYX", "TCZYX"])
    def test_wrong_axes_are_reported_in_one_sentence(self, tmp_path, axes):
        tifffile.imwrite(
            tmp_path / "t.tif", np.zeros((5, 20, 30), np.uint8), photometric="minisblack"
        )
        with pytest.raises(ValueError, match=r"Expected (one letter for each axis|axes from T)"):
            open_image(tmp_path / "t.tif", axes)

    def test_several_images_in_one_file_are_refused(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "two.tif") as file:
            file.write(np.zeros((20, 30), np.uint8))
            file.write(np.zeros((40, 30), np.uint16))
        with pytest.raises(ValueError, match="got 2 images"):
            open_image(tmp_path / "two.tif")

    def test_of_a_pyramid_the_finest_level_is_read(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "p.tif") as file:
            file.write(np.ones((64, 64), np.uint8), subifds=1, tile=(16, 16))
            file.write(np.ones((32, 32), np.uint8), subfiletype=1, tile=(16, 16))
        with open_image(tmp_path / "p.tif") as stack:
            assert stack.image.pixels.shape == (64, 64)
            assert "pyramid of 2 levels" in stack.described

    def test_a_folder_without_an_image_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="no OME-Zarr image"):
            open_image(tmp_path)

    @pytest.mark.parametrize(
        ("name", "axes", "shape", "kind"),
        [
            ("io/xyzc_16bit__spots.tif", "CZYX", (2, 17, 88, 89), np.uint16),
            ("io/xyz_8bit__mitotic_plate_calibrated.tif", "ZYX", (6, 263, 263), np.uint8),
            ("io/xyt_calibrated_16bit__golgi_bfa_sum_projection.tif", "TYX", (30, 137, 147), "f4"),
            ("io/xy_rgb__cells.tif", "YXS", (257, 280, 3), np.uint8),
            ("io/mitosis-ch0.tif", "ZYX", (7, 256, 256), np.uint8),
            ("io/multi-channel.ome.tif", "CYX", (3, 167, 439), np.int8),
            ("io/16bit.MM.cropped.tif", "YX", (64, 64), np.uint16),
            ("io/12bit.cropped.tif", "YX", (100, 100), np.uint16),
            ("io/hopper_bigtiff.tif", "YXS", (128, 128, 3), np.uint8),
            ("io/chessboard_GRAY_U16B.tif", "YX", (200, 200), np.uint16),
            ("micro-real/xyc_16bit__hela-cells.tif", "CYX", (3, 512, 672), np.uint16),
            ("micro-real/img3d.tif", "ZYX", (31, 61, 57), np.uint16),
        ],
    )
    def test_real_files(self, shared_data, name, axes, shape, kind):
        with open_image(shared_data / name) as stack:
            assert stack.image.axes == axes
            assert stack.image.pixels.shape == shape
            assert stack.image.pixels.dtype.newbyteorder("=") == np.dtype(kind)
            first = stack.image.pixels[
                (0,) * len(axes.removesuffix("S").removesuffix("YX"))
            ].compute()
            assert first.max() > first.min()


class TestJob:
    @pytest.mark.parametrize("name", ["out.tif", "out.ome.tif", "out.ome.zarr"])
    def test_a_stack_keeps_its_axes_and_sizes(self, hyperstack, tmp_path, name):
        job = Job(input=hyperstack, output=tmp_path / name, settings=QUICK)
        summary = run_job(job).result()
        assert summary.finished
        assert summary.done == summary.planes == 6
        assert not summary.failures
        with open_image(job.output) as result, open_image(hyperstack) as source:
            assert result.image.axes == "CZYX"
            assert result.image.spacing == pytest.approx({"Y": 0.1, "X": 0.1, "Z": 0.4})
            assert result.image.unit == "µm"
            assert result.image.pixels.dtype == np.float32
            after, before = (s.image.pixels.mean(axis=(2, 3)).compute() for s in (result, source))
            np.testing.assert_allclose(after, before, rtol=0.02)
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"in.tif", name, f"{name}.json"}

    def test_ome_readers_find_all_metadata(self, tmp_path, pixels):
        source = tmp_path / "in.ome.tif"
        metadata = {
            "axes": "TCYX",
            "TimeIncrement": 2.5,
            "TimeIncrementUnit": "s",
            "PhysicalSizeX": 0.1,
            "PhysicalSizeY": 0.2,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeYUnit": "µm",
            "Channel": {"Name": ["DNA", "actin"]},
        }
        tifffile.imwrite(source, pixels, ome=True, metadata=metadata)
        job = Job(input=source, output=tmp_path / "out.ome.tif", settings=QUICK)
        assert run_job(job).result().finished
        image = ome_types.from_tiff(job.output).images[0]
        assert [channel.name for channel in image.pixels.channels] == ["DNA", "actin"]
        assert (image.pixels.physical_size_x, image.pixels.physical_size_y) == (0.1, 0.2)
        assert image.pixels.time_increment == 2.5
        assert (image.pixels.size_t, image.pixels.size_c) == (3, 2)
        assert json.loads(image.description)["software"] == "napari-blind-deconv"

    def test_an_ome_zarr_contains_its_provenance(self, hyperstack, tmp_path):
        job = Job(input=hyperstack, output=tmp_path / "out.ome.zarr", settings=QUICK)
        run_job(job).result()
        attributes = zarr.open_group(job.output, mode="r").attrs
        assert attributes["napari-blind-deconv"]["job"]["settings"]["seed"] == 0
        again = Job(input=job.output, output=tmp_path / "x.tif", settings=QUICK)
        assert run_job(again).result().finished

    def test_a_sidecar_repeats_the_job(self, hyperstack, tmp_path):
        job = Job(
            input=hyperstack, output=tmp_path / "out.ome.tif", settings=QUICK.with_changes(seed=3)
        )
        run_job(job).result()
        first = tifffile.imread(job.output)
        again = Job.from_sidecar(sidecar_of(job.output))
        assert again == job
        run_job(again, overwrite=True).result()
        np.testing.assert_array_equal(tifffile.imread(job.output), first)

    def test_a_sidecar_of_0_1_0_repeats_the_job(self, hyperstack, tmp_path):
        """In version 0.1.0 device and seed were outside of the settings."""
        job = Job(input=hyperstack, output=tmp_path / "out.tif", settings=NETWORK)
        record = job.as_record()
        for name in ("device", "seed", "solver"):
            record["settings"].pop(name)
        old = {"job": {**record, "device": "cpu", "seed": 7}}
        (tmp_path / "old.json").write_text(json.dumps(old))
        again = Job.from_sidecar(tmp_path / "old.json")
        assert again.settings == NETWORK.with_changes(device="cpu", seed=7)
        assert again.model_copy(update={"settings": NETWORK}) == job

    def test_a_finished_job_keeps_all_its_files(self, hyperstack, tmp_path):
        """A script may repeat the same command until it succeeds."""
        extra_outputs = {"kernel_out": tmp_path / "k.tif", "trace_out": tmp_path / "t.csv"}
        job = Job(input=hyperstack, output=tmp_path / "out.tif", settings=QUICK)
        run_job(job, **extra_outputs).result()
        before = {path: path.read_bytes() for path in extra_outputs.values()}
        again = run_job(job, **extra_outputs, resume=True).result()
        assert again.finished
        assert again.done == 0
        assert {path: path.read_bytes() for path in extra_outputs.values()} == before

    def test_a_plane_that_was_stopped_is_not_finished(self, tmp_path, pixels):
        tifffile.imwrite(tmp_path / "in.tif", pixels[0, 0])
        fitted = NETWORK.with_changes(max_iterations=2)
        job = Job(input=tmp_path / "in.tif", output=tmp_path / "out.tif", settings=fitted)
        assert run_job(job, should_stop=lambda: True).result().stopped
        again = run_job(job, resume=True).result()
        assert (again.done, again.stopped) == (1, False)

    def test_a_run_killed_before_its_first_plane_does_not_block_the_next(
        self, hyperstack, tmp_path
    ):
        job = Job(input=hyperstack, output=tmp_path / "out.tif", settings=QUICK)
        steps = run_job(job)
        for _ in steps:
            if (partial_folder(job.output) / "plan.json").is_file():
                break
        steps.close()
        assert run_job(job).result().finished

    def test_a_json_file_that_is_no_sidecar_is_refused(self, tmp_path):
        (tmp_path / "x.json").write_text('{"job": {"input": "a.tif", "code": "import os"}}')
        with pytest.raises(ValueError, match="is not the sidecar of a run"):
            Job.from_sidecar(tmp_path / "x.json")

    def test_failed_planes_are_in_the_sidecar(self, tmp_path, pixels):
        stack = pixels[:, 0].astype(np.float32)
        stack[1] = np.nan
        tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, metadata={"axes": "ZYX"})
        job = Job(input=tmp_path / "in.tif", output=tmp_path / "out.tif", settings=QUICK)
        summary = run_job(job).result()
        assert list(summary.failures) == [(1,)]
        planes = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))["planes"]
        assert "NaN" in planes[1]["failure"]
        assert np.isnan(tifffile.imread(job.output)[1]).all()

    def test_outputs_that_are_refused(self, hyperstack, tmp_path):
        job = Job(input=hyperstack, output=hyperstack, settings=QUICK)
        with pytest.raises(ValueError, match="exists; it is replaced only"):
            run_job(job).result()
        with pytest.raises(ValueError, match="for both"):
            run_job(job, overwrite=True).result()
        with pytest.raises(ValueError, match=r"ends in \.tif"):
            run_job(Job(input=hyperstack, output=tmp_path / "x.png", settings=QUICK)).result()


class TestResuming:
    def test_a_stopped_run_continues_to_the_same_result(self, hyperstack, tmp_path):
        complete = Job(input=hyperstack, output=tmp_path / "complete.ome.tif", settings=QUICK)
        run_job(complete).result()
        job = Job(input=hyperstack, output=tmp_path / "out.ome.tif", settings=QUICK)
        summary = interrupted(job, 2)
        assert not summary.finished
        assert summary.stopped
        assert not job.output.exists()
        with pytest.raises(ValueError, match="--resume continues"):
            run_job(job).result()
        rest = run_job(job, resume=True).result()
        assert rest.done == 4
        np.testing.assert_array_equal(tifffile.imread(job.output), tifffile.imread(complete.output))
        assert not partial_folder(job.output).exists()

    def test_only_the_same_job_is_resumed(self, hyperstack, tmp_path):
        job = Job(input=hyperstack, output=tmp_path / "out.ome.tif", settings=QUICK)
        interrupted(job, 1)
        with pytest.raises(ValueError, match=r"different options \(settings\)"):
            run_job(
                job.model_copy(update={"settings": QUICK.with_changes(seed=1)}), resume=True
            ).result()

    def test_traces_and_kernels_of_both_runs_are_written(self, hyperstack, tmp_path):
        """Each plane appears once; records keep those of planes that were done before."""
        output, kernel, trace = (tmp_path / name for name in ("out.ome.tif", "k.tif", "t.csv"))
        job = Job(input=hyperstack, output=output, settings=QUICK, kernel="per-slice")
        blocks = []
        extra_outputs = {"kernel_out": kernel, "trace_out": trace}
        run = run_job(job, **extra_outputs, should_stop=lambda: len(blocks) == 2)
        blocks.extend(step for step in run if isinstance(step, BlockResult))
        assert not run.result().finished
        assert not kernel.exists()
        assert not trace.exists()
        assert run_job(job, **extra_outputs, resume=True).result().done == 4
        assert tifffile.imread(kernel).shape[:2] == (3, 2)
        entries = [(int(row["c"]), int(row["z"]), int(row["iteration"])) for row in rows_of(trace)]
        assert len(entries) == len(set(entries))
        assert {entry[:2] for entry in entries} == set(np.ndindex(2, 3))

    def test_an_incomplete_record_is_ignored(self, hyperstack, tmp_path):
        job = Job(input=hyperstack, output=tmp_path / "out.ome.tif", settings=QUICK)
        interrupted(job, 2)
        records = partial_folder(job.output) / "planes.jsonl"
        records.write_text(records.read_text()[:-20])
        assert run_job(job, resume=True).result().done == 5
        planes = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))["planes"]
        assert len(planes) == 6, "the incomplete record loses no plane"


class TestCommandLine:
    @pytest.mark.skipif(sys.platform == "win32", reason="a limit on file size needs POSIX")
    @pytest.mark.parametrize("name", ["out.ome.tif", "out.ome.zarr"])
    def test_a_full_disk_is_reported_in_one_sentence_and_loses_nothing(self, tmp_path, name):
        noise = np.random.default_rng(0).integers(0, 60_000, (2, 160, 160), dtype=np.uint16)
        tifffile.imwrite(tmp_path / "in.tif", noise, imagej=True, metadata={"axes": "ZYX"})
        arguments = ("run", tmp_path / "in.tif", tmp_path / name, *FAST)
        with full_disk(30_000):
            full = blind_deconv(*arguments)
        assert full.returncode == 2, full.stderr
        assert "could not be written" in full.stderr.replace("\n", " ")
        assert "Traceback" not in full.stderr
        assert not (tmp_path / name).exists()
        done = blind_deconv("run", tmp_path / "in.tif", tmp_path / name, *FAST, "--resume")
        assert done.returncode == 0, done.stderr

    def test_a_failed_plane_changes_the_exit_code(self, tmp_path, pixels):
        stack = pixels[:, 0].astype(np.float32)
        stack[2] = 0
        tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, metadata={"axes": "ZYX"})
        done = blind_deconv("run", tmp_path / "in.tif", tmp_path / "out.tif", *FAST)
        assert done.returncode == 3, done.stderr
        assert "plane (2,)" in done.stderr
        assert "3 of 3 planes" in done.stderr

    def test_the_kernels_of_all_channels_are_in_one_file(self, hyperstack):
        folder = hyperstack.parent
        done = blind_deconv(
            "run", hyperstack, folder / "out.tif", *FAST, "--kernel-out", folder / "k.tif"
        )
        assert done.returncode == 0, done.stderr
        kernels = tifffile.imread(folder / "k.tif")
        assert kernels.shape[0] == 2
        np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 1, rtol=1e-4)

    def test_the_kernels_of_all_planes_are_in_one_file(self, hyperstack):
        folder = hyperstack.parent
        done = blind_deconv(
            *("run", hyperstack, folder / "out.tif", *FAST),
            *("--kernel", "per-slice", "--kernel-out", folder / "k.tif"),
        )
        assert done.returncode == 0, done.stderr
        with tifffile.TiffFile(folder / "k.tif") as tiff:
            assert tiff.series[0].axes == "ZCYX", "the order of ImageJ"
            kernels = tiff.asarray()
        assert kernels.shape[:2] == (3, 2)
        np.testing.assert_allclose(kernels.sum(axis=(2, 3)), 1, rtol=1e-4)
        for plane in sidecar_record(folder / "out.tif")["planes"]:
            channel, z = plane["index"]
            page = kernels[z, channel]
            own = np.array(plane["kernel"]["weights"])
            rows, columns = ((w - n) // 2 for w, n in zip(page.shape, own.shape, strict=True))
            inner = page[rows : rows + own.shape[0], columns : columns + own.shape[1]]
            np.testing.assert_allclose(inner, own, rtol=1e-6)

    def test_the_traces_of_all_planes_are_in_one_file(self, hyperstack):
        folder = hyperstack.parent
        arguments = ("run", hyperstack, folder / "out.tif", *FAST)
        done = blind_deconv(*arguments, "--trace-out", folder / "t.csv")
        assert done.returncode == 0, done.stderr
        rows = rows_of(folder / "t.csv")
        assert list(rows[0]) == ["c", "z", *TRACE_DTYPE.names]
        indices = {(int(row["c"]), int(row["z"])) for row in rows}
        assert indices == set(np.ndindex(2, 3))
        for plane in sidecar_record(folder / "out.tif")["planes"]:
            own = [row for row in rows if [int(row["c"]), int(row["z"])] == plane["index"]]
            assert [int(row["iteration"]) for row in own] == list(range(1, plane["iterations"] + 1))

    def test_a_guess_is_used_for_a_stack(self, hyperstack):
        folder = hyperstack.parent
        tifffile.imwrite(folder / "guess.tif", gaussian_kernel((9, 9), 1.5))
        done = blind_deconv(
            "run", hyperstack, folder / "out.tif", *FAST, "--psf-guess", folder / "guess.tif"
        )
        assert done.returncode == 0, done.stderr
        planes = sidecar_record(folder / "out.tif")["planes"]
        assert {plane["kernel_source"] for plane in planes} == {"guess"}

    def test_a_selection_of_a_stack_is_deconvolved(self, hyperstack):
        out = hyperstack.parent / "out.tif"
        done = blind_deconv("run", hyperstack, out, *FAST, "--select", "1,0,2:40,:")
        assert done.returncode == 0, done.stderr
        assert tifffile.imread(out).shape == (38, 48)

    def test_resume_does_not_replace_a_file(self, tmp_path, pixels):
        tifffile.imwrite(tmp_path / "in.tif", pixels[0, 0])
        (tmp_path / "out.tif").write_bytes(b"precious")
        done = blind_deconv("run", tmp_path / "in.tif", tmp_path / "out.tif", *FAST, "--resume")
        assert done.returncode == 2
        assert (tmp_path / "out.tif").read_bytes() == b"precious"

    def test_the_sidecar_of_a_plane_repeats_the_run(self, tmp_path, pixels):
        tifffile.imwrite(tmp_path / "in.tif", pixels[0, 0])
        out = tmp_path / "out.tif"
        assert blind_deconv("run", tmp_path / "in.tif", out, *FAST).returncode == 0
        first = tifffile.imread(out)
        done = blind_deconv("run", "--from-sidecar", sidecar_of(out), "--overwrite")
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(tifffile.imread(out), first)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ((), "Expected an input and an output"),
            (("in.tif", "out.tif", "--kernel", "best"), "Expected 'per-channel'"),
            (("in.tif", "out.tif", "--reference", "a"), "index of a plane, such as 0,1,5"),
            (("in.tif", "out.tif", "--trace-out", "t.txt"), "ends in .csv"),
            (("in.tif", "out.tif", "--kernel-out", "k.png"), "ends in .tif"),
            (("in.tif", "out.tif", "--axes", "ZYX"), "one letter for each axis"),
            (("in.tif", "out.tif", "--select", "1,0"), "an index or a range for each"),
            (("in.tif", "out.tif", "--select", "1,0,a:b,:"), "indices and ranges such as"),
            (("in.tif", "out.tif", "--psf-guess", "guess.tif"), "No such file or directory: "),
        ],
    )
    def test_bad_input_is_reported_in_one_sentence(
        self, hyperstack, monkeypatch, options, sentence
    ):
        monkeypatch.chdir(hyperstack.parent)
        done = blind_deconv("run", *options)
        assert done.returncode == 2, done.stderr
        assert sentence in done.stderr.replace("\n", " ")
        assert "Traceback" not in done.stderr
        assert [path.name for path in hyperstack.parent.iterdir()] == ["in.tif"]
