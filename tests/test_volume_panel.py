"""Volumes in the panel: what they need, the run, its layers, and what can be done with them."""

import shlex
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import tifffile
from napari.layers import Image as ImageLayer
from napari.layers._source import layer_source
from scipy import ndimage
from tests import guard
from tests.command import blind_deconv
from tests.test_metadata import write_zarr

from napari_blind_deconv import Image, Optics, deconvolve, microscope_psf
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.io.images import read_psf
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, sidecar_of
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.optics import MicroscopeKind
from napari_blind_deconv.plugin import kernel_form
from napari_blind_deconv.plugin.batch_run import BatchChoices, FolderBatch, Outcome, run_folder
from napari_blind_deconv.plugin.kernel_view import orthogonal_sections
from napari_blind_deconv.plugin.snippets import Script
from napari_blind_deconv.plugin.stated import Stated
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget

SIZE = (0.3, 0.1, 0.1)
PSF = gaussian_kernel((7, 7, 7), (1.5, 1.2, 1.2)).astype(np.float32)
CALIBRATION = {"scale": SIZE, "translate": (3, 1, 2), "units": ("um",) * 3}
LABELS = {"axis_labels": ("z", "y", "x")}


def recorded(seed: int) -> np.ndarray:
    """A volume (12, 32, 36) of blurred points, in counts above an offset."""
    points = np.random.default_rng(seed).random((12, 32, 36)) > 0.985
    blurred = ndimage.convolve(3000.0 * points, PSF, mode="wrap")
    return np.random.default_rng(seed).poisson(blurred + 100).astype(np.uint16)


VOLUME = recorded(0)


def add(dock, pixels=VOLUME, **options):
    layer = dock._viewer.add_image(pixels, name="cells", **{**CALIBRATION, **LABELS, **options})
    return layer


STACK = np.stack([recorded(seed) for seed in range(2)])  # TZYX


def add_stack(dock, labels):
    """Add two volumes with the axes in an order."""
    pixels = STACK if labels[0] == "t" else STACK.swapaxes(0, 1)
    step = {"t": 1, "z": 0.3, "y": 0.1, "x": 0.1}
    unit = {"t": "s"}
    return add(
        dock,
        pixels,
        scale=[step[axis] for axis in labels],
        units=[unit.get(axis, "um") for axis in labels],
        translate=None,
        axis_labels=labels,
    )


def choose(dock, scope="this volume") -> None:
    """Choose volumes, and a PSF from a layer that adds no planes to the viewer's sliders."""
    cells = dock._viewer.layers["cells"]
    pixels = np.expand_dims(PSF, [a for a, name in enumerate(cells.axis_labels) if name == "t"])
    names = ("scale", "translate", "units", "axis_labels")
    psf = dock._viewer.add_image(pixels, name="psf", **{n: getattr(cells, n) for n in names})
    dock.form.input.layer.value = cells
    dock.form.input.scope.value = scope
    dock.form.kernel.source.value = kernel_form.LAYER
    dock.form.kernel.layer.value = psf


def finish(dock, qtbot) -> None:
    dock.start()
    qtbot.waitUntil(dock.run_button.isEnabled, timeout=guard.MILLISECONDS)


def result_of(dock):
    return dock._viewer.layers["cells [deblurred]"]


