"""Runs on stacks in a real viewer: planes appear when they are done, and all endings are safe."""

from collections.abc import Iterator

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from scipy.ndimage import gaussian_filter
from tests import guard
from tests.panel import states_time

from napari_blind_deconv import BlockResult, Settings, deconvolve
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.numerics.pixel_faults import PixelFault
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.plugin.axes import read_axes, stack_axes
from napari_blind_deconv.plugin.planes import stack_of
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.plugin.worker import Progress
from napari_blind_deconv.reasons import Finding, QualityFlag
from napari_blind_deconv.synthetic import fluorescence_scene

QUICK = Settings(max_iterations=2, channels=(8,), kernel_features=16)
STACK = np.stack([fluorescence_scene((32, 40), seed=seed).observed for seed in range(4)])
CALIBRATION = {"scale": (0.4, 0.1, 0.1), "translate": (2, 0, 1), "units": ("um",) * 3}


@pytest.fixture
def dock(make_napari_viewer, qtbot, monkeypatch, fresh_panel) -> Iterator[BlindDeconvolutionWidget]:
    """The widget in a viewer with a stack, with settings for quick runs on all planes."""
    shown: list[str] = []
    monkeypatch.setattr(
        "napari_blind_deconv.plugin.widget.notify", lambda sentence, _: shown.append(sentence)
    )
    viewer = make_napari_viewer()
    viewer.add_image(STACK, name="cells", axis_labels=("z", "y", "x"), **CALIBRATION)
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    widget.form.fields.widgets["max_iterations"].value = 4
    widget.form.fields.widgets["channels"].value = "[8]"
    widget.form.fields.widgets["kernel_features"].value = 16
    widget.form.input.scope.value = "all planes"
    yield widget
    for run in list(run_module._active):
        run.stop_and_keep()
    qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)


def finish(dock, qtbot) -> None:
    qtbot.waitUntil(dock.run_button.isEnabled, timeout=guard.MILLISECONDS)


def result_of(dock):
    return dock._viewer.layers["cells [deblurred]"]


def test_all_planes_are_deconvolved_and_lie_on_the_image(dock, qtbot):
    dock.start()
    assert "cells [deblurred]" in dock._viewer.layers
    finish(dock, qtbot)
    layer, source = result_of(dock), dock._viewer.layers["cells"]
    assert layer.data.shape == STACK.shape
    np.testing.assert_allclose(layer.data.mean(axis=(1, 2)), STACK.mean(axis=(1, 2)), rtol=0.02)
    np.testing.assert_allclose(layer.scale, source.scale)
    np.testing.assert_allclose(layer.translate, source.translate)
    assert layer.units == source.units
    record = layer.metadata["blind_deconvolution"]
    assert record["kernel"] == "per-channel"
    assert record["axes"] == "ZYX"
    kernel = dock._viewer.layers["cells [kernel]"].data
    assert kernel.shape[0] == len(STACK)  # visible beside every plane
    np.testing.assert_allclose(kernel[0], kernel[-1])
    assert dock.status.text().startswith("4 planes done")


def test_after_a_run_the_panel_shows_the_displayed_plane(dock, qtbot, tmp_path):
    """Its kernel, trace and comparison are shown like those of a single plane."""
    dock.form.stack_kernel.value = "per-slice"
    dock.form.fields.widgets["stop_at_noise"].value = False
    dock.start()
    finish(dock, qtbot)
    viewer, panel = dock._viewer, dock.result
    shown = []
    for plane in (0, 3):
        viewer.dims.set_current_step(0, plane)
        assert dock.trace_plot.points > 0
        shown.append((panel.kernel_label.text(), dock.form.kernel._last))
        assert "FWHM" in shown[-1][0]
    assert shown[0][1] is not shown[1][1]
    panel.save_kernel(tmp_path / "kernel.tif")
    with open_image(tmp_path / "kernel.tif") as opened:
        assert (opened.image.axes, opened.image.blocks) == ("ZYX", len(STACK))
        assert opened.image.pixel_size == pytest.approx((0.1, 0.1))
        saved = np.asarray(opened.image.pixels)
    np.testing.assert_array_equal(saved, panel._run.kernels()[1])
    panel.comparison.line_button.click()
    before, after = panel.comparison.plot.curves
    assert len(before.y) == len(after.y) > 10
    assert np.nanmax(before.y) <= STACK[3].max()
    panel.comparison.input_button.click()
    assert not result_of(dock).visible
    assert not panel.comparison.residual_button.isEnabled()
    assert "of a stack are not kept" in panel.comparison.residual_button.toolTip()


