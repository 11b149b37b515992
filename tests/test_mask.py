"""Masks of users: what they cover has no influence, in memory, in files and over processes."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from tests.command import blind_deconv

from napari_blind_deconv import (
    Image,
    Settings,
    deconvolve,
    deconvolve_stack,
    iterate,
)
from napari_blind_deconv.engine.expected_error import expected_error
from napari_blind_deconv.engine.sampling import SampledGrid
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, run_job, sidecar_of
from napari_blind_deconv.reasons import Finding
from napari_blind_deconv.report import Report
from napari_blind_deconv.synthetic import fluorescence_scene

QUICK = Settings(solver="wiener", kernel_start=1.5)
PLANE = fluorescence_scene((40, 48)).observed
STACK = np.stack([fluorescence_scene((40, 48), seed=seed).observed for seed in range(3)])
MASK = np.zeros(PLANE.shape, bool)
MASK[4:12, 30:44] = True
# Another mask for each plane.
STACK_MASK = np.stack([np.roll(MASK, (8 * plane, -9 * plane), (0, 1)) for plane in range(3)])


def spoiled(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return an image with values in the mask that no rule of the package finds by itself."""
    pattern = np.random.default_rng(0).uniform(2, 3, pixels.shape) * pixels.max()
    return np.where(mask, pattern, pixels)


def written(path: Path, pixels: np.ndarray, **options) -> Path:
    tifffile.imwrite(path, pixels, **options)
    return path


class TestInMemory:
    def test_masked_pixels_have_no_influence_and_stay(self):
        clean = deconvolve(PLANE, QUICK, mask=MASK)
        pixels = spoiled(PLANE, MASK)
        result = deconvolve(pixels, QUICK, mask=MASK)
        np.testing.assert_array_equal(result.image[~MASK], clean.image[~MASK])
        np.testing.assert_array_equal(result.image[MASK], pixels.astype(np.float32)[MASK])
        assert result.findings[Finding.MASKED] == MASK.sum()
        assert (deconvolve(pixels, QUICK).image[~MASK] != clean.image[~MASK]).any()

    @pytest.mark.parametrize(
        "mask",
        [MASK.astype(np.uint8) * 255, MASK * -1, MASK * 7.0, MASK.tolist(), da.from_array(MASK)],
        ids=["uint8", "negative", "whole numbers", "list", "dask"],
    )
    def test_whatever_is_not_zero_is_left_out(self, mask):
        np.testing.assert_array_equal(Image(PLANE).with_mask(mask).masked, MASK)

    def test_a_colour_image_has_a_mask_without_colours(self):
        colour = np.stack([PLANE, 0.5 * PLANE, 0.8 * PLANE], axis=-1)
        result = iterate(colour, QUICK, axes="YXS", mask=MASK).result()
        np.testing.assert_array_equal(result.image[MASK], colour.astype(np.float32)[MASK])
        assert (result.image[~MASK] != colour.astype(np.float32)[~MASK]).all(axis=-1).mean() > 0.9

    def test_masks_of_an_image_and_of_a_call_add_up(self):
        other = np.roll(MASK, 20, axis=0)
        image = Image(STACK, "ZYX", masked=other).with_mask(STACK_MASK)
        np.testing.assert_array_equal(image.masked, STACK_MASK | other)

    def test_the_expected_error_leaves_it_out(self):
        result = deconvolve(PLANE, QUICK, mask=MASK)
        error = expected_error(PLANE, result, mask=MASK)
        assert np.isnan(error[MASK]).all()
        assert np.isfinite(error[~MASK]).all()

    @pytest.mark.parametrize(
        ("mask", "error", "sentence"),
        [
            (MASK[:-1], ValueError, r"mask of shape \(40, 48\), .* got \(39, 48\)"),
            (np.stack([MASK] * 3, -1), ValueError, r"mask of shape \(40, 48\), .* got \(40, 48, 3"),
            (MASK[0], ValueError, r"mask of shape \(40, 48\), .* got \(48,\)"),
            (MASK * 0.5, ValueError, "booleans or whole numbers, .* got 0.5; compare"),
            (np.where(MASK, np.nan, 0), ValueError, "booleans or whole numbers, .* got nan"),
            (MASK * 1j, TypeError, "booleans or whole numbers, .* type complex128"),
            ("mask.tif", TypeError, "booleans or whole numbers, .* type <U8"),
            (~np.zeros_like(MASK), ValueError, r"got 0 valid pixels of 1920 \(1920 masked\)"),
        ],
    )
    def test_another_mask_is_refused_in_one_sentence(self, mask, error, sentence):
        with pytest.raises(error, match=sentence) as refused:
            deconvolve(PLANE, QUICK, mask=mask)
        assert "\n" not in str(refused.value)

    def test_a_part_of_a_block_has_its_part_of_the_mask(self):
        part = Image(PLANE).with_mask(MASK).part(np.s_[8:30, 20:40])
        np.testing.assert_array_equal(part.masked, MASK[8:30, 20:40])

    def test_a_sample_is_left_out_with_any_of_its_repeated_pixels(self):
        block = Image(PLANE.repeat(2, axis=0).repeat(2, axis=1))
        mask = np.zeros(block.pixels.shape, bool)
        mask[21, 31] = True
        reduced = SampledGrid.of(block).reduced(block.with_mask(mask))
        assert np.argwhere(reduced.masked).tolist() == [[10, 15]]


