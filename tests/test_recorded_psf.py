"""A PSF that was recorded: background, pixel size, even sides, and its file."""

import numpy as np
import pytest
import tifffile
import zarr
from scipy.special import erf

from napari_blind_deconv import Image, Kernel, Optics, microscope_psf, prepare_psf
from napari_blind_deconv.io.images import read_psf, write_plane
from napari_blind_deconv.kernel import KernelWidths
from napari_blind_deconv.numerics.location import kernel_centroid
from napari_blind_deconv.numerics.optics import gaussian_kernel, widefield_psf
from napari_blind_deconv.numerics.recorded_psf import has_background

SIGMAS = (2.4, 1.8, 1.8)


def gaussian_voxels(shape, sigmas, voxel=(1, 1, 1), centre=(0, 0, 0)) -> np.ndarray:
    """A Gaussian integrated over voxels; widths and centre are in units of length."""
    psf = np.ones(())
    for side, sigma, size, offset in zip(shape, sigmas, voxel, centre, strict=True):
        edges = (np.arange(side + 1) - side // 2 - 0.5) * size - offset
        psf = np.multiply.outer(psf, np.diff(erf(edges / (np.sqrt(2) * sigma))))
    return psf / psf.sum()


@pytest.mark.parametrize("voxel", [(0.5, 0.5, 0.5), (2, 2, 2), (1.5, 0.8, 1.2)])
def test_other_voxels_hold_the_same_light(voxel):
    recorded = gaussian_voxels((25, 19, 19), SIGMAS, centre=(0.3, -0.4, 0.2))
    kernel = prepare_psf(recorded, voxel, psf_pixel_size=(1, 1, 1))
    assert kernel.pixel_size == voxel
    assert all(side % 2 for side in kernel.shape)
    expected = gaussian_voxels(kernel.shape, SIGMAS, voxel)
    np.testing.assert_allclose(kernel, expected, atol=0.02 * expected.max())
    assert np.abs(kernel_centroid(kernel.weights)).max() < 0.05


def test_equal_or_unknown_voxels_change_nothing():
    recorded = gaussian_voxels((9, 9, 9), SIGMAS).astype(np.float32)
    for size in ((1.01, 1.01, 1.01), None):
        kernel = prepare_psf(recorded, size, psf_pixel_size=(1, 1, 1))
        np.testing.assert_allclose(kernel, recorded / recorded.sum(), rtol=1e-6)
    assert prepare_psf(recorded, (2, 2, 2)).shape == recorded.shape


def test_background_noise_and_neighbours_are_taken_off():
    random = np.random.default_rng(3)
    truth = gaussian_voxels((32, 40, 40), SIGMAS, centre=(2.2, -3.1, 0.4))
    light = 4000 * truth / truth.max()
    neighbour = np.roll(light, (9, 15, 15), axis=(0, 1, 2)) / 20
    recorded = random.poisson(light + neighbour + 100).astype(np.uint16)
    kernel = prepare_psf(recorded)
    assert kernel.widths.along_axes == pytest.approx(KernelWidths.of(truth).along_axes, rel=0.03)
    assert kernel.weights.max() == pytest.approx(truth.max(), rel=0.05)  # noise has no weight
    assert max(kernel.shape) < 32, "the rim without light is cropped"
    assert np.abs(kernel_centroid(kernel.weights)).max() <= 0.5
    with_background = prepare_psf(recorded, background=False)
    assert with_background.weights.max() < 0.1 * truth.max()


@pytest.mark.parametrize(
    "psf",
    [
        gaussian_kernel((3, 3), 0.8),
        gaussian_kernel((15, 15), 6.0),
        np.ones((5, 5)),
        widefield_psf(31, numerical_aperture=1.2, wavelength=0.6, pixel_size=0.08),
        microscope_psf(Optics(1.4, 1.515, (0.5,)), (0.2, 0.07, 0.07)).weights,
        microscope_psf(
            Optics(1.4, 1.515, (0.5,)),
            (0.2, 0.08, 0.08),
            sample_index=1.33,
            depth=20.0,
            shape=(15, 31, 31),
        ).weights,
    ],
)
def test_the_wings_of_a_psf_are_no_background(psf):
    assert not has_background(psf)
    assert has_background(psf + 0.1 * psf.max()) or psf.min() > 0.2 * psf.max()


def test_even_sides_have_their_centre_found():
    recorded = gaussian_voxels((10, 12, 12), SIGMAS, centre=(-0.5, 0.5, 0.5))[:, 1:, :]
    kernel = prepare_psf(recorded)
    assert all(side % 2 for side in kernel.shape)
    assert np.abs(kernel_centroid(kernel.weights)).max() <= 0.5


class TestFiles:
    @pytest.mark.parametrize("name", ["psf.tif", "psf.ome.tif"])
    @pytest.mark.parametrize("ndim", [2, 3])
    def test_a_psf_and_its_pixel_size_are_read(self, tmp_path, name, ndim):
        axes, sides = "ZYX"[-ndim:], (0.3, 0.1, 0.1)[-ndim:]
        weights = gaussian_kernel((7, 9, 9)[-ndim:], 1.5)
        image = Image(weights, axes, dict(zip(axes, sides, strict=True)), "µm", space=axes)
        write_plane(tmp_path / name, image, {})
        kernel = read_psf(tmp_path / name)
        np.testing.assert_allclose(kernel, weights, rtol=1e-6)
        assert kernel.pixel_size == pytest.approx(sides)
        assert kernel.unit == "µm"

    def test_a_psf_is_read_from_an_ome_zarr(self, tmp_path):
        weights = gaussian_kernel((7, 9, 9), 1.5)
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
        scale = {"type": "scale", "scale": [0.3, 0.1, 0.1]}
        level = {"path": "0", "coordinateTransformations": [scale]}
        group = zarr.open_group(tmp_path / "psf.ome.zarr", mode="w", zarr_format=2)
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
        group.create_array("0", data=weights)
        kernel = read_psf(tmp_path / "psf.ome.zarr")
        np.testing.assert_allclose(kernel, weights, rtol=1e-6)
        assert (kernel.pixel_size, kernel.unit) == (pytest.approx((0.3, 0.1, 0.1)), "µm")

    def test_a_psf_in_a_plain_tiff_has_an_unknown_pixel_size(self, tmp_path):
        tifffile.imwrite(tmp_path / "psf.tif", gaussian_kernel((7, 9, 9), 1.5))
        kernel = read_psf(tmp_path / "psf.tif")
        assert (kernel.shape, kernel.pixel_size) == ((7, 9, 9), None)

    def test_a_background_is_taken_off(self, tmp_path):
        counts = 100 + 4000 * gaussian_kernel((31, 31), 2.0) / gaussian_kernel((31, 31), 2.0).max()
        tifffile.imwrite(tmp_path / "psf.tif", counts.astype(np.uint16))
        kernel = read_psf(tmp_path / "psf.tif")
        assert kernel.widths.along_axes == pytest.approx((4.71, 4.71), rel=0.03)
        assert kernel.weights.max() == pytest.approx(gaussian_kernel((31, 31), 2.0).max(), rel=0.02)

    @pytest.mark.parametrize(
        ("shape", "options", "sentence"),
        [
            ((9, 9, 3), {"photometric": "rgb"}, "is a colour image"),
            ((7, 2, 9, 9), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "with axes CZYX"),
        ],
    )
    def test_other_images_are_refused(self, tmp_path, shape, options, sentence):
        tifffile.imwrite(tmp_path / "psf.tif", np.ones(shape, np.uint8), **options)
        with pytest.raises(ValueError, match=f"one grey plane or volume of a PSF.*{sentence}"):
            read_psf(tmp_path / "psf.tif")


def test_a_kernel_keeps_what_is_known_of_it():
    kernel = Kernel.of(gaussian_kernel((9, 9), 1.5), pixel_size=(100, 100), unit="nm", misfit=1.2)
    prepared = prepare_psf(kernel, (0.05, 0.05))
    assert (prepared.pixel_size, prepared.unit, prepared.misfit) == ((0.05, 0.05), "µm", 1.2)
