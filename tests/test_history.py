"""Results in the viewer and in memory: what a rerun replaces, and what the history shows again."""

import gc
import weakref
from collections.abc import Callable, Iterator

import napari
import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests import guard

from napari_blind_deconv import DeconvolutionError, Settings
from napari_blind_deconv.plugin import history as history_module
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.plugin import worker
from napari_blind_deconv.plugin.held_memory import held_bytes
from napari_blind_deconv.plugin.kernel_form import FOUND, GAUSSIAN, LAST, LAYER
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.synthetic import fluorescence_scene
from napari_blind_deconv.verdict import NextStep

PIXELS = np.random.default_rng(0).random((24, 28)).astype(np.float32)
CALIBRATION = {"scale": (0.2, 0.1), "translate": (5, -3), "units": ("um", "um")}
NAMES = ["cells", "cells [deblurred]", "cells [kernel]", "cells [ES trace]"]
QUICK = {
    "stop_at_noise": False,
    "max_iterations": 3,
    "channels": "[8]",
    "window": 3,
    "kernel_features": 16,
}


@pytest.fixture
def dock(make_napari_viewer, qtbot, monkeypatch, fresh_panel) -> Iterator[BlindDeconvolutionWidget]:
    """The widget in a viewer with one image, with settings for a few quick iterations."""
    monkeypatch.setattr("napari_blind_deconv.plugin.widget.notify", lambda *_: None)
    viewer = make_napari_viewer()
    viewer.add_image(PIXELS, name="cells", **CALIBRATION)
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    set_form(widget, **QUICK)
    yield widget
    for run in list(run_module._active):
        run.stop_and_keep()
    qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)


@pytest.fixture
def finish(qtbot, dock) -> Callable[..., None]:
    """A function that runs with these settings until the end."""

    def run(**settings: object) -> None:
        set_form(dock, **settings)
        dock.start()
        wait_for_end(dock, qtbot)

    return run


def wait_for_end(dock, qtbot) -> None:
    qtbot.waitUntil(
        lambda: dock.run_button.isEnabled() and not run_module._active, timeout=guard.MILLISECONDS
    )


def set_form(widget: BlindDeconvolutionWidget, **values: object) -> None:
    for name, value in values.items():
        widget.form.fields.widgets[name].value = value


def viewer_of(widget: BlindDeconvolutionWidget) -> napari.Viewer:
    return widget._viewer


def names(widget: BlindDeconvolutionWidget) -> list[str]:
    return [layer.name for layer in viewer_of(widget).layers]


def result_of(widget: BlindDeconvolutionWidget):
    return viewer_of(widget).layers["cells [deblurred]"]


def click(widget: BlindDeconvolutionWidget, row: int) -> None:
    """Click a line of the history; the last run is at row 0."""
    rows = widget.history_view.list
    rows.setCurrentRow(row)
    rows.itemClicked.emit(rows.item(row))


def lines(widget: BlindDeconvolutionWidget) -> list[str]:
    rows = widget.history_view.list
    return [rows.item(index).text() for index in range(rows.count())]


def home(viewer) -> tuple[tuple[float, ...], float]:
    viewer.reset_view()
    return viewer.scene.camera.center, viewer.scene.camera.zoom


