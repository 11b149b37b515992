"""The engine: sharpness, geometry, intensity, repeatability, stopping and refused input."""

import itertools
import math
import sys
from collections.abc import Iterable, Iterator

import benchmarks  # noqa: F401  (it registers the methods of the comparisons)
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data
from skimage.registration import phase_cross_correlation

from napari_blind_deconv import (
    DeconvolutionError,
    Image,
    Kernel,
    KernelChoice,
    Result,
    Settings,
    Snapshot,
    Stage,
    StopReason,
    deconvolve,
    iterate,
)
from napari_blind_deconv.engine import double_dip, objective
from napari_blind_deconv.engine import stages as pipeline
from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import kernel_window
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stacks import run_stack
from napari_blind_deconv.errors import OutOfMemoryError
from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.numerics.intensity import IntensityMap, local_median
from napari_blind_deconv.numerics.location import kernel_centroid
from napari_blind_deconv.numerics.metrics import kernel_similarity, psnr_up_to_shift
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.reasons import Finding, QualityFlag, SkipReason
from napari_blind_deconv.results import TRACE_DTYPE, Notice, stage_starts
from napari_blind_deconv.synthetic import Scene, fluorescence_scene
from napari_blind_deconv.task import Task

TINY = Settings(
    channels=(8, 16),
    skip_channels=4,
    kernel_size=13,
    kernel_features=64,
    kernel_start=2.0,
    window=5,
    max_iterations=30,
    stop_at_noise=False,
)


def fitted(result: Result) -> np.ndarray:
    """Return the trace of the networks."""
    return result.trace[result.trace["stage"] == Stage.DOUBLE_DIP]


def steps_of(run: Iterable[Snapshot], stage: Stage) -> Iterator[Snapshot]:
    """Return the snapshots of a stage that have an estimate."""
    return (each for each in run if each.stage is stage and each.iteration)


def psnr(truth, estimate) -> float:
    return -10 * math.log10(np.mean((truth - estimate) ** 2))


@pytest.fixture(scope="module")
def deconvolved(small_scene) -> Result:
    return deconvolve(
        small_scene[1], TINY.with_changes(max_iterations=100, patience=40, channels=(16, 32, 32))
    )


class TestDeconvolution:
    def test_the_result_is_closer_to_the_truth(self, small_scene, deconvolved):
        truth, blurred = small_scene
        inner = np.s_[4:-4, 4:-4]
        gain = psnr(truth[inner], deconvolved.image[inner]) - psnr(truth[inner], blurred[inner])
        assert gain > 1

    def test_the_kernel_is_centred_with_sum_one(self, deconvolved):
        kernel = deconvolved.kernel.weights
        assert kernel.dtype == np.float32
        assert kernel.shape == (13, 13)
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert np.hypot(*kernel_centroid(kernel)) < 0.1

    def test_the_trace_records_every_iteration(self, deconvolved):
        trace = deconvolved.trace
        assert trace.dtype == TRACE_DTYPE
        assert trace["iteration"].tolist() == list(range(1, len(trace) + 1))
        assert list(stage_starts(trace)) == ["wiener", "double-dip"]
        for first in stage_starts(trace).values():
            assert np.isnan(trace["variance"][first - 1 : first + 3]).all()
            assert np.isfinite(trace["variance"][first + 3])
        watched = fitted(deconvolved)[TINY.window - 1 :]
        assert np.isfinite(watched["variance"]).all()
        assert deconvolved.stop_iteration == watched["iteration"][np.argmin(watched["variance"])]

    def test_the_misfit_decreases_from_a_random_start(self, small_scene):
        settings = TINY.with_changes(image_start="random", max_iterations=60)
        trace = deconvolve(small_scene[1], settings).trace
        assert trace["data"][-1] < 0.05 * trace["data"][0]

    def test_the_result_records_how_it_was_computed(self, deconvolved):
        assert deconvolved.stop_reason in set(StopReason)
        assert deconvolved.stop_reason.sentence.endswith(".")
        assert deconvolved.device == str(choose_device("auto"))
        assert deconvolved.settings.seed == 0
        assert not deconvolved.kernel_is_held
        assert {"torch", "numpy", "python", "napari-blind-deconv"} == set(deconvolved.versions)

    def test_the_kernel_does_not_shrink_to_a_point(self, deconvolved):
        area = 1 / np.square(deconvolved.kernel.weights).sum()
        assert area > 0.4 * 4 * math.pi * 1.8**2

    def test_a_known_psf_is_kept_and_improves_the_image(self, small_scene):
        truth, blurred = small_scene
        psf = gaussian_kernel((13, 13), 1.8)
        result = deconvolve(blurred, TINY.with_changes(max_iterations=60), kernel=1000 * psf)
        np.testing.assert_allclose(result.kernel, psf, atol=1e-5)
        inner = np.s_[4:-4, 4:-4]
        assert psnr(truth[inner], result.image[inner]) > psnr(truth[inner], blurred[inner]) + 1

    @pytest.mark.parametrize("centre", [(2.0, -1.0), (1.4, -0.4)])
    def test_a_psf_off_centre_does_not_shift_the_result(self, small_scene, centre):
        centred = gaussian_kernel((15, 15), 1.8)
        psf = ndimage.shift(centred, centre, order=3).clip(0)
        result, expected = (
            deconvolve(small_scene[1], TINY.with_changes(max_iterations=10), kernel=kernel)
            for kernel in (psf, centred)
        )
        shift = phase_cross_correlation(expected.image, result.image, upsample_factor=50)[0]
        assert np.hypot(*shift) < 0.1
        np.testing.assert_allclose(result.kernel.weights.max(), psf.max() / psf.sum(), rtol=1e-5)

    def test_the_published_settings_run(self, small_scene):
        published = Settings.preset("paper-synthetic").with_changes(
            max_iterations=3, channels=(8, 8)
        )
        result = deconvolve(small_scene[1], published)
        assert result.kernel.shape == (25, 25)
        assert result.trace["data"][2] < result.trace["data"][0]

    @pytest.mark.parametrize("name", ["selfdeblur", "wang"])  # registered by the benchmarks
    def test_the_other_methods_of_the_paper_run(self, small_scene, name):
        settings = Settings.preset(name).with_changes(
            max_iterations=30, channels=(8, 8), kernel_size=13, window=5
        )
        result = deconvolve(small_scene[1], settings)
        assert result.kernel.shape == (13, 13)
        assert result.kernel.weights.sum() == pytest.approx(1, abs=1e-4)
        assert result.trace["data"][-1] < 0.5 * result.trace["data"][0]
        assert result.stop_iteration == 30

    def test_without_early_stopping_the_last_estimate_is_kept(self, small_scene):
        quick = TINY.with_changes(max_iterations=40, window=3, patience=2, early_stopping=False)
        result = deconvolve(small_scene[1], quick)
        assert len(fitted(result)) == 40
        assert result.stop_iteration == len(result.trace)
        assert result.stop_reason is StopReason.ITERATION_LIMIT


