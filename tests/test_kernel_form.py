"""The form for the kernel: all sources of a kernel, and all refusals."""

from unittest.mock import Mock

import numpy as np
import ome_types
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source

from napari_blind_deconv import Image as ImageData
from napari_blind_deconv import Optics
from napari_blind_deconv.io.images import write_plane
from napari_blind_deconv.io.stacks import open_stored
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.optics import widefield_psf
from napari_blind_deconv.plugin import input_form, kernel_form
from napari_blind_deconv.plugin.kernel_form import KernelForm
from napari_blind_deconv.plugin.kernel_selection import PixelGrid
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.psf import prepare_psf

PSF = np.outer([1, 2, 1], [1, 2, 1]) / 16
MICRONS = PixelGrid((0.1, 0.1), "µm")


@pytest.fixture
def layers() -> list[Image]:
    return [
        Image(PSF, name="psf", scale=(0.1, 0.1), units=("um", "um")),
        Image(np.zeros((3, 5, 5)), name="stack"),
    ]


@pytest.fixture
def form(qtbot, layers) -> KernelForm:
    viewer = ViewerModel()
    viewer.layers.extend(layers)
    widget = KernelForm(viewer)
    qtbot.addWidget(widget)
    return widget


def test_by_default_the_kernel_is_found(form):
    selection = form.selection(MICRONS)
    assert selection.choice.is_found
    assert not selection.code
    assert not selection.file
    assert not form.is_held
    assert not form.layer.native.isVisibleTo(form)


def test_a_layer_is_a_psf_that_is_held_fixed(form, layers):
    form.source.value = kernel_form.LAYER
    assert form.layer.native.isVisibleTo(form)
    form.layer.value = layers[0]
    choice = form.selection(MICRONS).choice
    np.testing.assert_array_equal(choice.kernel, PSF)
    assert choice.is_held
    assert choice.kernel.source is KernelSource.GIVEN
    assert (choice.kernel.pixel_size, choice.kernel.unit) == ((0.1, 0.1), "µm")
    form.held.value = False
    choice = form.selection(MICRONS).choice
    assert not choice.is_held
    assert choice.kernel.source is KernelSource.GUESS


def test_a_file_is_a_psf(form, tmp_path):
    tifffile.imwrite(tmp_path / "psf.tif", PSF.astype(np.float32))
    form.source.value = kernel_form.PSF_FILE
    form.file.value = tmp_path / "psf.tif"
    np.testing.assert_allclose(form.selection(MICRONS).choice.kernel, PSF)


def test_a_gaussian_is_the_start_of_the_fit(form):
    form.source.value = kernel_form.GAUSSIAN
    form.sigma.value = 3.0
    choice = form.selection(MICRONS).choice
    assert not choice.is_held
    assert choice.kernel.widths.along_axes[0] == pytest.approx(3 * 2.355, rel=0.05)
    assert choice.kernel.shape[0] % 2 == 1


def test_a_microscope_gives_a_kernel_of_its_resolution(form):
    form.source.value = kernel_form.MICROSCOPE
    optics = form.microscope.rows
    optics["aperture"].value, optics["wavelength"].value = 0.5, 600
    expected = 0.51 * 0.6 / 0.5
    for pixels in (MICRONS, PixelGrid((100, 100), "nm")):
        choice = form.selection(pixels).choice
        width_found = choice.kernel.widths.along_axes[0] * 0.1
        assert width_found == pytest.approx(expected, rel=0.1)


def test_the_last_kernel_can_be_used_again(form):
    form.set_last_kernel(Kernel.of(PSF, source=KernelSource.FREE))
    form.hold_last()
    choice = form.selection(MICRONS).choice
    assert choice.is_held
    assert choice.kernel.source is KernelSource.FREE, "so that its warnings stay"
    np.testing.assert_allclose(choice.kernel, PSF)
    form.reset()
    assert form.selection(MICRONS).choice.is_found


@pytest.mark.parametrize(
    ("source", "layer", "pixels", "sentence"),
    [
        (kernel_form.LAST, None, MICRONS, "no last result"),
        (kernel_form.LAYER, None, MICRONS, "No layer is chosen"),
        (kernel_form.LAYER, 1, MICRONS, r"single grey plane .* of shape \(3, 5, 5\)"),
        (kernel_form.PSF_FILE, None, MICRONS, "does not exist"),
        (kernel_form.MICROSCOPE, None, PixelGrid((1, 1), "px"), "state the pixel size under"),
        (kernel_form.MICROSCOPE, None, PixelGrid((0.1, 0.2), "µm"), "square pixels in µm or nm"),
    ],
)
def test_impossible_kernels_are_refused(form, layers, source, layer, pixels, sentence):
    form.source.value = source
    form.file.value = "nowhere.tif"
    form.layer.value = None if layer is None else layers[layer]
    with pytest.raises(ValueError, match=sentence):
        form.selection(pixels)


