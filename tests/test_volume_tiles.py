"""Volumes in tiles: they fit one another, and together they are the volume."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from napari_blind_deconv import Image, KernelChoice, Settings, StopReason, deconvolve, iterate
from napari_blind_deconv.engine import tiled, volumes
from napari_blind_deconv.engine.planes import deconvolve_plane
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stacks import run_stack
from napari_blind_deconv.engine.tiles import Tiling, largest_volume_tile, volume_bytes
from napari_blind_deconv.errors import OutOfMemoryError
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, run_job, sidecar_of
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.field_of_view import canvas_shape
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.reasons import Finding
from napari_blind_deconv.results import Result
from napari_blind_deconv.settings import SolverName
from napari_blind_deconv.steps import Run, run_to_end
from napari_blind_deconv.task import Task

SIZE = (0.3, 0.1, 0.1)
SHAPE = (16, 110, 120)
SIDE, OVERLAP = 64, 32
KERNEL = gaussian_kernel((9, 9, 9), (1.8, 1.3, 1.3))
LUCY = Settings(solver="richardson-lucy", max_iterations=20)
SOLVERS = ("wiener", "log-gaussian", "richardson-lucy")


@pytest.fixture(scope="module")
def volume() -> tuple[np.ndarray, np.ndarray]:
    """The ground truth and the image, in counts above an offset; one half is dim and sparse."""
    canvas = canvas_shape(SHAPE, KERNEL.shape)
    random = np.random.default_rng(0)
    brightness = np.where(np.arange(canvas[2]) < 60, 4000.0, 400.0)
    points = (random.random(canvas) > 0.995) * brightness
    scene = ndimage.gaussian_filter(points.astype(np.float32), 0.8)
    convolution = Convolution(torch.from_numpy(KERNEL))
    blurred = convolution.forward(torch.from_numpy(scene)).numpy() + 20
    recorded = random.poisson(blurred) + random.normal(100, 2, SHAPE)
    return convolution.field_of_view(scene) + 120, recorded.round().astype(np.uint16)


def task_on(pixels: np.ndarray, side: int | None, mask: np.ndarray | None = None) -> Task:
    image = Image(pixels, "ZYX", dict(zip("ZYX", SIZE, strict=True)), "µm", space="ZYX")
    image = image if mask is None else image.with_mask(mask)
    return Task(image, LUCY, KernelChoice.hold(KERNEL), tile_side=side)


def run(task: Task, control: RunControl | None = None) -> Result:
    return run_to_end(deconvolve_plane(task, control or RunControl()))


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def at_seams(shape: tuple[int, ...]) -> np.ndarray:
    """Return the mask of the voxels beside the borders of tiles."""
    seams = np.zeros(shape, bool)
    overlaps = (OVERLAP,) * 3
    for tile in Tiling(shape, (SIDE,) * 3, overlaps):
        for axis, span in enumerate(tile):
            along = np.moveaxis(seams, axis, 0)
            for edge in (span.start, span.stop):
                along[max(edge - 2, 0) : edge + 2] |= 0 < edge < shape[axis]
    return seams


@pytest.mark.parametrize("solver", SOLVERS)
def test_seams_are_no_worse_than_elsewhere(volume, solver):
    truth, recorded = volume
    settings = LUCY.with_changes(solver=solver)
    complete, parted = (
        run(replace(task_on(recorded, side), settings=settings)) for side in (512, SIDE)
    )
    assert complete.tiles == 1
    assert parted.tiles == 9
    difference = parted.image - complete.image
    seams = at_seams(SHAPE)
    assert 0.05 < seams.mean() < 0.5
    assert rms(difference[seams]) < 1.5 * rms(difference[~seams])
    assert rms(difference) < 0.25 * rms(complete.image - truth)
    assert rms(parted.image - truth) < 1.02 * rms(complete.image - truth)
    # As bright as the whole, in the bright and in the dim half.
    for half in (np.s_[..., :60], np.s_[..., 60:]):
        assert parted.image[half].mean() == pytest.approx(recorded[half].mean(), rel=0.02)
    shift, *_ = phase_cross_correlation(complete.image, parted.image, upsample_factor=50)
    np.testing.assert_allclose(shift, 0, atol=0.05)


def test_planes_are_cut_only_if_the_tile_side_is_shorter(volume):
    """The scene is turned, so that there are many planes."""
    _, recorded = volume
    deep = np.ascontiguousarray(recorded.transpose(2, 1, 0))[:, :64]
    image = Image(deep, "ZYX", dict.fromkeys("ZYX", 0.1), "µm", space="ZYX")
    task = Task(image, LUCY, KernelChoice.hold(KERNEL.transpose(2, 1, 0)))
    complete, parted = (run(replace(task, tile_side=side)) for side in (120, 64))
    assert (complete.tiles, parted.tiles) == (1, 3)
    assert rms(parted.image - complete.image) < 0.01 * np.ptp(complete.image)


class TestMemory:
    """Tiles follow from the free memory of the machine."""

    @pytest.mark.parametrize("solver", [SolverName.LOG_GAUSSIAN, SolverName.RICHARDSON_LUCY])
    @pytest.mark.parametrize("free", [2**24, 2**30, 2**33, 2**40])
    def test_a_tile_fits(self, monkeypatch, solver, free):
        limit_memory(monkeypatch, free)
        volume, kernel = (48, 900, 1200), (31, 33, 33)
        side = largest_volume_tile(torch.device("cpu"), volume, kernel, solver)
        tile = [min(side, length) for length in volume]
        assert side == 1 or volume_bytes(canvas_shape(tile, kernel), solver) <= free / 2
        assert side <= max(volume)
        whole = volume_bytes(canvas_shape(volume, kernel), solver)
        assert (side == max(volume)) == (whole <= free / 2)

    def test_a_volume_beyond_memory_is_cut(self, volume, monkeypatch):
        _, recorded = volume
        settings = LUCY.with_changes(device="cpu")  # the memory of a GPU is not that of the machine
        options = {"axes": "ZYX", "kernel": KERNEL, "pixel_size": SIZE, "settings": settings}
        complete = deconvolve(recorded, **options)
        assert complete.tiles == 1
        tile = canvas_shape((16, SIDE, SIDE), KERNEL.shape)
        limit_memory(monkeypatch, 2.1 * volume_bytes(tile, LUCY.solver))
        parted = deconvolve(recorded, **options)
        assert parted.tiles == 9
        assert parted.settings == complete.settings
        assert parted.intensity_range == complete.intensity_range
        assert rms(parted.image - complete.image) < 0.01 * np.ptp(complete.image)
        limit_memory(monkeypatch, 0.5 * volume_bytes(tile, LUCY.solver))
        with pytest.raises(OutOfMemoryError, match="try a smaller"):
            deconvolve(recorded, **options)

    def test_too_little_memory_in_a_tile_means_smaller_tiles(self, volume, monkeypatch):
        _, recorded = volume
        sizes, fit = [], tiled.run_task

        def limited(task, control, *inspected):
            sizes.append(task.image.array.size)
            if sizes[-1] > 16 * 80 * 80:
                raise OutOfMemoryError("no memory")
            return fit(task, control, *inspected)

        for module in (tiled, volumes):
            monkeypatch.setattr(module, "run_task", limited)
        wide = np.tile(recorded, 3)[..., :300]
        assert run(task_on(wide, 300)).tiles == len(sizes) - 2 > 9
        assert sizes[:3] == sorted(sizes, reverse=True)[:3]
        assert sizes[0] == wide.size


def limit_memory(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=int(free)))


def test_faults_and_masks_are_those_of_the_volume(volume):
    """A lost frame is found in the volume, not tile by tile; masked voxels are kept exactly."""
    _, recorded = volume
    broken = recorded.astype(np.float32)
    mask = np.zeros(SHAPE, bool)
    mask[4:10, 40:70, 40:70] = True
    broken[mask] = 5e4
    broken[5, 45:50, 45:50] = np.inf
    broken[12] = 0
    complete, parted = (run(task_on(broken, side, mask)) for side in (512, SIDE))
    assert parted.tiles > 1
    assert parted.findings == complete.findings
    assert parted.findings[Finding.FLAT] == broken[12].size
    kept = mask.copy()
    kept[12] = True
    np.testing.assert_array_equal(parted.image[kept], broken[kept])
    assert parted.image[~kept].max() < 2e4
    before, after = complete.image[~kept], parted.image[~kept]
    assert rms(after - before) < 0.01 * np.ptp(before)


def test_a_tile_without_light_keeps_the_input(volume):
    _, recorded = volume
    dark = np.full((16, 64, 260), 100, np.uint16)
    dark[..., :64] = recorded[:, :64, :64]
    result = run(task_on(dark, SIDE))
    np.testing.assert_array_equal(result.image[..., 200:], 100)
    assert not np.array_equal(result.image[..., :20], dark[..., :20])


def test_a_stopped_run_keeps_the_tiles_that_are_done(volume):
    _, recorded = volume
    shown = []
    task = task_on(recorded, SIDE)
    steps = Run(deconvolve_plane(task, RunControl(lambda: len(shown) >= 2, 0)))
    for snapshot in steps:
        if snapshot.image is not None:
            shown.append(snapshot.image)
    result = steps.result()
    assert result.stop_reason is StopReason.STOPPED
    assert result.tiles < 9
    changed = (result.image != recorded).mean()
    assert 0.1 < changed < 0.9
    assert len({image.tobytes() for image in shown}) == len(shown), "a preview is a copy"


def test_all_tiles_take_as_many_iterations(volume):
    """A dim tile would end at the noise after fewer iterations, and be less sharp."""
    _, recorded = volume
    iterations = []
    for snapshot in Run(deconvolve_plane(task_on(recorded, SIDE), RunControl())):
        if snapshot.iteration == 1:
            iterations.append(0)
        iterations[-1] += 1
    assert len(iterations) == 9
    assert len(set(iterations)) == 1
    assert iterations[0] < LUCY.max_iterations


def test_a_tiled_volume_is_checked_before_the_first_iteration(volume):
    with pytest.raises(ValueError, match="Expected an intensity range"):
        iterate(
            volume[1],
            axes="ZYX",
            kernel=KERNEL,
            pixel_size=SIZE,
            intensity_range=(2.0, 1.0),
        )


@pytest.mark.parametrize(
    ("shape", "before", "after"),
    [
        ((12, 97, 80), (0, 0, 0), (0, 0, 0)),
        ((13, 80, 97), (0, 2, 4), (0, 0, 0)),
        ((16, 81, 98), (2, 0, 0), (0, 1, 3)),  # even sides
    ],
)
@pytest.mark.parametrize("side", [None, SIDE])
def test_no_result_is_shifted(shape, before, after, side):
    """Whatever the sides, and wherever the PSF lies in its window."""
    given = np.pad(
        gaussian_kernel((7, 7, 7), (1.3, 1.3, 1.3)), list(zip(before, after, strict=True))
    )
    convolution = Convolution(torch.from_numpy(gaussian_kernel((7, 7, 7), (1.3, 1.3, 1.3))))
    points = np.random.default_rng(0).random(convolution.canvas_shape(shape)) > 0.995
    scene = ndimage.gaussian_filter(5000 * points.astype(np.float32), 1)
    blurred = convolution.forward(torch.from_numpy(scene)).numpy()
    recorded = np.random.default_rng(1).poisson(blurred + 20).astype(np.uint16)
    result = run(replace(task_on(recorded, side), kernel=KernelChoice.hold(given)))
    assert (result.tiles > 1) == (side is not None)
    truth = convolution.field_of_view(scene)
    shift, *_ = phase_cross_correlation(truth, result.image, upsample_factor=50)
    np.testing.assert_allclose(shift, 0, atol=0.1)
    assert result.image.mean() == pytest.approx(recorded.mean(), rel=0.02)
    assert result.image.shape == shape


@pytest.mark.parametrize("name", ["o.ome.tif", "o.ome.zarr"])
def test_metadata_of_a_tiled_volume_go_to_the_output(volume, tmp_path, monkeypatch, name):
    _, recorded = volume
    place = {
        key: value
        for axis, position in zip("XYZ", (3.0, -4.0, 7.0), strict=True)
        for key, value in (
            (f"Position{axis}", [position] * 32),
            (f"Position{axis}Unit", ["µm"] * 32),
        )
    }
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", SIZE, strict=True)}
    metadata = {"axes": "CZYX", "Channel": {"Name": ["DAPI", "GFP"]}, "Plane": place, **sizes}
    pixels = np.stack([recorded, recorded[::-1]])
    tifffile.imwrite(tmp_path / "i.ome.tif", pixels, ome=True, metadata=metadata)
    tifffile.imwrite(tmp_path / "psf.tif", KERNEL)
    monkeypatch.setattr(volumes, "largest_volume_tile", lambda *_: SIDE)
    job = Job(
        input=tmp_path / "i.ome.tif",
        output=tmp_path / name,
        settings=LUCY.with_changes(max_iterations=2),
        psf=tmp_path / "psf.tif",
        block="volume",
    )
    assert run_job(job).result().done == 2
    with open_image(job.input) as given, open_image(job.output) as opened:
        before, after = given.image, opened.image
        assert after.axes == "CZYX"
        assert after.channel_names == before.channel_names == ("DAPI", "GFP")
        assert after.spacing == pytest.approx(dict(zip("ZYX", SIZE, strict=True)))
        assert after.unit == before.unit
        assert after.origin == pytest.approx(before.origin)
        assert after.origin == pytest.approx({"X": 3, "Y": -4, "Z": 7})
    sidecar = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))
    assert [volume["tiles"] for volume in sidecar["planes"]] == [9, 9]


@pytest.mark.parametrize(
    ("solver", "side"),
    [("log-gaussian", None), ("richardson-lucy", None), ("richardson-lucy", SIDE)],
)
def test_a_bleaching_series_keeps_its_decay(solver, side):
    """The light above the dark level falls as it does in the recording, within 2 %."""
    shape = (10, 40, 40) if side is None else (10, 40, 100)
    convolution = Convolution(torch.from_numpy(KERNEL[:, 2:7, 2:7] / KERNEL[:, 2:7, 2:7].sum()))
    random = np.random.default_rng(0)
    points = random.random(convolution.canvas_shape(shape)) > 0.99
    scene = ndimage.gaussian_filter(6000 * points.astype(np.float32), 0.8)
    blurred = convolution.forward(torch.from_numpy(scene)).numpy()
    decay = np.exp(-0.5 * np.arange(3))
    series = [
        random.poisson(factor * blurred + 5) + random.normal(100, 2, shape) for factor in decay
    ]
    recorded = np.stack(series).round().astype(np.uint16)
    task = Task.of(
        recorded,
        LUCY.with_changes(solver=solver),
        {},
        axes="TZYX",
        kernel=convolution.kernel.numpy(),
        pixel_size=SIZE,
        block=BlockKind.VOLUME,
    )
    result = run_to_end(run_stack(replace(task, tile_side=side), RunControl()))
    assert len(result.plan.intensity_ranges) == 1, "one range for all time points"
    light, before = ((images.mean(axis=(1, 2, 3)) - 105) for images in (result.image, recorded))
    np.testing.assert_allclose(light / light[0], before / before[0], rtol=0.02)
    np.testing.assert_allclose(light / light[0], decay, rtol=0.02)
