"""Copied Python code and commands give the same result as the panel."""

import contextlib
import io
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source
from tests.command import blind_deconv

from napari_blind_deconv import deconvolve
from napari_blind_deconv.engine.stacks import deconvolve_stack
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.plugin import input_form
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.plugin.stated import Stated
from napari_blind_deconv.synthetic import fluorescence_scene

STACK = np.stack([fluorescence_scene((40, 48), seed=seed).observed for seed in range(3)])


@pytest.fixture
def panel(qtbot, fresh_panel, tmp_path, monkeypatch):
    """The form for a stack that is also in a file, with settings for a quick run."""
    monkeypatch.chdir(tmp_path)
    viewer = ViewerModel()
    viewer.add_image(STACK, name="cells", axis_labels=("z", "y", "x"))
    tifffile.imwrite("cells.tif", STACK, imagej=True, metadata={"axes": "ZYX"})
    widget = RunForm(viewer)
    qtbot.addWidget(widget)
    widget.fields.widgets["max_iterations"].value = 3
    widget.fields.widgets["channels"].value = "[8]"
    widget.fields.widgets["kernel_features"].value = 16
    widget.fields.widgets["stop_at_noise"].value = False
    widget.seed.value = 5
    return widget


def run_python(text: str) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(text, "snippet", "exec"), {"__name__": "snippet"})
    return tifffile.imread("cells_deblurred.tif")


def run_command(text: str) -> np.ndarray:
    line = next(line for line in text.splitlines() if not line.startswith("#"))
    program, *arguments = shlex.split(line)
    assert program == "blind-deconv"
    done = blind_deconv(*arguments, "--overwrite")
    assert done.returncode == 0, done.stderr
    return tifffile.imread("cells_deblurred.tif")


def results_of_snippets(panel) -> list[np.ndarray]:
    script = panel.script()
    return [run_python(script.as_python()), run_command(script.as_command())]


def result_of_panel(panel) -> np.ndarray:
    _, task = panel.task()
    return deconvolve(task.image, task.settings, kernel=task.kernel).image


def test_a_plane_of_a_stack(panel):
    panel._viewer.dims.set_point(0, 2)
    assert "[2, :, :]" in panel.script().as_python()
    for image in results_of_snippets(panel):
        np.testing.assert_array_equal(image, result_of_panel(panel))


def test_a_rectangle_with_a_fixed_kernel(panel):
    panel._viewer.add_shapes([np.array([[4, 6], [4, 40], [35, 40], [35, 6]])])
    panel._viewer.layers.selection.active = panel._viewer.layers["cells"]
    panel.input.scope.value = input_form.DRAWN
    kernel = np.outer([1, 2, 1], [1, 3, 1]).astype(np.float32) / 20
    panel.kernel.set_last_kernel(Kernel.of(kernel))
    panel.kernel.hold_last()
    assert "Save the kernel as 'kernel.tif'" in panel.script().as_python()
    tifffile.imwrite("kernel.tif", kernel)
    assert "Save the kernel" not in panel.script().as_python()
    for image in results_of_snippets(panel):
        np.testing.assert_array_equal(image, result_of_panel(panel))


def test_a_guess_of_the_kernel(panel):
    panel.kernel.source.value = "a Gaussian"
    python = panel.script().as_python()
    assert "kernel=KernelChoice.start_from(gaussian_kernel(" in python
    np.testing.assert_array_equal(run_python(python), result_of_panel(panel))
    tifffile.imwrite("kernel.tif", panel.kernel_selection().choice.kernel.weights)
    np.testing.assert_array_equal(run_command(panel.script().as_command()), result_of_panel(panel))


def test_a_guess_for_a_stack(panel):
    panel.kernel.source.value = "a Gaussian"
    panel.stack_kernel.value = "shared"
    panel.input.scope.value = input_form.STACK
    _, task = panel.task()
    expected = deconvolve_stack(task.image, task.settings, kernel=task.kernel).result().image
    python = panel.script().as_python()
    assert "KernelChoice.start_from(gaussian_kernel(" in python
    np.testing.assert_array_equal(run_python(python), expected)
    tifffile.imwrite("kernel.tif", task.kernel.kernel.weights)
    command = panel.script().as_command()
    assert "--kernel shared --psf-guess kernel.tif" in command
    np.testing.assert_array_equal(run_command(command), expected)