@pytest.mark.parametrize(("side", "unit"), [(100, "nm"), (1e-4, "mm"), (1e-7, "m")])
def test_the_pixel_size_of_a_psf_is_converted_to_the_unit_of_the_image(form, layers, side, unit):
    form.source.value = kernel_form.LAYER
    form.layer.value = layers[0]
    kernel = form.selection(PixelGrid((side, side), unit)).choice.kernel
    assert (kernel.pixel_size, kernel.unit) == (pytest.approx((side, side)), unit)
    form.source.value = kernel_form.MICROSCOPE
    modelled = form.selection(PixelGrid((side, side), unit))
    form_in_microns = form.selection(MICRONS)
    assert modelled.code == form_in_microns.code
    np.testing.assert_array_equal(modelled.choice.kernel, form_in_microns.choice.kernel)


@pytest.mark.parametrize(
    "transform",
    [
        {"affine": np.diag([0.1, 0.1, 1])},
        {"scale": (-0.1, 0.1)},
        {"scale": (0.1, 0.1), "rotate": 30},
    ],
)
def test_a_psf_layer_has_its_true_pixels(form, transform):
    form.layer.choices = [psf := Image(PSF, units=("um", "um"), **transform)]
    form.source.value = kernel_form.LAYER
    form.layer.value = psf
    kernel = form.selection(MICRONS).choice.kernel
    assert (kernel.pixel_size, kernel.unit) == (pytest.approx((0.1, 0.1)), "µm")


def test_the_copied_expression_gives_the_same_microscope(form):
    form.source.value = kernel_form.MICROSCOPE
    selection = form.selection(PixelGrid((0.0645123456, 0.0645123456), "µm"))
    modelled = eval(selection.code, {"widefield_psf": widefield_psf})
    np.testing.assert_array_equal(selection.choice.kernel, modelled)


@pytest.fixture
def run_form(qtbot, fresh_panel) -> RunForm:
    """The form for a stack whose pixels are twice as large as those of the PSF in the viewer."""
    viewer = ViewerModel()
    viewer.add_image(PSF, name="psf", scale=(0.1, 0.1), units=("um", "um"))
    pixels = np.random.default_rng(0).random((2, 20, 24))
    stack = viewer.add_image(pixels, name="cells", scale=(1, 0.2, 0.2), units=("um",) * 3)
    widget = RunForm(viewer)
    qtbot.addWidget(widget)
    widget.input.layer.value = stack
    return widget


@pytest.mark.parametrize("source", [kernel_form.LAYER, kernel_form.PSF_FILE])
def test_a_psf_of_another_pixel_size_is_resampled(run_form, tmp_path, source):
    run_form.kernel.source.value = source
    run_form.kernel.layer.value = run_form._viewer.layers["psf"]
    run_form.kernel.file.value = tmp_path / "psf.tif"
    options = {"resolution": (10, 10), "metadata": {"axes": "YX", "unit": "um"}}
    tifffile.imwrite(tmp_path / "psf.tif", PSF.astype(np.float32), imagej=True, **options)
    for run_form.input.scope.value in (input_form.PLANE, input_form.STACK):
        kernel = run_form.task()[1].kernel.kernel
        assert kernel.pixel_size == pytest.approx((0.2, 0.2))
        assert kernel.widths.along_axes[0] < Kernel.of(PSF).widths.along_axes[0]
        selection = run_form.script().kernel
        known = Kernel.of(PSF, pixel_size=(0.1, 0.1), unit="µm")
        names = {"prepare_psf": prepare_psf, "read_psf": Mock(return_value=known)}
        np.testing.assert_allclose(eval(selection.code, names), kernel, atol=1e-6)
    run_form._viewer.layers["cells"].scale = (1, 0.1, 0.1)
    for run_form.input.scope.value in (input_form.PLANE, input_form.STACK):
        _, task = run_form.task()
        np.testing.assert_allclose(task.kernel.kernel, PSF)


@pytest.mark.parametrize(
    "transform",
    [
        {"scale": (1, 1, 1), "affine": np.diag([1, 0.2, 0.2, 1])},
        {"scale": (1, -0.2, 0.2)},
        {"scale": (1000, 200, 200), "units": ("nm",) * 3},
    ],
)
def test_a_psf_is_compared_with_the_true_pixels_of_the_image(run_form, transform):
    cells = run_form._viewer.layers["cells"]
    for name, value in transform.items():
        setattr(cells, name, value)
    run_form.kernel.source.value = kernel_form.LAYER
    run_form.kernel.layer.value = psf = run_form._viewer.layers["psf"]
    assert not np.array_equal(run_form.task()[1].kernel.kernel, PSF)
    psf.scale = (0.2, 0.2)
    np.testing.assert_allclose(run_form.task()[1].kernel.kernel, PSF)


