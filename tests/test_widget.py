"""The widget in a real viewer: every way into a run, and every way out."""

from collections.abc import Callable, Iterator

import napari
import numpy as np
import pytest
from napari.layers import Image

from napari_blind_deconv import DeconvolutionError, Settings
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.plugin import sample_data, worker
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget

PIXELS = np.random.default_rng(0).random((24, 28)).astype(np.float32)
CALIBRATION = {"scale": (0.2, 0.1), "translate": (5, -3), "units": ("um", "um")}


@pytest.fixture
def refusals(monkeypatch) -> list[str]:
    """Sentences shown as napari notifications."""
    shown: list[str] = []
    monkeypatch.setattr(
        "napari_blind_deconv.plugin.widget.notify", lambda sentence, _: shown.append(sentence)
    )
    return shown


@pytest.fixture
def dock(make_napari_viewer, qtbot, fresh_panel) -> Iterator[BlindDeconvolutionWidget]:
    """The widget in a viewer with one image, set to a run of a few quick iterations."""
    viewer = make_napari_viewer()
    viewer.add_image(PIXELS, name="cells", **CALIBRATION)
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv", "Blind deconvolution")
    set_form(
        widget, stop_at_noise=False, max_iterations=6, channels="[8]", window=3, kernel_features=16
    )
    yield widget
    for under_way in list(run_module._active):
        under_way.stop_and_keep()
    qtbot.waitUntil(lambda: not run_module._active, timeout=30_000)


def set_form(widget: BlindDeconvolutionWidget, **values: object) -> None:
    for name, value in values.items():
        form = (
            widget.choices.basic
            if name in widget.choices.basic.widgets
            else widget.choices.advanced
        )
        form.widgets[name].value = value


def endless(widget: BlindDeconvolutionWidget) -> None:
    set_form(widget, stop_at_noise=False, max_iterations=100_000, patience=100_000)


def viewer_of(widget: BlindDeconvolutionWidget) -> napari.Viewer:
    return widget._viewer


def names(widget: BlindDeconvolutionWidget) -> list[str]:
    return [layer.name for layer in viewer_of(widget).layers]


@pytest.fixture
def wait(qtbot) -> Callable[..., None]:
    def wait_until(condition: Callable[[], bool]) -> None:
        qtbot.waitUntil(condition, timeout=60_000)

    return wait_until


def idle(widget: BlindDeconvolutionWidget) -> Callable[[], bool]:
    return lambda: widget.run_button.isEnabled() and not run_module._active


def sharpening(widget: BlindDeconvolutionWidget) -> Callable[[], bool]:
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
        assert len(trace.features) == 6
        assert "iteration limit" in dock.status.text()
        assert not dock.progress.isVisible()

    def test_sharpens_in_place_and_reports(self, dock, wait):
        endless(dock)
        dock.start()
        live = viewer_of(dock).layers["cells [deblurred]"]
        pictures: list[np.ndarray] = []
        live.events.data.connect(lambda: pictures.append(live.data))
        limits = list(live.contrast_limits)
        wait(lambda: len(pictures) > 2)
        assert (pictures[0] != pictures[-1]).any()
        assert list(live.contrast_limits) == limits
        assert dock.progress.maximum() == 100_000
        assert "left" in dock.progress.format()
        assert not dock.run_button.isEnabled()
        assert "under way" in dock.run_button.toolTip()
        dock.stop_button.click()
        wait(idle(dock))

    def test_stop_keeps_the_best_so_far(self, dock, wait):
        endless(dock)
        dock.start()
        wait(sharpening(dock))
        dock.stop_button.click()
        wait(idle(dock))
        record = viewer_of(dock).layers["cells [ES trace]"].metadata["blind_deconvolution"]
        assert record["stop_reason"] == "stopped"
        assert dock.trace_plot.kept == record["stop_iteration"]
        assert "stopped by hand" in dock.status.text()

    def test_a_second_run_gets_its_own_layers(self, dock, wait):
        for _ in range(2):
            dock.start()
            wait(idle(dock))
        assert dock.choices.layer.value.name == "cells"
        assert len(names(dock)) == 7
        assert len(set(names(dock))) == 7

    def test_a_second_start_during_a_run_is_ignored(self, dock, wait):
        endless(dock)
        dock.start()
        dock.start()
        assert len(run_module._active) == 1
        dock.stop_button.click()
        wait(idle(dock))

    def test_takes_the_plane_on_the_screen(self, dock, wait):
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


