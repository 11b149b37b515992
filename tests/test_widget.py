"""The widget in a real viewer: all ways to start and to end a run."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import napari
import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QPushButton, QScrollArea, QWidget
from scipy import ndimage
from superqt import QCollapsible
from tests import guard
from tests.panel import states_time

from napari_blind_deconv import DeconvolutionError, Settings
from napari_blind_deconv.io.images import read_plane
from napari_blind_deconv.numerics.pixel_faults import PixelFault
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.plugin import runtime_estimator, sample_data, worker
from napari_blind_deconv.plugin.axes import stack_axes
from napari_blind_deconv.plugin.commands import deconvolve_selected
from napari_blind_deconv.plugin.layers import is_output
from napari_blind_deconv.plugin.preferences import Preferences
from napari_blind_deconv.plugin.settings_form import show_row
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.reasons import Finding, QualityFlag
from napari_blind_deconv.synthetic import fluorescence_scene

PIXELS = np.random.default_rng(0).random((24, 28)).astype(np.float32)
CALIBRATION = {"scale": (0.2, 0.1), "translate": (5, -3), "units": ("um", "um")}


@pytest.fixture
def dock(make_napari_viewer, qtbot, fresh_panel) -> Iterator[BlindDeconvolutionWidget]:
    """The widget in a viewer with one image, with settings for a few quick iterations."""
    viewer = make_napari_viewer()
    viewer.add_image(PIXELS, name="cells", **CALIBRATION)
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    set_form(
        widget, stop_at_noise=False, max_iterations=6, channels="[8]", window=3, kernel_features=16
    )
    yield widget
    for run in list(run_module._active):
        run.stop_and_keep()
    qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)


def with_hot_pixels(image: np.ndarray, *pixels: tuple[int, int]) -> np.ndarray:
    hot = image.copy()
    hot[tuple(np.transpose(pixels))] = 20 * image.max()
    return hot


def set_form(widget: BlindDeconvolutionWidget, **values: object) -> None:
    for name, value in values.items():
        widget.form.fields.widgets[name].value = value


def set_endless(widget: BlindDeconvolutionWidget) -> None:
    set_form(widget, stop_at_noise=False, max_iterations=100_000, patience=100_000)


def viewer_of(widget: BlindDeconvolutionWidget) -> napari.Viewer:
    return widget._viewer


def names(widget: BlindDeconvolutionWidget) -> list[str]:
    return [layer.name for layer in viewer_of(widget).layers]


@pytest.fixture
def wait(qtbot) -> Callable[..., None]:
    def wait_until(condition: Callable[[], bool]) -> None:
        qtbot.waitUntil(condition, timeout=guard.MILLISECONDS)

    return wait_until


def idle(widget: BlindDeconvolutionWidget) -> Callable[[], bool]:
    return lambda: widget.run_button.isEnabled() and not run_module._active


def is_deconvolving(widget: BlindDeconvolutionWidget) -> Callable[[], bool]:
    return lambda: widget.progress.value() > 1 and widget.trace_plot.points > 1


class TestRun:
    def test_makes_three_layers_with_the_images_calibration(self, dock, wait):
        dock.run_button.click()
        wait(idle(dock))
        assert names(dock) == [
            "cells",
            "cells [deblurred]",
            "cells [kernel]",
            "cells [ES trace]",
        ]
        image, *outputs = viewer_of(dock).layers
        for layer in outputs:
            np.testing.assert_allclose(layer.scale, image.scale)
            assert layer.units == image.units
            assert layer.metadata["blind_deconvolution"]["stop_reason"] == "iteration limit"
        deblurred, kernel, trace = outputs
        np.testing.assert_allclose(deblurred.translate, image.translate)
        assert deblurred.data.shape == image.data.shape
        assert kernel.data.sum() == pytest.approx(1, abs=1e-5)
        assert (trace.features["stage"] == "double-dip").sum() == 6
        assert trace.features["iteration"].tolist() == list(range(1, len(trace.features) + 1))
        assert "iteration limit" in dock.status.text()
        assert not dock.progress.isVisible()

    def test_shows_the_estimate_and_the_progress(self, dock, wait):
        set_endless(dock)
        dock.start()
        live = viewer_of(dock).layers["cells [deblurred]"]
        estimates: list[np.ndarray] = []
        live.events.data.connect(lambda: estimates.append(live.data))
        limits = list(live.contrast_limits)
        wait(lambda: len(estimates) > 2)
        assert (estimates[0] != estimates[-1]).any()
        assert list(live.contrast_limits) == limits
        assert dock.progress.maximum() >= 100_000
        wait(lambda: "left" in dock.progress.format())
        assert not dock.run_button.isEnabled()
        assert "under way" in dock.run_button.toolTip()
        wait(lambda: "on the CPU" in dock.status.text())
        dock.stop_button.click()
        wait(idle(dock))

    def test_stop_keeps_the_best_estimate(self, dock, wait):
        set_endless(dock)
        dock.start()
        wait(is_deconvolving(dock))
        dock.stop_button.click()
        wait(idle(dock))
        record = viewer_of(dock).layers["cells [ES trace]"].metadata["blind_deconvolution"]
        assert record["stop_reason"] == "stopped"
        assert dock.trace_plot.kept == record["stop_iteration"]
        assert "stopped by hand" in dock.status.text()

    def test_a_second_run_chooses_the_same_input(self, dock, wait):
        for _ in range(2):
            dock.start()
            wait(idle(dock))
        assert dock.form.input.layer.value.name == "cells"
        assert len(names(dock)) == 4

    def test_a_second_start_during_a_run_is_ignored(self, dock, wait):
        set_endless(dock)
        dock.start()
        dock.start()
        assert len(run_module._active) == 1
        dock.stop_button.click()
        wait(idle(dock))

    def test_uses_the_displayed_plane(self, dock, wait):
        stack = np.random.default_rng(1).random((3, 20, 22)).astype(np.float32)
        viewer = viewer_of(dock)
        viewer.layers.clear()
        layer = viewer.add_image(stack, name="stack")
        viewer.dims.set_point(0, 2)
        dock.start()
        wait(idle(dock))
        output = viewer.layers["stack [deblurred]"]
        assert output.data.shape == (1, 20, 22)
        np.testing.assert_allclose(output.data_to_world((0, 0, 0)), layer.data_to_world((2, 0, 0)))

    def test_colour_images_stay_colour(self, dock, wait):
        colour = (np.random.default_rng(1).random((20, 22, 3)) * 255).astype(np.uint8)
        viewer_of(dock).add_image(colour, rgb=True, name="stain", **CALIBRATION)
        dock.start()
        wait(idle(dock))
        output = viewer_of(dock).layers["stain [deblurred]"]
        assert output.rgb
        assert output.data.shape == colour.shape
        assert 0 <= output.data.min() <= output.data.max() <= 1


class TestEndings:
    def test_an_error_is_a_notification_and_leaves_no_layer(
        self, dock, wait, notifications, monkeypatch
    ):
        def fail(*_):
            raise DeconvolutionError("There is not enough memory.")
            yield

        monkeypatch.setattr(run_module, "work", fail)
        dock.start()
        wait(idle(dock))
        assert notifications == ["There is not enough memory."]
        assert names(dock) == ["cells"]
        assert dock.status.text() == "There is not enough memory."

    def test_unreadable_data_is_reported(self, dock, notifications, monkeypatch):
        def unreadable(*_):
            raise OSError("the network drive is gone")

        monkeypatch.setattr("napari_blind_deconv.plugin.input_part.LayerPlane.of", unreadable)
        dock.start()
        assert notifications == ["the network drive is gone"]
        assert dock.run_button.isEnabled()

    def test_a_result_that_cannot_be_shown_leaves_the_widget_ready(
        self, dock, wait, notifications, monkeypatch
    ):
        def unshowable(*_):
            raise ValueError("no such units")

        monkeypatch.setattr(run_module, "outputs_beside", unshowable)
        dock.start()
        wait(idle(dock))
        assert notifications == ["The result could not be shown (no such units)."]

    def test_a_worker_that_is_quit_leaves_the_widget_ready(self, dock, wait, notifications):
        set_endless(dock)
        dock.start()
        wait(is_deconvolving(dock))
        next(iter(run_module._active))._worker.quit()
        wait(idle(dock))
        assert "ended by another program" in notifications[0]

    def test_a_runtime_error_is_reported(self, dock, wait, notifications, monkeypatch):
        def fail(*_):
            raise RuntimeError("a kernel of the GPU failed")
            yield

        monkeypatch.setattr(run_module, "work", fail)
        dock.start()
        wait(idle(dock))
        assert notifications == ["The computation failed: a kernel of the GPU failed."]
        monkeypatch.undo()
        dock.start()
        wait(idle(dock))
        assert "cells [kernel]" in names(dock)

    def test_deleting_the_live_layer_ends_the_run(self, dock, wait, notifications):
        set_endless(dock)
        dock.start()
        wait(is_deconvolving(dock))
        viewer_of(dock).layers.remove("cells [deblurred]")
        wait(idle(dock))
        assert names(dock) == ["cells"]
        assert "Cancelled" in dock.status.text()
        assert not notifications

    def test_cancel_keeps_nothing_and_lets_another_run_start_at_once(
        self, dock, wait, notifications
    ):
        set_endless(dock)
        dock.start()
        wait(is_deconvolving(dock))
        dock.cancel_button.click()
        assert dock.run_button.isEnabled()
        assert names(dock) == ["cells"]
        assert "nothing was kept" in dock.status.text()
        assert dock.trace_plot.points == 0
        assert not dock.cancel_button.isEnabled()
        set_form(dock, max_iterations=2)
        dock.start()
        wait(idle(dock))
        assert "cells [kernel]" in names(dock)
        assert not notifications

    def test_deleting_the_image_does_not_end_the_run(self, dock, wait):
        set_endless(dock)
        dock.start()
        wait(is_deconvolving(dock))
        viewer_of(dock).layers.remove("cells")
        dock.stop_button.click()
        wait(idle(dock))
        assert names(dock) == ["cells [deblurred]", "cells [kernel]", "cells [ES trace]"]

    def test_clearing_the_viewer_ends_the_run(self, dock, wait, notifications):
        set_endless(dock)
        dock.start()
        wait(is_deconvolving(dock))
        viewer_of(dock).layers.clear()
        wait(idle(dock))
        assert names(dock) == []

    def test_a_refused_run_leaves_the_last_result_on_view(self, dock, wait, notifications):
        dock.start()
        wait(idle(dock))
        with_kernel, verdict = dock.kernel_view.grab().toImage(), dock.verdict.text()
        points = dock.trace_plot.points
        set_form(dock, sparsity="lots")
        dock.start()
        assert "'sparsity'" in notifications[0]
        assert "'sparsity'" in dock.status.text()
        assert dock.trace_plot.points == points > 0
        assert dock.kernel_view.grab().toImage() == with_kernel
        assert dock.verdict.text() == verdict
        assert len(names(dock)) == 4
        assert dock.result.save_button.isEnabled()

    def test_settings_that_cannot_be_written_do_not_prevent_a_run(self, dock, wait, monkeypatch):
        class ReadOnly:
            def __setattr__(self, *_):
                raise PermissionError("the home is read-only")

        monkeypatch.setattr(
            "napari_blind_deconv.plugin.preferences.get_plugin_settings",
            lambda _: SimpleNamespace(panel=ReadOnly()),
        )
        dock.start()
        wait(idle(dock))
        assert "cells [kernel]" in names(dock)

    def test_a_closed_dock_keeps_the_best_estimate(self, dock, wait):
        set_endless(dock)
        viewer = viewer_of(dock)
        dock.start()
        wait(is_deconvolving(dock))
        viewer.window.remove_dock_widget(dock)
        wait(lambda: not run_module._active)
        assert "cells [kernel]" in [layer.name for layer in viewer.layers]

    def test_a_closed_viewer_ends_the_thread(self, dock, wait):
        set_endless(dock)
        viewer = viewer_of(dock)
        dock.start()
        wait(is_deconvolving(dock))
        thread = next(iter(run_module._active))._worker
        viewer.close()
        wait(lambda: not thread.is_running)
        wait(lambda: not run_module._active)

    def test_layers_can_be_renamed_during_a_run(self, dock, wait):
        set_endless(dock)
        dock.start()
        wait(is_deconvolving(dock))
        viewer_of(dock).layers["cells"].name = "mine"
        viewer_of(dock).layers["cells [deblurred]"].name = "sharp"
        dock.stop_button.click()
        wait(idle(dock))
        assert names(dock) == ["mine", "sharp", "cells [kernel]", "cells [ES trace]"]

    def test_data_changed_during_a_run_does_not_change_the_result(self, dock, wait):
        set_endless(dock)
        image = viewer_of(dock).layers["cells"]
        before = image.data.copy()
        dock.start()
        wait(is_deconvolving(dock))
        image.data = np.zeros((50, 40), np.float32)
        dock.stop_button.click()
        wait(idle(dock))
        output = viewer_of(dock).layers["cells [deblurred]"].data
        assert output.shape == before.shape
        np.testing.assert_allclose(output.mean(), before.mean(), rtol=0.02)
        assert not image.data.any()

    def test_two_viewers_run_at_once(self, dock, wait, make_napari_viewer):
        other = make_napari_viewer()
        other.add_image(PIXELS[::-1], name="others")
        _, second = other.window.add_plugin_dock_widget("napari-blind-deconv")
        for widget in (dock, second):
            set_endless(widget)
            set_form(widget, channels="[8]", window=3, kernel_features=16)
            widget.start()
        wait(lambda: is_deconvolving(dock)() and is_deconvolving(second)())
        assert len(run_module._active) == 2
        for widget in (dock, second):
            widget.stop_button.click()
        wait(lambda: not run_module._active)
        assert "cells [kernel]" in names(dock)
        assert "others [kernel]" in names(second)
        assert "others [kernel]" not in names(dock)

    def test_a_run_can_be_undone_by_deleting_its_layers(self, dock, wait):
        dock.start()
        wait(idle(dock))
        for name in names(dock)[1:]:
            viewer_of(dock).layers.remove(name)
        assert names(dock) == ["cells"]
        assert not dock.result.apply_button.isEnabled()
        dock.start()
        wait(idle(dock))
        assert len(names(dock)) == 4


class TestAfterwards:
    def test_the_kernel_of_a_region_can_be_applied_to_the_image(self, dock, wait):
        viewer = viewer_of(dock)
        image = viewer.layers["cells"]
        corners = np.array([[2, 3], [2, 24], [20, 24], [20, 3]]) - 0.4
        viewer.add_shapes([corners], **CALIBRATION)
        viewer.layers.selection.active = image
        dock.form.input.scope.value = "drawn rectangle"
        dock.start()
        wait(idle(dock))
        part = viewer.layers["cells [deblurred]"]
        assert part.data.shape == (18, 21)
        np.testing.assert_allclose(part.data_to_world((0, 0)), image.data_to_world((2, 3)))
        assert list(part.contrast_limits) == list(image.contrast_limits)
        kernel = viewer.layers["cells [kernel]"].data
        assert not dock.form.kernel_summary.native.isVisibleTo(dock)
        dock.result.apply_button.click()
        wait(idle(dock))
        assert dock.form.kernel_summary.native.isVisibleTo(dock)
        assert dock.form.kernel_summary.value == "the last result's, held fixed"
        assert viewer.layers["cells [deblurred]"].data.shape == PIXELS.shape
        held = viewer.layers["cells [kernel]"].data
        held, kernel = (k[np.ix_(k.any(axis=1), k.any(axis=0))] for k in (held, kernel))
        np.testing.assert_allclose(held, kernel, atol=1e-6)

    def test_a_rectangle_can_be_drawn_at_once(self, dock, wait):
        viewer = viewer_of(dock)
        dock.form.input.scope.value = "drawn rectangle"
        drawing = viewer.layers["region"]
        assert drawing.mode == "add_rectangle"
        assert "No rectangle is drawn" in dock.form.expected_time.value
        drawing.add_rectangles(np.array([[2, 3], [20, 24]]) - 0.4)
        wait(lambda: states_time(dock.form.expected_time.value))
        dock.start()
        wait(idle(dock))
        assert viewer.layers["cells [deblurred]"].data.shape == (18, 21)

    def test_another_estimate_can_be_chosen(self, dock, wait, monkeypatch):
        monkeypatch.setattr(worker, "_SECONDS_BETWEEN_REPORTS", 0)
        dock.start()
        wait(idle(dock))
        viewer = viewer_of(dock)
        layer = viewer.layers["cells [deblurred]"]
        chosen = layer.data.copy()
        dock.result.slider.slider.setValue(1)
        assert not np.array_equal(layer.data, chosen)
        previewed = layer.data.copy()
        dock.result.slider.use_button.click()
        np.testing.assert_array_equal(layer.data, previewed)
        for name in ("cells [deblurred]", "cells [kernel]", "cells [ES trace]"):
            record = viewer.layers[name].metadata["blind_deconvolution"]
            assert record["stop_iteration"] == 2
            assert record["chosen_by_hand"]
        assert dock.trace_plot.kept == 2
        assert record["warnings"]
        nothing = QualityFlag.TOO_SMALL.sentence  # the verdict says it
        assert nothing in record["warnings"]
        assert all(w == nothing or w in dock.warnings.text() for w in record["warnings"])
        assert len(viewer.layers) == 4

    def test_the_kernel_is_saved_with_its_pixel_size(self, dock, wait, tmp_path):
        dock.start()
        wait(idle(dock))
        assert "µm (x × y)" in dock.result.kernel_label.text()
        dock.result.save_kernel(tmp_path / "k.tif")
        plane = read_plane(tmp_path / "k.tif")
        assert plane.pixel_size == pytest.approx((0.2, 0.1))
        np.testing.assert_allclose(plane.pixels, viewer_of(dock).layers["cells [kernel]"].data)

    def test_warnings_are_in_the_panel_and_in_the_layer(self, dock, wait):
        dock.start()
        wait(idle(dock))
        assert "⚠ The run was stopped at the iteration limit" in dock.warnings.text()
        record = viewer_of(dock).layers["cells [deblurred]"].metadata["blind_deconvolution"]
        assert any("iteration limit" in warning for warning in record["warnings"])
        dock.reuse.command_button.click()
        assert "Copied" in dock.status.text()
        assert "iteration limit" in dock.warnings.text()

    def test_the_verdict_says_what_became_of_the_image_and_offers_the_next_step(self, dock, wait):
        assert dock.verdict.isHidden()
        dock.start()
        wait(idle(dock))
        assert not dock.verdict.isHidden()
        assert "Nothing sharpened: the image is too small" in dock.verdict.text()
        assert "too small to tell" not in dock.warnings.text(), "it is said once"
        dock.verdict.linkActivated.emit("use the microscope's kernel")
        assert dock.form.kernel.source.value == "the microscope's"
        assert dock.kernel_section.isExpanded()
        assert "press Run" in dock.status.text()
        dock.verdict.linkActivated.emit("start from a Gaussian")
        assert dock.form.kernel.source.value == "a Gaussian"
        wait(idle(dock))
        assert "Kernel" in dock.verdict.text()
        assert "Nothing sharpened" not in dock.verdict.text()
        viewer_of(dock).layers.selection.active = viewer_of(dock).layers["cells"]
        viewer_of(dock).add_image(PIXELS, name="other", **CALIBRATION)
        assert dock.verdict.isHidden()

    def test_a_result_is_shown_only_with_its_own_image(self, dock, wait):
        dock.start()
        wait(idle(dock))
        verdict, points = dock.status.text(), dock.trace_plot.points
        viewer = viewer_of(dock)
        viewer.add_image(PIXELS, name="other", **CALIBRATION)
        assert dock.form.input.layer.value.name == "other"
        assert not dock.status.text()
        assert not dock.warnings.text()
        assert dock.trace_plot.points == 0
        assert not dock.result.save_button.isEnabled()
        viewer.layers.selection.active = viewer.layers["cells"]
        assert dock.status.text() == verdict
        assert dock.trace_plot.points == points
        assert dock.result.save_button.isEnabled()
        viewer.layers.remove("cells [deblurred]")
        assert not dock.status.text()

    def test_pixels_that_were_left_out_are_told_and_shown_on_request(self, dock, wait):
        image = viewer_of(dock).layers["cells"]
        image.data = with_hot_pixels(ndimage.gaussian_filter(PIXELS, 2), (5, 7), (12, 20))
        assert not dock.result.left_out.button.isEnabled()
        dock.start()
        wait(idle(dock))
        left_out = dock.result.left_out
        assert Finding.HOT.text(2) in left_out.notes.text()
        assert "⚠ Hot" not in dock.warnings.text()
        assert "cells [left out]" not in names(dock)
        left_out.button.click()
        left_out.button.click()
        assert names(dock).count("cells [left out]") == 1
        layer = viewer_of(dock).layers["cells [left out]"]
        np.testing.assert_array_equal(np.argwhere(layer.data == PixelFault.HOT), [(5, 7), (12, 20)])
        assert layer.units == image.units
        np.testing.assert_allclose(layer.data_to_world((5, 7)), image.data_to_world((5, 7)))
        assert layer.get_status(image.data_to_world((5, 7)), world=True)["value"].endswith(
            "left out: hot or dead"
        )

    def test_nothing_is_shown_as_left_out_of_a_clean_image(self, dock, wait):
        dock.start()
        wait(idle(dock))
        assert not dock.result.left_out.notes.text()
        assert not dock.result.left_out.button.isEnabled()
        assert "No pixel was left out" in dock.result.left_out.button.toolTip()

    def test_an_error_can_be_copied_with_its_details(self, dock, wait, monkeypatch):
        shown = []
        monkeypatch.setattr(
            "napari_blind_deconv.plugin.messages.notification_manager.dispatch", shown.append
        )
        viewer_of(dock).layers.clear()
        dock.start()
        (notification,) = shown
        assert "No image layer is selected" in notification.message
        ((label, copy),) = notification.actions
        assert label == "Copy details"
        QApplication.clipboard().clear()
        copy("the dialog, as napari does")
        assert "max_iterations" in QApplication.clipboard().text()

    def test_the_run_is_copied_as_text(self, dock):
        dock.reuse.python_button.click()
        assert "deconvolve(image" in QApplication.clipboard().text()
        dock.reuse.command_button.click()
        assert "blind-deconv run" in QApplication.clipboard().text()

    def test_a_copy_that_raises_an_error_is_reported(self, dock, notifications, monkeypatch):
        def unreadable(_layer):
            raise RuntimeError("the chunk is damaged")

        monkeypatch.setattr(dock.form, "script", unreadable)
        dock.reuse.command_button.click()
        assert notifications == ["the chunk is damaged"]

    def test_a_copy_that_fails_does_not_end_the_run(self, dock, wait, notifications):
        set_endless(dock)
        dock.start()
        wait(is_deconvolving(dock))
        dock.form.input.scope.value = "drawn rectangle"
        dock.reuse.python_button.click()
        assert "No rectangle is drawn" in notifications[0]
        assert dock.stop_button.isEnabled()
        assert not dock.run_button.isEnabled()
        dock.stop_button.click()
        wait(idle(dock))
        assert dock.result.apply_button.isEnabled()

    def test_a_line_profile_is_not_used_as_a_region(self, dock, wait):
        dock.start()
        wait(idle(dock))
        dock.result.comparison.add_line()
        dock.form.input.scope.value = "drawn rectangle"
        assert "region" in names(dock)
        assert "No rectangle is drawn" in dock.form.expected_time.value

    def test_a_previewed_estimate_is_not_kept(self, dock, wait, monkeypatch):
        monkeypatch.setattr(worker, "_SECONDS_BETWEEN_REPORTS", 0)
        dock.start()
        wait(idle(dock))
        layer = viewer_of(dock).layers["cells [deblurred]"]
        result = layer.data.copy()
        dock.result.slider.slider.setValue(0)
        assert not np.array_equal(layer.data, result)
        dock.result.clear()
        np.testing.assert_array_equal(layer.data, result)

    def test_before_and_after_look_alike(self, dock, wait):
        image = viewer_of(dock).layers["cells"]
        image.gamma, image.interpolation2d = 0.6, "cubic"
        image.contrast_limits, image.colormap = (20, 80), "magenta"
        dock.start()
        result = viewer_of(dock).layers["cells [deblurred]"]
        for name in ("gamma", "interpolation2d", "contrast_limits", "blending"):
            assert getattr(result, name) == getattr(image, name)
        assert result.colormap.name == "magenta"
        wait(idle(dock))
        assert image.visible

    def test_an_additive_channel_is_not_added_to_its_result(self, dock, wait):
        image = viewer_of(dock).layers["cells"]
        image.blending = "additive"
        dock.start()
        wait(idle(dock))
        result = viewer_of(dock).layers["cells [deblurred]"]
        assert result.blending == "additive"
        button = dock.result.comparison.input_button
        for shown in (True, False):
            button.setChecked(shown)
            assert (image.visible, result.visible) == (shown, not shown)
        viewer_of(dock).layers.remove(result)
        assert image.visible

    def test_closing_the_panel_ends_the_comparison(self, dock, wait):
        viewer = viewer_of(dock)
        dock.start()
        wait(idle(dock))
        layers = [(layer.name, layer.visible) for layer in viewer.layers]
        dock.result.comparison.swipe_button.click()
        assert len(viewer.layers) == len(layers) + 2
        viewer.window.remove_dock_widget(dock)
        assert [(layer.name, layer.visible) for layer in viewer.layers] == layers
        viewer.bind_key("H", lambda _: None)  # an error if it were bound

    def test_another_run_ends_the_comparison(self, dock, wait):
        dock.start()
        wait(idle(dock))
        result = viewer_of(dock).layers["cells [deblurred]"]
        dock.result.comparison.swipe_button.click()
        assert dock.form.input.layer.value.name == "cells"
        part = viewer_of(dock).layers["cells [swipe: result]"]
        result.gamma = 0.7
        assert part.gamma == 0.7
        dock.start()
        assert not [name for name in names(dock) if "swipe" in name]
        part.gamma = 0.3
        assert result.gamma == 0.7
        dock.cancel_button.click()  # during the run, the new estimate is shown in its place
        assert result.visible
        wait(idle(dock))

    def test_the_residual_is_added_on_request(self, dock, wait):
        button = dock.result.comparison.residual_button
        assert button.toolTip() == "There is no result yet."
        image = viewer_of(dock).layers["cells"]
        image.data = fluorescence_scene((48, 56)).observed
        dock.start()
        wait(idle(dock))
        button.click()
        button.click()
        layers = viewer_of(dock).layers
        assert names(dock).count("cells [residual]") == 1
        layer, result = layers["cells [residual]"], layers["cells [deblurred]"]
        assert is_output(layer)
        low, high = layer.contrast_limits
        assert low == -high
        np.testing.assert_allclose(layer.scale, result.scale)
        np.testing.assert_allclose(layer.translate, result.translate)
        assert (layer.units, layer.data.shape) == (result.units, result.data.shape)
        known = layer.data[np.isfinite(layer.data)]
        assert np.median(abs(known)) == pytest.approx(0.67, abs=0.4)  # that of noise alone

    def test_the_residual_is_that_of_the_chosen_estimate(self, dock, wait, monkeypatch):
        monkeypatch.setattr(worker, "_SECONDS_BETWEEN_REPORTS", 0)
        viewer_of(dock).layers["cells"].data = fluorescence_scene((48, 56)).observed
        dock.start()
        wait(idle(dock))
        dock.result.comparison.residual_button.click()
        layer = viewer_of(dock).layers["cells [residual]"]
        before = layer.data.copy()
        dock.result.slider.slider.setValue(0)
        dock.result.slider.use_button.click()
        assert not np.array_equal(layer.data, before, equal_nan=True)
        assert layer.metadata["blind_deconvolution"]["chosen_by_hand"]

    def test_a_result_that_was_deleted_beside_another_image_is_gone(self, dock, wait):
        viewer = viewer_of(dock)
        image = viewer.layers["cells"]
        image.blending = "additive"
        dock.start()
        wait(idle(dock))
        viewer.add_image(PIXELS, name="other", **CALIBRATION)
        viewer.layers.remove("cells [deblurred]")
        assert image.visible
        viewer.layers.selection.active = image
        assert not dock.status.text()
        assert not dock.result.save_button.isEnabled()

    def test_the_settings_of_a_run_are_stored(self, dock, wait):
        dock.start()
        wait(idle(dock))
        assert Preferences.load().settings() == dock.form.settings()


class TestPanel:
    def test_it_fits_a_narrow_dock_when_folded(self, dock):
        scroll = dock.findChild(QScrollArea)
        dock.resize(300, 720)
        dock.form.kernel.source.value = "the microscope's"
        assert dock.form.kernel_summary.value == "the microscope's, as a start"
        needed = scroll.widget().minimumSizeHint()
        assert needed.width() <= 300
        assert needed.height() <= 720

    def test_long_texts_are_not_cut(self, dock):
        form = dock.form
        dock.resize(300, 720)
        dock.show()
        for label in (form.expected_time, form.kernel_summary, form.input.line.reading):
            show_row(label, True)
            label.value = "2:05 min, at most 1 h 12:30 min with networks, 120 MiB"
            QApplication.processEvents()
            assert label.native.height() >= label.native.heightForWidth(label.native.width())
            assert label.native.width() > 100

    def test_disabled_widgets_state_the_reason(self, dock, wait):
        def without_reason() -> list[str]:
            return [
                widget.objectName() or type(widget).__name__
                for widget in dock.findChildren(QWidget)
                if widget.isVisibleTo(dock)
                and not widget.isEnabled()
                and widget.parent().isEnabled()
                and not widget.toolTip()
            ]

        for fold in dock.findChildren(QCollapsible):
            fold.expand(animate=False)
        assert without_reason() == []
        dock.start()
        assert without_reason() == []
        wait(idle(dock))
        assert without_reason() == []

    def test_all_buttons_are_reached_by_keyboard(self, dock):
        for fold in dock.findChildren(QCollapsible):
            fold.expand(animate=False)
        reached, widget = set(), dock.nextInFocusChain()
        while dock.isAncestorOf(widget):
            reached.add(widget)
            widget = widget.nextInFocusChain()
        for button in dock.findChildren(QPushButton):
            assert button in reached
            assert button.focusPolicy() & Qt.FocusPolicy.TabFocus


class TestForm:
    def test_follows_layers_their_names_and_the_selection(self, dock):
        viewer = viewer_of(dock)
        other = viewer.add_image(PIXELS, name="other", **CALIBRATION)
        viewer.add_points(np.zeros((1, 2)), name="marks", units=("um", "um"))
        assert [layer.name for layer in dock.form.input.layer.choices if layer] == [
            "cells",
            "other",
        ]
        assert dock.form.input.layer.value == other
        viewer.layers.selection.active = viewer.layers["cells"]
        assert dock.form.input.layer.value.name == "cells"
        other.name = "renamed"
        viewer.layers["cells"].name = "mine"
        assert dock.form.input.layer.value.name == "mine"
        viewer.layers["mine"].name = "cells"
        box = dock.form.input.layer.native
        assert "renamed" in [box.itemText(index) for index in range(box.count())]
        viewer.layers.remove(other)
        assert [layer.name for layer in dock.form.input.layer.choices if layer] == ["cells"]

    def test_shows_and_returns_every_preset(self, dock):
        for name in Settings.presets():
            for choice in ("paper-real", "paper-synthetic", name):
                dock.form.preset.value = choice
            assert dock.form.settings() == Settings.preset(name)

    def test_a_preset_is_measured_once(self, dock, wait, monkeypatch):
        wait(lambda: states_time(dock.form.expected_time.value))
        model, measured, running = runtime_estimator._measure_runtime(), [], Counter()

        def slowly(settings, _block):
            running["now"] += 1
            measured.append((settings, running["now"]))
            time.sleep(0.1)
            running["now"] -= 1
            return model

        monkeypatch.setattr(runtime_estimator, "_measure_runtime", slowly)
        dock.form.preset.value = "paper-real"
        wait(lambda: states_time(dock.form.expected_time.value))
        ((settings, _),) = measured
        assert settings.channels == Settings.preset("paper-real").channels
        set_form(dock, channels="[4]")
        set_form(dock, channels="[4, 4]")
        wait(lambda: states_time(dock.form.expected_time.value))
        assert [number for _, number in measured] == [1, 1, 1]

    def test_the_time_for_the_visible_part_follows_the_view(self, dock, wait):
        form, viewer = dock.form.input, viewer_of(dock)
        form.scope.value = "visible part"
        seen = []

        def look() -> None:
            if form.layer.value is not None:
                seen.append(form.part(form.layer.value).extent().pixels)

        form._on_changed = look
        viewer.layers["cells"].corner_pixels = np.array([[0, 0], [19, 9]])
        viewer.scene.camera.zoom *= 2
        wait(lambda: seen[-1:] == [20 * 10])

    def test_every_setting_is_in_the_form_with_label_and_tooltip(self, dock):
        widgets = {**dock.form.fields.widgets}
        widgets |= {"device": dock.form.device, "seed": dock.form.seed}
        assert set(widgets) | {"kernel_size"} == set(Settings.model_fields)
        for name, widget in widgets.items():
            assert widget.label == Settings.model_fields[name].title
            assert len(widget.tooltip) > 20
        assert "Allowed: ≥ 1 and ≤ 100000." in dock.form.fields.widgets["max_iterations"].tooltip

    def test_the_kernel_window_is_shown_in_pixels_and_micrometres(self, dock):
        assert dock.form.kernel_window.size.value == "13 × 15 px = 2.6 × 1.5 µm"
        assert not dock.form.kernel_window.pixels.enabled
        dock.form.kernel_window.choice.value = "chosen"
        dock.form.kernel_window.pixels.value = 9
        assert dock.form.settings().kernel_size == 9
        assert dock.form.kernel_window.size.value == "9 × 9 px = 1.8 × 0.9 µm"
        viewer_of(dock).layers["cells"].scale = (0.4, 0.1)
        assert dock.form.kernel_window.size.value == "9 × 9 px = 3.6 × 0.9 µm"
        dock.form.kernel_window.pixels.value = 31
        assert "no larger than the image" in dock.form.kernel_window.size.value

    def test_impossible_input_is_refused_and_leaves_no_layer(self, dock, notifications):
        bad = {
            "NaN or infinity in every pixel": np.full((20, 20), np.nan),
            "got the value 0 in every pixel": np.zeros((20, 20)),
            "at least 16 pixels per side": PIXELS[:10],
        }
        layers = viewer_of(dock).layers
        for sentence, pixels in bad.items():
            layer = viewer_of(dock).add_image(pixels, name="bad", contrast_limits=(0, 1))
            dock.start()
            assert sentence in notifications.pop()
            assert names(dock) == ["cells", "bad"]
            assert dock.run_button.isEnabled()
            layers.remove(layer)
        layers.selection.active = layers["cells"]
        set_form(dock, sparsity="lots")
        dock.start()
        assert "'sparsity' got 'lots'" in notifications.pop()
        assert names(dock) == ["cells"]
        layers.clear()
        dock.start()
        assert "No image layer is selected" in notifications.pop()
        assert not notifications

    def test_a_missing_device_is_reported(self, dock, wait, notifications):
        import torch

        if torch.backends.mps.is_available():
            pytest.skip("this machine has Apple's GPU")
        dock.form.device.value = "mps"
        dock.start()
        wait(idle(dock))
        assert "'mps' was not found" in notifications[0]
        assert names(dock) == ["cells"]


@pytest.mark.parametrize("key", ["stack", "channels", "volume"])
def test_sample_stacks_open_calibrated(make_napari_viewer, key):
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample("napari-blind-deconv", key)
    assert layer.ndim == 3
    assert layer.units[-1] == "micrometer"
    assert stack_axes(layer) == {"channels": "CYX"}.get(key, "ZYX")


def test_the_menu_command_deconvolves_the_plane_of_the_selected_layer(dock, wait):
    viewer = viewer_of(dock)
    viewer.add_image(np.stack([PIXELS] * 3), name="stack", units=("um",) * 3)
    dock.form.input.scope.value = "all planes"
    dock.form.input.layer.value = viewer.layers["cells"]
    deconvolve_selected(viewer)
    (run,) = run_module._active
    run.stop_and_keep()
    wait(lambda: not run_module._active)
    assert viewer.layers["stack [deblurred]"].data.shape == (1, *PIXELS.shape)
    assert "stack [ES trace]" in names(dock)


def test_the_menu_command_needs_a_selected_image(dock, notifications):
    viewer_of(dock).add_points(np.zeros((1, 2)), units=("um", "um"))
    deconvolve_selected(viewer_of(dock))
    assert "No image layer is selected" in notifications[0]


def test_sample_data_opens(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.open_sample("napari-blind-deconv", "cell")
    viewer.open_sample("napari-blind-deconv", "scene")
    assert [layer.name for layer in viewer.layers] == [
        "cell",
        "scene truth",
        "scene kernel",
        "scene",
    ]
    assert all(isinstance(layer, Image) for layer in viewer.layers)
    assert len(sample_data.scene()) == 3


def test_the_sample_scene_is_selected_and_centred(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.open_sample("napari-blind-deconv", "scene")
    scene = viewer.layers["scene"]
    assert viewer.layers.selection.active is scene
    middle = scene.extent.world.mean(axis=0)
    assert np.allclose(viewer.scene.camera.center[-2:], middle, atol=0.02 * middle.max())
