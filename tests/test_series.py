"""One image of a file that contains several, chosen by its number or its name."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from tests.command import LINEAR, blind_deconv
from tests.test_metadata import (
    MICROMETRES,
    PLANE,
    error_of,
    read,
    scale,
    write_group,
)

from napari_blind_deconv import Settings
from napari_blind_deconv.io.images import read_psf
from napari_blind_deconv.job import Job, sidecar_of
from napari_blind_deconv.jobs import run_job

LARGE, SMALL = np.stack([PLANE, PLANE + 1, PLANE + 2]), PLANE[:20, :30]


@pytest.fixture
def ome(tmp_path: Path) -> Path:
    """An OME-TIFF with an overview in three channels and a detail with other metadata."""
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        names = {"Channel": {"Name": ["DAPI", "GFP", "RFP"]}}
        file.write(LARGE, metadata={"axes": "CYX", "Name": "overview", **size, **names})
        size = {"PhysicalSizeX": 100, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.1}
        file.write(SMALL, metadata={"axes": "YX", "Name": "detail", **size})
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A TIFF with two images without names and a thumbnail, with pixel sizes in their tags."""
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as file:
        options = {"metadata": None, "resolutionunit": "CENTIMETER"}
        file.write(LARGE[0], resolution=(1e4, 1e4), **options)
        file.write(SMALL, resolution=(1e5, 1e5), **options)
        file.write(SMALL[:5, :6], subfiletype=1, **options)
    return path


@pytest.fixture
def multiscales(tmp_path: Path) -> Path:
    """An OME-Zarr group whose metadata describe two images, the second with two levels."""
    path = tmp_path / "two.zarr"
    level = {"path": "0", "coordinateTransformations": [scale(0.5, 0.5)]}
    detail = {"path": "d/0", "coordinateTransformations": [scale(0.1, 0.1)]}
    images = [
        {"name": "overview", "axes": MICROMETRES, "datasets": [level]},
        {"name": "detail", "axes": MICROMETRES, "datasets": [detail, level]},
    ]
    write_group(path, {"multiscales": images})
    for name, pixels in (("0", LARGE[0]), ("d/0", SMALL)):
        zarr.create_array(path / name, data=pixels, chunks=pixels.shape, zarr_format=2)
    return path


class TestChoice:
    @pytest.mark.parametrize("series", ["0", "overview"])
    def test_the_first_image_of_an_ome_tiff(self, ome, series):
        image, pixels, _ = read(ome, series=series)
        assert (image.axes, image.spacing["X"], image.unit) == ("CYX", 0.5, "µm")
        assert image.channel_names == ("DAPI", "GFP", "RFP")
        np.testing.assert_array_equal(pixels, LARGE)

    @pytest.mark.parametrize("series", ["1", "detail"])
    def test_the_second_image_has_its_own_metadata(self, ome, series):
        image, pixels, _ = read(ome, series=series)
        assert (image.axes, image.unit) == ("YX", "nm")
        assert image.spacing == pytest.approx({"X": 100, "Y": 100})
        assert image.channel_names == ()
        np.testing.assert_array_equal(pixels, SMALL)

    @pytest.mark.parametrize(("series", "size"), [("0", 1), ("1", 0.1)])
    def test_an_image_without_a_name(self, plain, series, size):
        image, pixels, _ = read(plain, series=series)
        assert image.spacing["X"] == pytest.approx(size * 1e-4)  # in cm
        np.testing.assert_array_equal(pixels, (LARGE[0], SMALL)[int(series)])

    def test_an_image_of_other_samples(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "f.tif") as file:
            file.write(PLANE, metadata=None)
            file.write(np.stack([SMALL] * 3, -1), photometric="rgb", metadata=None)
        assert read(tmp_path / "f.tif", series="0")[0].axes == "YX"
        assert read(tmp_path / "f.tif", series="1")[0].axes == "YXS"

    @pytest.mark.parametrize(("series", "size"), [("overview", 0.5), ("1", 0.1)])
    def test_an_image_of_an_ome_zarr(self, multiscales, series, size):
        image, pixels, notes = read(multiscales, series=series)
        assert image.spacing == {"Y": size, "X": size}
        np.testing.assert_array_equal(pixels, LARGE[0] if series == "overview" else SMALL)
        assert ("pyramid of 2 levels" in notes) == (series == "1")

    @pytest.mark.parametrize("series", [None, "0"])
    def test_the_only_image_needs_no_choice(self, tmp_path, series):
        tifffile.imwrite(tmp_path / "f.tif", PLANE)
        np.testing.assert_array_equal(read(tmp_path / "f.tif", series=series)[1], PLANE)

    def test_a_thumbnail_is_no_image(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "f.tif") as file:
            file.write(PLANE, metadata=None)
            file.write(SMALL, subfiletype=1, metadata=None)
        np.testing.assert_array_equal(read(tmp_path / "f.tif")[1], PLANE)

    def test_the_metadata_are_found_beside_images_without_pixels(self, ome):
        text = tifffile.tiffcomment(ome)
        empty = text.replace(
            "<Image ", '<Image ID="Image:9"><Pixels ID="P:9" SizeX="9"/></Image><Image ', 1
        )
        empty = empty.replace(
            'SizeX="9"',
            'SizeX="9" SizeY="9" SizeZ="1" SizeC="1" SizeT="1" '
            'DimensionOrder="XYCZT" Type="uint16"',
        )
        tifffile.tiffcomment(ome, empty)
        assert read(ome, series="detail")[0].unit == "nm"
        assert read(ome, series="overview")[0].channel_names == ("DAPI", "GFP", "RFP")