class TestWaysOut:
    def test_an_error_is_a_notification_and_leaves_no_layer(
        self, dock, wait, refusals, monkeypatch
    ):
        def fail(*_):
            raise DeconvolutionError("There is not enough memory.")
            yield

        monkeypatch.setattr(run_module, "work", fail)
        dock.start()
        wait(idle(dock))
        assert refusals == ["There is not enough memory."]
        assert names(dock) == ["cells"]
        assert dock.status.text() == "There is not enough memory."

    def test_data_that_cannot_be_read_is_told(self, dock, refusals, monkeypatch):
        def unreadable(*_):
            raise OSError("the network drive is gone")

        monkeypatch.setattr("napari_blind_deconv.plugin.choices.Source.of", unreadable)
        dock.start()
        assert refusals == ["the network drive is gone"]
        assert dock.run_button.isEnabled()

    def test_a_result_that_cannot_be_shown_leaves_the_widget_ready(
        self, dock, wait, refusals, monkeypatch
    ):
        def unshowable(*_):
            raise ValueError("no such units")

        monkeypatch.setattr(run_module, "outputs_beside", unshowable)
        dock.start()
        wait(idle(dock))
        assert refusals == ["The result could not be shown (no such units)."]

    def test_a_worker_that_is_quit_leaves_the_widget_ready(self, dock, wait, refusals):
        endless(dock)
        dock.start()
        wait(sharpening(dock))
        next(iter(run_module._active))._worker.quit()
        wait(idle(dock))
        assert "ended from outside" in refusals[0]

    def test_a_runtime_error_is_not_swallowed(self, dock, wait, refusals, monkeypatch):
        def fail(*_):
            raise RuntimeError("a kernel of the GPU failed")
            yield

        monkeypatch.setattr(worker, "_work", fail)
        dock.start()
        wait(idle(dock))
        assert refusals == ["The computation failed: a kernel of the GPU failed"]
        monkeypatch.undo()
        dock.start()
        wait(idle(dock))
        assert "cells [kernel]" in names(dock)

    def test_deleting_the_live_layer_ends_the_run(self, dock, wait, refusals):
        endless(dock)
        dock.start()
        wait(sharpening(dock))
        viewer_of(dock).layers.remove("cells [deblurred]")
        wait(idle(dock))
        assert names(dock) == ["cells"]
        assert "deleted" in dock.status.text()

    def test_deleting_the_image_does_not_hurt(self, dock, wait):
        endless(dock)
        dock.start()
        wait(sharpening(dock))
        viewer_of(dock).layers.remove("cells")
        dock.stop_button.click()
        wait(idle(dock))
        assert names(dock) == ["cells [deblurred]", "cells [kernel]", "cells [ES trace]"]

    def test_clearing_the_viewer_ends_the_run(self, dock, wait, refusals):
        endless(dock)
        dock.start()
        wait(sharpening(dock))
        viewer_of(dock).layers.clear()
        wait(idle(dock))
        assert names(dock) == []

    def test_a_closed_dock_keeps_the_best_so_far(self, dock, wait):
        endless(dock)
        viewer = viewer_of(dock)
        dock.start()
        wait(sharpening(dock))
        viewer.window.remove_dock_widget(dock)
        wait(lambda: not run_module._active)
        assert "cells [kernel]" in [layer.name for layer in viewer.layers]

    def test_a_closed_viewer_ends_the_thread(self, dock, wait):
        endless(dock)
        viewer = viewer_of(dock)
        dock.start()
        wait(sharpening(dock))
        thread = next(iter(run_module._active))._worker
        viewer.close()
        wait(lambda: not thread.is_running)
        wait(lambda: not run_module._active)