class TestHomeView:
    @pytest.mark.parametrize("mirror", [1, -1])
    @pytest.mark.parametrize("region", [False, True])
    def test_the_home_view_is_that_of_the_image(self, dock, finish, mirror, region):
        viewer = viewer_of(dock)
        viewer.layers["cells"].scale = (0.2, mirror * 0.1)
        if region:
            dock.form.input.scope.value = "drawn rectangle"
            corners = np.array([[5, 8], [22, 27]]) - 0.4
            viewer.layers["region"].add_rectangles(corners)
        before = home(viewer)
        finish()
        assert home(viewer) == before
        assert not viewer.layers["cells [kernel]"].visible
        assert not viewer.layers["cells [ES trace]"].visible

    def test_kernel_and_trace_lie_beside_the_image_while_they_are_shown(self, dock, finish):
        viewer = viewer_of(dock)
        finish()
        before = home(viewer)
        right = viewer.layers["cells"].extent.world[1][1]
        for name in ("cells [kernel]", "cells [ES trace]"):
            layer = viewer.layers[name]
            scale = layer.scale
            layer.visible = True  # as with the eye in the list of layers
            assert layer.extent.world[0][1] > right
            layer.visible = False
            assert layer.extent.world[1][1] < right
            np.testing.assert_array_equal(layer.scale, scale)
        assert home(viewer) == before

    def test_they_follow_their_eyes_after_the_panel_was_closed(self, dock, finish):
        viewer = viewer_of(dock)
        finish()
        viewer.window.remove_dock_widget(dock)
        gc.collect()
        kernel = viewer.layers["cells [kernel]"]
        kernel.visible = True
        assert kernel.extent.world[0][1] > viewer.layers["cells"].extent.world[1][1]

    def test_a_check_box_shows_both_and_restores_the_view(self, dock, finish):
        viewer, box = viewer_of(dock), dock.result.layer_options.beside
        assert not box.isEnabled()
        finish()
        viewer.scene.camera.zoom *= 3
        before = viewer.scene.camera.center, viewer.scene.camera.zoom
        box.click()
        assert all(viewer.layers[name].visible for name in NAMES)
        shown = home(viewer)
        assert shown[1] < before[1]
        viewer.layers["cells [kernel]"].visible = False
        viewer.layers["cells [ES trace]"].visible = False
        assert not box.isChecked()
        viewer.layers["cells [kernel]"].visible = True
        assert box.isChecked()
        home(viewer)
        box.click()
        viewer.scene.camera.center, viewer.scene.camera.zoom = before
        box.click()
        box.click()
        assert (viewer.scene.camera.center, viewer.scene.camera.zoom) == before

    def test_they_stay_shown_when_another_estimate_is_chosen(self, dock, finish, monkeypatch):
        monkeypatch.setattr(worker, "_SECONDS_BETWEEN_REPORTS", 0)
        finish()
        dock.result.layer_options.beside.click()
        dock.result.slider.slider.setValue(0)
        dock.result.slider.use_button.click()
        assert names(dock) == NAMES
        assert viewer_of(dock).layers["cells [kernel]"].visible
        assert dock.result.layer_options.beside.isChecked()


