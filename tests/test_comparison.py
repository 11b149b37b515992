"""The comparison of image and result, with a viewer model."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_blind_deconv import Settings
from napari_blind_deconv.plugin.comparison import Comparison, line_profile
from napari_blind_deconv.plugin.geometry import LayerPlane
from napari_blind_deconv.plugin.layers import displayable, image_options
from napari_blind_deconv.plugin.result_layers import ResultLayers
from napari_blind_deconv.task import Task

BEFORE = np.tile(np.arange(40.0), (30, 1))
CALIBRATION = {"scale": (0.2, 0.1), "translate": (3, 5), "units": ("um", "um")}


class FinishedRun:
    """The part of a finished run on one plane that the comparison uses."""

    def __init__(self, viewer, plane, source, layer):
        self.geometry, self.source, self.layer = plane, source, layer
        self.layers = ResultLayers(viewer, plane, layer)
        self.task = Task(plane.image, Settings())
        self.result = None

    def index_shown(self):
        return ()

    def plane_index_shown(self):
        return ()

    def result_shown(self):
        return self.result

    def planes_shown(self):
        return self.geometry.image, self.layer.data.reshape(self.geometry.pixels.shape)


@pytest.fixture
def compared(qtbot):
    viewer = ViewerModel()
    layer = viewer.add_image(BEFORE, name="cells", **CALIBRATION)
    plane = LayerPlane.of(layer, viewer.dims)
    result = viewer.add_image(displayable(plane, 2 * BEFORE), **image_options(plane, {}))
    widget = Comparison(viewer)
    qtbot.addWidget(widget)
    widget.compare(FinishedRun(viewer, plane, layer, result))
    return viewer, result, widget


@pytest.mark.parametrize("is_visible", [True, False])
def test_one_click_shows_the_image(compared, is_visible):
    viewer, result, widget = compared
    image = viewer.layers["cells"]
    image.visible = is_visible
    widget.input_button.click()
    assert image.visible
    assert not result.visible
    widget.input_button.click()
    assert image.visible == is_visible
    assert result.visible


def test_the_line_profile_shows_image_and_result(compared):
    viewer, _, widget = compared
    widget.line_button.click()
    before, after = widget.plot.curves
    assert before.name == "input"
    np.testing.assert_allclose(after.y, 2 * before.y)
    np.testing.assert_allclose(before.y[0], 10)
    np.testing.assert_allclose(before.y[-1], 30)
    widget.add_line()
    assert len(viewer.layers) == 3  # one line is enough


def test_the_line_profile_can_be_moved(compared):
    viewer, _, widget = compared
    widget.add_line()
    line = viewer.layers["line profile"]
    line.data = [np.array([[5.0, 0.0], [5.0, 20.0]])]
    assert widget.plot.curves[0].y[-1] == pytest.approx(20)


def test_a_changed_result_is_drawn_again(compared):
    _, result, widget = compared
    widget.add_line()
    result.data = 3 * BEFORE
    widget.refresh()
    before, after = widget.plot.curves
    np.testing.assert_allclose(after.y, 3 * before.y)


@pytest.mark.parametrize(
    ("residual", "reason"),
    [
        (np.full(BEFORE.shape, np.nan), "too small for a residual"),
        (np.zeros((0, 0)), "not kept"),
    ],
)
def test_a_missing_residual_is_explained(compared, residual, reason):
    viewer, result, widget = compared
    assert widget.residual_button.toolTip() == "This plane was not deconvolved."
    run = FinishedRun(viewer, LayerPlane.of(result, viewer.dims), viewer.layers["cells"], result)
    run.result = SimpleNamespace(trust=SimpleNamespace(residual=residual))
    widget.compare(run)
    assert not widget.residual_button.isEnabled()
    assert reason in widget.residual_button.toolTip()


def test_a_run_that_is_shown_again_has_one_residual_layer(compared):
    viewer, result, widget = compared
    image = viewer.layers["cells"]
    runs = [FinishedRun(viewer, LayerPlane.of(image, viewer.dims), image, result) for _ in range(2)]
    for run in runs:
        run.result = outcome(residual=1)
    first, second = runs
    widget.compare(first)
    widget.residual_button.click()
    layer = viewer.layers["cells [residual]"]
    widget.compare(None)
    widget.compare(first)
    widget.residual_button.click()
    assert [each.name for each in viewer.layers if "residual" in each.name] == [layer.name]
    first.result = outcome(residual=2)
    widget.refresh()
    assert (layer.data == 2).all()
    widget.compare(second)
    widget.residual_button.click()
    assert (layer.data == 2).all()
    assert sum("residual" in each.name for each in viewer.layers) == 2


def outcome(residual):
    """Return the part of a result that its residual layer needs."""
    trust = SimpleNamespace(residual=np.full(BEFORE.shape, float(residual)))
    return SimpleNamespace(trust=trust, provenance=dict)


def test_deleted_layers_are_released(compared):
    viewer, result, widget = compared
    widget.add_line()
    viewer.layers.remove("line profile")
    widget.add_line()
    assert "line profile" in viewer.layers
    viewer.layers.remove(result)
    assert not widget.line_button.isEnabled()
    assert widget.line_button.toolTip() == "There is no result yet."
    widget.line_button.click()
    widget.refresh()


def test_colour_images_are_compared_on_one_scale(qtbot):
    viewer = ViewerModel()
    pixels = np.full((20, 20, 3), 51, np.uint8)
    layer = viewer.add_image(pixels, rgb=True, name="stain")
    source = LayerPlane.of(layer, viewer.dims)
    result = viewer.add_image(displayable(source, pixels.astype(np.float32)), rgb=True)
    widget = Comparison(viewer)
    qtbot.addWidget(widget)
    widget.compare(FinishedRun(viewer, source, layer, result))
    widget.add_line()
    before, after = widget.plot.curves
    np.testing.assert_allclose(before.y, 0.2)
    np.testing.assert_allclose(after.y, 0.2, rtol=1e-6)


def test_a_profile_runs_from_end_to_end():
    distance, values = line_profile(BEFORE, np.array([[0.0, 0.0], [0.0, 39.0]]))
    np.testing.assert_allclose(distance, np.arange(40))
    np.testing.assert_allclose(values, np.arange(40))
    _, outside = line_profile(BEFORE, np.array([[0.0, 30.0], [0.0, 49.0]]))
    assert np.isnan(outside[-1])
    assert np.isfinite(outside[0])