class TestForm:
    def test_follows_layers_their_names_and_the_selection(self, dock):
        viewer = viewer_of(dock)
        other = viewer.add_image(PIXELS, name="other", **CALIBRATION)
        viewer.add_points(np.zeros((1, 2)), name="marks", units=("um", "um"))
        assert [layer.name for layer in dock.choices.layer.choices if layer] == ["cells", "other"]
        assert dock.choices.layer.value == other
        viewer.layers.selection.active = viewer.layers["cells"]
        assert dock.choices.layer.value.name == "cells"
        other.name = "renamed"
        box = dock.choices.layer.native
        assert "renamed" in [box.itemText(index) for index in range(box.count())]
        viewer.layers.remove(other)
        assert [layer.name for layer in dock.choices.layer.choices if layer] == ["cells"]

    @pytest.mark.parametrize("name", list(Settings.presets()))
    def test_shows_and_returns_every_preset(self, dock, name):
        for choice in ("paper-real", "paper-synthetic", name):
            dock.choices.preset.value = choice
        assert dock.choices.settings() == Settings.preset(name)

    def test_every_setting_is_in_the_form_with_label_and_tooltip(self, dock):
        widgets = {**dock.choices.basic.widgets, **dock.choices.advanced.widgets}
        assert set(widgets) | {"kernel_size"} == set(Settings.model_fields)
        for name, widget in widgets.items():
            assert widget.label == Settings.model_fields[name].title
            assert len(widget.tooltip) > 20
        assert "Accepted: ≥ 1 and ≤ 100000." in dock.choices.basic.widgets["max_iterations"].tooltip

    def test_kernel_window_is_told_in_pixels_and_micrometres(self, dock):
        assert dock.choices.kernel_size_text.value == "13 × 15 px = 2.6 × 1.5 µm"
        assert not dock.choices.kernel_pixels.enabled
        dock.choices.kernel_choice.value = "chosen"
        dock.choices.kernel_pixels.value = 9
        assert dock.choices.settings().kernel_size == 9
        assert dock.choices.kernel_size_text.value == "9 × 9 px = 1.8 × 0.9 µm"
        viewer_of(dock).layers["cells"].scale = (0.4, 0.1)
        assert dock.choices.kernel_size_text.value == "9 × 9 px = 3.6 × 0.9 µm"
        dock.choices.kernel_pixels.value = 31
        assert "no larger than the image" in dock.choices.kernel_size_text.value

    @pytest.mark.parametrize(
        ("pixels", "sentence"),
        [
            (np.full((20, 20), np.nan), "400 NaN or infinite"),
            (np.zeros((20, 20)), "Every pixel of the image is 0"),
            (PIXELS[:10], "at least 16 pixels a side"),
        ],
    )
    def test_bad_images_are_refused_before_a_run(self, dock, refusals, pixels, sentence):
        viewer_of(dock).add_image(pixels, name="bad", contrast_limits=(0, 1))
        dock.start()
        assert sentence in refusals[0]
        assert names(dock) == ["cells", "bad"]
        assert dock.run_button.isEnabled()

    def test_bad_settings_are_refused_before_a_run(self, dock, refusals):
        set_form(dock, sparsity="lots")
        dock.start()
        assert "'sparsity' got 'lots'" in refusals[0]
        assert names(dock) == ["cells"]

    def test_a_device_that_is_not_here_is_told(self, dock, wait, refusals):
        import torch

        if torch.backends.mps.is_available():
            pytest.skip("this machine has Apple's GPU")
        dock.choices.device.value = "mps"
        dock.start()
        wait(idle(dock))
        assert "'mps' was not found" in refusals[0]
        assert names(dock) == ["cells"]

    def test_no_image_no_run(self, dock, refusals):
        viewer_of(dock).layers.clear()
        dock.start()
        assert "No image layer is selected" in refusals[0]


def test_sample_data_opens(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.open_sample("napari-blind-deconv", "cell")
    viewer.open_sample("napari-blind-deconv", "scene")
    assert [layer.name for layer in viewer.layers] == [
        "cell",
        "scene kernel",
        "scene truth",
        "scene",
    ]
    assert all(isinstance(layer, Image) for layer in viewer.layers)
    assert len(sample_data.scene()) == 3
