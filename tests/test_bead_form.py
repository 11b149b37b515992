"""PSFs measured on beads in the panel: made beads with a known PSF, in planes and in volumes."""

import re

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.colormaps.standardize_color import transform_color
from tests import guard
from tests.test_beads import PLACES, SIGMAS, slide

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.plugin import kernel_form
from napari_blind_deconv.plugin.colours import BLUE, ORANGE
from napari_blind_deconv.plugin.kernel_form import KernelForm
from napari_blind_deconv.plugin.kernel_selection import PixelGrid
from napari_blind_deconv.plugin.layers import is_output
from napari_blind_deconv.plugin.stated import Stated

SIDES = (0.3, 0.1, 0.1)
CUT_OFF = {2: ((3.0, 100.0), 1.0), 3: ((23.0, 60.0, 3.0), 1.0)}
BLOCKS = {2: BlockKind.PLANE, 3: BlockKind.VOLUME}


def calibration(ndim: int) -> dict:
    return {
        "scale": SIDES[-ndim:],
        "translate": (3, -7, 20)[-ndim:],
        "units": ("um",) * ndim,
        "axis_labels": ("z", "y", "x")[-ndim:],
    }


def expected_fwhm(ndim: int) -> np.ndarray:
    """The FWHM of the beads in µm, which pixels widen."""
    return 2.355 * np.sqrt(np.square(SIGMAS[ndim]) + 1 / 12) * SIDES[-ndim:]


@pytest.fixture
def form(qtbot) -> KernelForm:
    widget = KernelForm(ViewerModel())
    widget.told = []
    widget.beads.done.connect(widget.told.append)
    widget.beads.failed.connect(lambda sentence, _error: widget.told.append(sentence))
    widget.source.value = kernel_form.BEADS
    qtbot.addWidget(widget)
    return widget


def layers_of(form: KernelForm):
    return form.beads._viewer.layers


def add(form: KernelForm, pixels, block=None, **options) -> Image:
    """Add a layer of beads and choose it."""
    options = {**calibration(pixels.ndim), **options}
    layer = form.beads._viewer.add_image(pixels, name="slide", **options)
    form.beads.layer.value = layer
    form.choose_block(block or BLOCKS[pixels.ndim])
    return layer


def press(form: KernelForm) -> None:
    form.beads.button.native.click()


def finish(form: KernelForm, qtbot) -> None:
    """Wait for the end of a measurement."""
    qtbot.waitUntil(lambda: form.beads.button.enabled, timeout=guard.MILLISECONDS)


def measure(form: KernelForm, qtbot) -> str:
    """Press *Measure*, and return what is said at the end."""
    press(form)
    finish(form, qtbot)
    return form.told[-1]


def assert_used(form: KernelForm, places) -> None:
    """Check which beads of the slide were used, in its pixels."""
    found = layers_of(form)["beads found in slide"]
    used = found.data[found.features["left out"] == ""]
    assert len(used) == len(places)
    for place in places:
        assert np.abs(used - place).max(axis=1).min() < 0.15


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_psf_becomes_a_layer_that_is_the_kernel(form, qtbot, ndim):
    beads = add(form, slide(ndim, [CUT_OFF[ndim]]))
    said = measure(form, qtbot)
    assert f"Average of {len(PLACES[ndim])} beads; FWHM " in said
    assert said.endswith("µm. Left out: 1 cut off by the border.")
    psf = layers_of(form)["PSF of slide"]
    np.testing.assert_array_equal(psf.scale, beads.scale)
    assert psf.units == beads.units
    assert is_output(psf), "so that it is not the next input"
    record = psf.metadata["blind_deconvolution"]
    assert record["fwhm"] == pytest.approx(expected_fwhm(ndim), rel=0.03)
    assert record["left_out"] == {"cut off by the border": 1}
    assert (form.source.value, form.layer.value) == (kernel_form.LAYER, psf)
    choice = form.selection(PixelGrid(SIDES[-ndim:], "µm")).choice
    assert choice.is_held
    assert choice.kernel.pixel_size == pytest.approx(SIDES[-ndim:])
    widths = np.multiply(choice.kernel.widths.along_axes, SIDES[-ndim:])
    assert widths == pytest.approx(expected_fwhm(ndim), rel=0.06)


