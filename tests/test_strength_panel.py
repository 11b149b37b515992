"""The strength of a result in the panel: a slider, its preview, and the run with it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from tests import guard

from napari_blind_deconv import Kernel, Settings, deconvolve
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.plugin import strength_tile
from napari_blind_deconv.plugin.geometry import LayerPlane
from napari_blind_deconv.plugin.layers import displayable, image_options
from napari_blind_deconv.plugin.strength_tile import Tile
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.results import Result
from napari_blind_deconv.synthetic import fluorescence_scene
from napari_blind_deconv.task import Task

PIXELS = fluorescence_scene((64, 80)).observed
CALIBRATION = {"scale": (0.2, 0.1), "translate": (5, -3), "units": ("um", "um")}
NAME = "cells [strength]"


@pytest.fixture
def dock(make_napari_viewer, qtbot, fresh_panel) -> Iterator[BlindDeconvolutionWidget]:
    """The panel in a viewer with one image, for linear estimates."""
    viewer = make_napari_viewer()
    viewer.add_image(PIXELS, name="cells", **CALIBRATION)
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    widget.form.fields.widgets["solver"].value = "wiener"
    yield widget
    widget.result.strength.preview.stop()
    qtbot.waitUntil(is_idle(widget), timeout=guard.MILLISECONDS)


@pytest.fixture
def wait(qtbot) -> Callable[..., None]:
    return lambda condition: qtbot.waitUntil(condition, timeout=guard.MILLISECONDS)


def is_idle(widget: BlindDeconvolutionWidget) -> Callable[[], bool]:
    preview = widget.result.strength.preview
    return lambda: not (run_module._active or preview.is_computing)


@pytest.fixture
def finished(dock, wait) -> BlindDeconvolutionWidget:
    """The panel after a run."""
    dock.run_button.click()
    wait(is_idle(dock))
    return dock


def layers_of(widget: BlindDeconvolutionWidget):
    return widget._viewer.layers


def move(widget: BlindDeconvolutionWidget, strength: float) -> None:
    widget.result.strength.slider.setValue(round(20 * strength))


@pytest.fixture
def previewed(finished, wait) -> BlindDeconvolutionWidget:
    """The panel with a preview of strength 1.2."""
    move(finished, 1.2)
    wait(is_idle(finished))
    return finished


class TestPreview:
    def test_it_lies_on_the_result_and_looks_like_it(self, finished, wait):
        layers = layers_of(finished)
        result = layers["cells [deblurred]"]
        result.colormap, result.contrast_limits, result.gamma = "green", (90, 700), 0.8
        chosen = set(layers.selection)
        shown = result.data.copy()
        move(finished, 1.2)
        wait(is_idle(finished))
        preview = layers[NAME]
        assert layers.index(preview) == layers.index(result) + 1
        assert set(layers.selection) == chosen
        np.testing.assert_allclose(preview.extent.world, result.extent.world)
        assert preview.units == result.units
        assert (preview.colormap.name, preview.gamma) == ("green", 0.8)
        result.contrast_limits = (100, 500)
        assert tuple(preview.contrast_limits) == (100, 500)
        np.testing.assert_array_equal(result.data, shown)
        assert "1.20" in finished.result.strength.label.text()

    def test_it_shows_what_a_run_gives(self, previewed, wait):
        estimate = layers_of(previewed)[NAME].data.copy()
        kernel = previewed._last.result_shown().kernel
        previewed.result.strength.apply_button.click()
        wait(is_idle(previewed))
        result = previewed._last.result_shown()
        assert result.settings.strength == 1.2
        np.testing.assert_array_equal(result.kernel.weights, kernel.weights)
        np.testing.assert_allclose(result.image, estimate, rtol=1e-4)
        assert NAME not in layers_of(previewed)
        assert "1.2 times that was used" in previewed.verdict.text()
        assert "1.20, that of the result" in previewed.result.strength.label.text()
        assert "strength=1.2" in previewed.form.script().as_command()
        assert "strength=1.2" in previewed.form.script().as_python()

    def test_the_newest_strength_is_shown_at_last(self, finished, wait):
        for strength in (1.1, 1.5, 0.8, 1.3):
            move(finished, strength)
        wait(is_idle(finished))
        result = finished._last.result_shown()
        given = {"kernel": result.kernel, "pixel_size": CALIBRATION["scale"]}
        expected = deconvolve(PIXELS, result.settings, strength=1.3, **given)
        np.testing.assert_array_equal(layers_of(finished)[NAME].data, expected.image)

    def test_it_follows_the_visibility_of_the_result(self, previewed):
        previewed.result.comparison.input_button.click()
        assert not layers_of(previewed)[NAME].visible
        previewed.result.comparison.input_button.click()
        assert layers_of(previewed)[NAME].visible

    def test_views_of_input_and_result_end(self, finished, wait):
        comparison = finished.result.comparison
        comparison.side_button.click()
        move(finished, 1.2)
        wait(is_idle(finished))
        assert not comparison.side_button.isChecked()
        comparison.side_button.click()
        assert not layers_of(finished)[NAME].visible
        assert layers_of(finished)["cells [deblurred]"].visible
        comparison.side_button.click()
        assert layers_of(finished)[NAME].visible

    def test_it_is_not_added_to_an_additive_result(self, finished, wait):
        layers_of(finished)["cells [deblurred]"].blending = "additive"
        move(finished, 1.2)
        wait(is_idle(finished))
        assert layers_of(finished)[NAME].blending == "opaque"

    def test_a_part_that_cannot_be_deconvolved_is_explained(self, finished, wait, monkeypatch):
        monkeypatch.setattr(strength_tile, "_MAX_SIDE", 8)
        move(finished, 1.2)
        wait(is_idle(finished))
        assert NAME not in layers_of(finished)
        label = finished.result.strength.label.text()
        assert "no preview. Expected an image of at least 16 pixels per side" in label


class TestEndOfPreview:
    def test_at_the_strength_of_the_result(self, previewed):
        assert previewed.result.strength.apply_button.isEnabled()
        move(previewed, 1.0)
        assert NAME not in layers_of(previewed)
        assert "that of the result" in previewed.result.strength.label.text()
        assert not previewed.result.strength.apply_button.isEnabled()

    def test_an_estimate_that_comes_later_is_not_shown(self, finished, wait):
        move(finished, 1.2)
        move(finished, 1.0)
        wait(is_idle(finished))
        assert NAME not in layers_of(finished)

    def test_if_the_user_deletes_it(self, previewed):
        layers_of(previewed).remove(layers_of(previewed)[NAME])
        assert previewed.result.strength.slider.value() == 20
        result = layers_of(previewed)["cells [deblurred]"]
        result.contrast_limits = (100, 500)  # nothing is linked any more
        move(previewed, 1.0)

    def test_if_the_result_is_deleted(self, previewed, wait):
        layers_of(previewed).remove(layers_of(previewed)["cells [deblurred]"])
        wait(lambda: NAME not in layers_of(previewed))
        assert not previewed.result.strength.slider.isEnabled()

    def test_if_all_layers_are_deleted(self, previewed, wait):
        layers_of(previewed).clear()
        wait(lambda: not len(layers_of(previewed)))

    def test_if_another_run_starts(self, previewed, wait):
        previewed.run_button.click()
        assert NAME not in layers_of(previewed)
        wait(is_idle(previewed))

    def test_if_another_layer_is_chosen(self, previewed):
        other = layers_of(previewed)
        other.selection.active = previewed._viewer.add_image(PIXELS, name="other")
        assert NAME not in layers_of(previewed)

    def test_if_the_dock_is_closed(self, previewed):
        previewed._viewer.window.remove_dock_widget(previewed)
        assert NAME not in layers_of(previewed)


class TestOffer:
    def test_the_reason_is_stated_if_there_is_none(self, dock):
        strength = dock.result.strength
        assert not strength.slider.isEnabled()
        assert strength.slider.toolTip() == strength.apply_button.toolTip()
        assert strength.slider.toolTip() == "There is no result yet."

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"kernel": Kernel.point()}, "The kernel is a point"),
            ({"settings": Settings(image_start="random")}, "Expected strength 1 with image_start"),
        ],
    )
    def test_it_is_stated_why_a_result_has_no_other_strength(self, finished, changes, reason):
        run = finished._last
        run.planes.results[()] = replace(run.result_shown(), **changes)
        finished.result.strength.refresh()
        assert not finished.result.strength.slider.isEnabled()
        assert finished.result.strength.slider.toolTip().startswith(reason)

    def test_the_form_says_that_it_is_chosen(self, dock):
        assert dock.form.kernel_summary.value == ""
        dock.form.set_strength(1.2)
        assert dock.form.settings().strength == 1.2
        assert dock.form.kernel_summary.value == "found in the image; 1.2 times as wide"
        dock.form.reset()
        assert dock.form.settings().strength == 1.0
        assert dock.form.kernel_summary.value == ""

    @pytest.mark.parametrize(("solver", "is_held"), [("wiener", False), ("auto", True)])
    def test_a_kernel_that_networks_have_corrected_is_held(self, dock, wait, solver, is_held):
        values = {"stop_at_noise": False, "max_iterations": 2, "channels": "[8]"}
        for name, value in {**values, "kernel_features": 16, "solver": solver}.items():
            dock.form.fields.widgets[name].value = value
        dock.run_button.click()
        wait(is_idle(dock))
        kernel = dock._last.result_shown().kernel
        move(dock, 0.8)
        dock.result.strength.apply_button.click()
        wait(is_idle(dock))
        assert dock._last.result_shown().settings.strength == 0.8
        np.testing.assert_array_equal(dock._last.result_shown().kernel.weights, kernel.weights)
        assert dock.form.kernel.is_held == is_held


@pytest.mark.parametrize(("scope", "is_held"), [("per-slice", False), ("per-channel", True)])
def test_the_kernel_of_one_plane_is_not_held_for_a_stack_with_several(
    dock, wait, monkeypatch, scope, is_held
):
    layer = dock._viewer.add_image(np.stack([PIXELS, PIXELS[::-1]]), axis_labels=("z", "y", "x"))
    layers_of(dock).selection.active = layer
    dock.form.input.scope.value = "all planes"
    dock.form.stack_kernel.value = scope
    dock.run_button.click()
    wait(is_idle(dock))
    monkeypatch.setattr(Result, "has_fitted_kernel", True)
    dock.form.set_strength(1.0)
    move(dock, 1.2)
    dock.result.strength.apply_button.click()
    wait(is_idle(dock))
    assert dock.form.kernel.is_held == is_held


def test_the_plane_of_a_stack_on_the_screen_is_previewed(dock, wait):
    layers = layers_of(dock)
    stack = np.stack([PIXELS, PIXELS[::-1]])
    layer = dock._viewer.add_image(stack, name="stack", axis_labels=("z", "y", "x"))
    layers.selection.active = layer
    dock.form.input.scope.value = "all planes"
    dock._viewer.dims.set_current_step(0, 1)
    dock.run_button.click()
    wait(is_idle(dock))
    move(dock, 1.2)
    wait(is_idle(dock))
    preview = layers["stack [strength]"]
    assert preview.extent.data.shape == (2, 3)
    np.testing.assert_allclose(preview.extent.world[:, 0], 1)
    plan, result = dock._last.outcome.plan, dock._last.result_shown()
    expected = deconvolve(
        stack[1],
        result.settings,
        kernel=plan.kernels[0],
        strength=1.2,
        intensity_range=plan.intensity_ranges[0],
    )
    np.testing.assert_array_equal(preview.data[0], expected.image)
    dock._viewer.dims.set_current_step(0, 0)
    assert "stack [strength]" not in layers
    move(dock, 1.2)
    dock.result.strength.apply_button.click()
    wait(is_idle(dock))
    again = dock._last.outcome.plan
    assert again.settings.strength == 1.2
    np.testing.assert_array_equal(again.kernels[0].weights, plan.kernels[0].weights)


class TestTile:
    """The part of a large plane that is previewed."""

    @pytest.fixture
    def run(self):
        viewer = ViewerModel()
        layer = viewer.add_image(np.zeros((700, 2000)), name="large", scale=(0.2, 0.1))
        plane = LayerPlane.of(layer, viewer.dims)
        result = viewer.add_image(displayable(plane, plane.pixels), **image_options(plane, {}))
        self.viewer = viewer
        return SimpleNamespace(
            geometry=plane,
            layer=result,
            task=Task(plane.image, Settings()),
            index_shown=lambda: (),
        )

    def tile(self, run, monkeypatch, rows: slice, columns: slice) -> Tile:
        visible = lambda *_: (rows, columns)  # noqa: E731
        monkeypatch.setattr(strength_tile, "visible_region", visible)
        result = SimpleNamespace(kernel=Kernel(gaussian_kernel((21, 21), 2.0)))
        return Tile.of(run, result, self.viewer.dims)

    def test_it_surrounds_the_middle_of_what_is_visible(self, run, monkeypatch):
        tile = self.tile(run, monkeypatch, slice(300, 400), slice(900, 1100))
        assert tile.region == (slice(94, 606), slice(744, 1256))
        assert tile.shown == (slice(109, 591), slice(759, 1241))

    def test_it_stays_within_the_plane_and_reaches_its_border(self, run, monkeypatch):
        tile = self.tile(run, monkeypatch, slice(0, 100), slice(1900, 2000))
        assert tile.region == (slice(0, 512), slice(1488, 2000))
        assert tile.shown == (slice(0, 497), slice(1503, 2000))

    def test_its_pixels_lie_on_those_of_the_result(self, run, monkeypatch):
        tile = self.tile(run, monkeypatch, slice(300, 400), slice(900, 1100))
        estimate = np.arange(512 * 512, dtype=np.float32).reshape(512, 512)
        shown = tile.displayed(estimate)
        np.testing.assert_array_equal(shown, estimate[15:497, 15:497])
        corner = [part.start for part in tile.shown]
        np.testing.assert_allclose(tile.place.translate, run.layer.data_to_world(corner))