class TestRerun:
    def test_it_replaces_the_layers_of_the_last_result(self, dock, finish):
        finish()
        viewer = viewer_of(dock)
        viewer.add_labels(np.zeros((24, 28), int), name="mine", **CALIBRATION)
        viewer.layers["cells [kernel]"].visible = True
        dock.result.comparison.residual_button.click()
        first = result_of(dock)
        finish()
        assert names(dock) == [*NAMES, "mine"]
        assert result_of(dock) != first
        assert viewer.layers["cells [kernel]"].visible
        assert viewer.layers.selection.active == result_of(dock)

    def test_a_hidden_result_is_replaced_by_a_hidden_one(self, dock, finish):
        finish()
        result_of(dock).visible = False
        finish()
        assert not result_of(dock).visible

    def test_a_kept_result_stays(self, dock, finish):
        assert not dock.result.layer_options.keep.isEnabled()
        finish()
        first = result_of(dock)
        dock.result.layer_options.keep.click()
        finish()
        assert first in viewer_of(dock).layers
        assert first.visible
        assert len(names(dock)) == 7
        finish()
        assert len(names(dock)) == 7

    @pytest.mark.parametrize("change", ["name", "data", "trace", "locked"])
    def test_a_result_that_the_user_has_changed_stays(self, dock, finish, change):
        finish()
        viewer = viewer_of(dock)
        if change == "name":
            viewer.layers["cells [kernel]"].name = "my PSF"
        elif change == "data":
            result_of(dock).data = result_of(dock).data + 1
        elif change == "trace":
            viewer.layers["cells [ES trace]"].data[0] += 1
        else:
            result_of(dock).locked = True
        before = list(viewer.layers)
        finish()
        assert set(before) <= set(viewer.layers)
        assert "★" in lines(dock)[1]

    def test_a_layer_in_use_stays(self, dock, finish):
        finish()
        dock.form.kernel.source.value = LAYER
        dock.form.kernel.layer.value = viewer_of(dock).layers["cells [kernel]"]
        finish()
        assert len(names(dock)) == 7
        assert dock.form.kernel.layer.value.name == "cells [kernel]"

    def test_a_result_of_another_input_stays(self, dock, finish):
        finish()
        viewer_of(dock).add_image(PIXELS[::-1], name="others", **CALIBRATION)
        finish()
        assert names(dock) == [*NAMES, "others", *(f"others{name[5:]}" for name in NAMES[1:])]
        viewer_of(dock).layers.selection.active = viewer_of(dock).layers["cells"]
        assert dock._last.source.name == "cells"

    def test_a_failed_run_leaves_the_last_result_and_its_verdict(self, dock, finish, monkeypatch):
        finish()
        first, verdict, points = result_of(dock), dock.verdict.text(), dock.trace_plot.points

        def fail(*_):
            raise DeconvolutionError("There is not enough memory.")
            yield

        monkeypatch.setattr(run_module, "work", fail)
        finish()
        assert names(dock) == NAMES
        assert result_of(dock) == first
        assert first.visible
        assert (dock.verdict.text(), dock.trace_plot.points) == (verdict, points)
        assert not dock.verdict.isHidden()
        assert dock.status.text() == "There is not enough memory."
        assert dock.result.save_button.isEnabled()
        assert "There is not enough memory." in lines(dock)[0]

    def test_a_cancelled_run_leaves_the_last_result_and_its_verdict(self, dock, finish, qtbot):
        finish()
        first, verdict = result_of(dock), dock.verdict.text()
        set_form(dock, max_iterations=100_000, patience=100_000)
        dock.start()
        assert not first.visible, "the new estimate is shown in its place"
        dock.cancel_button.click()
        wait_for_end(dock, qtbot)
        assert names(dock) == NAMES
        assert first.visible
        assert dock.verdict.text() == verdict
        assert "Cancelled" in dock.status.text()
        assert len(lines(dock)) == 1

    def test_an_additive_input_stays_hidden_until_the_result_is_deleted(self, dock, finish):
        image = viewer_of(dock).layers["cells"]
        image.blending = "additive"
        for _ in range(2):
            finish()
            assert not image.visible
        viewer_of(dock).layers.remove(result_of(dock))
        assert image.visible
        click(dock, 0)
        assert not image.visible
        viewer_of(dock).layers.remove(result_of(dock))
        assert image.visible


