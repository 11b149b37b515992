"""Ways of seeing input and result, in a real viewer: what is drawn, and what is restored."""

from collections.abc import Callable

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_blind_deconv import Settings
from napari_blind_deconv.plugin.comparison import Comparison
from napari_blind_deconv.plugin.geometry import LayerPlane
from napari_blind_deconv.plugin.layers import displayable, is_output
from napari_blind_deconv.plugin.planes import stack_of
from napari_blind_deconv.plugin.run import ViewerRun
from napari_blind_deconv.plugin.run_observer import Observer
from napari_blind_deconv.plugin.swipe import Swipe
from napari_blind_deconv.plugin.views import Blink, SideBySide
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.task import Task

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 255, (30, 40), np.uint8)
COLOUR = RANDOM.integers(0, 255, (30, 40, 3), np.uint8)
STACK = RANDOM.integers(0, 255, (4, 30, 40), np.uint8)
PART = (slice(5, 25), slice(10, 34))
CALIBRATION = {"scale": (0.2, 0.1), "translate": (3, 5), "units": ("um", "um")}
WAYS = (Blink, Swipe, SideBySide)
RESULT = "cells [deblurred]"


@pytest.fixture
def compare(make_napari_viewer, qtbot) -> Callable[..., tuple]:
    """A function that adds an image with a result and returns viewer, run and comparison."""

    def add(pixels, *, region=None, order=None, flip=False, **options):
        viewer = make_napari_viewer(show=True)
        comparison = Comparison(viewer)
        qtbot.addWidget(comparison)
        source = viewer.add_image(pixels, name="cells", **options)
        if order is not None:
            viewer.dims.order = order
        if flip:
            viewer.scene.camera.orientation2d = ("down", "left")
        if pixels.ndim == 3 and not source.rgb:
            geometry, image = stack_of(source, viewer.dims)
        else:
            geometry = LayerPlane.of(source, viewer.dims, region)
            image = geometry.image
        observer = Observer(*[lambda *_: None] * 4)
        run = ViewerRun(viewer, geometry, Task(image, Settings()), source, observer)
        inverse = 255.0 - image.pixels
        run.layer.data = inverse if run.is_stack else displayable(geometry, inverse)
        comparison.compare(run)
        return viewer, run, comparison

    return add


