"""Every place a kernel can come from, and every refusal."""

import numpy as np
import pytest
import tifffile
from napari.components import LayerList
from napari.layers import Image

from napari_blind_deconv.numerics.kernel_shape import KernelShape
from napari_blind_deconv.plugin import kernel_source
from napari_blind_deconv.plugin.kernel_source import KernelSource

PSF = np.outer([1, 2, 1], [1, 2, 1]) / 16
MICRONS = (0.1, 0.1, "µm")


@pytest.fixture
def layers() -> list[Image]:
    return [
        Image(PSF, name="psf", scale=(0.1, 0.1), units=("um", "um")),
        Image(np.zeros((3, 5, 5)), name="stack"),
    ]


@pytest.fixture
def source(qtbot, layers) -> KernelSource:
    widget = KernelSource(LayerList(layers))
    qtbot.addWidget(widget)
    return widget


def test_by_default_nothing_is_known(source):
    choice = source.choice(*MICRONS)
    assert choice.kernel is None
    assert not source.is_held
    assert not source.layer.native.isVisibleTo(source)


def test_a_layer_is_a_psf_that_is_held(source, layers):
    source.source.value = kernel_source.LAYER
    assert source.layer.native.isVisibleTo(source)
    source.layer.value = layers[0]
    choice = source.choice(*MICRONS)
    np.testing.assert_array_equal(choice.kernel, PSF)
    assert choice.held
    source.held.value = False
    assert not source.choice(*MICRONS).held


def test_a_file_is_a_psf(source, tmp_path):
    tifffile.imwrite(tmp_path / "psf.tif", PSF.astype(np.float32))
    source.source.value = kernel_source.PSF_FILE
    source.file.value = tmp_path / "psf.tif"
    np.testing.assert_allclose(source.choice(*MICRONS).kernel, PSF)


def test_a_gaussian_is_where_the_fit_starts(source):
    source.source.value = kernel_source.GAUSSIAN
    source.sigma.value = 3.0
    choice = source.choice(*MICRONS)
    assert not choice.held
    assert KernelShape.of(choice.kernel).rows == pytest.approx(3 * 2.355, rel=0.05)
    assert choice.kernel.shape[0] % 2 == 1


def test_a_microscope_has_its_resolution(source):
    source.source.value = kernel_source.MICROSCOPE
    source.aperture.value, source.wavelength.value = 0.5, 600
    expected = 0.51 * 0.6 / 0.5
    for height, width, unit in (MICRONS, (100, 100, "nm")):
        choice = source.choice(height, width, unit)
        found = KernelShape.of(choice.kernel).rows * 0.1
        assert found == pytest.approx(expected, rel=0.1)


def test_the_last_kernel_is_used_again(source):
    source.remember(PSF.astype(np.float32))
    source.hold_last()
    choice = source.choice(*MICRONS)
    assert choice.held
    np.testing.assert_allclose(choice.kernel, PSF)
    source.reset()
    assert source.choice(*MICRONS).kernel is None


@pytest.mark.parametrize(
    ("place", "layer", "pixels", "sentence"),
    [
        (kernel_source.LAST, None, MICRONS, "no last result"),
        (kernel_source.LAYER, None, MICRONS, "No layer is chosen"),
        (kernel_source.LAYER, 1, MICRONS, r"shape \(3, 5, 5\); accepted is one grey plane"),
        (kernel_source.LAYER, 0, (0.2, 0.2, "µm"), "accepted is a PSF at the image's pixel size"),
        (kernel_source.PSF_FILE, None, MICRONS, "does not exist"),
        (kernel_source.MICROSCOPE, None, (1, 1, "px"), "set the layer's scale and units"),
        (kernel_source.MICROSCOPE, None, (0.1, 0.2, "µm"), "wants square ones"),
    ],
)
def test_what_cannot_be_is_told(source, layers, place, layer, pixels, sentence):
    source.source.value = place
    source.file.value = "nowhere.tif"
    source.layer.value = None if layer is None else layers[layer]
    with pytest.raises(ValueError, match=sentence):
        source.choice(*pixels)
