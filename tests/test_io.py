"""Files: data survives writing and reading, and no incomplete file is left."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_blind_deconv.image import Image
from napari_blind_deconv.io.images import (
    check_output,
    read_plane,
    write_atomically,
    write_kernels,
    write_plane,
    write_traces,
)
from napari_blind_deconv.results import TRACE_DTYPE

PIXELS = np.random.default_rng(0).random((20, 30), dtype=np.float32) * 5000 - 100
PROVENANCE = {"settings": {"sparsity": 0.01}, "seed": 3}


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif"])
def test_pixels_and_pixel_size_are_written_and_read(tmp_path, name):
    path = tmp_path / name
    write_plane(path, Image(PIXELS, "YX", {"Y": 0.2, "X": 0.1}, "µm"), PROVENANCE)
    plane = read_plane(path)
    np.testing.assert_array_equal(plane.pixels, PIXELS)
    assert plane.pixels.dtype == np.float32
    assert plane.pixel_size == pytest.approx((0.2, 0.1), rel=1e-4)
    assert plane.unit == "µm"


def test_the_provenance_is_in_the_file(tmp_path):
    path = tmp_path / "out.tif"
    write_plane(path, Image(PIXELS), PROVENANCE)
    with tifffile.TiffFile(path) as tiff:
        assert json.loads(tiff.imagej_metadata["Info"]) == PROVENANCE


def test_colour_is_written_and_read(tmp_path):
    path = tmp_path / "out.tif"
    colour = np.random.default_rng(0).random((8, 9, 3), dtype=np.float32)
    write_plane(path, Image(colour, "YXS"), PROVENANCE)
    plane = read_plane(path)
    assert plane.is_colour
    np.testing.assert_array_equal(plane.pixels, colour)


@pytest.mark.parametrize(("name", "unit"), [("o.tif", 1e-4), ("o.ome.tif", 1)])
def test_colour_keeps_its_pixel_size(tmp_path, name, unit):
    """The tags of a plain TIFF know centimetres only."""
    colour = np.zeros((8, 9, 3), np.float32)
    image = Image(colour, "YXS", {"Y": 0.2, "X": 0.1}, "µm")
    write_plane(tmp_path / name, image, PROVENANCE)
    plane = read_plane(tmp_path / name)
    assert plane.pixel_size == pytest.approx((0.2 * unit, 0.1 * unit), rel=1e-4)
    assert plane.unit == {1: "µm"}.get(unit, "cm")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", ">u2", "int16", "float32", ">f4"])
def test_pixel_types(tmp_path, dtype):
    pixels = (PIXELS[:16] / 50).astype(dtype)
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, pixels, byteorder=">" if ">" in dtype else None)
    np.testing.assert_array_equal(read_plane(path).pixels, pixels)


def test_a_single_plane_in_a_stack_format_is_a_plane(tmp_path):
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, PIXELS[None, None], imagej=True, metadata={"axes": "ZCYX"})
    assert read_plane(path).pixels.shape == (20, 30)


def test_stacks_are_refused_with_their_shape(tmp_path):
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, np.zeros((5, 20, 30), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(ValueError, match=r"Expected one plane.* shape \(5, 20, 30\) \(axes ZYX\)"):
        read_plane(path)


def test_files_of_several_images_are_refused(tmp_path):
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, np.zeros((20, 30), np.uint8))
    tifffile.imwrite(path, np.zeros((40, 50), np.uint8), append=True)
    with pytest.raises(ValueError, match="got 2 images"):
        read_plane(path)


def test_a_stack_of_lines_is_refused(tmp_path):
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, np.zeros((5, 1, 30), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(ValueError, match="Expected one plane"):
        read_plane(path)


def test_colour_in_separate_planes_is_read_as_colour(tmp_path):
    path = tmp_path / "in.tif"
    colour = np.random.default_rng(0).integers(0, 255, (3, 20, 22), dtype=np.uint8)
    tifffile.imwrite(path, colour, photometric="rgb", planarconfig="separate")
    plane = read_plane(path)
    assert plane.is_colour
    np.testing.assert_array_equal(plane.pixels, np.moveaxis(colour, 0, -1))


@pytest.mark.parametrize("unit", ["Å", "μm"])
def test_units_beyond_ascii_can_be_written(tmp_path, unit):
    write_plane(tmp_path / "out.tif", Image(PIXELS, "YX", {"Y": 0.2, "X": 0.1}, unit), PROVENANCE)
    np.testing.assert_array_equal(read_plane(tmp_path / "out.tif").pixels, PIXELS)


def test_a_pixel_size_of_zero_is_ignored(tmp_path):
    path = tmp_path / "in.ome.tif"
    sizes = {"PhysicalSizeX": 0.0, "PhysicalSizeY": 0.0}
    tifffile.imwrite(path, PIXELS, ome=True, metadata={"axes": "YX", **sizes})
    assert read_plane(path).pixel_size is None


@pytest.mark.parametrize("content", [b"", b"nonsense", b"II*\0\xff\xff\xff\xff", b"II*\0"])
def test_damaged_files_are_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "in.tif"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as TIFF") as caught:
        read_plane(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, PIXELS, compression="zlib")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ValueError, match=r"in\.tif: The image cannot be read"):
        read_plane(path)


def test_real_files_open_with_their_calibration(shared_data):
    neuron = read_plane(shared_data / "micro-truth" / "xy_16bit__rat_hippocampal_neuron.tif")
    assert neuron.pixels.shape == (512, 512)
    assert neuron.pixels.dtype == np.uint16
    assert neuron.pixel_size == pytest.approx((0.16, 0.16), rel=0.01)
    assert neuron.unit == "µm"
    assert read_plane(shared_data / "io" / "xy_rgb__cells.tif").is_colour


def test_the_trace_is_written_as_csv(tmp_path):
    trace = np.array(
        [(1, "wiener", 0.5, 0.4, 0.1, np.nan), (2, "double-dip", 0.25, 0.2, 0.1, 0.01)],
        TRACE_DTYPE,
    )
    path = tmp_path / "trace.csv"
    write_traces(path, "", {(): trace.tolist()})
    lines = path.read_text().splitlines()
    assert lines == [
        "iteration,stage,loss,data,regulariser,variance",
        "1,wiener,0.5,0.4,0.1,nan",
        "2,double-dip,0.25,0.2,0.1,0.01",
    ]


def test_traces_of_a_stack_start_with_the_index_of_the_plane(tmp_path):
    path = tmp_path / "trace.csv"
    row = (1, "wiener", 0.5, 0.4, 0.1, 0.0)
    traces = {(1, 0): [row], (0, 2): [row], (0, 1): []}
    write_traces(path, "CZ", traces)
    assert path.read_text().splitlines() == [
        "c,z,iteration,stage,loss,data,regulariser,variance",
        "0,2,1,wiener,0.5,0.4,0.1,0.0",
        "1,0,1,wiener,0.5,0.4,0.1,0.0",
    ]


def test_each_kernel_is_written_to_a_page(tmp_path):
    kernels = np.random.default_rng(0).random((2, 3, 5, 7), dtype=np.float32)
    image = Image(np.zeros((2, 3, 20, 30)), "CZYX", {"Z": 0.4, "Y": 0.2, "X": 0.1}, "µm")
    write_kernels(tmp_path / "k.ome.tif", kernels, "CZYX", image, PROVENANCE)
    with tifffile.TiffFile(tmp_path / "k.ome.tif") as tiff:
        assert len(tiff.pages) == 6
        assert tiff.series[0].axes == "CZYX"
        np.testing.assert_array_equal(tiff.asarray(), kernels)


def test_a_failed_write_keeps_the_existing_file(tmp_path):
    path = tmp_path / "out.tif"
    path.write_bytes(b"precious")

    def fail(part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("existing.tif", "exists; it is replaced only with --overwrite"),
        ("out.png", "ends in .tif or .tiff, got"),
        ("nowhere/out.tif", "does not exist; create it first"),
        ("folder.tif", "is a folder"),
    ],
)
def test_outputs_that_are_refused(tmp_path, name, sentence):
    (tmp_path / "existing.tif").touch()
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(ValueError, match=sentence):
        check_output(tmp_path / name, overwrite=False)


def test_an_existing_file_is_replaced_if_requested(tmp_path):
    path = tmp_path / "existing.tif"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="replaced only with --overwrite"):
        check_output(path, overwrite=False)
    check_output(path, overwrite=True)
    assert path.read_bytes() == b"old", "the check replaces nothing"
    write_plane(path, Image(PIXELS), PROVENANCE)
    np.testing.assert_array_equal(read_plane(path).pixels, PIXELS)