class TestHistory:
    def test_a_line_tells_what_was_run_and_what_became_of_it(self, dock, finish):
        assert not dock.history_view.list.isEnabled()
        assert "No run has ended" in dock.history_view.list.toolTip()
        finish()
        (line,) = lines(dock)
        assert "cells, 24 × 28 px" in line
        assert "Nothing sharpened: the image is too small" in line
        assert "fast; Iterations: 3" in line
        assert ":" in line.split()[0]

    def test_a_click_returns_to_a_result_that_was_replaced(self, dock, finish):
        finish()
        first, shown = result_of(dock), result_of(dock).data.copy()
        trace, kernel = dock.trace_plot.points, dock.result.kernel_label.text()
        finish(max_iterations=5)
        second = result_of(dock)
        assert dock.trace_plot.points != trace
        click(dock, 1)
        assert names(dock) == NAMES
        assert result_of(dock) == first
        np.testing.assert_array_equal(first.data, shown)
        assert dock.trace_plot.points == trace
        assert dock.result.kernel_label.text() == kernel
        assert dock.result.save_button.isEnabled()
        assert not dock.verdict.isHidden()
        click(dock, 0)
        assert names(dock) == NAMES
        assert result_of(dock) == second
        finish()
        assert names(dock) == NAMES, "names collect no numbers, and the result is replaced"

    def test_a_click_returns_to_a_result_that_was_deleted(self, dock, finish):
        finish()
        first = result_of(dock)
        for name in NAMES[1:]:
            viewer_of(dock).layers.remove(name)
        assert dock.verdict.isHidden()
        click(dock, 0)
        assert names(dock) == NAMES
        assert result_of(dock) == first
        assert not dock.verdict.isHidden()

    def test_a_preview_is_not_what_returns(self, dock, finish, monkeypatch):
        monkeypatch.setattr(worker, "_SECONDS_BETWEEN_REPORTS", 0)
        finish()
        layer, shown = result_of(dock), result_of(dock).data.copy()
        dock.result.slider.slider.setValue(0)
        viewer_of(dock).layers.remove(layer)
        click(dock, 0)
        np.testing.assert_array_equal(layer.data, shown)
        assert not dock.result.slider.is_preview

    def test_a_click_leaves_pixels_that_the_user_has_given_the_layer(self, dock, finish):
        finish()
        edited = result_of(dock).data + 1
        result_of(dock).data = edited
        click(dock, 0)
        assert result_of(dock).data is edited
        assert dock._last.layers.is_changed

    def test_layers_made_on_request_are_not_made_again(self, dock, finish):
        viewer = viewer_of(dock)
        pixels = PIXELS.copy()
        pixels[4:8, 4:8] = np.nan
        viewer.layers["cells"].data = pixels
        finish(solver="wiener")

        def request() -> None:
            dock.result.left_out.button.click()
            dock.result.comparison.residual_button.click()

        request()
        click(dock, 0)
        request()
        made = [*NAMES, "cells [left out]", "cells [residual]"]
        assert names(dock) == made
        viewer.layers.remove("cells [left out]")
        request()
        finish()
        click(dock, 1)
        assert sorted(names(dock)) == sorted(made)

    def test_nothing_is_run_on_another_layer_than_the_one_that_was_deleted(self, dock, finish):
        viewer_of(dock).layers["cells"].data = fluorescence_scene((40, 48)).observed
        finish(solver="wiener")
        viewer_of(dock).layers.remove("cells")
        viewer_of(dock).add_image(PIXELS, name="others", **CALIBRATION)
        click(dock, 0)
        result = dock.result
        result.strength.slider.setValue(24)
        for button in (result.apply_button, result.strength.apply_button):
            assert not button.isEnabled()
            assert button.toolTip() == "The input layer was deleted."
        for step in NextStep:
            dock.verdict.chosen.emit(step)
            assert "was deleted" in dock.status.text()
        assert dock.form.kernel.source.value == FOUND
        assert not run_module._active

    def test_a_click_ends_a_comparison_first(self, dock, finish):
        finish()
        finish()
        viewer = viewer_of(dock)
        dock.result.layer_options.beside.click()
        dock.result.comparison.side_button.click()
        assert not viewer.layers["cells [kernel]"].visible
        click(dock, 1)
        assert not viewer.canvas.grid.enabled
        assert all(viewer.layers[name].visible for name in NAMES)

    def test_a_click_chooses_the_input_and_shows_the_result_above_a_kept_one(self, dock, finish):
        finish()
        first = result_of(dock)
        dock.result.layer_options.keep.click()
        finish()
        second = dock._last.layer
        viewer_of(dock).add_image(PIXELS, name="others", **CALIBRATION)
        click(dock, 1)
        assert dock.form.input.layer.value.name == "cells"
        assert (first.visible, second.visible) == (True, False)
        assert dock.result.layer_options.keep.isChecked()
        click(dock, 0)
        assert (first.visible, second.visible) == (False, True)

    def test_a_result_whose_input_was_deleted_returns(self, dock, finish):
        finish()
        viewer_of(dock).layers.clear()
        viewer_of(dock).add_image(PIXELS, name="others", **CALIBRATION)
        click(dock, 0)
        assert names(dock) == ["others", *NAMES[1:]]
        assert dock.trace_plot.points > 0

    def test_settings_preset_and_kernel_return_to_the_form(self, dock, finish):
        form = dock.form
        form.preset.value = "draft"
        set_form(dock, **QUICK)
        form.seed.value = 7
        form.kernel_window.choice.value, form.kernel_window.pixels.value = "chosen", 9
        form.kernel.source.value, form.kernel.sigma.value = GAUSSIAN, 1.5
        form.kernel.held.value = True
        settings = form.settings()
        finish()
        form.reset()
        assert form.settings() != settings
        dock.history_view.settings_button.click()
        assert form.settings() == settings
        assert form.preset.value == "draft"
        assert (form.kernel.source.value, form.kernel.sigma.value) == (GAUSSIAN, 1.5)
        assert form.kernel.held.value
        assert "press Run" in dock.status.text()

    def test_the_last_kernel_is_the_one_that_the_run_had(self, dock, finish):
        finish()
        used = dock.form.kernel._last
        dock.form.kernel.source.value = LAST
        finish()
        dock.form.kernel.source.value = FOUND
        finish()
        assert dock.form.kernel._last is not used
        dock.history_view.list.setCurrentRow(1)
        dock.history_view.settings_button.click()
        assert dock.form.kernel.source.value == LAST
        assert dock.form.kernel._last is used

    def test_a_psf_layer_that_was_deleted_is_not_replaced_by_another(self, dock, finish):
        psf = viewer_of(dock).add_image(np.ones((3, 3)), name="PSF", **CALIBRATION)
        viewer_of(dock).layers.selection.active = viewer_of(dock).layers["cells"]
        dock.form.kernel.source.value, dock.form.kernel.layer.value = LAYER, psf
        finish()
        viewer_of(dock).layers.remove(psf)
        dock.form.kernel.layer.value = viewer_of(dock).layers["cells"]
        dock.history_view.settings_button.click()
        assert dock.form.kernel.source.value == LAYER
        assert dock.form.kernel.layer.value is None

    def test_an_entry_can_be_kept(self, dock, finish):
        finish()
        finish()
        dock.history_view.list.setCurrentRow(1)
        dock.history_view.keep_button.click()
        assert lines(dock)[1].startswith("★")
        click(dock, 1)
        assert len(names(dock)) == 7, "a kept result replaces none"
        assert dock.result.layer_options.keep.isChecked()
        dock.result.layer_options.keep.click()
        assert not lines(dock)[1].startswith("★")
        assert not dock.history_view.keep_button.isChecked()

    def test_it_is_cleared_except_what_is_kept_or_in_the_viewer(self, dock, finish):
        finish()
        replaced = weakref.ref(dock._last)
        for _ in range(2):
            finish()
        dock.history_view.list.setCurrentRow(1)
        dock.history_view.keep_button.click()
        kept, shown = lines(dock)[1], lines(dock)[0]
        dock.history_view.clear_button.click()
        assert lines(dock) == [shown, kept]
        gc.collect()
        assert replaced() is None, "its memory is free"

    def test_it_waits_during_a_run(self, dock, finish, qtbot):
        finish()
        set_form(dock, max_iterations=100_000, patience=100_000)
        dock.start()
        assert not dock.history_view.list.isEnabled()
        assert "under way" in dock.history_view.list.toolTip()
        dock.cancel_button.click()
        wait_for_end(dock, qtbot)
        assert dock.history_view.list.isEnabled()

    def test_another_estimate_changes_the_line(self, dock, finish, monkeypatch):
        monkeypatch.setattr(worker, "_SECONDS_BETWEEN_REPORTS", 0)
        finish()
        monkeypatch.setattr(history_module, "_sentence_of", lambda _: "Sharper than before.")
        dock.result.slider.slider.setValue(0)
        dock.result.slider.use_button.click()
        assert "Sharper than before" in lines(dock)[0]

    def test_the_enter_key_shows_a_result(self, dock, finish, qtbot):
        finish()
        first = result_of(dock)
        finish()
        dock.history_view.list.setCurrentRow(1)
        qtbot.keyClick(dock.history_view.list, Qt.Key.Key_Return)
        assert result_of(dock) == first