class TestChoice:
    """What is offered, and what is said before a run."""

    @pytest.mark.parametrize(
        ("shape", "labels", "offered"),
        [
            ((32, 36), ("y", "x"), []),
            ((12, 32, 36), ("z", "y", "x"), ["this volume"]),
            ((12, 32, 36), ("", "", ""), ["this volume"]),  # which is taken for Z
            ((12, 32, 36), ("t", "y", "x"), []),
            ((2, 12, 32, 36), ("c", "z", "y", "x"), ["this volume", "all volumes"]),
        ],
    )
    def test_volumes_are_offered_where_there_is_an_axis_z(self, dock, shape, labels, offered):
        options = {"scale": (1,) * len(shape), "units": ("pixel",) * len(shape)}
        calibration = {**options, "translate": None, "axis_labels": labels}
        add(dock, np.resize(VOLUME, shape), **calibration)
        scope = dock.form.input.scope
        assert scope.value == "this plane"
        assert [choice for choice in scope.choices if "volume" in choice] == offered

    def test_an_axis_that_is_named_z_later_is_one(self, dock):
        layer = add(dock, axis_labels=("t", "y", "x"))
        assert "this volume" not in dock.form.input.scope.choices
        layer.axis_labels = ("z", "y", "x")
        assert "this volume" in dock.form.input.scope.choices

    def said(self, dock) -> str:
        """The reason why there is no run, which the form and the button state."""
        assert not dock.run_button.isEnabled()
        assert dock.run_button.toolTip() == dock.form.expected_time.value
        return dock.run_button.toolTip()

    def test_a_psf_is_needed_by_richardson_lucy_only(self, dock):
        add(dock)
        dock.form.input.scope.value = "this volume"
        assert dock.run_button.isEnabled()
        dock.form.fields.widgets["solver"].value = "richardson-lucy"
        assert "Expected a PSF for Richardson-Lucy, got none" in self.said(dock)
        dock.form.fields.widgets["solver"].value = "auto"
        dock.form.kernel.source.value = kernel_form.LAYER
        assert "No layer is chosen as the PSF; choose a 3D layer" in self.said(dock)
        dock.form.input.scope.value = "this plane"
        assert dock.run_button.isEnabled()
        choose(dock)
        assert dock.run_button.isEnabled()
        assert dock.form.kernel.is_held, "what a volume needs is chosen by itself"
        dock.form.kernel.held.value = False
        assert "Expected a PSF to hold for a volume, or none, got a guess" in self.said(dock)

    def test_a_voxel_size_is_needed(self, dock):
        layer = add(dock, units=("pixel",) * 3, scale=(1, 1, 1))
        choose(dock)
        assert "Expected the voxel size of a volume" in self.said(dock)
        dock.form.kernel.source.value = kernel_form.MICROSCOPE
        assert "Expected the voxel size of a volume" in self.said(dock)
        layer.scale, layer.units = SIZE, ("um",) * 3
        assert dock.run_button.isEnabled()

    def test_what_the_engine_refuses_is_said_first(self, dock):
        layer = add(dock, VOLUME[:7])
        choose(dock)
        assert "at least 8 planes, got 7" in self.said(dock)
        layer.data = VOLUME
        layer.scale = (9, 0.1, 0.1)
        assert "planes that are close enough together" in self.said(dock)
        dock.form.kernel.layer.value = None
        dock.form.kernel.source.value = kernel_form.MICROSCOPE
        dock.form.kernel.microscope.rows["aperture"].value = 1.6
        assert "numerical aperture" in self.said(dock)

    def test_a_2d_psf_is_none_of_a_volume(self, dock):
        add(dock)
        flat = dock._viewer.add_image(PSF[3], name="flat")
        choose(dock)
        dock.form.kernel.layer.value = flat
        assert "single grey volume (planes, rows, columns), got flat" in self.said(dock)

    def test_channels_do_not_share_a_computed_psf(self, dock):
        labels = ("c", "z", "y", "x")
        calibration = {"scale": (1, *SIZE), "units": ("um",) * 4, "translate": None}
        add(dock, np.stack([VOLUME] * 2), axis_labels=labels, **calibration)
        dock.form.input.scope.value = "all volumes"
        dock.form.kernel.source.value = kernel_form.MICROSCOPE
        assert "one channel for the microscope's PSF" in self.said(dock)
        dock.form.input.scope.value = "this volume"
        assert dock.run_button.isEnabled()


