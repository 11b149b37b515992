"""Runs on several layers, one after the other: selected layers, and the channels of a composite."""

from collections.abc import Callable

import napari
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
from tests import guard

from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.plugin.channels import channels_of
from napari_blind_deconv.plugin.run_on import CHANNELS, ONE, SELECTED
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.synthetic import fluorescence_scene
from napari_blind_deconv.verdict import NextStep

SCENES = [fluorescence_scene((40, 48), seed=seed).observed for seed in range(3)]
MICRONS = ("um", "um")


@pytest.fixture
def dock(dock) -> BlindDeconvolutionWidget:
    """The panel in a viewer without layers, with the linear estimate as the result of a run."""
    dock.form.fields.widgets["solver"].value = "wiener"
    return dock


@pytest.fixture
def finish(dock, qtbot) -> Callable[[], None]:
    def wait_for_the_end() -> None:
        def is_idle() -> bool:
            return dock.run_button.isEnabled() and not run_module._active

        qtbot.waitUntil(is_idle, timeout=guard.MILLISECONDS)

    return wait_for_the_end


def add_images(dock, *pixels: np.ndarray) -> list[napari.layers.Image]:
    """Add images with pixel sizes of their own, and select them all."""
    layers = dock._viewer.layers
    images = [
        dock._viewer.add_image(image, name="abc"[number], scale=(side, side), units=MICRONS)
        for number, (image, side) in enumerate(zip(pixels, (0.1, 0.2, 0.3), strict=False))
    ]
    layers.selection = set(images)
    return images


def add_channels(dock) -> list[napari.layers.Image]:
    return dock._viewer.add_image(
        np.stack(SCENES), channel_axis=0, name=["C1", "C2", "C3"], units=MICRONS
    )


def names(dock) -> list[str]:
    return [layer.name for layer in dock._viewer.layers]


def run_on(dock) -> list[str]:
    """Return what the row offers; empty if it is hidden."""
    box = dock.form.input.run_on.native
    if not box.isVisibleTo(dock):
        return []
    return [box.itemText(index) for index in range(box.count())]


def set_endless(dock) -> None:
    for name, value in {
        "solver": "auto",
        "stop_at_noise": False,
        "max_iterations": 100_000,
        "patience": 100_000,
        "channels": "[8]",
        "window": 3,
        "kernel_features": 16,
    }.items():
        dock.form.fields.widgets[name].value = value