class TestErrors:
    def test_the_images_are_named_with_their_shapes(self, ome, plain, multiscales):
        named = r"0 'overview' (CYX, 3 × 40 × 48), 1 'detail' (YX, 20 × 30); choose one"
        assert f"got 2 images: {named}" in error_of(ome)
        assert "got 2 images: 0 (YX, 40 × 48), 1 (YX, 20 × 30); " in error_of(plain)
        assert "0 'overview' (YX, 40 × 48), 1 'detail' (YX, 20 × 30)" in error_of(multiscales)

    @pytest.mark.parametrize("series", ["2", "-1", "", "Detail", "1.0"])
    def test_another_number_or_name_is_refused(self, ome, multiscales, series):
        for path in (ome, multiscales):
            error = error_of(path, series=series)
            assert "1 'detail' (YX, 20 × 30)" in error
            assert f"got --series {series!r}" in error

    def test_a_name_of_several_images_is_refused(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "f.ome.tif", ome=True) as file:
            file.write(PLANE, metadata={"axes": "YX", "Name": "a"})
            file.write(SMALL, metadata={"axes": "YX", "Name": "a"})
        assert "the name of several" in error_of(tmp_path / "f.ome.tif", series="a")
        np.testing.assert_array_equal(read(tmp_path / "f.ome.tif", series="1")[1], SMALL)

    def test_many_images_are_not_all_named(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "f.tif") as file:
            for side in range(10, 22):
                file.write(np.zeros((side, side), np.uint8), metadata=None)
        assert "7 (YX, 17 × 17) and 4 more" in error_of(tmp_path / "f.tif")

    def test_a_psf_has_to_be_a_file_of_its_own(self, ome):
        with pytest.raises(ValueError, match=r"got 2 images: .*; save the plane or volume"):
            read_psf(ome)


class TestRuns:
    def test_the_command_takes_a_name(self, ome, tmp_path):
        output = tmp_path / "o.ome.tif"
        refused = blind_deconv("run", ome, output, *LINEAR)
        assert refused.returncode == 2
        assert "--series" in refused.stderr
        done = blind_deconv("run", ome, output, *LINEAR, "--series", "detail")
        assert done.returncode == 0, done.stderr
        assert read(output)[0].spacing == pytest.approx({"Y": 100, "X": 100})
        assert Job.from_sidecar(sidecar_of(output)).series == "detail"

    def test_a_batch_takes_a_number(self, ome, tmp_path):
        done = blind_deconv("batch", ome, *LINEAR, "--series", 1, "--out", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        assert tifffile.imread(tmp_path / "out" / "two_deblurred.ome.tif").shape == SMALL.shape

    def test_a_run_continues_with_the_same_image_only(self, tmp_path):
        path = tmp_path / "f.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as file:
            for name in "ab":
                file.write(LARGE[:2], metadata={"axes": "ZYX", "Name": name})
        settings = Settings(solver="wiener", kernel_start=1.5)
        job = Job(input=path, output=tmp_path / "o.ome.tif", settings=settings, series="a")
        run = run_job(job)
        next(step for step in run if hasattr(step, "failure"))
        run.close()
        with pytest.raises(ValueError, match=r"different options \(series\)"):
            run_job(job.model_copy(update={"series": "b"}), resume=True).result()