class TestKernel:
    """The PSF of a volume."""

    @pytest.mark.parametrize(
        ("kind", "optics"),
        [
            ("widefield", {}),
            ("confocal", {"excitation": 561, "pinhole": 0.8}),
            ("two-photon", {"excitation": 900}),
            ("light-sheet", {"sheet": 1.5}),
        ],
    )
    def test_of_the_microscope(self, dock, kind, optics):
        add(dock)
        dock.form.input.scope.value = "this volume"
        form = dock.form.kernel
        form.source.value = kernel_form.MICROSCOPE
        values = {"aperture": 1.0, "wavelength": 600, "index": 1.515, "kind": kind, **optics}
        for name, value in values.items():
            form.microscope.rows[name].value = value
            assert form.microscope.rows[name].native.isVisibleTo(form) or kind == "two-photon"
        hidden = {"excitation", "pinhole", "sheet"} - set(optics)
        assert not any(form.microscope.rows[name].native.isVisibleTo(form) for name in hidden)
        selection = dock.form.kernel_selection()
        waves = () if kind == "two-photon" else (0.6,)
        arguments = {
            "excitation_wavelength": optics.get("excitation", 0) / 1000 or None,
            "pinhole": optics.get("pinhole", 1.0),
            "sheet_thickness": optics.get("sheet"),
        }
        expected = microscope_psf(Optics(1.0, 1.515, waves), SIZE, microscope=kind, **arguments)
        np.testing.assert_array_equal(selection.choice.kernel.weights, expected.weights)
        assert selection.choice.is_held
        names = {"Optics": Optics, "microscope_psf": microscope_psf}
        np.testing.assert_array_equal(eval(selection.code, names).weights, expected.weights)

    def test_of_a_plane_is_as_before(self, dock):
        add(dock)
        dock.form.kernel.source.value = kernel_form.MICROSCOPE
        selection = dock.form.kernel_selection()
        assert not selection.choice.is_held
        assert selection.code.startswith("widefield_psf(")
        assert not dock.form.kernel.microscope.rows["index"].native.isVisibleTo(dock.form.kernel)

    def test_of_a_file_has_the_voxels_of_the_volume(self, dock, tmp_path):
        stored = gaussian_kernel((13, 7, 7), (3.0, 1.2, 1.2)).astype(np.float32)
        resolution = {"resolution": (10, 10), "resolutionunit": "NONE"}
        metadata = {"axes": "ZYX", "spacing": 0.15, "unit": "um"}
        tifffile.imwrite(tmp_path / "psf.tif", stored, imagej=True, metadata=metadata, **resolution)
        assert read_psf(tmp_path / "psf.tif").pixel_size == pytest.approx((0.15, 0.1, 0.1))
        add(dock)
        dock.form.input.scope.value = "this volume"
        dock.form.kernel.source.value = kernel_form.PSF_FILE
        dock.form.kernel.file.value = tmp_path / "psf.tif"
        kernel = dock.form.kernel_selection().choice.kernel
        assert kernel.pixel_size == pytest.approx(SIZE)
        assert kernel.widths.along_axes[0] == pytest.approx(1.5 * 2.355, rel=0.1)
        assert "prepare_psf(read_psf(" in dock.form.script().as_python()
        assert dock.form.kernel_selection().choice.kernel is kernel, "nothing is done twice"
        tifffile.imwrite(
            tmp_path / "psf.tif", stored[3:-3], imagej=True, metadata=metadata, **resolution
        )
        again = dock.form.kernel_selection().choice.kernel
        assert again.shape[0] < kernel.shape[0], "a file that has changed is read again"

    def test_a_gaussian_has_a_width_along_z(self, dock):
        add(dock)
        dock.form.input.scope.value = "this volume"
        dock.form.kernel.source.value = kernel_form.GAUSSIAN
        dock.form.kernel.sigma.value, dock.form.kernel.sigma_z.value = 1.0, 2.0
        kernel = dock.form.kernel_selection().choice.kernel
        expected = np.array([2.0, 1.0, 1.0]) * 2.355
        np.testing.assert_allclose(kernel.widths.along_axes, expected, rtol=0.15)

    def test_three_sections_are_to_scale(self):
        kernel = np.zeros((5, 3, 3), np.float32)
        kernel[:, 1, 1] = 1
        picture = orthogonal_sections(kernel, (0.3, 0.1, 0.1))
        assert picture.shape == (3 + 1 + 15, 3 + 1 + 15)
        np.testing.assert_array_equal(picture[:3, :3], kernel[2])
        np.testing.assert_array_equal(picture[4:, :3], np.tile([0, 1, 0], (15, 1)))
        np.testing.assert_array_equal(picture[:3, 4:], np.tile([[0], [1], [0]], (1, 15)))