class TestSelectedLayers:
    def test_are_offered_when_several_are_selected(self, dock):
        first, second, third = add_images(dock, *SCENES)
        layers, box = dock._viewer.layers, dock.form.input.run_on
        assert run_on(dock) == ["this layer", "3 selected layers"]
        assert box.value == ONE
        assert dock.run_button.text() == "Run"
        assert "a, b, c" in box.native.toolTip()
        box.value = SELECTED
        assert dock.run_button.text() == "Run 3 layers"
        layers.selection = {first, third}
        assert box.value == SELECTED
        assert dock.run_button.text() == "Run 2 layers"
        assert dock.form.input.layer.value in (first, third)
        layers.remove(third)
        assert run_on(dock) == []
        assert dock.run_button.text() == "Run"
        assert box.chosen == [first]
        layers.selection = {first, dock._viewer.add_points(np.zeros((1, 2)), units=MICRONS)}
        assert run_on(dock) == []
        layers.selection.active = second
        assert dock.form.input.layer.value == second

    def test_another_layer_in_the_box_is_run_alone(self, dock):
        first, _, third = add_images(dock, *SCENES)
        dock._viewer.layers.selection = {first, dock._viewer.layers["b"]}
        dock.form.input.run_on.value = SELECTED
        dock.form.input.layer.value = third
        assert run_on(dock) == []
        assert dock.form.input.run_on.chosen == [third]

    def test_each_has_its_own_run_and_pixel_size(self, dock, finish):
        images = add_images(dock, *SCENES)
        dock.form.input.run_on.value = SELECTED
        seen = []
        dock.status.setText = lambda text, show=dock.status.setText: (seen.append(text), show(text))
        dock.start()
        finish()
        for image, pixels in zip(images, SCENES, strict=True):
            for ending in ("deblurred", "kernel", "ES trace"):
                output = dock._viewer.layers[f"{image.name} [{ending}]"]
                np.testing.assert_allclose(output.scale, image.scale)
            alone = deconvolve(pixels, Settings(solver="wiener"))
            result = dock._viewer.layers[f"{image.name} [deblurred]"].data
            np.testing.assert_allclose(result, alone.image, rtol=1e-4, atol=1e-4)
        places = [text for text in seen if "Estimating the kernel" in text]
        assert list(dict.fromkeys(text.split(" · ")[0] for text in places)) == [
            "Layer 1 of 3",
            "Layer 2 of 3",
            "Layer 3 of 3",
        ]
        assert dock.status.text().startswith("3 layers deconvolved.")

    def test_every_result_is_shown_with_its_own_image(self, dock, finish):
        images = add_images(dock, *SCENES)
        dock.form.input.run_on.value = SELECTED
        dock.start()
        finish()
        for image in images:
            dock._viewer.layers.selection.active = image
            assert dock.result._run.source == image
            assert not dock.verdict.isHidden()

    def test_an_error_in_one_is_reported_and_the_others_are_run(self, dock, finish, notifications):
        add_images(dock, SCENES[0], np.full((40, 48), 7.0), SCENES[2])
        dock.form.input.run_on.value = SELECTED
        dock.start()
        finish()
        assert notifications[0].startswith("'b': Expected an image with some contrast")
        assert len(notifications) == 1
        assert dock.status.text().startswith("2 of 3 layers deconvolved; 'b': Expected")
        assert "c [deblurred]" in names(dock)
        assert "b [deblurred]" not in names(dock)

    def test_an_error_during_one_run_does_not_end_the_series(
        self, dock, finish, notifications, monkeypatch
    ):
        work = run_module.work

        def fail_on_the_first(task, stop):
            if np.array_equal(task.image.array, SCENES[0]):
                raise RuntimeError("the GPU is gone")
            return (yield from work(task, stop))

        monkeypatch.setattr(run_module, "work", fail_on_the_first)
        add_images(dock, *SCENES[:2])
        dock.form.input.run_on.value = SELECTED
        dock.start()
        finish()
        assert notifications == ["'a': The computation failed: the GPU is gone."]
        assert [name for name in names(dock) if "deblurred" in name] == ["b [deblurred]"]

    def test_nothing_is_started_if_no_layer_can_be_run(self, dock, notifications):
        add_images(dock, *SCENES)
        dock.form.input.run_on.value = SELECTED
        dock.form.fields.widgets["sparsity"].value = "lots"
        dock.start()
        assert "'sparsity'" in notifications[0]
        assert len(notifications) == 1
        assert names(dock) == ["a", "b", "c"]
        assert dock.run_button.isEnabled()

    def test_stop_keeps_the_present_one_and_ends_the_series(self, dock, finish, qtbot):
        add_images(dock, *SCENES)
        set_endless(dock)
        dock.form.input.run_on.value = SELECTED
        dock.start()
        qtbot.waitUntil(lambda: dock.trace_plot.points > 1, timeout=guard.MILLISECONDS)
        dock.stop_button.click()
        finish()
        assert names(dock)[3:] == ["a [deblurred]", "a [kernel]", "a [ES trace]"]
        assert dock.status.text().startswith("Stopped; 1 of 3 layers deconvolved.")

    def test_cancel_drops_the_present_one_and_keeps_those_that_are_finished(
        self, dock, finish, qtbot
    ):
        add_images(dock, *SCENES)
        dock.form.input.run_on.value = SELECTED
        dock.start()
        qtbot.waitUntil(lambda: "b [deblurred]" in names(dock), timeout=guard.MILLISECONDS)
        dock.cancel_button.click()
        finish()
        assert names(dock)[3:] == ["a [deblurred]", "a [kernel]", "a [ES trace]"]
        assert dock.status.text().startswith("Cancelled; 1 of 3 layers deconvolved.")

    def test_what_is_changed_meanwhile_does_not_change_a_later_run(self, dock, finish, qtbot):
        add_images(dock, *SCENES[:2])
        dock.form.input.run_on.value = SELECTED
        dock.start()
        dock.form.fields.widgets["sparsity"].value = "lots"
        dock._viewer.layers["b"].data = SCENES[2]
        finish()
        result = dock._viewer.layers["b [deblurred]"].data
        alone = deconvolve(SCENES[1], Settings(solver="wiener")).image
        np.testing.assert_allclose(result, alone, rtol=1e-4, atol=1e-4)

    def test_a_layer_that_was_deleted_meanwhile_is_left_out(self, dock, finish):
        _, second, _ = add_images(dock, *SCENES)
        dock.form.input.run_on.value = SELECTED
        dock.start()
        dock._viewer.layers.remove(second)
        finish()
        assert "2 of 3 layers deconvolved; 'b': The layer was deleted." in dock.status.text()

    def test_closing_the_panel_ends_the_series(self, dock, qtbot):
        add_images(dock, *SCENES)
        viewer = dock._viewer
        set_endless(dock)
        dock.form.input.run_on.value = SELECTED
        dock.start()
        qtbot.waitUntil(lambda: dock.trace_plot.points > 1, timeout=guard.MILLISECONDS)
        viewer.window.remove_dock_widget(dock)
        qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)
        deblurred = [layer.name for layer in viewer.layers if "deblurred" in layer.name]
        assert deblurred == ["a [deblurred]"]

    def test_a_run_that_another_program_ends_is_the_last(self, dock, finish, qtbot):
        add_images(dock, *SCENES)
        set_endless(dock)
        dock.form.input.run_on.value = SELECTED
        dock.start()
        qtbot.waitUntil(lambda: dock.trace_plot.points > 1, timeout=guard.MILLISECONDS)
        dock._run._worker.quit()
        finish()
        assert dock.status.text().startswith("Ended; 0 of 3 layers deconvolved; 'a': The run was")
        assert "b [deblurred]" not in names(dock)

    def test_a_plane_among_stacks_is_run_as_a_whole_and_a_short_stack_is_refused(self, dock):
        viewer, form = dock._viewer, dock.form
        stack = viewer.add_image(np.stack(SCENES), name="stack")
        plane = viewer.add_image(SCENES[0], name="plane")
        short = viewer.add_image(np.stack(SCENES[:2]), name="short")
        viewer.layers.selection.active = stack
        form.input.scope.value = "all planes"
        assert form.task(plane)[1].image.axes == "YX"
        assert form.task(short)[1].image.blocks == 2
        form.input.scope.value = "some planes"
        with pytest.raises(ValueError, match=r"more than 2 planes, .* the layer short with 2"):
            form.task(short)

    def test_the_microscopes_kernel_is_that_of_each_layer(self, dock):
        images = add_images(dock, *SCENES)
        form = dock.form
        for image, wavelength in zip(images[:2], (450, 650), strict=True):
            image.metadata = {
                "blind_deconvolution_input": {
                    "optics": {
                        "numerical_aperture": 0.9,
                        "emission_wavelengths": [wavelength / 1000],
                    }
                }
            }
        dock._viewer.layers.selection.active = images[0]
        form.kernel.source.value = "the microscope's"
        codes = [form.kernel_selection(image).code for image in images]
        assert "wavelength=0.45, pixel_size=0.1" in codes[0]
        assert "wavelength=0.65, pixel_size=0.2" in codes[1]
        assert "wavelength=0.45, pixel_size=0.3" in codes[2]  # of which only the form knows
        assert form.kernel.microscope.rows["wavelength"].value == 450

    def test_the_time_is_that_of_all_layers(self, dock):
        add_images(dock, *SCENES)
        form = dock.form
        estimated = []
        form.expected_time._estimator.describe = lambda _, work, _block: (
            estimated.append(list(work)) or ""
        )
        form.input.run_on.value = SELECTED
        assert estimated[-1] == [(1, 40 * 48, 1)] * 3

    def test_what_concerns_one_layer_runs_on_that_one_alone(self, dock):
        first, second = add_images(dock, *SCENES[:2])
        form = dock.form

        def choose_all_selected() -> None:
            dock._viewer.layers.selection = {first, second}
            form.input.run_on.value = SELECTED

        choose_all_selected()
        form.prepare(NextStep.GAUSSIAN)
        assert form.input.run_on.value == ONE
        choose_all_selected()
        form.apply_kernel_to_all(BlockKind.PLANE)
        assert form.input.run_on.value == ONE
        choose_all_selected()
        form.input.choose_selected_plane()
        assert form.input.run_on.chosen == []

    def test_all_runs_are_copied(self, dock):
        add_images(dock, *SCENES)
        dock.form.input.run_on.value = SELECTED
        dock.reuse.command_button.click()
        text = QApplication.clipboard().text()
        assert text.count("blind-deconv run") == 3
        assert "--pixel-size 0.3,0.3" in text

    def test_copied_runs_on_files_of_one_name_have_results_of_their_own(self, dock, tmp_path):
        images = []
        for folder in ("x", "y"):
            (tmp_path / folder).mkdir()
            tifffile.imwrite(tmp_path / folder / "cells.tif", SCENES[0])
            images += dock._viewer.open(tmp_path / folder / "cells.tif", plugin="napari")
        dock._viewer.layers.selection = set(images)
        dock.form.input.run_on.value = SELECTED
        dock.reuse.command_button.click()
        text = QApplication.clipboard().text()
        assert text.count(" cells_deblurred.tif") == text.count(" cells_deblurred_2.tif") == 1