class TestMemory:
    def test_results_are_dropped_beyond_the_limit(self, dock, finish, monkeypatch):
        finish()
        held = weakref.ref(dock._last)
        (entry,) = dock.history.entries
        finish()
        one = held_bytes(held(), viewer_of(dock).layers)
        assert one >= 3 * PIXELS.nbytes
        monkeypatch.setattr(history_module, "_MAX_BYTES", 2 * one)
        for _ in range(3):
            finish()
            assert dock.history.nbytes <= 2 * one
        assert entry.is_dropped
        gc.collect()
        assert held() is None
        assert dock.history.entries[-1].run is not None
        assert "no longer in memory" in lines(dock)[-1]
        before = list(viewer_of(dock).layers)
        click(dock, len(lines(dock)) - 1)
        assert list(viewer_of(dock).layers) == before
        assert "no longer in memory" in dock.status.text()
        assert not dock.history_view.keep_button.isEnabled()
        dock.history_view.settings_button.click()
        assert dock.form.settings() == entry.choices.settings

    def test_other_estimates_are_dropped_before_results(self, dock, finish, monkeypatch):
        monkeypatch.setattr(worker, "_SECONDS_BETWEEN_REPORTS", 0)
        finish()
        first = dock._last
        assert len(first.estimates) > 3
        shown = result_of(dock).data.copy()
        finish()
        enough = dock.history.nbytes - 2 * PIXELS.nbytes
        monkeypatch.setattr(history_module, "_MAX_BYTES", enough)
        dock.history._save_memory()
        assert len(first.estimates) == 1
        assert dock.history.entries[0].run is first
        click(dock, 1)
        np.testing.assert_array_equal(result_of(dock).data, shown)
        assert "only estimate" in dock.result.slider.label.text()

    def test_a_kept_result_is_never_dropped(self, dock, finish, monkeypatch):
        finish()
        dock.result.layer_options.keep.click()
        monkeypatch.setattr(history_module, "_MAX_BYTES", 0)
        finish()
        finish()
        assert [entry.is_dropped for entry in dock.history.entries] == [False, True, False]

    def test_pixels_of_the_viewer_are_not_counted(self, dock, finish):
        finish()
        run = dock._last
        in_viewer = held_bytes(run, viewer_of(dock).layers)
        assert held_bytes(run, []) >= in_viewer + 2 * PIXELS.nbytes
        assert dock.history.nbytes == in_viewer


