"""What files state about their images is obeyed, or the user is told what to do."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile
import zarr
from tests.command import as_options, blind_deconv

from napari_blind_deconv import Settings
from napari_blind_deconv.image import Image
from napari_blind_deconv.io.images import read_plane
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, run_job

QUICK = Settings(solver="wiener", kernel_start=1.5)
RANDOM = np.random.default_rng(0)
PLANE = RANDOM.integers(0, 4000, (40, 48), dtype=np.uint16)
FOUR = RANDOM.integers(0, 4000, (4, 40, 48), dtype=np.uint16)
MICROMETRES = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]


def scale(*numbers: float) -> dict[str, Any]:
    return {"type": "scale", "scale": list(numbers)}


def translation(*numbers: float) -> dict[str, Any]:
    return {"type": "translation", "translation": list(numbers)}


def write_group(path: Path, metadata: dict[str, Any], zarr_format: Any = 2) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.attrs.update({"ome": metadata} if zarr_format == 3 else metadata)


def write_zarr(
    path: Path,
    pixels: np.ndarray,
    axes: Any,
    level: list[dict[str, Any]] | None = None,
    whole: list[dict[str, Any]] | None = None,
    version: str = "0.4",
) -> None:
    """Write an OME-Zarr with the transforms of its only level and of the whole image."""
    dataset = {"path": "0"} | ({"coordinateTransformations": level} if level else {})
    multiscale = {"version": version, "datasets": [dataset]}
    multiscale |= {"axes": axes} if axes else {}
    multiscale |= {"coordinateTransformations": whole} if whole else {}
    zarr_format: Any = 3 if version == "0.5" else 2
    write_group(path, {"version": version, "multiscales": [multiscale]}, zarr_format)
    zarr.create_array(
        path / "0",
        data=pixels,
        chunks=pixels.shape,
        zarr_format=zarr_format,
        chunk_key_encoding={"name": "default" if zarr_format == 3 else "v2", "separator": "/"},
    )


def read(path: Path, **options: Any) -> tuple[Image, np.ndarray, str]:
    """Return an image, its pixels, and its notes."""
    with open_image(path, **options) as opened:
        assert opened.image.pixels.chunksize[: len(opened.image.stack_axes)] == (1,) * len(
            opened.image.stack_axes
        ), "it is read plane by plane"
        return opened.image, opened.image.pixels.compute(), " ".join(opened.notes)


def error_of(path: Path, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]*\.$") as caught:
        open_image(path, **options)
    return str(caught.value)


class TestSamples:
    @pytest.mark.parametrize("count", [2, 3, 4, 5])
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_samples_that_are_not_colours_are_channels(self, tmp_path, count, planar):
        channels = np.stack([np.roll(PLANE, 7 * k) for k in range(count)])
        stored = channels if planar == "separate" else np.moveaxis(channels, 0, -1)
        tifffile.imwrite(tmp_path / "f.tif", stored, photometric="minisblack", planarconfig=planar)
        image, pixels, notes = read(tmp_path / "f.tif")
        assert image.axes == "CYX"
        assert not notes
        np.testing.assert_array_equal(pixels, channels)

    def test_every_channel_is_deconvolved(self, tmp_path):
        stored = np.moveaxis(FOUR, 0, -1)
        tifffile.imwrite(
            tmp_path / "f.tif", stored, photometric="minisblack", planarconfig="contig"
        )
        run_job(Job(input=tmp_path / "f.tif", output=tmp_path / "o.tif", settings=QUICK)).result()
        result = tifffile.imread(tmp_path / "o.tif")
        assert result.shape == FOUR.shape
        assert all((after != before).any() for after, before in zip(result, FOUR, strict=True))

    @pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
    def test_grey_with_alpha_is_a_plane(self, tmp_path, kind):
        stored = np.stack([PLANE, np.full_like(PLANE, 65535)], -1)
        tifffile.imwrite(tmp_path / "f.tif", stored, photometric="minisblack", extrasamples=[kind])
        image, pixels, notes = read(tmp_path / "f.tif")
        assert image.axes == "YX"
        assert "alpha channel of f.tif is left out" in notes
        np.testing.assert_array_equal(pixels, PLANE)
        np.testing.assert_array_equal(read_plane(tmp_path / "f.tif").pixels, PLANE)

    @pytest.mark.parametrize(
        ("extra", "axes"), [([], "YXS"), (["unassalpha"], "YXS"), (["unspecified"], "CYX")]
    )
    def test_rgb_is_colour_unless_a_sample_is_undescribed(self, tmp_path, extra, axes):
        stored = np.moveaxis(FOUR[: 3 + len(extra)], 0, -1)
        tifffile.imwrite(tmp_path / "f.tif", stored, photometric="rgb", extrasamples=extra)
        image, pixels, notes = read(tmp_path / "f.tif")
        assert image.axes == axes
        assert pixels.size == stored.size
        assert ("does not describe the others; 4 of them" in notes) == (axes == "CYX")

    def test_rgb_can_be_read_as_channels(self, tmp_path):
        tifffile.imwrite(tmp_path / "f.tif", np.moveaxis(FOUR[:3], 0, -1), photometric="rgb")
        image, pixels, _ = read(tmp_path / "f.tif", axes="YXC")
        assert image.axes == "CYX"
        np.testing.assert_array_equal(pixels, FOUR[:3])

    def test_an_imagej_composite_has_channels(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "f.tif",
            FOUR[:3],
            photometric="rgb",
            planarconfig="separate",
            description="ImageJ=1.54f\nimages=3\nchannels=3\nmode=composite\n",
            metadata=None,
        )
        image, pixels, _ = read(tmp_path / "f.tif")
        assert image.axes == "CYX"
        np.testing.assert_array_equal(pixels, FOUR[:3])

    def test_samples_beside_channels_have_to_be_selected(self, tmp_path):
        stored = np.stack([np.moveaxis(FOUR[:3], 0, -1)] * 2)
        tifffile.imwrite(
            tmp_path / "f.tif",
            stored,
            photometric="minisblack",
            planarconfig="contig",
            metadata={"axes": "CYXS"},
        )
        assert "'samples', as with --select :,:,:,0 " in error_of(tmp_path / "f.tif")
        image, pixels, _ = read(tmp_path / "f.tif", select=":,:,:,1")
        assert image.axes == "CYX"
        np.testing.assert_array_equal(pixels, FOUR[[1, 1]])


class TestIntensities:
    @pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
    def test_white_as_the_smallest_value_is_inverted(self, tmp_path, dtype):
        values = (PLANE % 200).astype(dtype)
        tifffile.imwrite(tmp_path / "w.tif", values, photometric="miniswhite")
        _, pixels, notes = read(tmp_path / "w.tif")
        assert pixels.dtype == dtype
        largest = {"u1": 255, "u2": 65535, "i2": -1, "f4": 0}[dtype]
        np.testing.assert_array_equal(pixels, largest - values.astype("f8"))
        assert "MinIsWhite" in notes

    def test_the_result_stores_black_as_its_smallest_value(self, tmp_path):
        tifffile.imwrite(tmp_path / "w.tif", 65535 - PLANE, photometric="miniswhite")
        run_job(Job(input=tmp_path / "w.tif", output=tmp_path / "o.tif", settings=QUICK)).result()
        with tifffile.TiffFile(tmp_path / "o.tif") as result:
            assert result.pages.first.photometric == tifffile.PHOTOMETRIC.MINISBLACK
            assert result.asarray().mean() == pytest.approx(PLANE.mean(), rel=0.02)

    @staticmethod
    def write_imagej(path: Path, pixels: np.ndarray, **properties: object) -> None:
        lines = ["ImageJ=1.54f", *(f"{key}={value}" for key, value in properties.items())]
        tifffile.imwrite(path, pixels, description="\n".join(lines) + "\n", metadata=None)

    def test_signed_16_bits_of_imagej(self, tmp_path):
        values = PLANE.astype("i4") - 200
        stored = (values + 2**15).astype("u2")
        self.write_imagej(tmp_path / "s.tif", stored, cf=0, c0=-32768.0, c1=1.0)
        _, pixels, notes = read(tmp_path / "s.tif")
        assert pixels.dtype == np.int16
        np.testing.assert_array_equal(pixels, values)
        assert "calibration of ImageJ" in notes

    def test_a_straight_line_of_imagej_is_applied(self, tmp_path):
        self.write_imagej(tmp_path / "s.tif", PLANE, cf=0, c0=3.0, c1=0.5)
        _, pixels, _ = read(tmp_path / "s.tif")
        np.testing.assert_allclose(pixels, 3 + 0.5 * PLANE)

    def test_another_calibration_function_is_told(self, tmp_path):
        self.write_imagej(tmp_path / "s.tif", PLANE, cf=4, c0=3.0, c1=0.5)
        _, pixels, notes = read(tmp_path / "s.tif")
        np.testing.assert_array_equal(pixels, PLANE)
        assert "no straight line" in notes

    @pytest.mark.parametrize(
        ("kind", "dtype"),
        [
            ({"cf": 0, "c0": 0, "c1": 1}, "u2"),
            ({"cf": 20}, "u2"),
            ({}, "u2"),
            ({"cf": 0, "c0": 3, "c1": 2}, "f4"),
        ],
    )
    def test_values_without_a_calibration_stay(self, tmp_path, kind, dtype):
        self.write_imagej(tmp_path / "s.tif", PLANE.astype(dtype), **kind)
        _, pixels, notes = read(tmp_path / "s.tif")
        np.testing.assert_array_equal(pixels, PLANE)
        assert not notes

    def test_numbers_of_colours_are_refused(self, tmp_path):
        numbers = (PLANE % 256).astype("u1")
        colours = RANDOM.integers(0, 65535, (3, 256), dtype=np.uint16)
        tifffile.imwrite(tmp_path / "p.tif", numbers, colormap=colours)
        assert "palette; convert the image" in error_of(tmp_path / "p.tif")
        ramp = np.stack([np.arange(256, dtype=np.uint16) * 257] * 3)
        ramp[::2] = 0  # a green lookup table
        tifffile.imwrite(tmp_path / "p.tif", numbers, colormap=ramp)
        np.testing.assert_array_equal(read(tmp_path / "p.tif")[1], numbers)

    def test_ink_is_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "p.tif", np.moveaxis(FOUR, 0, -1), photometric="separated")
        assert "ink (CMYK)" in error_of(tmp_path / "p.tif")


class TestAxes:
    @pytest.mark.parametrize(
        ("axes", "select", "left"),
        [
            ("RTZCYX", "0,:,:,:,:,:", "TCZYX"),
            ("RYX", "0,:,:", "YX"),
            ("TRYX", ":,0,:,:", "TYX"),
            ("RACYX", "0,0,:,:,:", "CYX"),
        ],
    )
    def test_the_selection_in_the_error_works(self, tmp_path, axes, select, left):
        pixels = RANDOM.random((2,) * (len(axes) - 2) + (20, 22))
        path = tmp_path / "r.tif"
        tifffile.imwrite(path, pixels, metadata={"axes": axes}, photometric="minisblack")
        sentence = error_of(path)
        assert "'R' (positions)" in sentence
        assert f"--select {select} " in sentence
        image, _, _ = read(path, select=select)
        assert image.axes == left

    def test_pages_without_a_meaning_are_assumed_to_be_slices(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "i.tif") as file:
            for plane in FOUR:
                file.write(plane, metadata=None)
        image, _, notes = read(tmp_path / "i.tif")
        assert image.axes == "ZYX"
        assert "assumed to be ZYX" in notes

    def test_more_pages_without_a_meaning_than_letters_have_to_be_selected(self, tmp_path):
        path = tmp_path / "i.tif"
        tifffile.imwrite(path, np.zeros((2, 2, 2, 2, 20, 22), "u1"), photometric="minisblack")
        assert "'Q', as with --select :,:,:,0,:,: " in error_of(path)
        for select, axes in {":,:,:,0,:,:": "TCZYX", "0,:,:,:,:,:": "TCZYX"}.items():
            assert read(path, select=select)[0].axes == axes

    def test_an_axis_of_an_ome_zarr_is_named(self, tmp_path):
        path = tmp_path / "p.zarr"
        write_zarr(path, FOUR, [{"name": "position"}, *MICROMETRES], [scale(1, 0.1, 0.1)])
        sentence = error_of(path)
        assert "'position', as with --select 0,:,: " in sentence
        image, pixels, _ = read(path, select="3,:,:")
        assert (image.axes, image.spacing) == ("YX", {"Y": 0.1, "X": 0.1})
        np.testing.assert_array_equal(pixels, FOUR[3])

    def test_files_of_other_microscopes_get_a_way_out(self, tmp_path):
        for suffix in (".czi", ".nd2", ".lif"):
            path = tmp_path / f"image{suffix}"
            path.write_bytes(b"ZISRAWFILE" + bytes(200))
            sentence = error_of(path)
            assert "export it as OME-TIFF" in sentence
            assert "open it in napari" in sentence


class TestOmeZarr:
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    @pytest.mark.parametrize(
        ("level", "whole", "size", "origin"),
        [
            ([scale(2, 1)], [scale(0.1, 0.2)], (0.2, 0.2), {}),
            ([scale(0.1, 0.2), translation(3, -4)], None, (0.1, 0.2), {"Y": 3, "X": -4}),
            ([scale(1, 1)], [scale(0.1, 0.2), translation(3, 0)], (0.1, 0.2), {"Y": 3}),
            (
                [scale(2, 2), translation(1, 1)],
                [scale(0.1, 0.2), translation(5, 6)],
                (0.2, 0.4),
                {"Y": 5.1, "X": 6.2},
            ),
        ],
    )
    def test_the_transforms_are_composed(self, tmp_path, version, level, whole, size, origin):
        write_zarr(tmp_path / "i.zarr", PLANE, MICROMETRES, level, whole, version)
        image, pixels, notes = read(tmp_path / "i.zarr")
        assert image.pixel_size == pytest.approx(size)
        assert image.origin == pytest.approx(origin)
        assert image.unit == "µm"
        assert not notes
        np.testing.assert_array_equal(pixels, PLANE)

    def test_units_of_sizes_and_positions_are_converted(self, tmp_path):
        axes = [
            {"name": "t", "type": "time", "unit": "millisecond"},
            {"name": "z", "type": "space", "unit": "nanometer"},
            *MICROMETRES,
        ]
        steps = [scale(100, 400, 0.2, 0.1), translation(500, 2000, 3, 4)]
        write_zarr(tmp_path / "i.zarr", FOUR[None], axes, steps)
        image, _, _ = read(tmp_path / "i.zarr", axes="TZYX")
        assert image.spacing == pytest.approx({"T": 0.1, "Z": 0.4, "Y": 0.2, "X": 0.1})
        assert image.origin == pytest.approx({"T": 0.5, "Z": 2, "Y": 3, "X": 4})

    @pytest.mark.parametrize(
        ("version", "axes"), [("0.1", None), ("0.2", None), ("0.3", ["t", "c", "z", "y", "x"])]
    )
    def test_early_versions_open_without_a_pixel_size(self, tmp_path, version, axes):
        write_zarr(tmp_path / "i.zarr", FOUR[None, None], axes, version=version)
        image, pixels, _ = read(tmp_path / "i.zarr")
        assert (image.axes, image.pixel_size, image.unit) == ("ZYX", None, "pixel")
        np.testing.assert_array_equal(pixels, FOUR)

    def test_a_scale_without_a_unit_is_told(self, tmp_path):
        write_zarr(tmp_path / "i.zarr", PLANE, [{"name": "y"}, {"name": "x"}], [scale(0.1, 0.1)])
        image, _, notes = read(tmp_path / "i.zarr")
        assert image.pixel_size is None
        assert "a scale of Y, X without a unit" in notes

    def test_another_transform_is_told(self, tmp_path):
        affine = {"type": "affine", "affine": [[0.1, 0, 0], [0, 0.1, 0]]}
        write_zarr(tmp_path / "i.zarr", PLANE, MICROMETRES, [affine])
        image, _, notes = read(tmp_path / "i.zarr")
        assert image.pixel_size is None
        assert "other than scale and translation" in notes

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_images_side_by_side_are_named(self, tmp_path, zarr_format):
        root = tmp_path / "s.zarr"
        write_group(root, {"bioformats2raw.layout": 3}, zarr_format)
        for name in ("0", "1"):
            write_zarr(root / name, PLANE, MICROMETRES, [scale(0.1, 0.1)])
        sentence = error_of(root)
        assert f"the images 0, 1; name one of its images, such as {root / '0'}." in sentence
        assert read(root / "0")[0].axes == "YX"
        write_group(root / "OME", {"series": ["1", "0"]}, zarr_format)
        assert "the images 1, 0;" in error_of(root)

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_the_images_of_a_plate_are_named(self, tmp_path, zarr_format):
        root = tmp_path / "p.zarr"
        wells = [{"path": f"{row}/{column}"} for row in "AB" for column in range(1, 8)]
        write_group(root, {"plate": {"wells": wells}}, zarr_format)
        write_group(root / "A" / "1", {"well": {"images": [{"path": "f0"}]}}, zarr_format)
        write_zarr(root / "A" / "1" / "f0", PLANE, MICROMETRES, [scale(0.1, 0.1)])
        example = root / "A" / "1" / "f0"
        sentence = error_of(root)
        assert "a plate with the wells A/1, A/2" in sentence
        assert f"and 6 more; name one of its images, such as {example}." in sentence
        assert f"a well with the images f0; name one of its images, such as {example}." in error_of(
            root / "A" / "1"
        )
        assert read(example)[0].axes == "YX"
        assert f"such as {root}" in error_of(example / "0"), "an array is no image"

    def test_no_messages_of_libraries_reach_the_user(self, tmp_path, caplog):
        write_zarr(tmp_path / "i.zarr", PLANE, MICROMETRES, [scale(0.1, 0.1)])
        with caplog.at_level(logging.WARNING):
            done = blind_deconv(
                "run", tmp_path / "i.zarr", tmp_path / "o.ome.zarr", *as_options(QUICK)
            )
        assert done.returncode == 0, done.stderr
        assert "mismatch" not in done.stderr
        assert not caplog.records
        assert logging.getLogger("tifffile").handlers, "its messages are not printed"


class TestPosition:
    @pytest.fixture
    def placed(self, tmp_path) -> Path:
        """Two channels of three slices, at a position."""
        axes = [
            {"name": "c", "type": "channel"},
            {"name": "z", "type": "space", "unit": "micrometer"},
            *MICROMETRES,
        ]
        steps = [scale(1, 0.5, 0.1, 0.2), translation(0, 7, 3, -4)]
        pixels = RANDOM.integers(0, 4000, (2, 3, 40, 48), dtype=np.uint16)
        write_zarr(tmp_path / "in.zarr", pixels, axes, steps)
        return tmp_path / "in.zarr"

    @pytest.mark.parametrize("name", ["o.tif", "o.ome.tif", "o.ome.zarr"])
    @pytest.mark.parametrize(
        ("select", "origin"),
        [
            (None, {"Z": 7, "Y": 3, "X": -4}),
            (":,1:,10:40,-40:", {"Z": 7.5, "Y": 4, "X": -2.4}),
        ],
    )
    def test_it_goes_to_the_output(self, placed, tmp_path, name, select, origin):
        job = Job(input=placed, output=tmp_path / name, select=select, settings=QUICK)
        run_job(job).result()
        image, _, _ = read(job.output)
        assert image.origin == pytest.approx(origin)
        assert image.spacing == pytest.approx({"Z": 0.5, "Y": 0.1, "X": 0.2})

    def test_a_selected_slice_keeps_its_position(self, placed):
        image, _, _ = read(placed, select="0,2,:,:")
        assert image.axes == "YX"
        assert image.origin == pytest.approx({"Z": 8, "Y": 3, "X": -4})

    def test_ome_readers_find_it_for_every_plane(self, placed, tmp_path):
        run_job(Job(input=placed, output=tmp_path / "o.ome.tif", settings=QUICK)).result()
        planes = ome_types.from_tiff(tmp_path / "o.ome.tif").images[0].pixels.planes
        assert len(planes) == 6
        for plane in planes:
            assert plane.position_z == pytest.approx(7 + 0.5 * plane.the_z)
            assert (plane.position_y, plane.position_x) == pytest.approx((3, -4))
            assert plane.position_x_unit.value == "µm"

    def test_blocks_and_parts_have_their_own(self):
        spacing, origin = {"Z": 0.5, "Y": 0.1, "X": 0.2}, {"Z": 7.0, "X": -4.0}
        image = Image(np.zeros((3, 40, 48)), "ZYX", spacing, "µm", origin=origin)
        plane = image.read((2,))
        assert plane.origin == pytest.approx({"Z": 8, "X": -4})
        part = plane.part(np.s_[10:20, 5:])
        assert part.origin == pytest.approx({"Z": 8, "Y": 1, "X": -3})
        assert part.with_pixels(np.ones((10, 43))).origin == part.origin
        unknown = Image(np.zeros((40, 48)), "YX", origin={"X": 1.0})
        assert unknown.part(np.s_[:, 5:]).origin == {"X": 1.0}


class TestTiffMetadata:
    def test_the_position_of_an_ome_tiff(self, tmp_path):
        planes = {
            **{"PositionX": [1500.0] * 2, "PositionXUnit": ["nm"] * 2},
            **{"PositionY": [2.0] * 2, "PositionYUnit": ["reference frame"] * 2},
        }
        metadata = {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "Plane": planes}
        tifffile.imwrite(tmp_path / "i.ome.tif", FOUR[:2], ome=True, metadata=metadata)
        image, _, _ = read(tmp_path / "i.ome.tif")
        assert image.origin == pytest.approx({"X": 1.5}), "Y has no length as its unit"

    def test_the_origin_of_imagej_is_in_pixels(self, tmp_path):
        metadata = {"axes": "YX", "unit": "um", "xorigin": 20.0, "yorigin": -5.0}
        tifffile.imwrite(
            tmp_path / "i.tif", PLANE, imagej=True, metadata=metadata, resolution=(10, 5)
        )
        image, _, _ = read(tmp_path / "i.tif")
        assert image.pixel_size == pytest.approx((0.2, 0.1))
        assert image.origin == pytest.approx({"Y": 1, "X": -2})

    def test_rows_of_imagej_in_another_unit(self, tmp_path):
        metadata = {"axes": "ZYX", "unit": "um", "yunit": "nm", "zunit": "mm", "spacing": -0.002}
        tifffile.imwrite(
            tmp_path / "i.tif", FOUR, imagej=True, metadata=metadata, resolution=(10, 0.005)
        )
        image, _, _ = read(tmp_path / "i.tif")
        assert image.spacing == pytest.approx({"Z": 2, "Y": 0.2, "X": 0.1})

    def test_micromanager_states_its_pixel_size_in_its_summary(self, tmp_path, monkeypatch):
        summary = {"PixelSize_um": 0.16, "z-step_um": 0.5, "ChNames": list("abcd")}
        monkeypatch.setattr(
            tifffile.TiffFile, "micromanager_metadata", {"Summary": summary}, raising=True
        )
        tifffile.imwrite(
            tmp_path / "i.tif", FOUR, photometric="minisblack", metadata={"axes": "CYX"}
        )
        image, _, _ = read(tmp_path / "i.tif")
        assert image.spacing == pytest.approx({"Z": 0.5, "Y": 0.16, "X": 0.16})
        assert image.unit == "µm"
        assert image.channel_names == tuple("abcd")

    def test_only_the_sizes_that_are_stated(self, tmp_path):
        metadata = {"axes": "ZYX", "PhysicalSizeZ": 0.5, "PhysicalSizeX": 0.1}
        tifffile.imwrite(tmp_path / "i.ome.tif", FOUR, ome=True, metadata=metadata)
        image, _, _ = read(tmp_path / "i.ome.tif")
        assert (image.spacing, image.unit) == (pytest.approx({"Z": 0.5, "X": 0.1}), "µm")
        assert image.pixel_size is None

    @pytest.mark.parametrize(
        ("companion", "advice"),
        [("all.companion.ome", "bfconvert all.companion.ome"), ("z0.ome.tif", "open z0.ome.tif")],
    )
    def test_a_file_that_leaves_its_metadata_to_a_companion(self, tmp_path, companion, advice):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
            f'<BinaryOnly MetadataFile="{companion}" UUID="urn:uuid:2"/></OME>'
        )
        tifffile.imwrite(tmp_path / "z1.ome.tif", FOUR[0], description=xml, metadata=None)
        sentence = error_of(tmp_path / "z1.ome.tif")
        assert f"companion file {companion}" in sentence
        assert advice in sentence

    def test_missing_files_of_an_ome_tiff_are_told(self, tmp_path):
        path = tmp_path / "a.ome.tif"
        tifffile.imwrite(path, FOUR[:2], ome=True, metadata={"axes": "ZYX"})
        with tifffile.TiffFile(path) as file:
            own = tifffile.xml2dict(file.ome_metadata)["OME"]["UUID"]
            xml = file.ome_metadata
        parts = "".join(
            f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID>'
            "</TiffData>"
            for z, (name, uuid) in enumerate([("was.ome.tif", own), ("b.ome.tif", "urn:uuid:2")])
        )
        xml = xml.replace('<TiffData IFD="0" PlaneCount="2"/>', parts)
        tifffile.imwrite(path, FOUR[0], description=xml, metadata=None)
        image, pixels, notes = read(path)
        assert image.axes == "ZYX"
        assert "b.ome.tif is missing beside a.ome.tif" in notes
        np.testing.assert_array_equal(pixels[0], FOUR[0])