class TestChannels:
    def test_are_offered_with_one_click_and_stay_chosen(self, dock, finish):
        channels = add_channels(dock)
        dock._viewer.layers.selection.active = channels[1]
        assert run_on(dock) == ["this layer", "all 3 channels"]
        dock.form.input.run_on.value = CHANNELS
        assert dock.run_button.text() == "Run 3 layers"
        dock.start()
        finish()
        assert dock.run_button.text() == "Run 3 layers"
        assert dock.form.input.run_on.chosen == channels

    def test_selected_channels_are_one_choice(self, dock):
        channels = add_channels(dock)
        dock._viewer.layers.selection = set(channels)
        assert run_on(dock) == ["this layer", "all 3 channels"]
        dock._viewer.layers.selection = set(channels[:2])
        assert run_on(dock) == ["this layer", "2 selected layers", "all 3 channels"]

    def test_the_results_are_a_composite_that_stands_alone(self, dock, finish):
        channels = add_channels(dock)
        dock.form.input.run_on.value = CHANNELS
        dock.start()
        finish()
        results = [dock._viewer.layers[f"{image.name} [deblurred]"] for image in channels]
        for image, result in zip(channels, results, strict=True):
            assert result.colormap == image.colormap
            assert result.blending == image.blending
            assert result.contrast_limits == image.contrast_limits
            assert result.visible
            assert not image.visible
        order = [dock._viewer.layers.index(layer) for layer in results]
        assert order == sorted(order)
        for result in results:
            dock._viewer.layers.remove(result)
        assert all(image.visible for image in channels)

    def test_the_result_of_the_lowest_one_hides_no_other(self, dock, finish):
        first, second, _ = add_channels(dock)
        dock._viewer.layers.selection.active = first
        dock.start()
        finish()
        layers = dock._viewer.layers
        result = layers["C1 [deblurred]"]
        assert layers.index(first) < layers.index(result) < layers.index(second)

    @pytest.mark.parametrize("number", [0, 2])
    def test_a_kept_result_is_not_added_to_a_new_one(self, dock, finish, number):
        source = add_channels(dock)[number]
        dock._viewer.layers.selection.active = source
        dock.start()
        finish()
        kept = dock._last.layer
        dock.result.layer_options.keep.click()
        dock.start()
        assert not kept.visible, "nor to the estimate during the run"
        finish()
        new = dock._last.layer
        assert (kept.visible, new.visible, source.visible) == (False, True, False)
        dock._viewer.layers.remove(kept)
        assert not source.visible, "the new result still stands for it"
        dock._viewer.layers.remove(new)
        assert source.visible

    def test_a_strength_is_applied_to_the_layer_of_the_result(self, dock, finish):
        add_channels(dock)
        dock.form.input.run_on.value = CHANNELS
        dock.start()
        finish()
        dock.result.strength.slider.setValue(24)
        dock.result.strength.apply_button.click()
        finish()
        assert [entry.name for entry in dock.history.entries] == ["C1", "C2", "C3", "C3"]
        assert dock._last.result_shown().settings.strength == 1.2

    def test_split_stacks_are_recognised(self):
        viewer = ViewerModel()
        viewer.add_image(np.zeros((3, 20, 20)), channel_axis=0)
        first, second, third = viewer.layers
        assert channels_of(second, viewer.layers) == [first, second, third]
        viewer.add_image(np.zeros((3, 20, 20)), channel_axis=0)
        assert channels_of(first, viewer.layers) == [first, second, third]
        assert len(channels_of(viewer.layers[5], viewer.layers)) == 3

    def test_layers_of_one_file_need_not_be_neighbours(self, tmp_path):
        viewer = ViewerModel()
        with napari.layers._source.layer_source(path=str(tmp_path / "cells.tif")):
            viewer.add_image(np.zeros((2, 20, 20)), channel_axis=0)
        first, second = viewer.layers
        other = viewer.add_image(np.zeros((30, 30)))
        viewer.layers.move(2, 1)
        assert list(viewer.layers) == [first, other, second]
        assert channels_of(first, viewer.layers) == [first, second]

    def test_images_that_are_not_blended_or_differ_are_no_channels(self):
        viewer = ViewerModel()
        plain = [viewer.add_image(np.zeros((20, 20)), name=name) for name in "ab"]
        assert channels_of(plain[0], viewer.layers) == []
        larger = viewer.add_image(np.zeros((30, 20)), blending="additive")
        assert channels_of(larger, viewer.layers) == []
        scaled = viewer.add_image(np.zeros((20, 20)), blending="additive", scale=(2, 2))
        assert channels_of(scaled, viewer.layers) == []
        colour = viewer.add_image(np.zeros((20, 20, 3), np.uint8), rgb=True, blending="additive")
        assert channels_of(colour, viewer.layers) == []

    def test_a_layer_becomes_a_channel_when_it_is_blended(self, dock):
        add_images(dock, SCENES[0])
        upper = dock._viewer.add_image(SCENES[1], name="upper", scale=(0.1, 0.1), units=MICRONS)
        assert run_on(dock) == []
        upper.blending = "additive"
        assert run_on(dock) == ["this layer", "all 2 channels"]