class TestOpticsOfLayers:
    """The model of the microscope starts from what a layer's file or metadata state."""

    KNOWN = Optics(1.25, 1.515, (0.525, 0.607))

    @pytest.fixture
    def path(self, tmp_path):
        pixels = np.random.default_rng(0).random((2, 20, 24), np.float32)
        image = ImageData(pixels, "CYX", channel_names=("GFP", "RFP"), optics=self.KNOWN)
        write_plane(tmp_path / "cells.ome.tif", image, {})
        return tmp_path / "cells.ome.tif"

    @staticmethod
    def add(run_form, pixels, name="added", **options) -> Image:
        layer = run_form._viewer.add_image(pixels, name=name, **options)
        run_form.input.layer.value = layer
        return layer

    @staticmethod
    def values(run_form) -> tuple[float, float]:
        run_form.kernel.source.value = kernel_form.MICROSCOPE
        optics = run_form.kernel.microscope.rows
        return optics["aperture"].value, optics["wavelength"].value

    def add_file(self, run_form, path, pixels=None, name="cells.ome") -> Image:
        with layer_source(path=str(path)):
            return self.add(run_form, tifffile.imread(path) if pixels is None else pixels, name)

    def test_the_channel_on_the_screen_fills_the_form(self, run_form, path):
        self.add_file(run_form, path)
        run_form._viewer.dims.set_current_step(0, 0)
        assert self.values(run_form) == (1.25, 525)
        run_form._viewer.dims.set_current_step(0, 1)
        assert self.values(run_form) == (1.25, 607)

    def test_a_layer_of_one_channel_is_known_by_its_name(self, run_form, path):
        default = run_form.kernel.microscope.rows["wavelength"].value
        self.add_file(run_form, path, tifffile.imread(path)[1], "RFP")
        assert self.values(run_form) == (1.25, 607)
        run_form.kernel.microscope.rows["wavelength"].value = default
        self.add_file(run_form, path, tifffile.imread(path)[1], "cells.ome")
        assert self.values(run_form) == (1.25, default), "which channel it is, is unknown"

    def test_numbers_of_the_user_stay_with_their_layer(self, run_form, path):
        layer = self.add_file(run_form, path)
        self.values(run_form)
        run_form.kernel.microscope.rows["wavelength"].value = 580
        for step in (1, 0):
            run_form._viewer.dims.set_current_step(0, step)
            assert self.values(run_form) == (1.25, 580)
        self.add_file(run_form, path, tifffile.imread(path)[0], "GFP")
        assert self.values(run_form) == (1.25, 525)
        run_form.input.layer.value = layer
        assert self.values(run_form) == (1.25, 580)

    def test_the_file_is_read_once(self, run_form, path, monkeypatch):
        opened = []

        def count(path):
            opened.append(path)
            return open_stored(path)

        monkeypatch.setattr("napari_blind_deconv.plugin.layer_file.open_stored", count)
        layer = self.add_file(run_form, path)
        layer.scale = (1, 2, 2)
        self.values(run_form)
        for step in (1, 0, 1):
            run_form._viewer.dims.set_current_step(0, step)
        assert opened == [path]

    @pytest.mark.parametrize("content", [None, b"no image", b""])
    def test_a_file_that_cannot_be_read_changes_nothing(self, run_form, tmp_path, content):
        before = self.values(run_form)
        if content is not None:
            (tmp_path / "in.tif").write_bytes(content)
        self.add_file(run_form, tmp_path / "in.tif", np.zeros((20, 24)))
        assert self.values(run_form) == before

    @pytest.mark.parametrize("kind", ["xml", "model", "dictionary", "nested"])
    def test_metadata_of_another_reader(self, run_form, path, kind):
        xml = tifffile.tiffcomment(path)
        metadata = {
            "xml": {"ome": xml},
            "model": {"ome_types": ome_types.from_xml(xml)},
            "dictionary": tifffile.xml2dict(xml),
            "nested": {"metadata": {"raw": xml}},
        }[kind]
        pixels = tifffile.imread(path)
        layer = self.add(run_form, pixels, axis_labels=("c", "y", "x"), metadata=metadata)
        run_form._viewer.dims.set_current_step(0, 1)
        assert self.values(run_form) == (1.25, 607)
        run_form._viewer.layers.remove(layer)
        run_form.kernel.microscope.rows["aperture"].value = 1.0
        self.add(run_form, pixels[0, :10], metadata=metadata)
        assert self.values(run_form)[0] == 1.0, "the metadata are those of another image"

    def test_properties_of_another_reader(self, run_form):
        metadata = {"microscope": {"objectiveNumericalAperture": 0.75}, "x": [1], "y": object()}
        self.add(run_form, np.zeros((20, 24)), metadata=metadata)
        assert self.values(run_form)[0] == 0.75

    def test_metadata_of_any_content_change_nothing(self, run_form):
        before = self.values(run_form)
        metadata = {
            "a": "<OME",
            "b": {"Image": 3},
            "OME": {"Image": [{"Pixels": None}]},
            "Image": 2,
        }
        metadata["self"] = metadata
        self.add(run_form, np.zeros((20, 24)), metadata=metadata)
        assert self.values(run_form) == before