class TestStack:
    @pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(1)], ids=["here", "executor"])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_every_plane_has_its_part_of_the_mask(self, executor, lazy):
        pixels = spoiled(STACK, STACK_MASK)
        mask = da.from_array(STACK_MASK, chunks=(1, 40, 48)) if lazy else STACK_MASK
        run = deconvolve_stack(pixels, QUICK, axes="ZYX", mask=mask, executor=executor)
        blocks = {block.index: block.result for block in run}
        clean = deconvolve_stack(STACK, QUICK, axes="ZYX", mask=STACK_MASK).result()
        image = run.result().image
        np.testing.assert_array_equal(image[~STACK_MASK], clean.image[~STACK_MASK])
        np.testing.assert_array_equal(image[STACK_MASK], pixels.astype(np.float32)[STACK_MASK])
        assert all(blocks[i,].findings[Finding.MASKED] == MASK.sum() for i in range(3))

    def test_a_mask_of_a_plane_holds_for_all(self):
        everywhere = np.broadcast_to(MASK, STACK.shape)
        one = deconvolve_stack(STACK, QUICK, axes="ZYX", mask=MASK).result()
        each = deconvolve_stack(STACK, QUICK, axes="ZYX", mask=everywhere).result()
        np.testing.assert_array_equal(one.image, each.image)

    def test_a_mask_of_a_volume_holds_for_all_channels(self):
        image = Image(np.stack([STACK, STACK]), "CZYX").with_mask(STACK_MASK)
        for channel, plane in np.ndindex(2, 3):
            block = image.read((channel, plane))
            np.testing.assert_array_equal(block.masked, STACK_MASK[plane])

    def test_another_shape_is_refused_with_both_shapes(self):
        with pytest.raises(ValueError, match=r"\(40, 48\) or \(3, 40, 48\), .* got \(2, 40, 48\)"):
            deconvolve_stack(STACK, QUICK, axes="ZYX", mask=STACK_MASK[:2])

    def test_a_single_masked_plane_states_the_reason(self):
        with pytest.raises(ValueError, match="got 0 valid pixels"):
            deconvolve_stack(STACK[:1], QUICK, axes="ZYX", mask=np.ones(STACK[:1].shape)).result()


