"""Stacks in memory: axes, one intensity range, kernels, failures, tiles."""

import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
from scipy import ndimage
from skimage import data
from tests.processes import quick_context
from tests.unreadable import Unreadable

from napari_blind_deconv import Settings, deconvolve, deconvolve_stack, iterate
from napari_blind_deconv.engine import planes, runtime, stack_plan, tiled
from napari_blind_deconv.engine.channel_statistics import channel_statistics
from napari_blind_deconv.engine.planes import deconvolve_plane, find_kernel
from napari_blind_deconv.engine.runtime import (
    RuntimeModel,
    VolumeRuntimeModel,
    measure_runtime,
    measure_volume_runtime,
)
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stacks import run_stack
from napari_blind_deconv.engine.tiles import Tiling
from napari_blind_deconv.errors import DeconvolutionError, OutOfMemoryError
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelSource
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.metrics import kernel_width
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.reasons import QualityFlag, StopReason
from napari_blind_deconv.results import BlockResult, Result, Snapshot, Stage
from napari_blind_deconv.steps import Run, mapped, run_to_end
from napari_blind_deconv.synthetic import fluorescence_scene
from napari_blind_deconv.task import Task

QUICK = Settings(solver="wiener", kernel_start=1.5)
SEARCHING = Settings(channels=(8, 16), max_iterations=4, kernel_features=64)
WITHOUT_NOISE_LIMIT = SEARCHING.with_changes(stop_at_noise=False)
LINEAR = Settings(solver="wiener")
NO_PREVIEWS = RunControl()
# Offset and blur of three planes of one scene. The brightness increases; the last is the sharpest.
LEVELS_AND_SIGMAS = ((0, 1.5), (20, 3.0), (40, 0.5))


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """Two channels, three planes each, the second channel ten times as bright."""
    planes = [fluorescence_scene((64, 56), seed=seed).observed for seed in range(3)]
    first = np.stack(planes).astype(np.float32)
    return np.stack([first, 10 * first])


def run(data, settings=QUICK, **options):
    """Return the planes and the result of a run."""
    steps = deconvolve_stack(data, settings, **options)
    return list(steps), steps.result()


def run_with_snapshots(data, axes, control=NO_PREVIEWS, **options):
    """Return the snapshots and the result of a run."""
    steps = Run(run_stack(Task(Image(data, axes), QUICK), control, **options))
    return [step for step in steps if isinstance(step, Snapshot)], steps.result()


class TestStack:
    def test_every_plane_is_deconvolved_at_its_index(self, stack):
        blocks, result = run(stack, axes="CZYX")
        assert result.image.shape == stack.shape
        assert result.image.dtype == np.float32
        assert [block.index for block in blocks] == list(np.ndindex(2, 3))
        for block in blocks:
            np.testing.assert_array_equal(block.image, result.image[block.index])
        assert result.done == 6
        assert result.missing == 0
        assert not result.failures
        means = result.image.mean(axis=(2, 3))
        np.testing.assert_allclose(means, stack.mean(axis=(2, 3)), rtol=0.02)

    def test_a_plane_depends_only_on_its_pixels_and_the_plan(self, stack):
        _, complete = run(stack, axes="CZYX")
        _, part = run(stack, axes="CZYX", plan=complete.plan, finished={(0, 0), (0, 1), (1, 2)})
        np.testing.assert_array_equal(part.image[0, 2], complete.image[0, 2])
        assert not part.image[0, 1].any()
        assert part.done == 3
        assert part.missing == 0

    def test_a_plan_is_restored_from_its_record(self, stack):
        _, result = run(stack, axes="CZYX")
        again = StackPlan.from_record(result.plan.as_record())
        assert again.as_record() == result.plan.as_record()
        _, repeated = run(stack, axes="CZYX", plan=again)
        np.testing.assert_array_equal(repeated.image, result.image)
        with pytest.raises(ValueError, match="Expected the record of a stack plan"):
            StackPlan.from_record({"axes": "ZYX"})

    def test_lazy_input_is_read_plane_by_plane(self, stack):
        largest = 0

        def watch(block):
            nonlocal largest
            largest = max(largest, block.size)
            return block

        lazy = da.from_array(stack, chunks=(1, 1, -1, -1)).map_blocks(watch, dtype=np.float32)
        _, result = run(lazy, axes="CZYX")
        _, expected = run(stack, axes="CZYX")
        np.testing.assert_array_equal(result.image, expected.image)
        assert largest == 64 * 56

    def test_planes_need_not_be_collected(self, stack):
        blocks, result = run(stack[0], axes="ZYX", collect=False)
        assert result.image is None
        assert [block.index for block in blocks] == [(0,), (1,), (2,)]
        assert all(block.result.kernel and block.result.provenance() for block in blocks)

    def test_the_result_can_be_requested_without_the_planes(self, stack):
        _, expected = run(stack[0], axes="ZYX")
        result = deconvolve_stack(stack[0], QUICK, axes="ZYX").result()
        np.testing.assert_array_equal(result.image, expected.image)

    def test_snapshots_have_the_index_of_their_plane(self, stack):
        seen, result = run_with_snapshots(stack, "CZYX")
        assert {snapshot.index for snapshot in seen} == set(np.ndindex(2, 3))
        assert result.done == 6

    def test_brightness_does_not_flicker_between_planes(self):
        """The planes of a stack of one scene with changing noise keep their brightness."""
        scene = fluorescence_scene((64, 64)).observed.astype(np.float32)
        noise = np.random.default_rng(0).normal(0, 5, (4, 64, 64))
        stack = scene + noise.astype(np.float32)
        stack[2, 5, 5] = 60_000  # a hot pixel must not darken its plane
        _, result = run(stack, axes="TYX")
        ratios = result.image.mean(axis=(1, 2)) / np.delete(stack, 5, 1).mean(axis=(1, 2))
        assert np.abs(ratios / ratios[0] - 1).max() < 0.02

    def test_colour_keeps_its_channels(self):
        colour = np.random.default_rng(0).integers(0, 255, (2, 24, 30, 3), dtype=np.uint8)
        _, result = run(colour, axes="ZYXS", kernel="per-slice")
        assert result.image.shape == colour.shape

    def test_a_single_plane_is_accepted_as_a_stack(self, stack):
        [blocks], result = run(stack[0, 0], axes="YX")
        assert result.image.shape == (64, 56)
        assert blocks.index == ()
        alone = deconvolve(stack[0, 0], QUICK)
        np.testing.assert_array_equal(result.image, alone.image)
        np.testing.assert_array_equal(blocks.result.kernel, alone.kernel)