class TestContracts:
    @pytest.mark.parametrize("shape", [(48, 48), (47, 40), (33, 48), (16, 21)])
    def test_the_shape_is_kept_for_odd_and_even_sides(self, small_scene, shape):
        image = small_scene[1][: shape[0], : shape[1]]
        settings = TINY.with_changes(max_iterations=2, kernel_size=None)
        result = deconvolve(image, settings)
        assert result.image.shape == shape
        assert result.image.dtype == np.float32
        assert all(side % 2 == 1 for side in result.kernel.shape)

    @pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, -0.25)])
    def test_the_content_is_not_shifted(self, offset):
        spots = np.zeros((56, 57))
        spots[22, 25] = spots[34, 30] = spots[28, 36] = 1
        spots = ndimage.shift(ndimage.gaussian_filter(spots, 2.2), offset, order=3)
        spots = np.clip(spots / spots.max(), 0, 1)
        result = deconvolve(spots, TINY.with_changes(max_iterations=60, patience=40))
        after = np.clip(result.image - 0.1 * result.image.max(), 0, None)
        before = np.clip(spots - 0.1 * spots.max(), 0, None)
        distance = np.subtract(ndimage.center_of_mass(after), ndimage.center_of_mass(before))
        assert np.hypot(*distance) < 0.25

    @pytest.mark.parametrize(
        ("dtype", "gain", "offset"),
        [
            ("uint8", 200, 10),
            ("uint16", 3000, 33000),
            ("int16", 1000, -600),
            ("float32", 1e-3, 0),
            (">u2", 3000, 33000),
            (">f4", 5.0, -2.0),
        ],
    )
    def test_intensity_is_kept_in_its_own_units(self, small_scene, dtype, gain, offset):
        image = np.clip(small_scene[1], 0, 1) * gain + offset
        image = (image if "f" in dtype else np.rint(image)).astype(dtype)
        result = deconvolve(image, TINY.with_changes(max_iterations=20))
        above = np.mean(result.image.astype(float)) - offset
        assert above == pytest.approx(image.astype(float).mean() - offset, rel=0.02)

    @pytest.mark.parametrize("outlier", [65535, -65535])
    def test_an_outlier_does_not_change_distant_pixels(self, small_scene, outlier):
        image = 300 * small_scene[1] + 100
        settings = TINY.with_changes(max_iterations=20)
        plain = deconvolve(image, settings)
        image[20, 20] = outlier
        with_outlier = deconvolve(image, settings)
        far = np.ones(image.shape, dtype=bool)
        far[8:33, 8:33] = False
        assert with_outlier.image[far].mean() == pytest.approx(plain.image[far].mean(), rel=0.03)

    def test_settings_can_be_changed_in_the_call(self, small_scene):
        result = deconvolve(small_scene[1], TINY, max_iterations=2, seed=3, device="cpu")
        assert result.settings == TINY.with_changes(max_iterations=2, seed=3, device="cpu")
        with pytest.raises(ValueError, match="There is no setting 'psf'"):
            iterate(small_scene[1], psf=np.eye(3))

    @pytest.mark.parametrize("masked", [0, 20])
    def test_an_estimate_that_was_stopped_has_the_mean_of_its_input(self, small_scene, masked):
        image = 200 * small_scene[1] + 100
        mask = np.zeros(image.shape, bool)
        mask[:masked, :masked] = True
        random = TINY.with_changes(image_start="random", max_iterations=1)
        result = deconvolve(image, random, mask=mask)
        assert result.image[~mask].mean() == pytest.approx(image[~mask].mean(), rel=5e-3)

    def test_an_estimate_that_has_converged_has_the_flux_that_explains_the_image(self):
        # A bright spot at the border: a part of its light is outside the field of view.
        scene = np.zeros((64, 64), np.float32)
        scene[20:30, 2:8] = 1000
        blurred = 100 + ndimage.gaussian_filter(scene, 3, mode="constant")
        noisy = np.random.default_rng(0).poisson(blurred)
        psf = gaussian_kernel((19, 19), 3.0)
        result = deconvolve(noisy, Settings(solver="log-gaussian"), kernel=psf)
        light = result.image.sum() - 100 * result.image.size
        assert light == pytest.approx(scene.sum(), rel=0.05)
        assert light > 1.02 * (noisy.sum() - 100 * noisy.size)

    @pytest.mark.parametrize("shift", [(3, -2), (-4, 1)])
    def test_a_shifted_estimate_is_shifted_back(self, small_scene, shift):
        """Only the convolution is fitted, so that image and kernel may have opposite shifts."""
        problem = Problem.of(Task(Image(small_scene[1]), TINY))
        margin = [(side // 2, side // 2) for side in problem.window]
        canvas = np.pad(problem.observed, [(0, 0), *margin], mode="edge")
        moved = np.roll(canvas, shift, axis=(1, 2))
        kernel = np.roll(gaussian_kernel(problem.window, 1.2), np.negative(shift), axis=(0, 1))
        estimate, weights = problem.to_output(torch.from_numpy(moved), torch.from_numpy(kernel))
        remaining = phase_cross_correlation(small_scene[1], estimate, upsample_factor=20)[0]
        assert np.hypot(*remaining) < 0.1
        assert np.hypot(*kernel_centroid(weights)) < 0.1

    def test_units_do_not_change_the_result(self, small_scene):
        settings = TINY.with_changes(max_iterations=5, precision="float32")
        plain = deconvolve(small_scene[1], settings)
        scaled = deconvolve(small_scene[1] * 512 + 1024, settings)
        np.testing.assert_allclose((scaled.image - 1024) / 512, plain.image, atol=2e-3)

    def test_on_a_cpu_a_seed_determines_every_bit_of_the_result(self, small_scene):
        short = TINY.with_changes(max_iterations=10, device="cpu")
        runs = [deconvolve(small_scene[1], short.with_changes(seed=seed)) for seed in (0, 0, 1)]
        for field in ("image", "kernel", "trace"):
            first, again, other = (np.asarray(getattr(run, field)) for run in runs)
            assert first.tobytes() == again.tobytes()
            assert first.tobytes() != other.tobytes()

    def test_the_callers_random_numbers_are_left_alone(self, small_scene):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        deconvolve(small_scene[1], TINY.with_changes(max_iterations=1))
        assert torch.equal(torch.rand(3), expected)

    def test_the_input_is_not_written_to(self, small_scene):
        image = small_scene[1].copy()
        image.flags.writeable = False
        result = deconvolve(image, TINY.with_changes(max_iterations=1))
        np.testing.assert_array_equal(image, small_scene[1])
        assert not np.shares_memory(result.image, image)

    def test_colour_has_one_kernel_and_keeps_its_balance(self, small_scene):
        grey = small_scene[1]
        image = np.stack([200 * grey, 120 * grey, 60 * (1 - grey), np.full_like(grey, 255)], -1)
        image = np.clip(image, 0, 255).astype(np.uint8)
        result = deconvolve(image, TINY.with_changes(max_iterations=20), axes="YXS")
        assert result.image.shape == image.shape
        assert result.kernel.weights.ndim == 2
        np.testing.assert_array_equal(result.image[..., 3], 255)
        means = result.image[..., :3].mean((0, 1)), image[..., :3].mean((0, 1))
        np.testing.assert_allclose(*means, rtol=0.02)

    def test_the_kernel_of_a_colour_image_is_found_in_the_mean_of_its_channels(self, blurred):
        """In this image the first channel contains only noise."""
        noise = np.random.default_rng(0).normal(100, 1, blurred.shape)
        colour = np.stack([noise, blurred, 2 * blurred], axis=-1)
        linear = Settings(solver="wiener")
        grey = deconvolve(colour.mean(axis=-1), linear)
        result = deconvolve(colour, linear, axes="YXS")
        assert result.kernel.source == grey.kernel.source == "Gaussian"
        assert kernel_similarity(result.kernel.weights, grey.kernel.weights) > 0.99


class TestEnding:
    def test_the_iterator_yields_every_iteration_and_returns(self, small_scene):
        run = iterate(small_scene[1], TINY, preview_seconds=0)
        snapshots = list(itertools.islice(steps_of(run, Stage.DOUBLE_DIP), 10))
        first = snapshots[0].iteration
        assert [snapshot.iteration for snapshot in snapshots] == list(range(first, first + 10))
        assert all(snapshot.image.shape == (48, 48) for snapshot in snapshots)
        run.close()

    def test_previews_keep_their_interval(self, small_scene):
        run = iterate(small_scene[1], TINY, preview_seconds=1e9)
        snapshots = list(steps_of(run, Stage.DOUBLE_DIP))
        assert [snapshot.image is not None for snapshot in snapshots].index(True) == 0
        assert sum(snapshot.image is not None for snapshot in snapshots) == 1

    def test_previews_without_a_reader_are_not_computed(self, small_scene, monkeypatch):
        calls = []
        to_output = Problem.to_output

        def counted(self, *estimate, **options):
            calls.append(options)
            return to_output(self, *estimate, **options)

        monkeypatch.setattr(Problem, "to_output", counted)
        few = TINY.with_changes(max_iterations=3, device="cpu")  # a GPU repeats no run exactly
        unseen = deconvolve(small_scene[1], few)
        steps = iterate(small_scene[1], few, preview_seconds=math.inf)
        assert all(snapshot.image is None for snapshot in steps)
        assert len(calls) == 2, "one result for each run"
        seen = deconvolve(small_scene[1], few, on_snapshot=lambda snapshot: None)
        assert len(calls) > 3
        np.testing.assert_array_equal(seen.image, unseen.image)

    @pytest.mark.parametrize("after", [1, 3, 12])
    def test_stop_keeps_the_best_estimate_within_one_iteration(self, small_scene, after):
        seen: list[Snapshot] = []
        result = deconvolve(
            small_scene[1],
            TINY,
            on_snapshot=seen.append,
            should_stop=lambda: len(list(steps_of(seen, Stage.DOUBLE_DIP))) >= after,
        )
        assert result.stop_reason is StopReason.STOPPED
        assert len(fitted(result)) == after
        assert result.stop_iteration <= seen[-1].iteration == len(result.trace)
        assert np.isfinite(result.image).all()

    @pytest.mark.parametrize(
        "stage", [Stage.KERNEL, Stage.WIENER, Stage.LOG_GAUSSIAN, Stage.DOUBLE_DIP]
    )
    def test_every_stage_reports_and_can_be_stopped(self, blurred, stage):
        """Also during a search, and while a stage prepares and has no estimate yet."""
        seen: list[Snapshot] = []
        result = deconvolve(
            blurred,
            Settings(stop_at_noise=False, max_iterations=3, channels=(8,)),
            on_snapshot=seen.append,
            should_stop=lambda: any(each.stage is stage for each in seen),
        )
        assert result.stop_reason is StopReason.STOPPED
        assert [each.stage for each in seen].count(stage) == 1
        assert result.image.shape == blurred.shape
        assert np.isfinite(result.image).all()
        assert np.isfinite(result.trace["loss"]).all()

    def test_the_network_is_not_created_if_the_linear_estimate_suffices(self, blurred, monkeypatch):
        monkeypatch.setattr(pipeline, "DoubleDip", None)
        result = deconvolve(blurred)
        assert result.stop_reason is StopReason.NOISE
        assert result.stop_iteration == len(result.trace)
        assert result.skipped == {Stage.DOUBLE_DIP: SkipReason.ONLY_NOISE_LEFT}
        assert result.stages == "wiener, log-gaussian (kept); double-dip (only noise is left)"
        assert result.provenance()["stages"] == result.stages

    def test_without_noise_the_linear_estimate_is_corrected_by_the_networks(self):
        rows, columns = np.mgrid[:64, :64]
        sharp = ((rows // 9 + columns // 9) % 2).astype(np.float64)
        clear = ndimage.gaussian_filter(sharp, 1.8)
        result = deconvolve(clear, TINY.with_changes(max_iterations=2))
        assert result.skipped == {Stage.LOG_GAUSSIAN: SkipReason.LITTLE_NOISE}
        assert list(stage_starts(result.trace)) == ["wiener", "double-dip"]

    def test_the_log_gaussian_estimate_can_be_requested(self, small_scene, monkeypatch):
        monkeypatch.setattr(pipeline, "DoubleDip", None)
        positive = TINY.with_changes(solver="log-gaussian")
        result = deconvolve(small_scene[1], positive)
        assert result.stop_reason is StopReason.COMPLETED
        assert list(stage_starts(result.trace)) == ["wiener", "log-gaussian"]
        assert result.skipped == {}
        linear = deconvolve(small_scene[1], TINY.with_changes(solver="wiener"))
        inner = np.s_[4:-4, 4:-4]
        truth = small_scene[0]
        assert psnr(truth[inner], result.image[inner]) > psnr(truth[inner], linear.image[inner])

    def test_the_linear_estimate_can_be_requested(self, small_scene, monkeypatch):
        monkeypatch.setattr(pipeline, "DoubleDip", None)
        linear = TINY.with_changes(solver="wiener")
        run = iterate(small_scene[1], linear, preview_seconds=0)
        assert {snapshot.stage for snapshot in run} == {Stage.WIENER}
        result = deconvolve(small_scene[1], linear)
        assert result.stop_reason is StopReason.COMPLETED
        assert QualityFlag.ITERATION_LIMIT not in result.flags
        inner = np.s_[4:-4, 4:-4]
        truth, observed = small_scene
        assert psnr(truth[inner], result.image[inner]) > psnr(truth[inner], observed[inner]) + 1

    def test_early_stopping_ends_the_run(self, small_scene):
        settings = TINY.with_changes(max_iterations=1000, patience=3, window=3)
        result = deconvolve(small_scene[1], settings)
        assert result.stop_reason is StopReason.EARLY_STOPPING
        assert len(result.trace) == result.stop_iteration + 3
        assert len(fitted(result)) < 1000

    def test_the_limit_ends_the_run(self, small_scene):
        result = deconvolve(small_scene[1], TINY.with_changes(max_iterations=2))
        assert result.stop_reason is StopReason.ITERATION_LIMIT

    def test_out_of_memory_is_reported_in_one_sentence(self, small_scene, monkeypatch):
        def full(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore.")

        monkeypatch.setattr(objective, "mean_huber", full)
        with pytest.raises(
            DeconvolutionError, match=r"not enough memory on (cpu|cuda|mps) .* smaller"
        ) as caught:
            deconvolve(small_scene[1], TINY)
        assert "\n" not in str(caught.value)

    def test_an_illegal_memory_access_is_not_reported_as_out_of_memory(
        self, small_scene, monkeypatch
    ):
        def faulty(*_, **__):
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nMore.")

        monkeypatch.setattr(objective, "mean_huber", faulty)
        with pytest.raises(DeconvolutionError, match="illegal memory access") as caught:
            deconvolve(small_scene[1], TINY)
        assert not isinstance(caught.value, OutOfMemoryError)

    def test_out_of_memory_in_the_quality_check_is_reported_too(self, small_scene, monkeypatch):
        def full(*_, **__):
            raise MemoryError

        monkeypatch.setattr(pipeline, "judge", full)
        with pytest.raises(OutOfMemoryError, match=r"not enough memory on (cpu|cuda|mps)"):
            deconvolve(small_scene[1], TINY.with_changes(max_iterations=1))

    def test_autocast_is_not_entered_if_it_is_not_used(self, small_scene, monkeypatch):
        """Some devices do not support autocast."""

        def unknown(*_, **__):
            raise RuntimeError("unsupported autocast device_type")

        monkeypatch.setattr(torch, "autocast", unknown)
        single = TINY.with_changes(max_iterations=1, precision="float32")
        assert deconvolve(small_scene[1], single).image.shape == (48, 48)

    def test_an_objective_that_is_not_finite_is_an_error(self, small_scene, monkeypatch):
        monkeypatch.setattr(
            objective, "mean_huber", lambda residual, delta: math.nan * residual.sum()
        )
        with pytest.raises(
            DeconvolutionError,
            match=r"failed: objective or gradients were not finite at iteration 1\.$",
        ):
            deconvolve(small_scene[1], TINY)

    @pytest.mark.parametrize("scale", [math.nan, math.inf])
    def test_a_transient_fault_of_the_processor_changes_nothing(
        self, small_scene, monkeypatch, scale
    ):
        short = TINY.with_changes(max_iterations=10, device="cpu")
        expected = deconvolve(small_scene[1], short)
        calls = itertools.count()
        original = objective.mean_huber

        def faulty(residual, delta):
            return original(residual, delta) * (scale if next(calls) == 7 else 1)

        monkeypatch.setattr(objective, "mean_huber", faulty)
        assert deconvolve(small_scene[1], short).image.tobytes() == expected.image.tobytes()

    # On a GPU the objective runs in Python three times only.
    ON_CPU = TINY.with_changes(stop_at_noise=False, device="cpu")

    def test_a_fit_that_is_not_finite_twice_continues_slower_from_the_last_weights(
        self, small_scene, monkeypatch
    ):
        weights_at: list[torch.Tensor] = []
        rates = []
        calls = itertools.count()
        original, step = objective.mean_huber, double_dip.DoubleDip.step
        first = self.first_fitted(small_scene[1])

        def faulty(residual, delta):  # iteration 4 of the networks, and again
            is_faulty = next(calls) - first in (2, 3)
            return original(residual, delta) * (math.nan if is_faulty else 1)

        def watched(self, iteration):
            estimate = step(self, iteration)
            weights_at.append(self._good[0].clone())
            rates.append(self.optimiser.param_groups[0]["lr"])
            return estimate

        monkeypatch.setattr(objective, "mean_huber", faulty)
        monkeypatch.setattr(double_dip.DoubleDip, "step", watched)
        result = deconvolve(small_scene[1], self.ON_CPU)
        assert result.slowed_at == first + 3
        assert torch.equal(weights_at[3], weights_at[2]), "the last finite weights are restored"
        assert rates[3] == pytest.approx(rates[2] / 10)
        assert len(fitted(result)) == TINY.max_iterations
        assert np.isfinite(result.trace["loss"]).all()
        assert np.isfinite(result.image).all()
        assert QualityFlag.UNSTABLE in result.flags
        assert result.provenance()["slowed_at"] == first + 3

    def first_fitted(self, image: np.ndarray) -> int:
        """Return the first iteration of the networks; the objective is computed in each one."""
        linear = deconvolve(image, TINY.with_changes(solver="wiener"))
        return len(linear.trace) + 1

    def test_a_fit_that_stays_not_finite_keeps_the_best_estimate_before(
        self, small_scene, monkeypatch
    ):
        calls = itertools.count()
        original = objective.mean_huber
        first = self.first_fitted(small_scene[1])
        monkeypatch.setattr(
            objective,
            "mean_huber",
            lambda r, delta: original(r, delta) * (math.inf if next(calls) > first + 2 else 1),
        )
        result = deconvolve(small_scene[1], self.ON_CPU)
        assert result.stop_reason is StopReason.DIVERGED
        assert result.stop_iteration <= len(result.trace) == first + 3
        assert np.isfinite(result.image).all()
        assert QualityFlag.UNSTABLE in result.flags


class TestSolvers:
    """The solvers that a user can choose."""

    RICHARDSON_LUCY = Settings(solver="richardson-lucy", max_iterations=20)

    def test_richardson_lucy_improves_the_image_with_a_psf(self, small_scene):
        truth, observed = small_scene
        psf = gaussian_kernel((13, 13), 1.8)
        seen: list[Snapshot] = []
        settings = self.RICHARDSON_LUCY.with_changes(stop_at_noise=False)
        result = deconvolve(observed, settings, kernel=psf, on_snapshot=seen.append)
        assert [each.iteration for each in seen] == list(range(1, 21))
        assert {each.stage for each in seen} == {Stage.RICHARDSON_LUCY}
        assert (np.diff(result.trace["data"]) < 0).all()
        inner = np.s_[4:-4, 4:-4]
        assert psnr(truth[inner], result.image[inner]) > psnr(truth[inner], observed[inner]) + 1
        np.testing.assert_allclose(result.kernel, psf, atol=1e-6)

    def test_richardson_lucy_ends_at_the_noise(self, blurred):
        psf = gaussian_kernel((15, 15), 2.0)
        settings = self.RICHARDSON_LUCY.with_changes(max_iterations=500)
        result = deconvolve(blurred, settings, kernel=psf)
        assert result.stop_reason is StopReason.NOISE
        assert 1 < result.stop_iteration < 500

    def test_richardson_lucy_keeps_colour_and_offset(self, small_scene):
        image = 1000 + 200 * np.stack([small_scene[1]] * 3, axis=-1)
        psf = gaussian_kernel((13, 13), 1.8)
        result = deconvolve(image, self.RICHARDSON_LUCY, kernel=psf, axes="YXS")
        assert result.image.shape == image.shape
        assert result.image.mean() == pytest.approx(image.mean(), rel=0.01)

    def test_a_linear_run_completes_whatever_start_of_the_network_is_set(self, small_scene):
        linear = TINY.with_changes(solver="wiener", image_start="random")
        result = deconvolve(small_scene[1], linear)
        assert result.stop_reason is StopReason.COMPLETED

    @pytest.mark.parametrize("solver", ["wiener", "log-gaussian"])
    def test_points_become_as_bright_as_they_were(self, solver):
        points = np.zeros((64, 64))
        points[20, 20] = points[40, 25] = points[30, 45] = 1
        scene = ndimage.gaussian_filter(points, 0.7)
        observed = ndimage.gaussian_filter(points, math.hypot(0.7, 2.0))
        random = np.random.default_rng(0)
        scale = 3000 / observed.max()
        counts = random.poisson(scale * observed) + random.normal(100, 1.5, observed.shape)
        psf = gaussian_kernel((21, 21), 2.0)
        result = deconvolve(counts, solver=solver, kernel=psf)
        peaks = [image.max() - 100 for image in (counts, result.image, scale * scene + 100)]
        assert 2.5 * peaks[0] < peaks[1] < 1.1 * peaks[2]

    def test_the_linear_estimate_needs_a_kernel(self, small_scene):
        linear = TINY.with_changes(solver="wiener", kernel_start="flat")
        with pytest.raises(ValueError, match=r"Expected kernel_start .* got kernel_start 'flat'"):
            deconvolve(small_scene[1], linear)

    def test_richardson_lucy_needs_a_psf(self, small_scene):
        with pytest.raises(ValueError, match="Expected a PSF for Richardson-Lucy, got none"):
            deconvolve(small_scene[1], self.RICHARDSON_LUCY)


GOOD = np.random.default_rng(0).random((20, 24))


@pytest.fixture(scope="module")
def blurred() -> np.ndarray:
    kernel = gaussian_kernel((15, 15), 2.0)
    return fluorescence_scene((96, 96), kernel=kernel).observed.astype(np.float64)


class TestQuality:
    """Each flag is raised by a case made for it, and not by a good result."""

    def test_a_good_result_has_no_flags(self, blurred):
        result = deconvolve(blurred)
        assert result.flags == ()
        assert result.kernel.source == "Gaussian"
        assert result.provenance()["warnings"] == []

    def test_a_sharp_image_is_flagged_as_without_blur(self):
        sharp = data.camera()[100:228, 120:248]
        result = deconvolve(sharp, Settings(max_iterations=2))
        assert QualityFlag.NO_BLUR in result.flags
        assert result.kernel.source == "none"

    def test_a_kernel_found_before_and_then_held_gives_the_same_estimate(self, blurred):
        found = deconvolve(blurred)
        held = deconvolve(blurred, kernel=found.kernel)
        assert held.kernel.width_deviation == found.kernel.width_deviation
        np.testing.assert_allclose(held.image, found.image, atol=2e-3 * np.ptp(found.image))

    def test_known_optics_give_a_kernel_where_the_image_shows_no_blur(self):
        optics = Optics(numerical_aperture=0.5, emission_wavelengths=(0.6,))
        image = Image(
            data.camera()[100:228, 120:248], "YX", {"Y": 100, "X": 100}, "nm", optics=optics
        )
        result = deconvolve(image, Settings(max_iterations=2))
        assert result.kernel.source == "narrowest"
        assert result.trust.kernel_fwhm == pytest.approx([10 * optics.narrowest_width] * 2, rel=0.1)
        assert Finding.NARROWEST in result.findings
        assert QualityFlag.NO_BLUR not in result.flags

    def test_a_window_that_is_too_small_is_flagged(self, blurred):
        settings = Settings(kernel_size=5, kernel_start=3.0, max_iterations=2)
        assert QualityFlag.KERNEL_FILLS_WINDOW in deconvolve(blurred, settings).flags
        wide = settings.with_changes(kernel_size=31)
        assert QualityFlag.KERNEL_FILLS_WINDOW not in deconvolve(blurred, wide).flags

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("side", [64, 200])
    def test_noise_without_signal_is_flagged(self, side, seed):
        noise = np.random.default_rng(seed).normal(100, 10, (side, side))
        flags = deconvolve(noise, Settings(max_iterations=2)).flags
        assert QualityFlag.LOW_SIGNAL in flags

    def test_the_iteration_limit_is_flagged(self, blurred):
        short = Settings(max_iterations=2, stop_at_noise=False)
        flags = deconvolve(blurred, short).flags
        assert flags == (QualityFlag.ITERATION_LIMIT,)
        assert "iteration limit" in flags[0].sentence


class TestGuess:
    def test_the_fit_starts_from_the_guess_and_may_change_it(self, small_scene):
        guess = gaussian_kernel((9, 9), 1.8)
        seen = []
        result = deconvolve(
            small_scene[1],
            TINY.with_changes(kernel_start="auto", kernel_size=None),
            kernel=KernelChoice.start_from(guess),
            on_snapshot=seen.append,
        )
        assert result.kernel.source == "guess"
        first = next(steps_of(seen, Stage.DOUBLE_DIP)).kernel
        expected = KernelWidths.of(guess).along_axes
        assert KernelWidths.of(first).along_axes == pytest.approx(expected, rel=0.15)
        assert not np.array_equal(result.kernel, first)
        assert not result.kernel_is_held


class TestPixelSize:
    @pytest.mark.parametrize("unit", ["µm", "m"])
    def test_a_psf_of_other_pixels_is_resampled_in_any_unit(self, unit):
        scale = {"µm": 1.0, "m": 1e-6}[unit]
        image = Image(GOOD, "YX", {"Y": 0.1 * scale, "X": 0.1 * scale}, unit)
        psf = Kernel.of(gaussian_kernel((21, 21), 4), pixel_size=(50, 50), unit="nm")
        kernel = deconvolve(image, TINY, solver="wiener", kernel=psf).kernel
        assert kernel.pixel_size == pytest.approx((0.1 * scale, 0.1 * scale))
        assert kernel.widths.along_axes == pytest.approx((4.71, 4.71), rel=0.03)

    def test_equal_pixel_sizes_in_other_units_change_nothing(self):
        image = Image(GOOD, "YX", {"Y": 0.1, "X": 0.1}, "µm")
        psf = Kernel.of(np.eye(3), pixel_size=(100, 100), unit="nm")
        kernel = deconvolve(image, TINY, solver="wiener", kernel=psf).kernel
        np.testing.assert_array_equal(kernel, psf)

    def test_a_stack_tells_that_the_psf_was_resampled(self):
        image = Image(np.stack([GOOD, GOOD]), "ZYX", {"Y": 0.1, "X": 0.1}, "µm")
        psf = Kernel.of(gaussian_kernel((21, 21), 4), pixel_size=(50, 50), unit="nm")
        task = Task(image, TINY.with_changes(solver="wiener"), KernelChoice.hold(psf))
        steps = list(run_stack(task, RunControl()))
        (notice,) = (step for step in steps if isinstance(step, Notice))
        assert "0.1 × 0.1 µm" in notice.text

    def test_the_kernel_keeps_its_pixel_size_if_the_image_has_none(self):
        psf = Kernel.of(np.eye(3), pixel_size=(0.1, 0.1), unit="µm")
        kernel = deconvolve(GOOD, TINY, max_iterations=1, kernel=psf).kernel
        assert (kernel.pixel_size, kernel.unit) == ((0.1, 0.1), "µm")
        image = Image(GOOD, "YX", {"Y": 0.1, "X": 0.1}, "µm")
        found = deconvolve(image, TINY, max_iterations=1).kernel
        assert (found.pixel_size, found.unit) == ((0.1, 0.1), "µm")


class TestRefusals:
    @pytest.mark.parametrize(
        ("image", "error", "sentence"),
        [
            (np.full((20, 20), np.nan), ValueError, "got NaN or infinity in every pixel"),
            (np.full((20, 20), 7), ValueError, "the value 7 in every pixel"),
            (GOOD.astype(complex), TypeError, "complex128"),
            (GOOD > 0.5, TypeError, "bool"),
            (np.zeros((0, 0)), ValueError, r"\(0, 0\)"),
            (GOOD[:15], ValueError, r"at least 16 pixels per side, got shape \(15, 24\)"),
            (GOOD[0], ValueError, r"Expected a 2D image .* got shape \(24,\)"),
            (np.stack([GOOD, GOOD]), ValueError, r"Expected a 2D image .* got shape \(2, 20, 24\)"),
            (np.array([["a"] * 20] * 20), TypeError, "<U1"),
        ],
    )
    def test_images(self, image, error, sentence):
        with pytest.raises(error, match=sentence) as caught:
            iterate(image)
        assert str(caught.value).startswith("Expected")
        assert "\n" not in str(caught.value)

    def test_colour_needs_three_or_four_channels(self):
        with pytest.raises(ValueError, match=r"length 3 or 4 .* got length 2"):
            iterate(np.zeros((20, 20, 2)), axes="YXS")

    @pytest.mark.parametrize(
        ("psf", "error", "sentence"),
        [
            (-np.eye(3), ValueError, "got -1"),
            (np.zeros((3, 3)), ValueError, "a sum of 0"),
            (np.full((3, 3), np.nan), ValueError, "NaN"),
            (np.ones(3), ValueError, r"shape \(3,\)"),
            (np.ones((3, 3)) > 0, TypeError, "bool"),
            (np.ones((21, 3)), ValueError, "image of 20 × 24 pixels, got 21 × 3 pixels"),
        ],
    )
    def test_psfs(self, psf, error, sentence):
        with pytest.raises(error, match=sentence):
            iterate(GOOD, kernel=psf)

    def test_kernel_windows_larger_than_the_image(self):
        with pytest.raises(ValueError, match=r"window .* 20 × 24 pixels, got 31 × 31 pixels"):
            iterate(GOOD, Settings(kernel_size=31))

    @pytest.mark.parametrize("colour", [(7, 7, 7, 255), (255, 240, 230, 255), (255, 240, 230)])
    def test_colour_without_contrast(self, colour):
        flat = np.empty((20, 20, len(colour)), np.uint8)
        flat[:] = colour
        with pytest.raises(ValueError, match="in every pixel"):
            iterate(flat, axes="YXS")

    def test_colours_of_one_brightness(self):
        red = np.random.default_rng(0).integers(0, 100, (20, 20))
        with pytest.raises(ValueError, match="in every pixel of the mean of its channels"):
            iterate(np.stack([red, 100 - red, 0 * red], axis=-1), axes="YXS")

    @pytest.mark.parametrize("seed", [-1, 2**63])
    def test_seeds(self, seed):
        with pytest.raises(ValueError, match=f"'seed' got {seed}; input should be"):
            Settings(seed=seed)

    @pytest.mark.parametrize(
        "device", ["tpu", "cuda:x", "", "cpu0", "auto:1", "cpu:0", "cpu:", "cuda:"]
    )
    def test_devices_that_do_not_exist(self, device):
        with pytest.raises(ValueError, match=f"'device' got '{device}'; expected auto, cpu"):
            Settings(device=device)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
    def test_devices_that_this_machine_lacks(self):
        with pytest.raises(ValueError, match="'cuda' was not found"):
            choose_device("cuda")

    @pytest.mark.skipif(sys.platform == "darwin", reason="this machine may have the device")
    def test_a_gpu_without_memory_is_not_chosen(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)  # as on a virtual Mac
        assert choose_device("auto").type == "cpu"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return fluorescence_scene(kernel=gaussian_kernel((31, 31), 2.2), seed=3)


@pytest.fixture(scope="module")
def by_default(scene) -> Result:
    return deconvolve(scene.observed)


class TestDefault:
    """The default preset without changes, on a scene with an unknown kernel."""

    def test_finds_the_kernel_and_improves_the_image(self, scene, by_default):
        peak = scene.peak
        before, after = (
            psnr_up_to_shift(scene.truth, image.astype(float), peak=peak)
            for image in (scene.observed, by_default.image)
        )
        assert after > before + 0.7
        assert kernel_similarity(scene.kernel, by_default.kernel.weights) > 0.9

    def test_the_window_fits_the_kernel_found(self, by_default):
        assert 11 <= by_default.kernel.shape[0] == by_default.kernel.shape[1] < 41

    def test_stops_when_only_noise_is_left(self, by_default):
        assert by_default.stop_reason is StopReason.NOISE
        assert len(by_default.trace) == by_default.stop_iteration < Settings().max_iterations

    def test_continues_beyond_the_noise_if_requested(self, scene):
        settings = Settings(stop_at_noise=False, max_iterations=3, channels=(8, 8))
        assert len(fitted(deconvolve(scene.observed, settings))) == 3


class TestInputs:
    def test_automatic_windows_are_half_the_image_up_to_the_limit(self):
        assert kernel_window(Settings(), (64, 51)) == (33, 27)
        assert kernel_window(Settings(), (512, 60)) == (81, 31)
        assert kernel_window(Settings.preset("paper-real"), (512, 60)) == (257, 31)
        assert kernel_window(Settings(kernel_size=(9, 15)), (64, 64)) == (9, 15)

    def test_an_even_psf_keeps_its_centre(self):
        psf = np.zeros((4, 6))
        psf[2, 3] = 5
        padded = Kernel.of(psf)
        assert padded.shape == (5, 7)
        assert padded.weights[2, 3] == 1

    def test_a_hot_pixel_does_not_set_the_range(self):
        image = GOOD.copy()
        image[5, 5] = 60_000
        assert IntensityMap.of(image[None]).high <= 1

    @pytest.mark.parametrize("shape", [(2, 20, 31), (1, 4, 9, 12), (3, 2, 2)])
    def test_the_median_is_that_of_the_pixels_around(self, shape):
        channels = np.random.default_rng(0).normal(size=shape).round(1)
        window = (1,) * (len(shape) - 2) + (3, 3)
        expected = ndimage.median_filter(channels, size=window)
        np.testing.assert_array_equal(local_median(channels), expected)

    def test_the_intensity_map_can_be_inverted(self):
        values = np.array([[[-5.0, 100.0, 1e4]]])
        intensity = IntensityMap(100, 1100)
        unit = intensity.to_unit(values)
        np.testing.assert_allclose(unit, [[[-0.105, 0, 9.9]]], rtol=1e-6)
        np.testing.assert_allclose(intensity.from_unit(unit), values, rtol=1e-6)