@pytest.mark.parametrize("ndim", [2, 3])
def test_points_show_which_beads_were_used(form, qtbot, ndim):
    place, _ = extra = CUT_OFF[ndim]
    beads = add(form, slide(ndim, [extra]))
    measure(form, qtbot)
    found = layers_of(form)["beads found in slide"]
    for name in ("scale", "translate", "units", "axis_labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(beads, name))
    is_used = (found.features["left out"] == "").to_numpy()
    assert_used(form, PLACES[ndim])
    np.testing.assert_allclose(found.data[~is_used], [place], atol=1)
    assert found.features["left out"][~is_used].tolist() == ["cut off by the border"]
    for color, rows in ((BLUE, is_used), (ORANGE, ~is_used)):
        expected = np.broadcast_to(transform_color(color), (rows.sum(), 4))
        np.testing.assert_allclose(found.border_color[rows], expected, atol=1e-6)
    if ndim == 3:  # where most of the beads are seen
        assert form.beads._viewer.dims.point[0] == pytest.approx(3 + 0.3 * 23, abs=0.31)


@pytest.mark.parametrize("unit", ["um", "nm"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_picked_beads_are_found_wherever_their_layer_lies(form, qtbot, ndim, unit):
    beads = add(form, slide(ndim))
    wanted = [PLACES[ndim][0], PLACES[ndim][2]]
    world = np.array([beads.data_to_world(np.add(place, 1.5)) for place in wanted])
    factor = {"um": 1, "nm": 1000}[unit]
    offset = np.full(ndim, -4.0)
    points = form.beads._viewer.add_points(
        (factor * world - offset) / 0.5,
        scale=(0.5,) * ndim,
        translate=offset,
        units=(unit,) * ndim,
    )
    form.beads.picked.value = points
    assert "Average of 2 beads;" in measure(form, qtbot)
    assert_used(form, wanted)


def test_points_of_a_plane_pick_beads_of_a_volume_at_the_slider(form, qtbot):
    add(form, slide(3))
    place = PLACES[3][0]
    form.beads._viewer.dims.set_point(0, 3 + 0.3 * place[0])
    plane = {name: value[1:] for name, value in calibration(3).items()}
    form.beads.picked.value = form.beads._viewer.add_points([place[1:]], **plane)
    measure(form, qtbot)
    assert_used(form, [place])


def test_found_beads_without_some_can_be_picked(form, qtbot):
    add(form, slide(2))
    measure(form, qtbot)
    found = layers_of(form)["beads found in slide"]
    kept = found.data[2:].copy()
    found.selected_data = {0, 1}
    found.remove_selected()
    form.source.value, form.beads.picked.value = kernel_form.BEADS, found
    assert "Average of 3 beads" in measure(form, qtbot)
    np.testing.assert_allclose(layers_of(form)["beads found in slide [1]"].data, kept, atol=0.01)


def test_the_diameter_corrects_what_is_stated_in_any_unit(form, qtbot):
    said = []
    for factor, unit in ((1, "um"), (1000, "nm")):
        layers_of(form).clear()
        scale = np.multiply(factor, SIDES[1:])
        add(form, slide(2), scale=scale, translate=(0, 0), units=(unit,) * 2)
        form.source.value, form.beads.diameter.value = kernel_form.BEADS, 0.2
        measure(form, qtbot)
        record = layers_of(form)["PSF of slide"].metadata["blind_deconvolution"]
        said.append(np.divide(record["fwhm"], factor))
    ball = 8 * np.log(2) / 20 * 0.2**2
    assert said[0] == pytest.approx(np.sqrt(expected_fwhm(2) ** 2 - ball), rel=0.03)
    assert said[1] == pytest.approx(said[0])


def test_a_stated_pixel_size_is_that_of_the_psf(form, qtbot):
    pixels = {"scale": (1, 1, 1), "units": ("pixel",) * 3}
    layer = add(form, slide(3), **pixels)
    Stated("ZYX", dict(zip("ZYX", SIDES, strict=True)), "µm").store(layer)
    form.beads.diameter.value = 0.1
    assert "µm" in measure(form, qtbot)
    kernel = form.selection(PixelGrid(SIDES, "µm")).choice.kernel
    assert (kernel.pixel_size, kernel.unit) == (pytest.approx(SIDES), "µm")


def test_beads_without_a_pixel_size_give_a_psf_in_pixels(form, qtbot):
    add(form, slide(2), scale=(1, 1), units=("pixel",) * 2)
    form.beads.diameter.value = 0.1
    assert measure(form, qtbot) == "Expected a pixel size to correct for beads, got none."
    form.beads.diameter.value = 0
    assert "pixel." in measure(form, qtbot)
    assert form.selection(PixelGrid((0.1, 0.1), "µm")).choice.kernel.pixel_size is None


@pytest.mark.parametrize(
    ("shape", "labels", "block", "sentence"),
    [
        (
            (20, 32, 32),
            "zyx",
            BlockKind.PLANE,
            r"plane \(rows, columns\), .* slide with the axes Z",
        ),
        ((32, 32), "yx", BlockKind.VOLUME, r"volume \(planes, rows, columns\), .* the axes YX"),
        ((20, 32, 32), "tyx", BlockKind.VOLUME, r"the axes TYX and the shape \(20, 32, 32\)"),
        ((2, 20, 32, 32), "czyx", BlockKind.VOLUME, r"axes CZYX and the shape \(2, 20, 32, 32\)"),
        ((32, 32, 3), "yx", BlockKind.PLANE, "single grey plane .* axes YXS"),
    ],
)
def test_layers_that_are_not_one_block_are_refused(form, shape, labels, block, sentence):
    count = len(labels)
    options = {"scale": (1,) * count, "translate": (0,) * count, "units": ("um",) * count}
    is_rgb = len(shape) > count
    add(form, np.zeros(shape), block, axis_labels=tuple(labels), rgb=is_rgb, **options)
    press(form)
    assert form.beads.button.enabled
    assert re.match(f"Expected a layer of beads with a .*{sentence}", form.told[-1])


def test_axes_of_one_element_are_no_more_axes(form, qtbot):
    options = {"scale": (1, *SIDES), "translate": (0,) * 4, "units": ("um",) * 4}
    layer = add(
        form, slide(3)[:, np.newaxis], BlockKind.VOLUME, axis_labels=tuple("zcyx"), **options
    )
    layer.scale = (0.3, 1, 0.1, 0.1)
    assert "Average of 4 beads" in measure(form, qtbot)
    assert layers_of(form)["PSF of slide"].data.shape[1] == 1
    kernel = form.selection(PixelGrid(SIDES, "µm")).choice.kernel
    assert kernel.pixel_size == pytest.approx(SIDES)


def test_what_is_missing_is_said_in_a_sentence(form, qtbot):
    press(form)
    assert form.told[-1] == "No layer of beads is chosen; choose one under Kernel."
    add(form, np.random.default_rng(0).poisson(100, (64, 64)))
    form.beads.picked.value = form.beads._viewer.add_points(ndim=2, name="picks")
    press(form)
    assert "Expected points on the beads in picks, got none" in form.told[-1]
    form.beads.picked.value = None
    assert "Expected an isolated bead in the image" in measure(form, qtbot)
    assert [layer.name for layer in layers_of(form)] == ["slide", "picks"]
    assert form.source.value == kernel_form.BEADS


def test_there_is_no_kernel_before_it_is_measured(form, qtbot):
    pixels = PixelGrid((0.1, 0.1), "µm")
    add(form, slide(2))
    with pytest.raises(ValueError, match=r"No PSF is measured on beads yet; .* press Measure\."):
        form.selection(pixels)
    press(form)
    assert form.beads.button.text == "Measuring …"
    with pytest.raises(ValueError, match="The PSF is being measured"):
        form.selection(pixels)
    finish(form, qtbot)
    form.selection(pixels)


def test_pressing_twice_measures_once_and_again_adds_layers(form, qtbot):
    add(form, slide(2))
    press(form)
    form.beads.measure()
    finish(form, qtbot)
    assert len(layers_of(form)) == 3
    first = form.layer.value
    form.source.value = kernel_form.BEADS
    measure(form, qtbot)
    assert len(layers_of(form)) == 5
    assert first in layers_of(form)
    assert form.layer.value != first


def test_a_source_that_was_chosen_meanwhile_stays(form, qtbot):
    add(form, slide(2))
    press(form)
    form.source.value = kernel_form.GAUSSIAN
    finish(form, qtbot)
    assert form.source.value == kernel_form.GAUSSIAN
    assert "PSF of slide" in layers_of(form)


def test_the_beads_may_be_deleted_while_they_are_measured(form, qtbot):
    add(form, slide(2))
    press(form)
    layers_of(form).clear()
    finish(form, qtbot)
    assert [layer.name for layer in layers_of(form)] == ["PSF of slide"]
    assert form.layer.value == layers_of(form)["PSF of slide"]


def test_rows_are_shown_if_they_are_needed(form):
    rows = [row.native for row in form.beads.rows]
    assert all(row.isVisibleTo(form) for row in rows)
    assert not form.held.native.isVisibleTo(form)
    form.source.value = kernel_form.FOUND
    assert not any(row.isVisibleTo(form) for row in rows)
    assert form.beads.picked.current_choice == "all that fit"


def test_choices_are_shown_again(form, qtbot):
    add(form, slide(2))
    measure(form, qtbot)
    chosen = form.choices()
    form.source.value = kernel_form.BEADS
    form.show_choices(chosen)
    assert form.source.value == kernel_form.LAYER
    assert form.layer.value == chosen["layer"] == layers_of(form)["PSF of slide"]
    assert form.is_held
    layers_of(form).remove("PSF of slide")
    form.show_choices(chosen)
    assert form.layer.value is None


class TestPanel:
    def prepare(self, dock) -> KernelForm:
        dock._viewer.add_image(slide(2), name="slide", **calibration(2))
        kernel = dock.form.kernel
        kernel.source.value = kernel_form.BEADS
        kernel.beads.layer.value = dock._viewer.layers["slide"]
        return kernel

    def test_run_asks_to_measure_and_the_panel_states_the_result(self, dock, notifications, qtbot):
        kernel = self.prepare(dock)
        dock.start()
        assert "press Measure" in notifications[-1]
        assert dock.run_button.isEnabled()
        press(kernel)
        finish(kernel, qtbot)
        assert dock.status.text().startswith("Average of 5 beads; FWHM Y 0.4")
        assert dock.form.task()[1].kernel.is_held
        assert dock.form.input.layer.value == dock._viewer.layers["slide"]
        kernel.source.value = kernel_form.BEADS
        kernel.beads.layer.value = None
        press(kernel)
        assert notifications[-1] == dock.status.text()
        assert "No layer of beads is chosen" in dock.status.text()

    def test_the_panel_may_be_closed_while_beads_are_measured(self, dock, qtbot):
        kernel, viewer = self.prepare(dock), dock._viewer
        beads = kernel.beads
        press(kernel)
        viewer.window.remove_dock_widget("all")
        qtbot.waitUntil(lambda: not beads._is_measuring, timeout=guard.MILLISECONDS)
        assert "slide" in viewer.layers
