"""Volumes: one axis more, for problems, solvers, stacks and files."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage
from skimage.registration import phase_cross_correlation
from tests.command import LINEAR, blind_deconv

from napari_blind_deconv import (
    Image,
    KernelChoice,
    Settings,
    Stage,
    StopReason,
    deconvolve,
    deconvolve_stack,
)
from napari_blind_deconv.engine.double_dip import DoubleDip
from napari_blind_deconv.engine.expected_error import expected_error
from napari_blind_deconv.engine.log_gaussian import LogGaussian, local_models
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.richardson_lucy import RichardsonLucy
from napari_blind_deconv.engine.solver import RunControl, Solver, SolverOutcome, run_solver
from napari_blind_deconv.engine.stack_plan import make_plan
from napari_blind_deconv.engine.wiener import Wiener, noise_to_signal_of
from napari_blind_deconv.errors import OutOfMemoryError
from napari_blind_deconv.figures import report_figure, write_report
from napari_blind_deconv.io.images import write_plane
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, run_job, sidecar_of
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.spectrum import scene_frequency
from napari_blind_deconv.numerics.wiener import scene_penalty
from napari_blind_deconv.reasons import Finding, QualityFlag, SkipReason
from napari_blind_deconv.report import Report
from napari_blind_deconv.results import Notice
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.task import Task
from napari_blind_deconv.verdict import verdict

SIZE = (0.3, 0.1, 0.1)
KERNEL = gaussian_kernel((9, 7, 7), (1.8, 1.2, 1.2))
SETTINGS = Settings(
    channels=(8, 8), kernel_features=32, max_iterations=15, stop_at_noise=False, precision="float32"
)


@pytest.fixture(scope="module")
def volume() -> tuple[np.ndarray, np.ndarray]:
    """The ground truth and the image, in counts above an offset."""
    points = np.random.default_rng(0).random((28, 38, 40)) > 0.985
    scene = 2000 * ndimage.gaussian_filter(points.astype(np.float32), 0.8)
    convolution = Convolution(torch.from_numpy(KERNEL))
    blurred = convolution.forward(torch.from_numpy(scene)).numpy() + 100
    noisy = blurred + np.random.default_rng(1).normal(0, 1, blurred.shape)
    return convolution.field_of_view(scene) + 100, noisy.astype(np.float32)


@pytest.fixture(scope="module")
def problem(volume) -> Problem:
    image = Image(
        volume[1], "ZYX", dict(zip("ZYX", (0.3, 0.1, 0.1), strict=True)), "µm", space="ZYX"
    )
    return Problem.of(Task(image, SETTINGS, KernelChoice.hold(KERNEL)))


def outcome_of(problem: Problem, solver: Solver) -> SolverOutcome:
    return run_to_end(run_solver(problem, solver, RunControl()))


def error(problem: Problem, outcome: SolverOutcome, truth: np.ndarray) -> float:
    estimate, kernel = problem.to_output(outcome.best.canvas, outcome.best.kernel)
    assert estimate.shape == truth.shape
    assert kernel.shape == KERNEL.shape
    return float(np.mean(np.square(estimate - truth)))


@pytest.mark.parametrize(
    "name", [Stage.WIENER, Stage.LOG_GAUSSIAN, Stage.RICHARDSON_LUCY, Stage.DOUBLE_DIP]
)
def test_every_solver_improves_a_volume(volume, problem, name):
    truth, recorded = volume
    assert problem.kernel_start is not None
    ratio = noise_to_signal_of(problem, problem.kernel_start)
    wiener = Wiener(problem, problem.kernel_start, ratio)
    linear = outcome_of(problem, wiener)
    solvers = {
        Stage.WIENER: lambda: wiener,
        Stage.LOG_GAUSSIAN: lambda: LogGaussian(problem, wiener.canvas, ratio),
        Stage.RICHARDSON_LUCY: lambda: RichardsonLucy(problem),
        Stage.DOUBLE_DIP: lambda: DoubleDip(problem, wiener.canvas),
    }
    outcome = linear if name is Stage.WIENER else outcome_of(problem, solvers[name]())
    assert outcome.reason in (StopReason.COMPLETED, StopReason.ITERATION_LIMIT)
    assert error(problem, outcome, truth) < 0.8 * np.mean(np.square(recorded - truth))
    assert problem.to_output(outcome.best.canvas, outcome.best.kernel)[0].mean() == pytest.approx(
        recorded.mean(), rel=0.02
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("solver", ["wiener", "richardson-lucy", "log-gaussian"])
def test_a_gpu_gives_the_same_estimate(volume, solver):
    options = {"axes": "ZYX", "pixel_size": SIZE, "kernel": KERNEL, "solver": solver}
    torch.cuda.reset_peak_memory_stats()
    on_gpu = deconvolve(volume[1], device="cuda", **options)
    canvas = np.prod(np.add(volume[1].shape, KERNEL.shape) - 1)
    assert torch.cuda.max_memory_allocated() > 20 * canvas  # the GPU has computed it
    on_cpu = deconvolve(volume[1], device="cpu", **options)
    difference = np.square(on_gpu.image - on_cpu.image).mean() / on_cpu.image.var()
    assert difference < 1e-3


def test_a_kernel_with_other_axes_is_refused(volume):
    image = Image(
        volume[1], "ZYX", dict(zip("ZYX", (0.3, 0.1, 0.1), strict=True)), "µm", space="ZYX"
    )
    with pytest.raises(ValueError, match=r"Expected a 3D PSF .* a 2D PSF is for planes"):
        Problem.of(Task(image, SETTINGS, KernelChoice.hold(KERNEL[4])))


def job_on(stored: np.ndarray, folder: Path, name: str) -> Job:
    """Return a job on volumes ``(Z, C, Y, X)``, as ImageJ stores them, with an output of a name."""
    source, psf = folder / "in.tif", folder / "psf.tif"
    tifffile.imwrite(source, stored, imagej=True, metadata={"axes": "ZCYX"})
    tifffile.imwrite(psf, KERNEL)
    return Job(
        input=source,
        output=folder / name,
        settings=Settings(solver="wiener"),
        psf=psf,
        pixel_size=SIZE,
        block="volume",
    )


def test_an_empty_start_is_raised_to_what_noise_hides():
    random = np.random.default_rng(0)
    points = (random.random((24, 64, 64)) > 0.998) * random.uniform(0.5, 1, (24, 64, 64))
    points[:, :, 40:] = 0
    light = ndimage.gaussian_filter(points, 1.5)
    counts = random.poisson(300 * light / light.max()) + 100.0
    noise = random.normal(0, 4, counts.shape)
    shares = []
    for observed in (counts, counts + noise):
        image = Image(observed, "ZYX", dict.fromkeys("ZYX", 0.1), "µm", space="ZYX")
        kernel = KernelChoice.hold(gaussian_kernel((13,) * 3, 1.5))
        problem = Problem.of(Task(image, Settings(device="cpu"), kernel))
        start = np.full((1, *problem.canvas_shape), problem.observed.min())
        [model] = local_models(problem, start, 0.1)
        empty = np.full(problem.canvas_shape, model.dark, np.float32)
        raised = model.link(torch.from_numpy(model.field_of(empty)))
        shares.append(float(raised.max()) / model.bright)
    photons, camera = shares
    assert 0 < 2 * photons < camera <= 0.0101  # a tenth of what is dark light for the link


class TestRun:
    """The public functions on volumes."""

    def test_a_volume_becomes_sharper(self, volume):
        truth, recorded = volume
        result = deconvolve(recorded, axes="ZYX", kernel=KERNEL, pixel_size=SIZE)
        assert result.image.shape == recorded.shape
        assert result.image.dtype == np.float32
        assert result.kernel.pixel_size == SIZE
        assert np.mean(np.square(result.image - truth)) < 0.6 * np.mean(np.square(recorded - truth))
        assert result.image.sum() == pytest.approx(recorded.sum(), rel=0.02)
        assert result.skipped[Stage.DOUBLE_DIP] is SkipReason.VOLUME
        assert result.stages.startswith("richardson-lucy, log-gaussian (kept)")
        assert result.trust.resolution_after < result.trust.resolution_before

    def test_a_result_is_not_shifted(self, volume):
        truth, recorded = volume
        off = np.pad(KERNEL, ((2, 0), (0, 0), (0, 2)))  # neither centred nor of odd sides
        result = deconvolve(recorded, axes="ZYX", kernel=off, pixel_size=SIZE, solver="wiener")
        shift, *_ = phase_cross_correlation(truth, result.image, upsample_factor=20)
        np.testing.assert_allclose(shift, 0, atol=0.1)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"pixel_size": None}, "Expected the voxel size of a volume"),
            ({"kernel": KernelChoice.start_from(KERNEL)}, "got a guess, which only planes refine"),
            ({"pixel_size": (0.3, 0.1)}, "one positive pixel size for each of the axes 'ZYX'"),
            ({"kernel": KERNEL[4:5]}, "got a PSF with 100 % of its light in one plane"),
            ({"image": np.ones((7, 30, 30))}, "Expected a volume of at least 8 planes, got 7"),
        ],
    )
    def test_what_is_missing_is_said(self, volume, change, sentence):
        options = {"image": volume[1], "axes": "ZYX", "kernel": KERNEL, "pixel_size": SIZE}
        with pytest.raises(ValueError, match=sentence):
            deconvolve(**{**options, **change})

    def test_coarse_steps_along_z_are_no_finer_detail(self):
        """The prior of a scene is one of lengths, so it knows how far apart the planes are."""
        frequencies = (np.array([0.9]), np.array([0.0]), np.array([0.0]))
        assert scene_frequency(frequencies, (3.0, 1.0, 1.0)) == pytest.approx(0.3)
        coarse = scene_penalty((16, 16, 16), noise_to_signal=1.0, sampling=(3.0, 1.0, 1.0))
        alike = scene_penalty((16, 16, 16), noise_to_signal=1.0)
        assert coarse[15, 0, 0] == pytest.approx(alike[5, 0, 0])
        assert coarse[0, 15, 0] == alike[0, 15, 0]

    def test_every_volume_of_a_stack_is_the_same_as_alone(self, volume):
        _, recorded = volume
        stack = np.stack([recorded, recorded[::-1] + 5])[:, :, np.newaxis]
        run = deconvolve_stack(
            stack,
            axes="TZCYX",
            block="volume",
            kernel=KERNEL,
            pixel_size=SIZE,
            solver="wiener",
        )
        assert [block.index for block in run] == [(0, 0), (1, 0)]
        result = run.result()
        assert result.image.shape == (2, 1, *recorded.shape), "Z is before Y"
        (span,) = result.plan.intensity_ranges
        alone = deconvolve(
            stack[1, :, 0],
            axes="ZYX",
            kernel=KERNEL,
            pixel_size=SIZE,
            solver="wiener",
            intensity_range=span,
        )
        np.testing.assert_array_equal(result.image[1, 0], alone.image)

    def test_a_mask_of_a_volume_is_kept(self, volume):
        _, recorded = volume
        broken, mask = recorded.copy(), np.zeros(recorded.shape, bool)
        mask[10:14, 5:12, 5:12] = True
        broken[mask] = 1e4
        result = deconvolve(
            broken,
            axes="ZYX",
            kernel=KERNEL,
            pixel_size=SIZE,
            solver="wiener",
            mask=mask,
        )
        np.testing.assert_array_equal(result.image[mask], broken[mask])
        assert result.image[~mask].max() < 5e3

    @pytest.mark.parametrize("name", ["out.ome.tif", "out.ome.zarr"])
    def test_files(self, volume, tmp_path, name):
        _, recorded = volume
        stored = np.stack([recorded, recorded], axis=1).clip(0).astype(np.uint16)
        job = job_on(stored, tmp_path, name)
        out = job.output
        assert run_job(job).result().done == 2
        with open_image(out) as opened:
            assert opened.image.axes == "CZYX"
            assert opened.image.pixel_size == pytest.approx(SIZE[1:])
            assert opened.image.spacing["Z"] == pytest.approx(SIZE[0])
            again = np.asarray(opened.image.pixels)
        alone = deconvolve(
            stored[:, 1], axes="ZYX", kernel=KERNEL, pixel_size=SIZE, solver="wiener"
        )
        np.testing.assert_allclose(again[1], alone.image, rtol=1e-4, atol=0.05)
        assert Job.from_sidecar(sidecar_of(out)) == job

    def test_a_mask_of_a_plane_holds_for_all_planes(self, volume):
        _, recorded = volume
        mask = np.zeros(recorded.shape[1:], bool)
        mask[5:8, 5:8] = True
        options = {"axes": "ZYX", "kernel": KERNEL, "pixel_size": SIZE, "solver": "wiener"}
        result = deconvolve(recorded, mask=mask, **options)
        assert result.findings[Finding.MASKED] == 9 * len(recorded)
        np.testing.assert_array_equal(result.image[:, mask], recorded[:, mask])

    def test_an_unknown_block_is_refused(self, volume):
        with pytest.raises(ValueError, match="Expected 'plane' or 'volume' as the block, got 'vol"):
            deconvolve_stack(volume[1], axes="ZYX", block="vol", kernel=KERNEL)

    def test_a_strength_needs_no_networks(self, volume):
        """The networks of `image_start` random do not refine volumes, so nothing is refused."""
        result = deconvolve(
            volume[1],
            axes="ZYX",
            kernel=KERNEL,
            pixel_size=SIZE,
            image_start="random",
            strength=1.2,
            max_iterations=3,
        )
        assert result.skipped[Stage.DOUBLE_DIP] is SkipReason.VOLUME

    def test_one_beyond_memory_is_refused_in_a_sentence(self, volume, monkeypatch):
        free = SimpleNamespace(available=100 * 2**20)
        monkeypatch.setattr("psutil.virtual_memory", lambda: free)
        options = {"axes": "ZYX", "kernel": KERNEL, "pixel_size": SIZE, "device": "cpu"}
        result = deconvolve(volume[1], solver="richardson-lucy", max_iterations=2, **options)
        assert result.image.shape == volume[1].shape
        free.available = 5 * 2**20
        with pytest.raises(OutOfMemoryError, match="canvas of 28 × 40 × 40 voxels; try a smaller"):
            deconvolve(volume[1], **options)

    def test_a_thin_volume_may_have_pixels_that_are_no_image(self, volume):
        thin = volume[1][:8].copy()
        thin[3, ::9, ::9] = np.nan
        result = deconvolve(thin, axes="ZYX", kernel=KERNEL, pixel_size=SIZE, solver="wiener")
        assert result.findings[Finding.NOT_FINITE] == np.isnan(thin).sum()

    def test_all_texts_on_a_volume_speak_of_voxels(self, volume, tmp_path):
        hot = volume[1].copy()
        hot[6, 16, 18] = 60_000
        result = run_job(job := job_on(hot[:, None], tmp_path, "out.tif")).result()
        assert "Hot or dead voxels were left out and replaced (1 voxel)." in result.finding_lines()
        report = Report.of(job.output)
        flagged = replace(report, flags=tuple(QualityFlag))
        assert "Hot or dead voxels" in " ".join(report.notes)
        assert "the size of its voxels" in flagged.verdict
        one = deconvolve(hot, axes="ZYX", kernel=KERNEL, pixel_size=SIZE, solver="wiener")
        record = replace(one, flags=tuple(QualityFlag)).provenance()
        assert any("smaller voxels" in text for text in record["warnings"])
        for text in (*report.notes, flagged.verdict, *record["warnings"]):
            assert "pixel" not in text

    def test_a_lost_frame_is_left_out(self, volume):
        _, recorded = volume
        lost = recorded.copy()
        lost[5] = 0
        options = {"axes": "ZYX", "kernel": KERNEL, "pixel_size": SIZE, "solver": "wiener"}
        result = deconvolve(lost, **options)
        assert result.findings[Finding.FLAT] == lost[5].size
        np.testing.assert_array_equal(result.image[5], 0)
        kept = np.arange(len(lost)) != 5
        assert result.image[kept].mean() == pytest.approx(recorded[kept].mean(), rel=0.02)
        # Without an offset, a dark plane is part of the image.
        dark = np.maximum(recorded - 150, 0)
        dark[5] = 0
        assert Finding.FLAT not in deconvolve(dark, **options).findings

    def test_a_psf_that_is_only_cut_is_not_called_resampled(self, volume):
        wide = gaussian_kernel((61, 7, 7), (1.8, 1.2, 1.2))
        image = Image(volume[1], "ZYX", dict(zip("ZYX", SIZE, strict=True)), space="ZYX")
        task = Task(image, Settings(solver="wiener"), KernelChoice.hold(wide))
        assert not any(isinstance(step, Notice) for step in make_plan(task, RunControl()))


def test_the_commands_say_volume(volume, tmp_path):
    stack = np.stack([volume[1], volume[1] * 0 + 7])
    axes = {"axes": "TZYX"}
    tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, metadata=axes)
    tifffile.imwrite(tmp_path / "psf.tif", KERNEL)
    options = ("--volume", "--psf", "psf.tif", "--pixel-size", "0.3,0.1,0.1", *LINEAR)
    single = blind_deconv("run", "in.tif", "out.tif", *options, cwd=tmp_path)
    assert single.returncode == 3
    assert "volume (1,): Expected an image with some contrast" in single.stderr
    assert "2 of 2 volumes" in single.stderr
    assert "plane" not in single.stderr
    many = blind_deconv("batch", "in.tif", "--out", "out", *options, cwd=tmp_path)
    assert "1 volume(s) failed; volume (1,): Expected" in many.stderr


@pytest.fixture(scope="module")
def judged_job(volume, tmp_path_factory) -> Job:
    """A finished job on two volumes, in which Z is not before Y."""
    stored = np.stack([volume[1], volume[1]], axis=1)
    job = job_on(stored, tmp_path_factory.mktemp("judged"), "out.tif")
    summary = run_job(job).result()
    assert all(line.startswith("2 volumes: ") for line in summary.warning_lines())
    assert summary.block == "volume"
    return job


class TestJudged:
    """What is told about the result of a volume."""

    def test_report(self, volume, judged_job, tmp_path):
        report = Report.of(judged_job.output, (1,))
        assert report.title == "out.tif, volume (1,)"
        assert report.image.shape == report.trust.residual.shape == volume[1].shape
        page, error_map = tmp_path / "page.png", tmp_path / "error.tif"
        write_report(page, report)
        write_plane(error_map, report.error_image(), {})
        with open_image(error_map) as opened:
            assert opened.image.axes == "ZYX"
            assert opened.image.spacing == pytest.approx(dict(zip("ZYX", SIZE, strict=True)))

    def test_the_page_shows_the_plane_with_most_contrast(self, volume, judged_job):
        report = Report.of(judged_job.output, (1,))
        plane = int(volume[1].var(axis=(1, 2)).argmax())
        (image, *_) = report_figure(report).axes
        assert image.get_title() == f"image, Z {plane}"
        np.testing.assert_array_equal(image.images[0].get_array(), volume[1][plane])

    def test_a_volume_too_small_to_compare_is_not_called_matching(self, judged_job):
        report = Report.of(judged_job.output, (1,))
        trust = replace(report.trust, residual_level=None, residual_correlation=None)
        unknown = replace(report, trust=trust, flags=())
        assert unknown.verdict.startswith("The image is too small to tell")

    def test_expected_error_of_an_array(self, volume):
        _, recorded = volume
        result = deconvolve(recorded, axes="ZYX", kernel=KERNEL, pixel_size=SIZE, solver="wiener")
        error = expected_error(recorded, result, axes="ZYX")
        assert error.shape == recorded.shape
        assert (error > 0).all()

    def test_the_verdict_states_lateral_detail_and_all_widths(self, volume):
        result = deconvolve(volume[1], axes="ZYX", kernel=KERNEL, pixel_size=SIZE, solver="wiener")
        depth, height, width = result.kernel.widths.along_axes
        sentence = verdict(result).sentence
        assert f"detail down to {0.1 * result.trust.resolution_after:.2g} µm" in sentence
        widths = f"{0.3 * depth:.2g} × {0.1 * height:.2g} × {0.1 * width:.2g} µm wide along Z"
        assert widths in sentence
        unknown = replace(result, kernel=replace(result.kernel, pixel_size=None))
        assert "px wide along Z, Y and X" in verdict(unknown).sentence
