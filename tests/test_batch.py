"""Batches of files: each file is a job of its own, and a bad file does not stop the others."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage import data
from tests.command import as_options
from typer.testing import CliRunner

from napari_blind_deconv import Settings
from napari_blind_deconv.batch import plan_batch, run_batch
from napari_blind_deconv.cli import app
from napari_blind_deconv.jobs import Job, sidecar_of
from napari_blind_deconv.reasons import QualityFlag
from napari_blind_deconv.synthetic import fluorescence_scene

QUICK = Settings(solver="wiener")


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    for seed, name in enumerate(("a.tif", "b.ome.tif")):
        image = fluorescence_scene((40, 48), seed=seed).observed
        tifffile.imwrite(tmp_path / "in" / name, image)
    (tmp_path / "in" / "c.tif").write_text("no image")
    return tmp_path


def jobs_of(folder: Path) -> list[Job]:
    (folder / "out").mkdir()
    pairs = plan_batch([str(folder / "in" / "*.tif")], folder / "out", "_deblurred.ome.tif")
    return [Job(input=source, output=target, settings=QUICK) for source, target in pairs]


def test_a_bad_file_does_not_stop_the_others(folder):
    failures = {job.input.name: report.trouble for job, report in run_batch(jobs_of(folder))}
    assert failures["a.tif"] == failures["b.ome.tif"] == ""
    assert "cannot be read" in failures["c.tif"]
    written = {path.name for path in (folder / "out").iterdir()}
    assert written == {
        "a_deblurred.ome.tif",
        "a_deblurred.ome.tif.json",
        "b_deblurred.ome.tif",
        "b_deblurred.ome.tif.json",
    }


def test_a_closed_batch_ends_soon_and_restores_the_environment(folder, monkeypatch):
    """As after Ctrl-C: files that wait in the queue are not computed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    tifffile.imwrite(folder / "psf.tif", np.ones((3, 3), np.float32))
    job = jobs_of(folder)[0].model_copy(update={"psf": folder / "psf.tif"})
    jobs = [
        job.model_copy(update={"output": job.output.with_name(f"{number}.ome.tif")})
        for number in range(12)
    ]
    run = run_batch(jobs, at_a_time=2)
    next(run)
    run.close()
    assert 1 <= len(list((folder / "out").glob("*.ome.tif"))) < 12
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_plane_of_a_batch_equals_a_single_run(folder):
    from napari_blind_deconv import deconvolve

    job = jobs_of(folder)[0]
    [(_, report)] = run_batch([job])
    assert not report.trouble
    alone = deconvolve(tifffile.imread(job.input), QUICK)
    np.testing.assert_array_equal(tifffile.imread(job.output), alone.image)


def test_an_existing_output_is_kept(folder):
    jobs = jobs_of(folder)[:1]
    jobs[0].output.write_bytes(b"precious")
    [(_, report)] = run_batch(jobs)
    assert "exists; it is replaced only with --overwrite" in report.trouble
    assert jobs[0].output.read_bytes() == b"precious"


def test_missing_files_and_clashing_names_are_refused(folder):
    with pytest.raises(ValueError, match="No file matches"):
        plan_batch([str(folder / "*.png")], folder, ".tif")
    (folder / "in2").mkdir()
    (folder / "in2" / "a.tif").touch()
    with pytest.raises(ValueError, match="would both become"):
        plan_batch([str(folder / "in*" / "a.tif")], folder / "out", ".tif")


def run_command(folder: Path, *options: str):
    arguments = ["batch", str(folder / "in" / "*.tif"), "--out", str(folder / "out")]
    return CliRunner().invoke(app, [*arguments, *as_options(QUICK), *options])


def test_the_command_prints_warnings_and_failures(folder):
    """For planes and for stacks; here the images have no blur."""
    planes = np.stack([data.camera()[y : y + 128, 120:248] for y in (100, 140)])
    for name in ("a.tif", "b.ome.tif"):
        (folder / "in" / name).unlink()
    tifffile.imwrite(folder / "in" / "plane.tif", planes[0])
    tifffile.imwrite(folder / "in" / "stack.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    done = run_command(folder, "--jobs", "1")
    assert done.exit_code == 3, done.output
    assert "2 of 3 files done" in done.stderr
    assert f"{folder / 'in' / 'c.tif'}: " in done.stderr.replace("\n", "")
    no_blur = QualityFlag.NO_BLUR.sentence
    assert f"plane.tif: warning: {no_blur}" in done.stderr
    assert f"stack.tif: warning: 2 planes: {no_blur}" in done.stderr
    for name in ("plane", "stack"):
        sidecar = sidecar_of(folder / "out" / f"{name}_deblurred.ome.tif")
        planes = json.loads(sidecar.read_text(encoding="utf-8"))["planes"]
        assert all(no_blur in plane["warnings"] for plane in planes)


def test_a_guess_of_the_kernel_is_corrected_for_each_image(folder):
    (folder / "in" / "c.tif").unlink()
    tifffile.imwrite(folder / "psf.tif", np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32))
    done = run_command(folder, "--psf-guess", str(folder / "psf.tif"))
    assert done.exit_code == 0, done.output
    sidecar = sidecar_of(folder / "out" / "a_deblurred.ome.tif")
    job = json.loads(sidecar.read_text(encoding="utf-8"))["job"]
    assert job["psf_guess"] == str(folder / "psf.tif")


def test_a_result_that_is_complete_is_reported_as_an_earlier_one(folder):
    jobs = jobs_of(folder)[:1]
    assert [report.is_earlier for _, report in run_batch(jobs)] == [False]
    assert [report.is_earlier for _, report in run_batch(jobs, resume=True)] == [True]


def test_a_plane_that_fails_leaves_no_file(folder):
    tifffile.imwrite(folder / "in" / "a.tif", np.full((40, 48), 7, np.uint8))
    tifffile.imwrite(folder / "in" / "b.ome.tif", np.full((40, 48), np.nan, np.float32))
    reports = [report for _, report in run_batch(jobs_of(folder)[:2])]
    assert "Expected an image with some contrast" in reports[0].trouble
    assert "NaN or infinity" in reports[1].trouble
    assert list((folder / "out").iterdir()) == []