def distance(one: Kernel, other: Kernel) -> float:
    """Return the share of light that differs in position, without rounding errors."""
    side = max(*one.shape, *other.shape)
    first, second = (
        np.pad(kernel.weights, [((side - own) // 2,) * 2 for own in kernel.shape])
        for kernel in (one, other)
    )
    return round(float(np.abs(first - second).sum()) / 2, 4)


def threads(workers: int = 2) -> Executor:
    return ThreadPoolExecutor(workers)


@pytest.fixture(scope="module", params=["threads", "processes"])
def pool(request) -> Iterator[Executor]:
    """Two workers of each kind, which are started once."""
    processes = ProcessPoolExecutor(2, mp_context=quick_context())
    kinds = {"threads": threads(), "processes": processes}
    with kinds[request.param] as executor:
        yield executor


class TestExecutors:
    def test_all_executors_give_the_same_planes(self, stack, pool):
        broken = stack.copy()
        broken[1, 1] = np.nan
        _, expected = run(broken, axes="CZYX")
        blocks, result = run(broken, axes="CZYX", executor=pool)
        assert {block.index for block in blocks} == set(np.ndindex(2, 3))
        assert (result.done, result.missing) == (6, 0)
        assert result.failures == expected.failures
        assert list(result.failures) == [(1, 1)]
        assert result.flags == expected.flags
        np.testing.assert_array_equal(result.image, expected.image)

    def test_an_executor_gives_the_same_single_plane(self, stack):
        _, expected = run(stack[0, 0], axes="YX")
        with threads() as executor:
            _, result = run(stack[0, 0], axes="YX", executor=executor)
        np.testing.assert_array_equal(result.image, expected.image)

    def test_stopping_in_the_middle_returns_without_the_rest(self, stack, pool):
        many = np.concatenate([stack[0]] * 6)
        blocks = []
        steps = deconvolve_stack(
            many,
            QUICK,
            axes="ZYX",
            kernel=gaussian_kernel((9, 9), 1.5),
            executor=pool,
            should_stop=lambda: bool(blocks),
        )
        for block in steps:
            blocks.append(block)
        result = steps.result()
        assert 1 <= result.done == len(blocks) < len(many)
        assert result.missing == len(many) - len(blocks)
        assert not result.failures
        done = {block.index for block in blocks}
        assert all(result.image[index].any() == ((index,) in done) for index in range(len(many)))

    def test_few_planes_are_submitted_at_a_time(self, stack):
        read = []

        class Counted(Unreadable):
            def __getitem__(self, index):
                read.append(index)
                return super().__getitem__(index)

        _, plan = run(stack[0], axes="ZYX")
        counted = Counted(np.concatenate([stack[0]] * 3), 0)
        with threads(1) as executor:
            task = Task(Image(counted, "ZYX"), QUICK)
            executor.ahead = 2
            steps = run_stack(task, NO_PREVIEWS, plan=plan.plan, executor=executor)
            for number, _ in enumerate(steps, start=1):
                assert len(read) <= number + 2
        assert len(read) == 9

    def test_unreadable_planes_do_not_block_later_planes(self, stack):
        _, before = run(stack[0], axes="ZYX")
        damaged = Image(Unreadable(np.concatenate([stack[0]] * 3), 5), "ZYX")
        with threads() as executor:
            executor.ahead = 2
            task = Task(damaged, QUICK)
            steps = run_stack(task, NO_PREVIEWS, plan=before.plan, executor=executor)
            result = run_to_end(steps)
        assert sorted(result.failures) == [(index,) for index in range(5)]
        assert (result.done, result.missing) == (9, 0)

    def test_a_failed_worker_is_reported(self, stack):
        class Failing(Executor):
            def submit(self, *_):
                future = Future()
                future.set_exception(MemoryError("all gone"))
                return future

        _, result = run(stack[0], axes="ZYX", executor=Failing())
        assert set(result.failures.values()) == {
            "The worker failed on this plane (MemoryError: all gone)."
        }
        np.testing.assert_array_equal(result.image, stack[0])


class TestKernels:
    def test_each_channel_has_a_kernel(self, stack):
        narrow, wide = (
            fluorescence_scene((96, 96), kernel=gaussian_kernel((21, 21), s)).observed
            for s in (1.0, 3.0)
        )
        _, result = run(np.stack([narrow, wide]), SEARCHING, axes="CYX")
        widths = [kernel_width(kernel.weights) for kernel in result.plan.kernels]
        assert widths[0] < 0.7 * widths[1]

    def test_a_kernel_is_shared_by_all_channels(self, stack):
        _, result = run(stack, axes="CZYX", kernel="shared")
        assert result.plan.kernels[0] is result.plan.kernels[1]

    def test_each_plane_has_its_own_kernel(self, stack):
        blocks, _ = run(stack[0], SEARCHING, axes="ZYX", kernel="per-slice")
        assert not np.array_equal(blocks[0].result.kernel, blocks[1].result.kernel)

    def test_a_given_kernel_is_used(self, stack):
        psf = gaussian_kernel((9, 9), 1.5)
        _, result = run(stack[0], axes="ZYX", kernel=5 * psf)
        assert result.plan.choice.is_held
        alone = deconvolve(
            stack[0, 1], QUICK, kernel=psf, intensity_range=result.plan.intensity_ranges[0]
        )
        np.testing.assert_allclose(result.image[1], alone.image, rtol=1e-4)

    def test_every_plane_has_the_warnings_of_its_kernel(self):
        sharp = [data.camera()[y : y + 128, 120:248] for y in (100, 140)]
        blocks, result = run(np.stack(sharp), SEARCHING, axes="ZYX")
        assert all(block.result.kernel.source is KernelSource.NO_BLUR for block in blocks)
        records = [block.result.provenance() for block in blocks]
        assert all(record["kernel_is_held"] for record in records)
        assert all(QualityFlag.NO_BLUR.sentence in record["warnings"] for record in records)
        assert result.flags[QualityFlag.NO_BLUR] == 2

    def test_a_given_kernel_has_no_warnings_of_a_search(self, stack):
        point = Kernel.point(source=KernelSource.GIVEN)
        blocks, result = run(stack[0], axes="ZYX", kernel=point)
        lists = [block.result.provenance()["warnings"] for block in blocks]
        assert not any(QualityFlag.NO_BLUR.sentence in warnings for warnings in lists)
        assert QualityFlag.NO_BLUR not in result.flags

    def test_the_kernel_is_found_on_the_reference_plane(self, stack):
        seen, _ = run_with_snapshots(stack, "CZYX", reference=(0, 2))
        indices = [snapshot.index for snapshot in seen]
        assert indices[0] == (0, 2)
        assert (1, 2) in indices[: len(indices) // 2]

    def test_an_empty_channel_does_not_fail_the_others(self, stack):
        blank = stack.copy()
        blank[0] = 7
        _, result = run(blank, axes="CZYX", reference=(0, 2))
        assert sorted(result.failures) == [(0, 0), (0, 1), (0, 2)]

    def test_the_range_includes_all_planes_and_the_kernel_is_that_of_the_sharpest(self):
        scene = fluorescence_scene((64, 64)).observed.astype(np.float32)
        blurred = [level + ndimage.gaussian_filter(scene, s) for level, s in LEVELS_AND_SIGMAS]
        noise = np.random.default_rng(0).normal(0, 2, (3, *scene.shape)).astype(np.float32)
        planes = np.stack(blurred) + noise
        [statistics] = channel_statistics(Image(planes, "ZYX"))
        ranges = [IntensityMap.of(plane[None]) for plane in planes]
        assert statistics.sharpest[0] == (2,)
        assert statistics.intensity_range == (
            min(intensity.low for intensity in ranges),
            max(intensity.high for intensity in ranges),
        )
        seen, result = run_with_snapshots(planes, "ZYX")
        assert seen[0].index == (2,)
        assert result.plan.intensity_ranges == (statistics.intensity_range,)

    def test_a_plane_of_one_colour_is_not_the_sharpest(self):
        planes = np.empty((2, 48, 48, 3), np.uint8)
        planes[:] = 255, 240, 230
        [statistics] = channel_statistics(Image(planes, "ZYXS"))
        assert not statistics.sharpest
        planes[1, :, :24] = 20
        [statistics] = channel_statistics(Image(planes, "ZYXS"))
        assert statistics.sharpest == ((1,),)

    def test_stop_ends_the_search_for_kernels(self, stack):
        searched = set()

        def stopped():
            return bool(searched)

        steps = run_stack(Task(Image(stack, "CZYX"), QUICK), RunControl(stopped))
        result = run_to_end(mapped(steps, lambda step: searched.add(step.index)))
        assert (1, 2) not in searched
        assert {channel for channel, _ in searched} == {0}
        assert result.plan is None, "kernels of an unfinished search are not used"
        assert result.missing == 6

    def test_known_kernels_save_iterations(self, stack):
        for warm, max_iterations in ((True, 1), (False, 4)):
            blocks, _ = run(stack[0], axes="ZYX", warm_start=warm)
            traces = [block.result.trace["stage"] for block in blocks]
            assert max(np.sum(trace == Stage.DOUBLE_DIP) for trace in traces) <= max_iterations

    @pytest.mark.parametrize("scope", ["per-channel", "shared", "per-slice"])
    def test_every_search_starts_from_a_guess(self, stack, scope):
        guess = KernelChoice.start_from(gaussian_kernel((9, 9), 1.5), scope)
        stack = np.stack([stack[0], stack[1, :, ::-1]])  # kernels do not depend on brightness
        blocks, result = run(stack, WITHOUT_NOISE_LIMIT, axes="CZYX", kernel=guess)
        assert not result.failures
        kernels = [block.result.kernel for block in blocks]
        assert {kernel.source for kernel in kernels} == {KernelSource.GUESS}
        assert all(0 < distance(kernel, guess.kernel) < 0.2 for kernel in kernels), (
            "the guess is corrected"
        )
        different = {kernel.weights.tobytes() for kernel in kernels}
        assert len(different) == {"per-channel": 2, "shared": 1, "per-slice": 6}[scope]
        assert all(block.result.kernel_is_held == (scope != "per-slice") for block in blocks)
        again = StackPlan.from_record(result.plan.as_record())
        _, repeated = run(stack, axes="CZYX", plan=again)
        np.testing.assert_array_equal(repeated.image, result.image)


class TestRuntime:
    MODEL = RuntimeModel(start=1e-5, search=5e-5, step=1e-6, network=2.0)

    def test_the_model_is_measured_on_a_small_run(self, monkeypatch):
        """The clock advances by one second each time it is read."""
        readings = itertools.count()
        clock = SimpleNamespace(perf_counter=lambda: float(next(readings)))
        monkeypatch.setattr(runtime, "time", clock)
        second = 1 / 128**2
        model = measure_runtime(SEARCHING)
        assert model.step == second
        assert model.start > second, "the stages before the networks have many iterations"
        assert model.search > second
        assert model.network == 0

    @pytest.mark.parametrize("solver", ["wiener", "richardson-lucy"])
    def test_every_solver_has_a_runtime_model(self, solver):
        settings = QUICK.with_changes(solver=solver)
        model = measure_runtime(settings)
        assert (model.step > 0) == (solver == "richardson-lucy")
        assert model.network == 0
        least, most = model.seconds(settings, planes=3, pixels=1000, kernels=0)
        assert 0 < least <= most

    def test_the_range_is_from_the_linear_estimate_to_the_iteration_limit(self):
        settings = Settings(max_iterations=40)
        least, most = self.MODEL.seconds(settings, planes=3, pixels=1000, kernels=0)
        assert least == pytest.approx(3 * 1000 * 1e-5)
        assert most == pytest.approx(3 * 1000 * (1e-5 + 40 * 1e-6))

    @pytest.mark.parametrize(
        "changes", [{"stop_at_noise": False}, {"image_start": "random"}, {"kernel_start": "flat"}]
    )
    def test_the_network_counts_if_it_always_runs(self, changes):
        settings = Settings(max_iterations=40, **changes)
        least, most = self.MODEL.seconds(settings, planes=3, pixels=1000, kernels=3)
        assert least == pytest.approx(3 * (1000 * (5e-5 + 1e-6) + 2))
        assert most == pytest.approx(3 * (1000 * (5e-5 + 40 * 1e-6) + 2))

    def test_more_planes_and_own_kernels_take_longer(self):
        few, many = (
            self.MODEL.seconds(Settings(), planes=n, pixels=10_000, kernels=1) for n in (10, 100)
        )
        assert all(9 * a < b * 2 for a, b in zip(few, many, strict=True))
        own = self.MODEL.seconds(Settings(), planes=10, pixels=10_000, kernels=10)
        assert own[0] > few[0]
        assert own[1] > few[1]

    def test_a_known_kernel_gets_all_iterations_and_a_found_one_a_fifth(self):
        model = RuntimeModel(start=0.0, search=0.0, step=1.0, network=0.0)
        settings = Settings(max_iterations=100)
        longest = {
            kernels: model.seconds(settings, planes=10, pixels=1, kernels=kernels)[1]
            for kernels in (0, 1)
        }
        assert longest == {0: 10 * 100, 1: 10 * 20 + 100}

    def test_a_plane_with_its_own_kernel_is_fitted_once(self):
        model = RuntimeModel(start=1.0, search=100.0, step=10.0, network=7.0)
        limits = model.seconds(Settings(max_iterations=5), planes=3, pixels=1, kernels=3)
        assert limits == (3 * 100, 3 * (100 + 5 * 10 + 7))


class TestRuntimeOfVolumes:
    MODEL = VolumeRuntimeModel({Stage.RICHARDSON_LUCY: 3e-8, Stage.LOG_GAUSSIAN: 8e-8}, rest=1e-6)

    def seconds(self, settings=None, *, model=MODEL, volumes=1, voxels=2_000_000, kernels=0):
        settings = settings or Settings()
        return model.seconds(settings, planes=volumes, pixels=voxels, kernels=kernels)

    @pytest.mark.parametrize(
        ("solver", "stages"),
        [
            ("auto", {Stage.RICHARDSON_LUCY, Stage.LOG_GAUSSIAN}),
            ("log-gaussian", {Stage.RICHARDSON_LUCY, Stage.LOG_GAUSSIAN}),
            ("wiener", {Stage.WIENER}),
            ("richardson-lucy", {Stage.RICHARDSON_LUCY}),
        ],
    )
    def test_the_stages_of_each_solver_are_measured(self, solver, stages):
        settings = Settings(solver=solver)
        model = measure_volume_runtime(settings)
        assert set(model.iteration) == stages
        assert min(model.iteration.values()) > 0
        assert model.rest > 0
        usual, longest = self.seconds(settings, model=model)
        assert 0 < usual < longest

    def test_the_longest_time_is_that_of_the_limits_of_the_stages(self):
        """Each stage of a run that goes to its limits counts as often as it was predicted."""
        image = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(12, 24, 24)), 1.0)
        volume = Image(image, "ZYX", dict.fromkeys("ZYX", 1.0), space="ZYX")
        run = iterate(volume, kernel=gaussian_kernel((5, 5, 5), 0.8), stop_at_noise=False)
        done = Counter(snapshot.stage for snapshot in run if snapshot.iteration)
        model = VolumeRuntimeModel(dict.fromkeys(done, 1.0), rest=0.0)
        usual, longest = self.seconds(model=model, voxels=1)
        assert done == {Stage.RICHARDSON_LUCY: 10, Stage.LOG_GAUSSIAN: 60}
        assert 30 < usual < 70
        assert longest == pytest.approx(70 / 0.8), "a fifth of the time may be for previews"

    def test_iterations_of_networks_do_not_count(self):
        few, many = (self.seconds(Settings(max_iterations=n)) for n in (5, 5000))
        assert few == many

    def test_richardson_lucy_counts_to_its_own_limit(self):
        model = VolumeRuntimeModel({Stage.RICHARDSON_LUCY: 1.0}, rest=0.0)
        for limit in (5, 150):
            settings = Settings(solver="richardson-lucy", max_iterations=limit)
            usual, longest = self.seconds(settings, model=model, voxels=1)
            assert longest == pytest.approx(limit / 0.8)
            assert usual <= limit
            endless = settings.with_changes(stop_at_noise=False)
            assert self.seconds(endless, model=model, voxels=1) == (limit, longest)

    def test_the_time_is_that_of_all_voxels(self):
        once, thrice = (self.seconds(volumes=n) for n in (1, 3))
        assert thrice == pytest.approx([3 * seconds for seconds in once])
        assert self.seconds(voxels=6_000_000) == pytest.approx(thrice)

    def test_a_kernel_is_found_within_seconds(self):
        held = self.seconds(volumes=5)[0]
        one = self.seconds(volumes=5, kernels=1)[0] - held
        assert 1 < one < 20, "searched in the spectrum, and tried on a part, whatever the size"
        assert self.seconds(volumes=5, kernels=5)[0] - held == pytest.approx(5 * one)


class TestBadPlanes:
    def test_a_bad_plane_is_reported_and_the_others_continue(self, stack):
        broken = stack[0].copy()
        broken[1] = np.nan
        blocks, result = run(broken, axes="ZYX")
        assert list(result.failures) == [(1,)]
        assert "NaN" in result.failures[1,]
        np.testing.assert_array_equal(blocks[1].image, broken[1])
        assert blocks[2].failure is None

    def test_a_plane_that_cannot_be_read_is_reported(self, stack):
        def fail(block, block_info=None):
            if block_info and block_info[0]["chunk-location"][0] == 1:
                raise OSError("bad sector")
            return block

        lazy = da.from_array(stack[0], chunks=(1, -1, -1)).map_blocks(fail, dtype=np.float32)
        _, result = run(lazy, axes="ZYX")
        assert "bad sector" in result.failures[1,]
        assert result.done == 3

    def test_empty_planes_do_not_change(self, stack):
        empty = stack[0].copy()
        empty[0] = 7
        _, result = run(empty, axes="ZYX")
        assert list(result.failures) == [(0,)]
        assert (result.image[0] == 7).all()

    def test_an_error_of_a_single_plane_is_raised(self, stack):
        """There are no other planes to continue with."""
        with pytest.raises(ValueError, match="no larger than the image"):
            run(stack[0, 0], QUICK.with_changes(kernel_size=99), axes="YX")
        with pytest.raises(ValueError, match="some contrast"):
            run(np.zeros((20, 20)), axes="YX")
        with pytest.raises(ValueError, match="at least 16 pixels per side"):
            run(np.zeros((0, 20)), axes="YX")
        with pytest.raises(ValueError, match="NaN or infinity in every pixel"):
            run(np.full((20, 20), np.nan), axes="YX")

    @pytest.mark.parametrize("kernel", ["per-channel", gaussian_kernel((9, 9), 1.5)])
    def test_a_plane_beyond_single_precision_does_not_change_others(self, stack, kernel):
        wild = stack[0].astype(np.float64)
        wild[1] *= 1e38
        _, result = run(wild, axes="ZYX", kernel=kernel)
        assert list(result.failures) == [(1,)]
        assert all(result.image[at].std() > 0.5 * stack[0, at].std() for at in (0, 2))

    @pytest.mark.parametrize("in_pool", [False, True])
    def test_a_stop_while_kernels_are_searched_gives_no_planes(self, stack, in_pool):
        checks = itertools.count()
        with threads() as executor:
            steps = deconvolve_stack(
                stack,
                QUICK,
                axes="CZYX",
                executor=executor if in_pool else None,
                should_stop=lambda: next(checks) > 2,
            )
            assert list(steps) == []
        result = steps.result()
        assert (result.plan, result.done, result.missing) == (None, 0, 6)
        assert not result.image.any()

    def test_a_stack_of_nothing_is_refused(self):
        with pytest.raises(ValueError, match="Expected at least one plane"):
            run(np.zeros((2, 20, 20)), axes="ZYX")

    def test_stopping_leaves_out_the_current_plane(self, stack):
        blocks = []
        steps = deconvolve_stack(
            stack[0],
            QUICK,
            axes="ZYX",
            kernel="per-slice",
            should_stop=lambda: len(blocks) == 1,
        )
        blocks.extend(steps)
        assert len(blocks) == 1
        assert steps.result().missing == 2

    def test_stopping_a_single_plane_keeps_the_best_estimate(self, stack):
        snapshots = []
        steps = run_stack(
            Task(Image(stack[0, 0]), WITHOUT_NOISE_LIMIT), RunControl(lambda: len(snapshots) >= 5)
        )
        blocks = []
        for step in (run := Run(steps)):
            (blocks if isinstance(step, BlockResult) else snapshots).append(step)
        assert [block.result.stop_reason for block in blocks] == [StopReason.STOPPED]
        assert (run.result().done, run.result().missing) == (1, 0)
        assert np.isfinite(run.result().image).all()

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"axes": "YXZ"}, "got 'YXZ'"),
            ({"axes": "ZZYX"}, "each at most once"),
            ({"axes": "YX"}, "one letter for each axis"),
            ({"axes": "QYX"}, "Expected axes with the letters T, C and Z"),
            ({"axes": "YXS"}, "colour axis of length 3 or 4 .* got length 56"),
            ({"axes": "ZYX", "kernel": "best"}, "Expected 'per-channel', 'shared'"),
            ({"axes": "ZYX", "kernel": "given"}, "Expected 'per-channel', 'shared'"),
            ({"axes": "ZYX", "kernel": np.zeros((3, 3))}, "a sum of 0"),
            ({"axes": "ZYX", "reference": (3,)}, "index of a plane along the axes 'Z'"),
        ],
    )
    def test_impossible_options_are_refused_in_one_sentence(self, stack, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            run(stack[0], **options)


def task_on(
    plane: np.ndarray,
    tile_side: int,
    kernel: np.ndarray | None = None,
    *,
    settings: Settings = QUICK,
    axes: str = "YX",
) -> Task:
    choice = KernelChoice.of(kernel)
    return Task(Image(plane, axes), settings, choice, tile_side=tile_side)


def limit_memory(monkeypatch, max_values: int) -> None:
    """Let a fit of more than `max_values` numbers run out of memory."""
    fit = planes.run_task

    def limited(task, control, *inspected):
        if task.image.array.size > max_values:
            raise OutOfMemoryError("no memory")
        return fit(task, control, *inspected)

    replace_fit(monkeypatch, limited)


def replace_fit(monkeypatch, fit) -> None:
    """Replace the run of a plane or a tile."""
    for module in (planes, tiled):
        monkeypatch.setattr(module, "run_task", fit)


def tiling_of(shape: tuple[int, ...], side: int, overlap: int) -> Tiling:
    return Tiling(shape, [side] * len(shape), [overlap] * len(shape))


class TestTiles:
    """Planes are cut here as if those without networks took as much memory as others."""

    @pytest.fixture(autouse=True)
    def _same_memory(self, monkeypatch):
        monkeypatch.setattr(planes, "_LONGER_WITHOUT_NETWORKS", 1)

    @pytest.mark.parametrize(
        ("shape", "side"), [((100, 70), 40), ((40, 41), 40), ((33, 500), 64), ((30, 50, 70), 32)]
    )
    def test_tiles_cover_the_block_and_overlap(self, shape, side):
        count = np.zeros(shape)
        weights = np.zeros(shape)
        tiling = tiling_of(shape, side, 8)
        for tile in tiling:
            assert max(count[tile].shape) <= max(side, 1)
            count[tile] += 1
            weights[tile] += tiling.weights(tile)
        assert count.min() >= 1
        np.testing.assert_allclose(weights, 1, rtol=1e-6)
        for axis, length in enumerate(shape):
            starts = sorted({tile[axis].start for tile in tiling})
            assert all(b - a <= side - 8 for a, b in itertools.pairwise(starts))
            ends = {tile[axis].stop for tile in tiling}
            assert max(ends) == length
            sides = {tile[axis].stop - tile[axis].start for tile in tiling}
            assert len(sides) == 1

    def test_tiles_are_no_larger_than_their_number_needs(self):
        rows, _ = zip(*tiling_of((100, 20), 96, 8), strict=True)
        assert [(tile.start, tile.stop) for tile in rows] == [(0, 54), (46, 100)]

    def test_weights_fall_towards_other_tiles_and_not_towards_the_border(self):
        overlap = 16
        tiling = tiling_of((40, 100), 60, overlap)
        first, last = map(tiling.weights, tiling)
        for weights in (first, last[:, ::-1]):  # the other tile lies to the right
            np.testing.assert_array_equal(weights[:, :-overlap], 1)
            assert (np.diff(weights[20, -overlap:]) < 0).all()
            assert weights[20, -1] < 0.1
            np.testing.assert_array_equal(weights[0], weights[20])

    def test_all_tiles_share_one_intensity_range(self, monkeypatch):
        ranges, fit = [], planes.run_task

        def watched(task, control, *inspected):
            ranges.append(task.intensity_range)
            return fit(task, control, *inspected)

        replace_fit(monkeypatch, watched)
        plane = fluorescence_scene((100, 160)).observed
        run_to_end(deconvolve_plane(task_on(plane, 96, gaussian_kernel((9, 9), 1.5)), NO_PREVIEWS))
        assert len(ranges) > 1
        assert len(set(ranges)) == 1
        assert ranges[0] is not None

    def test_tiles_overlap_by_one_and_a_half_kernels(self):
        """A kernel of 41 px gives an overlap of 61 px. Tiles of 150 px then start every 89 px."""
        plane = fluorescence_scene((150, 268)).observed
        kernel = gaussian_kernel((41, 41), 2.0)
        task = task_on(plane, 150, kernel, settings=LINEAR)
        assert run_to_end(deconvolve_plane(task, NO_PREVIEWS)).tiles == 3

    def test_a_tiled_plane_equals_the_plane(self):
        """The difference is below 1 %, and at the seams not much larger than elsewhere."""
        plane = fluorescence_scene((256, 224)).observed
        kernel = gaussian_kernel((13, 13), 2.0)
        complete, tiled = (
            run_to_end(deconvolve_plane(task_on(plane, side, kernel, settings=LINEAR), NO_PREVIEWS))
            for side in (512, 128)
        )
        assert complete.tiles == 1
        assert tiled.tiles >= 4
        error = (tiled.image - complete.image) / np.ptp(complete.image)
        assert np.sqrt(np.mean(error**2)) < 0.01
        seams = np.zeros(plane.shape, bool)
        for rows, _ in tiling_of(plane.shape, 128, 32):
            for edge in (rows.start, rows.stop):
                seams[max(edge - 2, 0) : edge + 2] |= 0 < edge < plane.shape[0]
        assert np.sqrt(np.mean(error[seams] ** 2)) < 2 * np.sqrt(np.mean(error**2))

    def test_previews_show_the_complete_plane(self):
        plane = fluorescence_scene((100, 180)).observed.astype(np.float32)
        kernel = gaussian_kernel((9, 9), 1.5)
        task = task_on(plane, 100, kernel)
        run = Run(deconvolve_plane(task, RunControl(preview_seconds=0)))
        shown = [snapshot for snapshot in run if snapshot.image is not None]
        result = run.result()
        assert len(shown) == result.tiles > 1
        assert {snapshot.image.shape for snapshot in shown} == {plane.shape}
        assert all(snapshot.kernel.shape == result.kernel.shape for snapshot in shown)
        # The tile with more contrast comes first; the other one shows the input until it is done.
        ends = (np.s_[:, :20], np.s_[:, -20:])
        assert plane[ends[0]].var() < plane[ends[1]].var()
        np.testing.assert_array_equal(shown[0].image[ends[0]], plane[ends[0]])
        assert not np.array_equal(shown[0].image[ends[1]], plane[ends[1]])
        np.testing.assert_array_equal(shown[-1].image, result.image)
        unseen = Run(deconvolve_plane(task, NO_PREVIEWS))
        assert all(snapshot.image is None for snapshot in unseen)
        np.testing.assert_array_equal(unseen.result().image, result.image)

    def test_a_guess_is_corrected_once_for_all_tiles(self):
        plane = fluorescence_scene((150, 160)).observed
        guess = KernelChoice.start_from(gaussian_kernel((9, 9), 1.5))
        task = Task(Image(plane), WITHOUT_NOISE_LIMIT, guess, tile_side=96)
        result = run_to_end(deconvolve_plane(task, NO_PREVIEWS))
        assert result.tiles > 1
        assert result.kernel.source is KernelSource.GUESS
        assert 0 < distance(result.kernel, guess.kernel) < 0.2
        assert not result.kernel_is_held

    def test_a_large_plane_finds_its_kernel_first(self):
        plane = fluorescence_scene((150, 160)).observed
        run = Run(
            deconvolve_plane(task_on(plane, 96, settings=SEARCHING), RunControl(preview_seconds=0))
        )
        shown = {snapshot.image.shape for snapshot in run if snapshot.image is not None}
        result = run.result()
        assert shown == {plane.shape}, "no preview shows only the search region"
        assert result.tiles > 1
        assert result.image.shape == plane.shape
        assert kernel_width(result.kernel.weights) > 2
        assert result.kernel.source.is_found
        assert not result.kernel_is_held

    def test_a_large_plane_in_tiles_has_the_requested_settings(self, monkeypatch):
        monkeypatch.setattr(stack_plan, "largest_tile", lambda _: 64)
        plane = fluorescence_scene((100, 110)).observed
        [block] = list(deconvolve_stack(plane, SEARCHING, axes="YX"))
        assert block.result.tiles > 1
        assert block.result.settings == SEARCHING
        assert not block.result.kernel_is_held
        assert block.result.kernel.source.is_found

    def test_a_plane_whose_tiles_all_lack_contrast_is_refused(self):
        plane = 1e6 + np.tile(np.linspace(0, 6, 400), (100, 1))
        task = task_on(plane, 64, gaussian_kernel((9, 9), 1.5))
        with pytest.raises(ValueError, match="try to subtract the offset"):
            run_to_end(deconvolve_plane(task, NO_PREVIEWS))

    def test_a_stopped_tiled_plane_is_marked_and_keeps_its_input(self):
        plane = fluorescence_scene((150, 160)).observed
        checks = itertools.count()
        control = RunControl(lambda: next(checks) > 8)
        result = run_to_end(
            deconvolve_plane(task_on(plane, 96, gaussian_kernel((9, 9), 1.5)), control)
        )
        assert result.stop_reason is StopReason.STOPPED
        np.testing.assert_array_equal(result.image[-20:, -20:], plane[-20:, -20:])

    def test_the_quality_of_a_tiled_plane_is_that_of_the_complete_plane(self):
        """Half of the plane is empty, so that no single tile represents it."""
        plane = np.full((64, 300), 5.0)
        plane[:, :150] = fluorescence_scene((64, 150)).observed
        kernel = gaussian_kernel((9, 9), 1.5)
        result = run_to_end(deconvolve_plane(task_on(plane, 100, kernel), NO_PREVIEWS))
        assert result.tiles > 1
        assert result.trust.residual.shape == plane.shape
        assert result.trust.flux_ratio == pytest.approx(result.image.sum() / plane.sum(), rel=1e-4)
        assert result.kernel.source == "given"

    def test_slowed_tiles_are_flagged(self, monkeypatch):
        fit, fitted = planes.run_task, itertools.count()

        def slowed_at_first(*arguments):
            result = yield from fit(*arguments)
            return replace(result, slowed_at=7 if next(fitted) == 0 else None)

        replace_fit(monkeypatch, slowed_at_first)
        plane = fluorescence_scene((150, 160)).observed
        kernel = gaussian_kernel((9, 9), 1.5)
        result = run_to_end(deconvolve_plane(task_on(plane, 100, kernel), NO_PREVIEWS))
        assert result.slowed_at == 7
        assert QualityFlag.UNSTABLE in result.flags

    def test_empty_tiles_of_colour_do_not_change(self):
        plane = np.empty((64, 300, 4))
        plane[:] = 250, 240, 230, 255
        seen = fluorescence_scene((64, 64)).observed[..., np.newaxis]
        plane[:, :64, :3] = 200 * seen / seen.max() + [10, 20, 30]
        result = run_to_end(deconvolve_plane(task_on(plane, 100, axes="YXS"), NO_PREVIEWS))
        np.testing.assert_allclose(result.image[:, 200:], plane[:, 200:], rtol=1e-5)

    @pytest.mark.parametrize("offset", [0.0, 5e4])
    def test_tiles_with_very_little_contrast_do_not_change(self, offset):
        """Their contrast is below single precision at the offset of a camera."""
        plane = np.full((64, 300), offset)
        plane[:, 299] += 1e-3
        plane[:, :64] += fluorescence_scene((64, 64)).observed
        result = run_to_end(deconvolve_plane(task_on(plane, 100), NO_PREVIEWS))
        np.testing.assert_allclose(result.image[:, 200:], plane[:, 200:], rtol=1e-5, atol=2)
        assert result.image.std() > 0.9 * plane.std()

    def test_empty_tiles_do_not_change(self):
        plane = np.full((64, 300), 5.0)
        plane[:, :64] = fluorescence_scene((64, 64)).observed
        result = run_to_end(deconvolve_plane(task_on(plane, 100), NO_PREVIEWS))
        np.testing.assert_allclose(result.image[:, 200:], 5.0, rtol=1e-5)

    def test_too_little_memory_means_a_kernel_from_a_smaller_region(self, monkeypatch):
        limit_memory(monkeypatch, 20_000)
        plane = fluorescence_scene((160, 160)).observed
        task = task_on(plane, 512)
        assert run_to_end(deconvolve_plane(task, NO_PREVIEWS)).tiles > 1
        searched: list[tuple[int, ...]] = []
        fit = planes.run_task

        def recorded(task, *options):
            searched.append(task.image.block_shape)
            return fit(task, *options)

        monkeypatch.setattr(planes, "run_task", recorded)
        run_to_end(find_kernel(task, NO_PREVIEWS))
        assert searched[-1] == (80, 80)

    def test_too_little_memory_means_smaller_tiles(self, monkeypatch):
        limit_memory(monkeypatch, 10_000)
        plane = fluorescence_scene((160, 160)).observed
        kernel = gaussian_kernel((9, 9), 1.5)
        task = task_on(plane, 512, kernel)
        assert run_to_end(deconvolve_plane(task, NO_PREVIEWS)).tiles > 1
        replace_fit(monkeypatch, lambda *_: _out_of_memory())
        with pytest.raises(DeconvolutionError, match="no memory"):
            run_to_end(deconvolve_plane(task, NO_PREVIEWS))


class TestPlanesTooLargeForNetworks:
    PLANE = fluorescence_scene((150, 160)).observed.astype(np.float32)

    def run(self, settings: Settings) -> tuple[list[Snapshot], Result]:
        task = task_on(self.PLANE, 96, gaussian_kernel((9, 9), 1.5), settings=settings)
        run = Run(deconvolve_plane(task, RunControl(preview_seconds=0)))
        shown = [snapshot for snapshot in run if snapshot.image is not None]
        return shown, run.result()

    def test_a_plane_that_needs_no_networks_is_not_cut(self):
        shown, result = self.run(LINEAR)
        assert result.tiles == 1
        assert len(shown) == len(result.trace)

    def test_a_plane_that_needs_networks_is_cut_after_its_linear_estimate(self):
        shown, result = self.run(WITHOUT_NOISE_LIMIT)
        assert result.tiles > 1
        linear, last = shown[-1 - result.tiles], shown[-1]
        assert linear.stage is not Stage.DOUBLE_DIP
        assert linear.image.shape == last.image.shape == self.PLANE.shape
        np.testing.assert_array_equal(last.image, result.image)
        # Where no tile is finished, the estimate of the plane is shown.
        first = shown[-result.tiles]
        np.testing.assert_array_equal(first.image[-20:, -20:], linear.image[-20:, -20:])
        assert not np.array_equal(first.image[:20, :20], linear.image[:20, :20])

    def test_too_little_memory_for_the_plane_means_tiles(self, monkeypatch):
        limit_memory(monkeypatch, 10_000)
        _, result = self.run(LINEAR)
        assert result.tiles > 1

    def test_a_stopped_run_keeps_the_linear_estimate_of_the_rest(self):
        networks_seen = []
        kernel = gaussian_kernel((9, 9), 1.5)
        task = task_on(self.PLANE, 96, kernel, settings=WITHOUT_NOISE_LIMIT)
        run = Run(deconvolve_plane(task, RunControl(lambda: bool(networks_seen), 0)))
        for snapshot in run:
            if snapshot.stage is Stage.DOUBLE_DIP:
                networks_seen.append(snapshot)
            elif snapshot.image is not None:
                linear = snapshot.image
        result = run.result()
        assert result.stop_reason is StopReason.STOPPED
        np.testing.assert_array_equal(result.image[-20:, -20:], linear[-20:, -20:])


def _out_of_memory():
    raise OutOfMemoryError("no memory")
    yield