class TestFile:
    """Files are opened only, because the engine has tests of its own."""

    @pytest.fixture
    def stack(self, tmp_path) -> Path:
        # Z, C, Y, X in the file, while images have C before Z.
        pixels = np.stack([STACK, STACK], axis=1)
        return written(tmp_path / "in.tif", pixels, imagej=True, metadata={"axes": "ZCYX"})

    @pytest.mark.parametrize("kind", ["same axes", "other order", "no names", "zarr"])
    def test_a_mask_with_the_axes_of_the_file(self, stack, tmp_path, kind):
        mask = np.stack([STACK_MASK, ~STACK_MASK], axis=1).astype(np.uint8)
        path = tmp_path / "mask.tif"
        if kind == "same axes":
            written(path, mask, imagej=True, metadata={"axes": "ZCYX"})
        elif kind == "other order":
            path = path.with_name("mask.ome.tif")
            written(path, mask.swapaxes(0, 1), metadata={"axes": "CZYX"})
        elif kind == "no names":
            written(path, mask)
        else:
            path = path.with_name("mask.zarr")
            level = {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": [1] * 4}],
            }
            axes = [{"name": name, "type": "space"} for name in "zcyx"]
            ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
            group = zarr.create_group(path, attributes={"ome": ome})
            group.create_array("0", data=mask, chunks=(1, 1, 40, 48))
        with open_image(stack, mask=path) as opened:
            assert opened.image.axes == "CZYX"
            for channel, plane in np.ndindex(2, 3):
                expected = ~STACK_MASK[plane] if channel else STACK_MASK[plane]
                block = opened.image.read((channel, plane))
                np.testing.assert_array_equal(block.masked, expected)

    @pytest.mark.parametrize("planes", [3, 4])
    def test_planes_that_napari_saves_as_colours(self, tmp_path, planes):
        pixels, mask = (np.resize(array, (planes, 40, 48)) for array in (STACK, STACK_MASK))
        stack = written(tmp_path / "in.tif", pixels, imagej=True, metadata={"axes": "TYX"})
        path = written(
            tmp_path / "mask.tif",
            mask.astype(np.uint8),
            photometric="rgb",
            planarconfig="separate",
        )
        with open_image(stack, mask=path) as opened:
            np.testing.assert_array_equal(opened.image.masked.compute(), mask)

    def test_a_mask_that_lacks_axes_is_repeated(self, stack, tmp_path):
        plane = written(tmp_path / "plane.tif", MASK)
        with open_image(stack, mask=plane) as opened:
            np.testing.assert_array_equal(opened.image.masked, MASK)
        volume = STACK_MASK.astype(np.uint8)
        written(tmp_path / "z.tif", volume, imagej=True, metadata={"axes": "ZYX"})
        with open_image(stack, mask=tmp_path / "z.tif") as opened:
            np.testing.assert_array_equal(opened.image.masked.compute(), [STACK_MASK] * 2)

    @pytest.mark.parametrize("whole", [True, False])
    @pytest.mark.parametrize("planes", ["stack", "plane"])
    def test_a_selection_cuts_a_mask_of_the_whole_file(self, tmp_path, whole, planes):
        stack = written(tmp_path / "in.tif", STACK, imagej=True, metadata={"axes": "ZYX"})
        mask = STACK_MASK if planes == "stack" else MASK
        part = mask[..., 2:38, 10:]
        if planes == "stack":
            part = part[1:]
        path = written(tmp_path / "mask.tif", mask if whole else part)
        with open_image(stack, select="1:3,2:38,10:", mask=path) as opened:
            assert opened.image.pixels.shape == (2, 36, 38)
            np.testing.assert_array_equal(np.asarray(opened.image.masked), part)

    def test_the_axes_that_a_user_names_are_those_of_a_mask_without_names(self, tmp_path):
        stack = written(tmp_path / "in.tif", np.stack([STACK, STACK], axis=1))
        mask = written(tmp_path / "mask.tif", np.stack([STACK_MASK, ~STACK_MASK], axis=1))
        with open_image(stack, "ZCYX", mask=mask) as opened:
            np.testing.assert_array_equal(opened.image.read((1, 2)).masked, ~STACK_MASK[2])

    @pytest.mark.parametrize("photometric", ["miniswhite", "minisblack", "palette"])
    def test_numbers_of_a_mask_are_taken_as_they_are_stored(self, tmp_path, photometric):
        # Fiji and tifffile store masks as MinIsWhite, and labels have a palette of any colours.
        colours = np.random.default_rng(0).integers(0, 2**16, (3, 256)).astype(np.uint16)
        options = {"colormap": colours} if photometric == "palette" else {}
        mask = written(
            tmp_path / "mask.tif", MASK.astype(np.uint8) * 255, photometric=photometric, **options
        )
        with open_image(written(tmp_path / "in.tif", PLANE), mask=mask) as opened:
            np.testing.assert_array_equal(opened.image.masked, MASK)

    def test_a_colour_image(self, tmp_path):
        colour = (np.stack([PLANE] * 3, -1) / PLANE.max() * 255).astype(np.uint8)
        path = written(tmp_path / "rgb.tif", colour, photometric="rgb")
        mask = written(tmp_path / "mask.tif", MASK)
        with open_image(path, select="2:38,:", mask=mask) as opened:
            np.testing.assert_array_equal(opened.image.masked, MASK[2:38])

    def test_a_damaged_mask_is_refused_in_one_sentence(self, stack, tmp_path):
        path = written(tmp_path / "mask.tif", MASK.astype(np.uint8), compression="zlib")
        with tifffile.TiffFile(path) as tiff:
            start = tiff.pages[0].dataoffsets[0]
        content = bytearray(path.read_bytes())
        content[start : start + 8] = b"\xff" * 8
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as TIFF"):
            open_image(stack, mask=path)

    def test_another_shape_is_refused_with_all_shapes(self, stack, tmp_path):
        path = written(tmp_path / "mask.tif", MASK[:30])
        with pytest.raises(ValueError, match=r"shape \(3, 2, 40, 48\), .* got .* \(30, 48\)"):
            open_image(stack, mask=path)
        with pytest.raises(ValueError, match=r"or \(40, 20\), as the selected part, .* \(30, 48\)"):
            open_image(stack, select="0,0,:,:20", mask=path)