def test_the_divider_follows_the_displayed_plane(dock, qtbot):
    dock.start()
    finish(dock, qtbot)
    viewer = dock._viewer
    dock.result.comparison.swipe_button.click()
    for plane in (1, 3):
        viewer.dims.set_current_step(0, plane)
        part = viewer.layers["cells [swipe: input]"]
        columns = dock.result.comparison.divider.value()
        np.testing.assert_array_equal(part.data[0], STACK[plane, :, :columns])
        np.testing.assert_allclose(part.translate[0], 2 + 0.4 * plane)


def test_each_warning_states_how_many_planes_it_concerns_and_whether_this_one(dock, qtbot):
    dock.form.fields.widgets["stop_at_noise"].value = False
    few = STACK.astype(np.float32)
    few[3] = np.nan
    dock._viewer.layers["cells"].data = few
    dock.start()
    finish(dock, qtbot)
    sentence = QualityFlag.ITERATION_LIMIT.sentence
    dock._viewer.dims.set_current_step(0, 2)
    dock._viewer.dims.set_current_step(0, 1)
    assert dock.warnings.text().count(sentence) == 1
    assert f"3 of 4 planes, also this one: {sentence}" in dock.warnings.text()
    dock._viewer.dims.set_current_step(0, 3)
    assert "This plane was not deconvolved: Expected" in dock.warnings.text()
    assert f"3 of 4 planes: {sentence}" in dock.warnings.text()
    assert result_of(dock).metadata["blind_deconvolution"]["warnings"][sentence] == 3


def test_pixels_left_out_are_counted_and_shown_plane_by_plane(dock, qtbot):
    hot = np.stack([gaussian_filter(plane.astype(np.float32), 2) for plane in STACK])
    hot[1, 5, 7] = hot[3, [6, 9], [4, 11]] = 20 * hot.max()
    dock._viewer.layers["cells"].data = hot
    dock.start()
    finish(dock, qtbot)
    left_out = dock.result.left_out
    assert f"2 planes: {Finding.HOT.text(3)}" in left_out.notes.text()
    record = result_of(dock).metadata["blind_deconvolution"]["findings"]
    assert record["hot or dead"] == {"planes": 2, "count": 3}
    left_out.button.click()
    layer = dock._viewer.layers["cells [left out]"]
    assert layer.data.shape == hot.shape
    np.testing.assert_array_equal(
        np.argwhere(np.asarray(layer.data) == PixelFault.HOT), [(1, 5, 7), (3, 6, 4), (3, 9, 11)]
    )
    np.testing.assert_allclose(layer.translate, result_of(dock).translate)
    dock._viewer.dims.set_current_step(0, 3)
    assert left_out.notes.text() == Finding.HOT.text(2)
    dock._viewer.dims.set_current_step(0, 2)
    assert not left_out.notes.text()


def test_a_failed_plane_has_no_kernel_to_apply(dock, qtbot):
    bad = STACK.astype(np.float32)
    bad[2] = np.nan
    dock._viewer.layers["cells"].data = bad
    dock.start()
    finish(dock, qtbot)
    dock._viewer.dims.set_current_step(0, 0)
    assert dock.result.apply_button.isEnabled()
    dock._viewer.dims.set_current_step(0, 2)
    assert not dock.result.apply_button.isEnabled()
    assert dock.result.apply_button.toolTip() == "This plane has no kernel."
    assert dock.result.kernel_button.isEnabled()  # it saves those of the other planes
    assert "was not deconvolved" in dock.warnings.text()


def test_every_channel_shows_its_own_kernel(dock, qtbot):
    viewer = dock._viewer
    blurred = gaussian_filter(STACK[:2], (0, 2.5, 2.5))
    both = np.stack([STACK[:2], blurred], axis=1)  # Z, C
    viewer.layers.selection.active = viewer.add_image(
        both, name="two", axis_labels=("z", "c", "y", "x")
    )
    dock.start()
    finish(dock, qtbot)
    kernels = viewer.layers["two [kernel]"].data
    assert kernels.shape[:2] == (2, 2)
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(*kernels[0])
    np.testing.assert_allclose(kernels[0].sum(axis=(1, 2)), 1, rtol=1e-3)


def test_some_planes_keep_their_position(dock, qtbot):
    dock.form.input.scope.value = "some planes"
    dock.form.input.span.value = (1, 2)
    dock.start()
    finish(dock, qtbot)
    layer = result_of(dock)
    assert layer.data.shape == (2, *STACK.shape[1:])
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), (2.4, 0, 1))