def test_a_stack_returns_with_all_planes(dock, qtbot):
    stack = np.random.default_rng(1).random((3, 20, 22)).astype(np.float32)
    viewer = viewer_of(dock)
    viewer.layers.clear()
    viewer.add_image(stack, name="cells", axis_labels=("z", "y", "x"))
    dock.form.input.scope.value = "some planes"
    dock.form.input.span.value = (1, 2)
    shown = []
    for _ in range(2):
        before = home(viewer)
        dock.start()
        wait_for_end(dock, qtbot)
        assert home(viewer) == before
        shown.append(result_of(dock).data.copy())
    assert names(dock) == NAMES[:3]
    assert "2 planes, 1 to 2" in lines(dock)[1]
    assert "2 planes done" in lines(dock)[1]
    click(dock, 1)
    assert names(dock) == NAMES[:3]
    np.testing.assert_array_equal(result_of(dock).data, shown[0])
    assert dock.status.text().startswith("2 planes done")


def test_a_plane_of_a_stack_is_named(dock, qtbot):
    stack = np.random.default_rng(1).random((3, 20, 22)).astype(np.float32)
    viewer = viewer_of(dock)
    viewer.layers.clear()
    viewer.add_image(stack, name="cells")
    viewer.dims.set_point(0, 2)
    dock.start()
    wait_for_end(dock, qtbot)
    assert "cells, plane 2, " in lines(dock)[0]
    assert dock.history.entries[0].choices.settings == Settings().with_changes(
        **{**QUICK, "channels": (8,)}
    )