class TestJob:
    @pytest.fixture
    def job(self, tmp_path) -> Job:
        return Job(
            input=written(tmp_path / "in.tif", PLANE),
            output=tmp_path / "out.tif",
            mask=written(tmp_path / "mask.tif", MASK),
            settings=QUICK,
        )

    def test_it_equals_the_function_and_is_repeated_from_its_sidecar(self, job):
        run_job(job).result()
        expected = deconvolve(PLANE, QUICK, mask=MASK).image
        np.testing.assert_array_equal(tifffile.imread(job.output), expected)
        again = Job.from_sidecar(sidecar_of(job.output))
        assert again == job
        run_job(again, overwrite=True).result()
        np.testing.assert_array_equal(tifffile.imread(job.output), expected)
        assert Report.of(job.output).findings[Finding.MASKED] == MASK.sum()

    def test_a_sidecar_without_a_mask_is_read(self, job):
        record = job.model_copy(update={"mask": None}).as_record()
        del record["mask"]
        assert Job.from_record(record).mask is None

    def test_another_mask_of_the_same_name_is_computed_again(self, job):
        run_job(job).result()
        assert run_job(job, resume=True).result().done == 0
        written(job.mask, np.roll(MASK, 3, axis=1))
        with pytest.raises(ValueError, match="exists"):
            run_job(job, resume=True).result()

    def test_another_mask_is_refused_for_an_interrupted_stack(self, job):
        job = job.model_copy(update={"input": job.input.with_name("stack.tif")})
        written(job.input, STACK, imagej=True, metadata={"axes": "ZYX"})
        steps = run_job(job)
        next(step for step in steps if hasattr(step, "failure"))
        steps.close()
        written(job.mask, np.roll(MASK, 3, axis=1))
        with pytest.raises(ValueError, match="comes from a run with another mask"):
            run_job(job, resume=True).result()

    def test_commands(self, job, tmp_path):
        options = ("--mask", job.mask, "--set", "solver=wiener", "--set", "kernel_start=1.5")
        assert blind_deconv("run", job.input, job.output, *options).returncode == 0
        assert blind_deconv("batch", job.input, "--out", tmp_path / "b", *options).returncode == 0
        expected = deconvolve(PLANE, QUICK, mask=MASK).image
        for path in (job.output, tmp_path / "b" / "in_deblurred.ome.tif"):
            np.testing.assert_array_equal(tifffile.imread(path), expected)
        recorded = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))
        assert recorded["job"]["mask"] == str(job.mask)

    def test_the_mask_is_never_the_output(self, job):
        before = job.mask.read_bytes()
        run = ("run", job.input, job.mask, "--mask", job.mask, "--overwrite")
        batch = ("batch", job.input, "--out", job.mask.parent, "--suffix", "_m.tif", "--overwrite")
        renamed = job.mask.rename(job.mask.with_name("in_m.tif"))
        done = blind_deconv(*batch, "--mask", renamed)
        assert "different files for input and output" in done.stderr
        assert renamed.read_bytes() == before
        renamed.rename(job.mask)
        done = blind_deconv(*run)
        assert (done.returncode, job.mask.read_bytes()) == (2, before)
        assert "different files for input and outputs" in done.stderr


def test_an_image_with_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask of shape \(40, 48\)"):
        replace(Image(PLANE), masked=MASK[1:])