def test_lazy_layers_are_read_plane_by_plane(dock, qtbot):
    viewer = dock._viewer
    lazy = viewer.add_image(da.from_array(STACK, chunks=(1, -1, -1)), name="cells2")
    viewer.layers.selection.active = lazy
    dock.start()
    finish(dock, qtbot)
    assert viewer.layers["cells2 [deblurred]"].data.shape == STACK.shape


def test_a_stack_is_accepted_if_the_displayed_plane_is_damaged():
    def plane(block_info):
        if block_info[None]["chunk-location"][0] == 0:
            raise OSError("the chunk is damaged")
        return STACK[1:2]

    chunks = ((1,) * len(STACK), *[(side,) for side in STACK.shape[1:]])
    lazy = da.map_blocks(plane, chunks=chunks, dtype=STACK.dtype, meta=STACK[:0])
    viewer = ViewerModel()
    layer = viewer.add_image(STACK)
    viewer.dims.set_point(0, 0)
    layer._data = lazy
    _, image = stack_of(layer, viewer.dims)
    assert image.blocks == len(STACK)


def test_stopping_keeps_the_planes_that_are_done(dock, qtbot):
    dock.form.stack_kernel.value = "per-slice"
    dock.form.fields.widgets["max_iterations"].value = 60
    dock.form.fields.widgets["stop_at_noise"].value = False
    dock.start()
    qtbot.waitUntil(lambda: dock.progress.value() >= 1, timeout=guard.MILLISECONDS)
    dock.stop_button.click()
    finish(dock, qtbot)
    filled = result_of(dock).data.any(axis=(1, 2))
    assert filled[0]
    assert not filled[-1]
    assert "Stopped" in dock.status.text()


def test_a_failed_plane_is_reported_and_the_others_are_done(dock, qtbot):
    bad = STACK.astype(np.float32)
    bad[2] = np.nan
    dock._viewer.layers["cells"].data = bad
    dock.start()
    finish(dock, qtbot)
    assert "1 could not be deconvolved; plane (2,)" in dock.status.text()
    assert result_of(dock).data[3].any()


def test_a_failure_after_some_planes_is_recorded(dock, qtbot, monkeypatch):
    def fail_after_one(*_):
        result = deconvolve(STACK[0], QUICK)
        yield Progress("Deconvolving …", block=BlockResult((0,), result.image, result))
        raise RuntimeError("the GPU is gone")

    monkeypatch.setattr(run_module, "work", fail_after_one)
    dock.start()
    finish(dock, qtbot)
    record = result_of(dock).metadata["blind_deconvolution"]
    assert record == {
        "failure": "The computation failed: the GPU is gone. The finished planes are kept."
    }


def test_deleting_the_result_ends_the_run(dock, qtbot):
    dock.form.fields.widgets["stop_at_noise"].value = False
    dock.form.fields.widgets["max_iterations"].value = 1000
    dock.start()
    qtbot.waitUntil(lambda: dock.progress.maximum() > 0, timeout=guard.MILLISECONDS)
    dock._viewer.layers.remove("cells [deblurred]")
    finish(dock, qtbot)
    assert [layer.name for layer in dock._viewer.layers] == ["cells"]
    qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)


def test_an_impossible_stack_leaves_no_layer(dock, qtbot):
    dock._viewer.layers["cells"].data = np.zeros_like(STACK)
    dock.start()
    finish(dock, qtbot)
    assert [layer.name for layer in dock._viewer.layers] == ["cells"]
    assert "Expected at least one plane" in dock.status.text()


def test_time_and_memory_are_estimated_before_a_run(dock, qtbot):
    expected_time = dock.form.expected_time
    qtbot.waitUntil(lambda: states_time(expected_time.value))
    assert expected_time.value.endswith(" MiB")
    few = expected_time.value
    dock.form.fields.widgets["max_iterations"].value = 100_000
    assert states_time(expected_time.value)  # at once, because this machine is already measured
    assert expected_time.value != few
    many = expected_time.value
    dock.form.input.scope.value = "this plane"
    assert expected_time.value != many


def test_colour_channels_count_in_the_memory_estimate(dock, qtbot):
    colour = np.zeros((4, 256, 256, 4), np.uint8)
    dock._viewer.add_image(colour, rgb=True, name="stain")
    dock.form.input.scope.value = "all planes"
    qtbot.waitUntil(lambda: states_time(dock.form.expected_time.value))
    assert dock.form.expected_time.value.endswith(", 4 MiB")