class TestRun:
    """A run on one volume."""

    @pytest.fixture
    def done(self, dock, qtbot) -> BlindDeconvolutionWidget:
        add(dock, colormap="green", blending="additive", rendering="average")
        choose(dock)
        finish(dock, qtbot)
        return dock

    def test_the_result_is_that_of_the_engine_and_lies_on_the_image(self, done):
        layer, source = result_of(done), done._viewer.layers["cells"]
        alone = deconvolve(VOLUME, axes="ZYX", pixel_size=SIZE, kernel=PSF)
        np.testing.assert_allclose(layer.data, alone.image, rtol=1e-4, atol=0.05)
        for name in ("scale", "translate"):
            np.testing.assert_allclose(getattr(layer, name), getattr(source, name))
        for name in ("units", "axis_labels", "blending", "rendering"):
            assert getattr(layer, name) == getattr(source, name)
        # What is black stays black, and small objects, which have become brighter, keep their form.
        (dark, bright), (source_dark, source_bright) = layer.contrast_limits, source.contrast_limits
        assert dark == source_dark
        assert bright == pytest.approx(np.percentile(layer.data, 99.9))
        assert bright > source_bright
        assert layer.colormap.name == "green"
        assert not source.visible, "or both would be added"
        record = layer.metadata["blind_deconvolution"]
        assert record["kernel_is_held"] or record["kernel"] is not None

    def test_the_kernel_has_its_voxel_size_and_adds_no_planes(self, done):
        layer = done._viewer.layers["cells [kernel]"]
        assert layer.data.shape == PSF.shape
        assert not layer.visible
        np.testing.assert_allclose(layer.scale, SIZE)
        assert done._viewer.dims.range[0].step == pytest.approx(0.3)
        assert done._viewer.dims.nsteps[0] == len(VOLUME)
        done.result.layer_options.beside.setChecked(True)
        assert layer.visible
        left = layer.data_to_world((0, 0, 0))[2]
        assert left > done._viewer.layers["cells"].data_to_world((0, 0, 35))[2]

    def test_a_psf_deeper_than_the_volume_adds_no_planes_either(self, dock, qtbot):
        add(dock)
        choose(dock)
        deep = gaussian_kernel((21, 7, 7), (3.0, 1.2, 1.2))
        dock.form.kernel.layer.value.data = deep
        finish(dock, qtbot)
        dock._viewer.layers.remove(dock._viewer.layers["psf"])
        assert dock._viewer.dims.nsteps[0] == len(VOLUME)
        layer = dock._viewer.layers["cells [kernel, central planes]"]
        assert len(layer.data) == len(VOLUME)
        assert dock.result._run.kernels()[1].shape[-3:] == deep.shape

    def test_widths_and_verdict_are_those_along_three_axes(self, done):
        assert done.result.kernel_label.text().startswith("FWHM 0.969 × 0.2")
        assert "µm (z × y × x)" in done.result.kernel_label.text()
        assert "wide along Z, Y and X" in done.verdict.text()
        assert "voxels (Z, Y, X): XY, at its right YZ" in done.kernel_view.toolTip()

    def test_comparisons_follow_the_plane_shown(self, done):
        viewer, comparison = done._viewer, done.result.comparison
        comparison.swipe_button.click()
        comparison.line_button.click()
        for plane in (2, 9):
            viewer.dims.set_current_step(0, plane)
            columns = comparison.divider.value()
            left, right = (viewer.layers[f"cells [swipe: {name}]"] for name in ("input", "result"))
            np.testing.assert_array_equal(left.data[0], VOLUME[plane, :, :columns])
            shown = result_of(done).data[plane, :, : columns - 1 : -1]
            np.testing.assert_array_equal(right.data[0], shown)
            assert left.translate[0] == pytest.approx(3 + 0.3 * plane)
            before, after = comparison.plot.curves
            row = VOLUME[plane, 16, 9:28].astype(float)
            np.testing.assert_allclose(before.y, row)
            np.testing.assert_allclose(after.y, result_of(done).data[plane, 16, 9:28], rtol=1e-5)
        viewer.dims.ndisplay = 3
        assert not comparison.swipe_button.isEnabled()
        assert "in 2D" in comparison.swipe_button.toolTip()

    def test_residual_and_pixels_left_out_are_volumes(self, dock, qtbot):
        deep = np.concatenate([VOLUME, VOLUME[::-1], VOLUME])
        deep[20, 10, 10] = 60_000  # a hot pixel
        add(dock, deep)
        choose(dock)
        dock.form.fields.widgets["solver"].value = "wiener"
        finish(dock, qtbot)
        dock.result.comparison.residual_button.click()
        residual = dock._viewer.layers["cells [residual]"].data
        assert residual.shape == deep.shape
        assert np.isfinite(residual).any()
        left_out = dock.result.left_out
        assert "Hot or dead voxels were left out and replaced (1 voxel)." in left_out.notes.text()
        assert left_out.button.text() == "Show voxels left out"
        assert "pixel" not in left_out.button.toolTip()
        left_out.button.click()
        faults = dock._viewer.layers["cells [left out]"].data
        assert faults[20, 10, 10]
        assert (faults > 0).mean() < 0.01

    def test_another_estimate_is_the_result(self, done):
        run = done.result._run
        assert len(run.estimates) > 1
        done.result.slider.slider.setValue(0)
        np.testing.assert_array_equal(result_of(done).data, run.estimates[0].image)
        done.result.slider.use_button.click()
        assert run.planes.results[()].chosen_by_hand

    def test_a_strength_is_applied_without_a_preview(self, done, qtbot):
        slider = done.result.strength
        slider.slider.setValue(slider.slider.value() + 4)
        assert slider.label.text().endswith("a volume has no preview")
        assert "cells [strength]" not in done._viewer.layers
        slider.apply_button.click()
        qtbot.waitUntil(done.run_button.isEnabled, timeout=guard.MILLISECONDS)
        result = done.result._run.planes.results[()]
        assert result.settings.strength == pytest.approx(1.2)
        assert len([layer for layer in done._viewer.layers if "deblurred" in layer.name]) == 1
        assert [entry.part for entry in done.history.entries] == ["12 × 32 × 36 px"] * 2

    @pytest.mark.parametrize("name", ["out.ome.tif", "out.ome.zarr", "out.tif"])
    def test_a_saved_result_keeps_the_voxel_size(self, done, qtbot, tmp_path, name):
        done.result.save_button.save(tmp_path / name)
        qtbot.waitUntil(done.result.save_button.isEnabled, timeout=guard.MILLISECONDS)
        with open_image(tmp_path / name) as opened:
            assert opened.image.axes == "ZYX"
            assert opened.image.spacing == pytest.approx(dict(zip("ZYX", SIZE, strict=True)))
            np.testing.assert_array_equal(np.asarray(opened.image.pixels), result_of(done).data)
        done.result.save_kernel(tmp_path / "kernel.tif")
        kernel = read_psf(tmp_path / "kernel.tif")
        assert kernel.pixel_size == pytest.approx(SIZE)
        np.testing.assert_allclose(kernel.weights, PSF, atol=1e-6)

    def test_its_script_does_the_same(self, done, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        tifffile.imwrite("cells.tif", VOLUME)
        tifffile.imwrite("psf.tif", PSF)
        exec(done.form.script().as_python(), {})
        again = tifffile.imread("cells_deblurred.tif")
        np.testing.assert_allclose(again, result_of(done).data, rtol=1e-4, atol=0.05)


def test_stopping_keeps_the_estimate(dock, qtbot):
    add(dock)
    choose(dock)
    dock.form.fields.widgets["solver"].value = "richardson-lucy"
    dock.form.fields.widgets["max_iterations"].value = 100_000
    dock.form.fields.widgets["stop_at_noise"].value = False
    dock._viewer.dims.ndisplay = 3
    dock.start()
    run = dock._run
    qtbot.waitUntil(lambda: len(run.estimates) > 1, timeout=guard.MILLISECONDS)
    live = result_of(dock).data
    assert live.shape == VOLUME.shape
    assert not np.array_equal(live, VOLUME)
    dock.stop_button.click()
    qtbot.waitUntil(dock.run_button.isEnabled, timeout=guard.MILLISECONDS)
    assert run.planes.results[()].stop_reason == "stopped"
    assert result_of(dock).data.shape == VOLUME.shape


class TestStack:
    """The volumes of a stack, whose axes may be in any order."""

    @pytest.mark.parametrize("labels", ["tzyx", "ztyx"])
    def test_all_volumes(self, dock, qtbot, labels, tmp_path):
        layer = add_stack(dock, tuple(labels))
        choose(dock, "all volumes")
        dock.form.fields.widgets["solver"].value = "wiener"
        finish(dock, qtbot)
        assert dock.status.text() == "2 volumes done."
        result = result_of(dock)
        assert result.data.shape == layer.data.shape
        first = result.data if labels[0] == "t" else result.data.swapaxes(0, 1)
        for volume, before in zip(first, STACK, strict=True):
            assert np.corrcoef(volume.ravel(), before.ravel())[0, 1] > 0.8
        kernel = dock._viewer.layers["cells [kernel]"]
        time, depth = labels.index("t"), labels.index("z")
        assert (kernel.data.shape[time], kernel.data.shape[depth]) == (2, len(PSF))
        dock._viewer.dims.set_current_step(time, 1)
        dock._viewer.dims.set_current_step(depth, 4)
        before, after = dock.result._run.planes_shown()
        np.testing.assert_array_equal(before.array, STACK[1, 4])
        np.testing.assert_array_equal(after, first[1, 4])
        dock.result.save_button.save(tmp_path / "out.ome.tif")
        qtbot.waitUntil(dock.result.save_button.isEnabled, timeout=guard.MILLISECONDS)
        with open_image(tmp_path / "out.ome.tif") as opened:
            assert opened.image.axes == "TZYX"
            np.testing.assert_array_equal(np.asarray(opened.image.pixels), first)
            assert opened.image.spacing["Z"] == pytest.approx(0.3)
        script: Script = dock.form.script()
        assert f"axes={labels.upper()!r}" in script.as_python()
        assert "block='volume'" in script.as_python()
        assert f"--axes {labels.upper()} --volume" in script.as_command()

    @pytest.mark.parametrize("labels", ["tzyx", "ztyx"])
    def test_the_volume_shown(self, dock, qtbot, labels):
        add_stack(dock, tuple(labels))
        choose(dock)
        time = labels.index("t")
        dock._viewer.dims.set_current_step(time, 1)
        dock.form.fields.widgets["solver"].value = "wiener"
        finish(dock, qtbot)
        result = result_of(dock)
        assert result.data.shape[time] == 1
        assert result.translate[time] == pytest.approx(1)
        alone = deconvolve(STACK[1], axes="ZYX", pixel_size=SIZE, kernel=PSF, solver="wiener")
        np.testing.assert_allclose(np.squeeze(result.data), alone.image, rtol=1e-4, atol=0.05)
        index = ":,1" if labels[0] == "z" else "1,:"
        assert f"--select {index},:,:" in dock.form.script().as_command()
        assert f"--axes {labels.upper()} " in dock.form.script().as_command()
        assert "axes='ZYX'" in dock.form.script().as_python()
        assert dock.history.entries[-1].part == "volume 1"

    def test_apply_to_all_takes_all_volumes(self, dock, qtbot):
        add_stack(dock, tuple("tzyx"))
        choose(dock)
        dock.form.fields.widgets["solver"].value = "wiener"
        finish(dock, qtbot)
        dock.result.apply_button.click()
        qtbot.waitUntil(dock.run_button.isEnabled, timeout=guard.MILLISECONDS)
        assert dock.form.input.scope.value == "all volumes"
        assert dock.status.text() == "2 volumes done."

    def test_a_mask_of_a_volume_holds_for_all(self, dock, qtbot):
        layer = add_stack(dock, tuple("ztyx"))
        choose(dock, "all volumes")
        mask = np.zeros(VOLUME.shape, np.uint8)
        mask[5, 3:6, 3:6] = 1
        labels = np.zeros(layer.data.shape, np.uint8)
        labels[5, :, 3:6, 3:6] = 1
        dock.form.input.mask.value = dock._viewer.add_labels(
            labels, scale=layer.scale, units=layer.units, name="debris"
        )
        _, task = dock.form.task()
        assert task.image.block_kind is BlockKind.VOLUME
        np.testing.assert_array_equal(task.image.masked[1], mask.astype(bool))


def test_a_batch_of_volumes(dock, tmp_path):
    add(dock)
    dock.form.input.scope.value = "this volume"
    dock.form.fields.widgets["solver"].value = "richardson-lucy"
    assert dock.reuse.open_batch() is None, "without a PSF there is no batch either"
    choose(dock)
    dock.form.fields.widgets["solver"].value = "wiener"
    choices = BatchChoices.of(dock.form)
    assert choices.described.endswith("each volume at once")
    metadata = {"axes": "ZYX", "spacing": 0.3, "unit": "um"}
    (tmp_path / "in").mkdir()
    tifffile.imwrite(
        tmp_path / "in" / "a.tif", VOLUME, imagej=True, resolution=(10, 10), metadata=metadata
    )
    batch = FolderBatch(tmp_path / "in", "*.tif", tmp_path / "out", choices)
    assert " --volume " in batch.as_command()
    *_, last = run_folder(batch, Event())
    assert last.outcome is Outcome.DONE
    with open_image(tmp_path / "out" / "a_deblurred.ome.tif") as opened:
        assert opened.image.spacing == pytest.approx(dict(zip("ZYX", SIZE, strict=True)))
        result = np.asarray(opened.image.pixels)
    options = {"axes": "ZYX", "pixel_size": SIZE, "kernel": PSF, "solver": "wiener"}
    alone = deconvolve(VOLUME, **options)
    np.testing.assert_allclose(result, alone.image, rtol=1e-3, atol=0.5)


class TestBlind:
    """A volume without a PSF."""

    @pytest.fixture
    def blind(self, dock, qtbot) -> BlindDeconvolutionWidget:
        """The panel after a run of a volume whose optics are partly known."""
        layer = add(dock)
        Stated(optics=Optics(0.8, 1.33, (0.52,))).store(layer)
        dock.form.input.scope.value = "this volume"
        dock.form.fields.widgets["solver"].value = "wiener"
        finish(dock, qtbot)
        return dock

    def test_the_kernel_is_that_of_the_engine_and_may_be_held_for_others(self, blind):
        image = Image(VOLUME, "ZYX", dict(zip("ZYX", SIZE, strict=True)), "µm")
        known = replace(image, optics=Optics(0.8, 1.33, (0.52,)))
        alone = deconvolve(known.as_volumes(), solver="wiener")
        found = blind.result._run.planes.results[()].kernel
        assert found.source is alone.kernel.source
        np.testing.assert_allclose(found.weights, alone.kernel.weights, atol=1e-6)
        np.testing.assert_allclose(result_of(blind).data, alone.image, rtol=1e-3, atol=0.5)

    def test_the_snippet_states_the_optics(self, blind):
        code = blind.form.script().as_python()
        assert "optics=Optics(0.8, 1.33, (0.52,))" in code
        assert "Image, Optics" in code


class TestRepeated:
    """Volumes without a PSF, read from a file: what repeats their run gives the same result."""

    @pytest.fixture
    def opened(self, dock, tmp_path) -> ImageLayer:
        """A layer (T, Z, Y, X) from a file that states nothing about it."""
        tifffile.imwrite(tmp_path / "cells.tif", STACK)
        (layer,) = dock._viewer.open(str(tmp_path / "cells.tif"), plugin="napari")
        layer.axis_labels = ("t", "z", "y", "x")
        layer.scale, layer.units = (1, *SIZE), ("s", "um", "um", "um")
        Stated(optics=Optics(0.8, 1.33, (0.52,), MicroscopeKind.CONFOCAL)).store(layer)
        dock.form.fields.widgets["solver"].value = "wiener"
        dock._viewer.dims.set_current_step(0, 1)
        return layer

    @pytest.mark.parametrize(("scope", "axes"), [("this volume", "ZYX"), ("all volumes", "TZYX")])
    def test_from_the_sidecar_and_by_the_command(
        self, dock, qtbot, tmp_path, monkeypatch, opened, scope, axes
    ):
        dock.form.input.scope.value = scope
        finish(dock, qtbot)
        expected = np.squeeze(result_of(dock).data)
        found = dock.result._run.kernels()[1]
        path = tmp_path / "result.ome.tif"
        dock.result.save_button.save(path)
        qtbot.waitUntil(dock.result.save_button.isEnabled, timeout=guard.MILLISECONDS)
        monkeypatch.chdir(tmp_path)
        again = blind_deconv(
            "run", "--from-sidecar", sidecar_of(path), "--overwrite", "--kernel-out", "kernel.tif"
        )
        assert again.returncode == 0, again.stderr
        copied = shlex.split(dock.form.script().as_command())
        assert blind_deconv(*copied[1:]).returncode == 0
        for result in (path, Path("cells_deblurred.tif")):
            with open_image(result) as file:
                assert file.image.axes == axes
                assert file.image.spacing["Z"] == pytest.approx(0.3)
                np.testing.assert_array_equal(np.asarray(file.image.pixels), expected)
        with open_image(Path("kernel.tif")) as file:
            np.testing.assert_allclose(np.asarray(file.image.pixels), np.squeeze(found), atol=1e-7)
        exec(dock.form.script().as_python(), {})
        np.testing.assert_array_equal(tifffile.imread("cells_deblurred.tif"), expected)

    def test_axes_of_length_1_are_selected(self, dock, qtbot, tmp_path):
        path, axes = tmp_path / "cells.ome.zarr", "TCZYX"
        write_zarr(path, VOLUME[None, None], list(axes.lower()), version="0.3")
        with layer_source(path=str(path)):
            layer = dock._viewer.add_image(
                VOLUME[None, None], name="cells", axis_labels=tuple(axes)
            )
        layer.scale, layer.units = (1, 1, *SIZE), ("s", "pixel", "um", "um", "um")
        dock.form.fields.widgets["solver"].value = "wiener"
        dock.form.input.scope.value = "this volume"
        finish(dock, qtbot)
        dock.result.save_button.save(tmp_path / "result.ome.tif")
        qtbot.waitUntil(dock.result.save_button.isEnabled, timeout=guard.MILLISECONDS)
        job = Job.from_sidecar(sidecar_of(tmp_path / "result.ome.tif"))
        with job.open() as opened:
            np.testing.assert_array_equal(opened.image.array, VOLUME)


class TestApplyToAll:
    """The kernel that was found in one volume is held for all volumes of the layer."""

    @pytest.mark.parametrize("scope_then", ["this volume", "this plane"])
    def test_it_is_that_of_the_volume_whatever_is_chosen_then(
        self, dock, qtbot, tmp_path, monkeypatch, scope_then
    ):
        add_stack(dock, tuple("tzyx"))
        dock._viewer.dims.set_current_step(0, 1)
        dock.form.fields.widgets["solver"].value = "wiener"
        dock.form.input.scope.value = "this volume"
        finish(dock, qtbot)
        found = dock.result._run.planes.results[()].kernel
        dock.form.input.scope.value = scope_then
        dock.result.apply_button.click()
        qtbot.waitUntil(dock.run_button.isEnabled, timeout=guard.MILLISECONDS)
        assert dock.form.input.scope.value == "all volumes"
        assert dock.status.text() == "2 volumes done."
        results = dock.result._run.planes.results
        assert {result.kernel.source for result in results.values()} == {found.source}
        options = {"axes": "ZYX", "pixel_size": SIZE, "kernel": found, "solver": "wiener"}
        for estimate, volume in zip(result_of(dock).data, STACK, strict=True):
            alone = deconvolve(volume, **options)
            np.testing.assert_allclose(estimate, alone.image, rtol=1e-4, atol=0.05)
        monkeypatch.chdir(tmp_path)
        dock.result.save_kernel(tmp_path / "kernel.tif")
        tifffile.imwrite("cells.tif", STACK)
        exec(dock.form.script().as_python(), {})
        again = tifffile.imread("cells_deblurred.tif")
        np.testing.assert_allclose(again, result_of(dock).data, rtol=1e-4, atol=0.05)