def picture(viewer) -> np.ndarray:
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def picture_of(viewer, layer) -> np.ndarray:
    """Return a picture with this layer alone."""
    before = [shown.visible for shown in viewer.layers]
    for shown in viewer.layers:
        shown.visible = shown == layer
    drawn = picture(viewer)
    for shown, visible in zip(viewer.layers, before, strict=True):
        shown.visible = visible
    return drawn


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of pixels with the same colour."""
    return float((abs(first - second) <= 2).all(axis=-1).mean())


def state_of(viewer) -> list:
    grid = viewer.canvas.grid
    layers = [(layer.name, layer.visible, layer.name_overlay.visible) for layer in viewer.layers]
    callbacks = len(viewer.mouse_drag_callbacks), len(viewer.mouse_move_callbacks)
    return [
        *(layers, sorted(layer.name for layer in viewer.layers.selection), callbacks),
        *(grid.enabled, grid.shape, grid.stride, grid.spacing, viewer.cursor.style),
    ]


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (GREY, {}),
        (GREY, CALIBRATION),
        (GREY, {"region": PART}),
        (GREY, {"scale": (1, -1)}),
        (GREY, {"scale": (1, -1), "rotate": 90}),
        (GREY, {"order": (1, 0)}),
        (GREY, {"flip": True}),
        (GREY, {"blending": "additive"}),
        (COLOUR, {"rgb": True}),
        (COLOUR, {"rgb": True, "region": PART}),
        (STACK, {"scale": (0.4, 0.1, 0.1), "axis_labels": ("z", "y", "x")}),
    ],
    ids=lambda value: "" if isinstance(value, np.ndarray) else ",".join(map(str, value)),
)
def test_the_input_is_left_of_the_divider_and_the_result_right(compare, pixels, options):
    viewer, run, comparison = compare(pixels, **options)
    if run.is_stack:
        viewer.dims.set_current_step(0, 1)
    comparison.swipe_button.click()
    if run.is_stack:
        viewer.dims.set_current_step(0, 2)
        comparison.refresh()
    camera = viewer.scene.camera
    camera.center = run.layer.extent.world.mean(axis=0)[list(viewer.dims.displayed)]
    camera.zoom *= 2  # the border of the plane is outside of the view
    before, after = picture_of(viewer, run.source), picture_of(viewer, run.layer)
    assert likeness(before, after) < 0.1
    length = comparison.divider.maximum() + 1
    middle = before.shape[1] // 2
    for position in (length // 2, length // 2 + 3):
        comparison.divider.setValue(position)
        # Pixels of the canvas; `extent` includes half a pixel on either side.
        width = np.ptp(run.layer.extent.world[:, viewer.dims.displayed[-1]]) / length * camera.zoom
        border = round(middle + (position - length / 2) * width)
        shown = picture(viewer)
        assert likeness(shown[:, : border - 3], before[:, : border - 3]) > 0.98
        assert likeness(shown[:, border + 3 :], after[:, border + 3 :]) > 0.98


def test_the_surroundings_of_a_region_stay(compare):
    viewer, run, comparison = compare(GREY, region=PART)
    before = picture_of(viewer, run.source)
    comparison.swipe_button.click()
    comparison.divider.setValue(comparison.divider.maximum())
    assert likeness(picture(viewer), before) > 0.9
    comparison.divider.setValue(1)
    assert 0.4 < likeness(picture(viewer), before) < 0.8


def test_input_and_result_are_side_by_side(compare):
    dark = GREY // 4  # its result is brighter
    viewer, run, comparison = compare(dark, contrast_limits=(0, 255))
    viewer.add_labels(np.ones(dark.shape, int), name="cover")
    comparison.side_button.click()
    viewer.scene.camera.zoom *= 4
    assert run.source.name_overlay.visible
    assert run.layer.name_overlay.visible
    shown = picture(viewer)[100:]  # below the names
    middle = shown.shape[1] // 2
    assert shown[:, : middle - 5].max() < 128 < shown[:, middle + 5 :].min()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_input_is_on_the_left_also_if_it_is_the_upper_layer(compare, order):
    viewer, run, comparison = compare(GREY)
    viewer.layers.move_multiple(order, 0)
    comparison.side_button.click()
    position = viewer.canvas.grid.position
    places = [
        position(viewer.layers.index(each), viewer.layers) for each in (run.source, run.layer)
    ]
    assert places == [(0, 0), (0, 1)]


def end_by_button(viewer, run, comparison):
    for button in (comparison.input_button, comparison.swipe_button, comparison.side_button):
        if button.isChecked():
            button.click()


def end_by_another_way(viewer, run, comparison):
    way = type(comparison._view)
    for other in WAYS:
        if other is not way:
            comparison.show_as(other)
    comparison.show_as(None)


def end_by_closing(viewer, run, comparison):
    comparison.compare(None)


def end_by_another_run(viewer, run, comparison):
    comparison.compare(run)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "end", [end_by_button, end_by_another_way, end_by_closing, end_by_another_run]
)
def test_the_viewer_is_restored(compare, way, end):
    viewer, run, comparison = compare(GREY)
    viewer.add_points(np.zeros((1, 2)), name="hidden", visible=False)
    viewer.layers.selection = {run.layer, run.source}
    grid = viewer.canvas.grid
    grid.enabled, grid.shape, grid.stride = True, (1, 4), 2
    before = state_of(viewer)
    comparison.show_as(way)
    assert state_of(viewer) != before
    end(viewer, run, comparison)
    assert state_of(viewer) == before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("blending", ["additive", "translucent_no_depth"])
def test_a_deleted_result_leaves_its_input(compare, way, blending):
    viewer, run, comparison = compare(GREY, blending=blending)
    comparison.show_as(way)
    viewer.layers.remove(run.layer)
    QApplication.processEvents()  # the parts are removed after the layer
    assert [(layer.name, layer.visible) for layer in viewer.layers] == [("cells", True)]
    assert not viewer.canvas.grid.enabled
    assert not comparison.swipe_button.isEnabled()
    assert comparison.swipe_button.toolTip() == "There is no result yet."


@pytest.mark.parametrize("way", WAYS)
def test_a_deleted_input_leaves_the_result(compare, way):
    viewer, run, comparison = compare(GREY)
    comparison.show_as(way)
    viewer.layers.remove(run.source)
    QApplication.processEvents()
    assert [(layer.name, layer.visible) for layer in viewer.layers] == [("cells [deblurred]", True)]
    for button in (comparison.input_button, comparison.swipe_button, comparison.side_button):
        assert not button.isEnabled()
        assert not button.isChecked()
        assert button.toolTip() == "The input layer was deleted."


def delete_selected(viewer):
    viewer.layers.remove_selected()


def delete_all(viewer):
    viewer.layers.select_all()
    viewer.layers.remove_selected()


def clear(viewer):
    viewer.layers.clear()


@pytest.mark.parametrize(
    ("selected", "delete", "left"),
    [
        (("cells [swipe: input]", "cells [swipe: result]"), delete_selected, ["cells", RESULT]),
        (("cells", "cells [swipe: input]"), delete_selected, [RESULT]),
        ((RESULT, "cells [swipe: result]", "cover"), delete_selected, ["cells"]),
        ((), delete_all, []),
        ((), clear, []),
    ],
)
def test_layers_are_deleted_together_while_the_divider_is_shown(compare, selected, delete, left):
    viewer, _, comparison = compare(GREY)
    cover = viewer.add_labels(np.ones(GREY.shape, int), name="cover")
    callbacks = state_of(viewer)[2]
    comparison.swipe_button.click()
    viewer.layers.selection = {viewer.layers[name] for name in selected}
    delete(viewer)
    QApplication.processEvents()
    assert [layer.name for layer in viewer.layers if layer != cover] == left
    assert all(layer.visible for layer in viewer.layers)
    assert not comparison.swipe_button.isChecked()
    assert state_of(viewer)[2] == callbacks


def delete_part(viewer):
    viewer.layers.remove("cells [swipe: input]")


def turn_to_3d(viewer):
    viewer.dims.ndisplay = 3


def turn_to_the_side(viewer):
    viewer.dims.order = (1, 0, 2)


def switch_the_grid(viewer):
    viewer.canvas.grid.enabled = False


@pytest.mark.parametrize(
    ("way", "change"),
    [
        (Swipe, delete_part),
        (Swipe, turn_to_3d),
        (Swipe, turn_to_the_side),
        (SideBySide, switch_the_grid),
    ],
)
def test_a_change_of_the_viewer_ends_the_comparison(compare, way, change):
    viewer, _, comparison = compare(STACK)
    layers = state_of(viewer)[0]
    comparison.show_as(way)
    change(viewer)
    QApplication.processEvents()
    assert state_of(viewer)[0] == layers
    assert not comparison.swipe_button.isChecked()
    assert not comparison.side_button.isChecked()
    assert not comparison.divider.isEnabled()
    is_plane = change in (delete_part, switch_the_grid)
    assert comparison.swipe_button.isEnabled() == is_plane
    assert ("in 2D" in comparison.swipe_button.toolTip()) != is_plane


def test_the_parts_are_no_input_and_are_displayed_like_their_layers(compare):
    viewer, run, comparison = compare(GREY, contrast_limits=(20, 90), opacity=0.7)
    comparison.swipe_button.click()
    before, after = (viewer.layers[f"cells [swipe: {name}]"] for name in ("input", "result"))
    for layer, part in ((run.source, before), (run.layer, after)):
        assert is_output(part)
        assert (part.contrast_limits, part.opacity) == (layer.contrast_limits, layer.opacity)
    run.layer.contrast_limits = (10, 50)
    assert after.contrast_limits == [10, 50]
    assert before.contrast_limits == [20, 90]
    after.gamma = 0.5
    assert run.layer.gamma == 0.5
    comparison.swipe_button.click()
    after.gamma = 1
    assert run.layer.gamma == 0.5


def test_no_pixel_of_a_plane_is_copied(compare):
    viewer, run, comparison = compare(STACK)
    comparison.swipe_button.click()
    before, after = (viewer.layers[f"cells [swipe: {name}]"] for name in ("input", "result"))
    assert np.shares_memory(before.data, run.source.data)
    assert np.shares_memory(after.data, run.layer.data)
    assert before.data.size + after.data.size == STACK[0].size


def test_a_changed_result_is_shown(compare):
    viewer, run, comparison = compare(GREY)
    comparison.swipe_button.click()
    run.layer.data = np.full(GREY.shape, 7.0)
    comparison.refresh()
    assert (viewer.layers["cells [swipe: result]"].data == 7).all()


@pytest.mark.parametrize("options", [{"rgb": True}, {"axis_labels": ("z", "y", "x")}])
def test_a_plane_that_cannot_be_read_is_not_shown(compare, options, monkeypatch):
    viewer, run, comparison = compare(COLOUR if "rgb" in options else STACK, **options)

    def fail():
        raise ValueError("the chunk is damaged")

    for is_shown_before in (False, True):
        if is_shown_before:
            comparison.swipe_button.click()
        with monkeypatch.context() as damaged:
            damaged.setattr(run, "planes_shown", fail)
            if not is_shown_before:
                comparison.swipe_button.click()
            comparison.refresh()
            assert not viewer.layers["cells [swipe: input]"].visible
            assert not viewer.layers["cells [swipe: result]"].visible
        comparison.refresh()
        assert viewer.layers["cells [swipe: input]"].visible
        comparison.swipe_button.click()


def canvas_of(viewer):
    return viewer.window._qt_viewer.canvas.native


@pytest.mark.parametrize(("start", "is_dragged"), [(0, True), (60, False)])
def test_the_divider_is_dragged_in_the_image(compare, qtbot, start, is_dragged):
    viewer, run, comparison = compare(GREY, **CALIBRATION)
    comparison.swipe_button.click()
    canvas, camera = canvas_of(viewer), viewer.scene.camera
    centre, divider = camera.center, comparison.divider.value()
    place = QPoint(canvas.width() // 2 + start, canvas.height() // 2)
    target = place + QPoint(100, 0)
    move(qtbot, canvas, place)
    assert (viewer.cursor.style == "pointing") == is_dragged
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=place)
    move(qtbot, canvas, target, Qt.MouseButton.LeftButton)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=target)
    picture(viewer)  # napari moves the view when it draws
    moved = round(100 / camera.zoom / CALIBRATION["scale"][1])
    assert comparison.divider.value() == divider + moved * is_dragged
    assert (camera.center == centre) == is_dragged
    assert camera.mouse_pan
    end_by_button(viewer, run, comparison)
    assert viewer.cursor.style == "standard"


def move(qtbot, canvas, place, button=Qt.MouseButton.NoButton):
    """Move the mouse in a viewer, and wait until napari has noticed."""
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(place),
        QPointF(canvas.mapToGlobal(place)),
        Qt.MouseButton.NoButton,
        button,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(canvas, event)
    qtbot.wait(20)  # napari looks at the mouse once in 5 ms


@pytest.mark.parametrize("way", [None, *WAYS])
def test_while_the_key_is_held_the_input_is_shown(compare, qtbot, way):
    viewer, run, comparison = compare(GREY)
    canvas = canvas_of(viewer)
    comparison.show_as(way)
    if way is Swipe:
        comparison.divider.setValue(7)
    before = state_of(viewer)
    qtbot.keyPress(canvas, Qt.Key.Key_H)
    assert (run.source.visible, run.layer.visible) == (True, False)
    assert len(viewer.layers) == 2
    qtbot.keyRelease(canvas, Qt.Key.Key_H)
    assert state_of(viewer) == before
    if way is Swipe:
        assert comparison.divider.value() == 7
    assert "hold the key H" in comparison.input_button.toolTip()


def test_the_key_also_works_where_a_button_has_the_keyboard(compare, qtbot):
    viewer, run, comparison = compare(GREY)
    viewer.window.add_dock_widget(comparison)
    qtbot.keyPress(comparison.input_button, Qt.Key.Key_H)
    assert not run.layer.visible
    qtbot.keyRelease(comparison.input_button, Qt.Key.Key_H)
    assert run.layer.visible


def test_the_key_is_free_without_a_result(compare, qtbot):
    viewer, run, comparison = compare(GREY)
    comparison.compare(run)
    qtbot.keyPress(canvas_of(viewer), Qt.Key.Key_H)
    comparison.compare(None)
    qtbot.keyRelease(canvas_of(viewer), Qt.Key.Key_H)
    assert run.layer.visible
    qtbot.keyPress(canvas_of(viewer), Qt.Key.Key_H)
    assert run.layer.visible
    viewer.bind_key("H", lambda _: None)  # an error if it were bound


def test_a_key_that_the_user_has_bound_is_left_alone(compare):
    viewer, run, comparison = compare(GREY)
    comparison.compare(None)
    used = []
    viewer.bind_key("H", used.append)
    comparison.compare(run)
    assert "key" not in comparison.input_button.toolTip()
    comparison.compare(None)
    assert viewer.bind_key("H", None) == used.append


def test_a_key_that_was_bound_again_since_is_left_alone(compare):
    viewer, _, comparison = compare(GREY)
    used = []
    viewer.bind_key("H", used.append, overwrite=True)
    comparison.compare(None)
    assert viewer.bind_key("H", None) == used.append


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fails", [False, True])
def test_a_new_run_ends_the_comparison_before_it_hides_its_input(
    make_napari_viewer, qtbot, fresh_panel, monkeypatch, way, fails
):
    viewer = make_napari_viewer()
    source = viewer.add_image(GREY, name="cells", blending="additive")
    panel = BlindDeconvolutionWidget(viewer)
    qtbot.addWidget(panel)
    geometry = LayerPlane.of(source, viewer.dims)
    observer = Observer(*[lambda *_: None] * 4)
    parts = geometry, Task(geometry.image, Settings()), source, observer
    panel.result.comparison.compare(ViewerRun(viewer, *parts))
    source.visible = True  # as the user may want it
    panel.result.comparison.show_as(way)

    def task(_layer):
        if fails:
            raise ValueError("there is no memory for it")
        return parts[:2]

    monkeypatch.setattr(panel.form, "task", task)
    monkeypatch.setattr(ViewerRun, "start", lambda _: None)
    panel.start()
    assert len(viewer.layers) == 3 - fails
    assert source.visible == fails
    assert viewer.layers[1].visible
    assert not any(button.isChecked() for button in panel.result.comparison._buttons.values())