def test_a_plane_offers_no_choice_of_a_stack(dock):
    dock._viewer.add_image(STACK[0], name="plane")
    dock.form.input.layer.value = dock._viewer.layers["plane"]
    assert "all planes" not in dock.form.input.scope.choices
    assert dock.form.input.scope.value == "this plane"


def test_a_renamed_stack_stays_chosen(dock):
    dock._viewer.layers["cells"].name = "mine"
    assert dock.form.input.layer.value.name == "mine"
    assert dock.form.input.scope.value == "all planes"


def test_a_stack_seen_from_the_side_is_refused(dock):
    dock._viewer.dims.order = (1, 0, 2)
    dock.start()
    assert "does not show the last two axes" in dock.status.text()
    assert len(dock._viewer.layers) == 1


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        (("z", "y", "x"), "ZYX"),
        (("time", "z", "y", "x"), "TZYX"),
        (("-4", "-3", "-2", "-1"), "ZTYX"),
        (("c", "-3", "-2", "-1"), "CZYX"),
        (("T", "C", "Z", "Y", "X"), "TCZYX"),
        (("Z", "channel", "Y", "X"), "ZCYX"),
        (("ch", "z position", "y", "x"), "CZYX"),
        (("Time [s]", "Channels", "row", "column"), "TCYX"),
        (("frame", "slice", "y", "x"), "TZYX"),
        (("dim_0", "dim_1", "dim_2"), "ZYX"),
        (("axis 0", "t", "axis 2", "axis 3"), "ZTYX"),
        (("0", "1", "2", "3", "4"), "ZTCYX"),
        (("z", "z", "y", "x"), "ZTYX"),
        # Neither Z nor C: planes along them do not belong together.
        (("position", "y", "x"), "TYX"),
        (("P", "Z", "Y", "X"), "TZYX"),
        (("S", "C", "Z", "Y", "X"), "TCZYX"),
        (("scene", "-3", "-2", "-1"), "TZYX"),
        (("tile", "y", "x"), "TYX"),
        (("camera", "z", "y", "x"), "TZYX"),
    ],
)
def test_axes_follow_the_labels(labels, axes):
    assert stack_axes(layer_of(labels)) == axes


def layer_of(labels, **options):
    shape = (2,) * (len(labels) - 2) + (20, 20)
    return ViewerModel().add_image(np.zeros(shape), axis_labels=labels, **options)


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (("T", "C", "Z", "Y", "X"), ""),
        (("z", "-2", "-1"), ""),
        (("-3", "-2", "-1"), "Z assumed, because the axis has no clear label"),
        (("0", "1", "y", "x"), "Z and T assumed, because the axes have no clear label"),
        (("c", "dim_1", "y", "x"), "Z assumed, because the axis has no clear label"),
        (("scene", "z", "y", "x"), "scene is read as T"),
        (
            ("scene", "-3", "-2", "-1"),
            "scene is read as T; Z assumed, because the axis has no clear label",
        ),
    ],
)
def test_what_the_labels_do_not_say_is_told(labels, note):
    assert read_axes(layer_of(labels)).note == note


def test_an_axis_of_time_is_known_by_its_unit():
    layer = layer_of(("-4", "-3", "-2", "-1"), units=("um", "s", "um", "um"))
    assert stack_axes(layer) == "ZTYX"
    layer.units = ("s", "um", "um", "um")
    assert stack_axes(layer) == "TZYX"


def test_colour_is_no_axis_with_a_label():
    layer = ViewerModel().add_image(
        np.zeros((2, 20, 20, 3), np.uint8), rgb=True, axis_labels=("t", "y", "x")
    )
    assert stack_axes(layer) == "TYXS"


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (("position", "t", "y", "x"), "got the axes position, t, y, x of .* along position"),
        (("t", "position", "tile", "y", "x"), "along position"),
        (("position", "tile", "y", "x"), "along tile"),
        (("0", "1", "2", "3", "4", "5"), "Expected no axes but T, C and Z before rows and columns"),
        (("y", "x", "c"), "rows and columns as the last two axes .*, got the axes y, x, c"),
        (("z", "Y", "X", "channel"), "transpose the layer"),
    ],
)
def test_axes_that_have_no_place_are_named(labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        stack_axes(layer_of(labels))


def test_a_single_plane_is_refused_as_a_stack(make_napari_viewer):
    viewer = make_napari_viewer()
    layer = viewer.add_image(np.zeros((20, 20)))
    with pytest.raises(ValueError, match="Expected a stack"):
        stack_of(layer, viewer.dims)