def test_some_planes(panel):
    panel.input.scope.value = input_form.SPAN
    panel.input.span.value = (1, 2)
    _, task = panel.task()
    assert task.image.axes == "ZYX"
    expected = deconvolve_stack(task.image, task.settings, kernel=task.kernel).result().image
    assert "[1:3, :, :]" in panel.script().as_python()
    for image in results_of_snippets(panel):
        np.testing.assert_array_equal(image, expected)


def test_a_layer_without_a_file_needs_to_be_saved(panel):
    notes = [line for line in panel.script().as_python().splitlines() if line.startswith("#")]
    assert notes == ["# Save the layer 'cells' as 'cells.tif' first."]
    assert panel.script().as_command().startswith("# Save the layer 'cells'")


def test_names_of_readers_become_names_of_files(panel):
    for name, file in (
        ("C0 :: Image:0 :: a/b.czi", "C0 _ Image_0 _ a_b.czi.tif"),
        ("-cells", "_cells.tif"),
        (r"D:\cells?", "D_cells_.tif"),
    ):
        panel._viewer.layers[0].name = name
        script = panel.script()
        assert script.file == file
        assert f"image = tifffile.imread({file!r})" in script.as_python()
        assert shlex.split(script.as_command().splitlines()[1])[2] == file
        assert "/" not in script.output


@pytest.mark.parametrize(
    ("labels", "axes"),
    [(("0", "1", "2"), "ZYX"), (("position", "Y", "X"), "TYX"), (("Channel", "y", "x"), "CYX")],
)
def test_scripts_state_the_axes_as_the_panel_reads_them(panel, labels, axes):
    panel._viewer.layers[0].axis_labels = labels
    panel.input.scope.value = input_form.STACK
    assert f"axes={axes!r}" in panel.script().as_python()
    assert f"--axes {axes}" in panel.script().as_command()
    assert panel.task()[1].image.axes == axes


def test_only_changes_from_the_preset_are_written(panel):
    panel.reset()
    assert "with_changes" not in panel.script().as_python()
    assert "--set" not in panel.script().as_command()
    assert "axes=" not in panel.script().as_python()


def test_device_and_seed_are_settings(panel):
    panel.reset()
    panel.device.value, panel.seed.value = "cpu", 7
    script = panel.script()
    assert "with_changes(device='cpu', seed=7)" in script.as_python()
    assert "--set device=cpu --set seed=7" in script.as_command()


def test_colour(panel):
    colour = np.stack([STACK[0], STACK[0] * 0.5, STACK[0] * 0.2], axis=-1).astype(np.uint16)
    tifffile.imwrite("cells.tif", colour, photometric="rgb")
    panel._viewer.layers.clear()
    panel._viewer.add_image(colour, rgb=True, name="cells")
    assert "axes='YXS'" in panel.script().as_python()
    for image in results_of_snippets(panel):
        np.testing.assert_array_equal(image, result_of_panel(panel))


@pytest.fixture
def channels(panel) -> Image:
    """A layer of two channels, read from its file, with the wavelength of one stated."""
    pixels = np.stack([STACK[:2], STACK[1:]])
    Path("cells.tif").unlink()
    tifffile.imwrite("cells.ome.tif", pixels, metadata={"axes": "CZYX"})
    panel._viewer.layers.clear()
    with layer_source(path="cells.ome.tif"):
        layer = panel._viewer.add_image(pixels, name="cells", axis_labels=("c", "z", "y", "x"))
    Stated(optics=Optics(0.8, None, (None, 0.52))).store(layer)
    return layer


@pytest.mark.parametrize(
    ("scope", "channel", "stated"),
    [
        (input_form.STACK, 0, "?,520"),
        (input_form.PLANE, 0, "?"),
        (input_form.PLANE, 1, "520"),
    ],
)
def test_a_command_states_the_wavelengths_of_the_channels_that_it_takes(
    panel, channels, scope, channel, stated
):
    panel.input.scope.value = scope
    panel.fields.widgets["solver"].value = "wiener"
    panel._viewer.dims.set_point(0, channel)
    command = panel.script().as_command()
    words = shlex.split(command)
    assert words[words.index("--wavelength") + 1] == stated
    _, task = panel.task()
    expected = deconvolve_stack(task.image, task.settings, kernel=task.kernel).result().image
    run_command(command)
    with open_image(Path("cells_deblurred.tif")) as opened:  # whose C comes after Z
        np.testing.assert_array_equal(np.asarray(opened.image.pixels), expected)
