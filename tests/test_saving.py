"""Results that are saved from the panel: the files are those of the command line."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog
from scipy.ndimage import gaussian_filter
from tests import guard

from napari_blind_deconv import Settings, deconvolve_stack
from napari_blind_deconv.image import Image
from napari_blind_deconv.io.partial import partial_folder
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.io.store import StackStore
from napari_blind_deconv.jobs import Job, run_job, sidecar_of
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.plugin import result_saver, saving
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.plugin.layers import is_output
from napari_blind_deconv.plugin.stated import Stated
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.report import Report
from napari_blind_deconv.results import BlockResult
from napari_blind_deconv.saving import write_result
from napari_blind_deconv.synthetic import fluorescence_scene

LINEAR = Settings(solver="wiener", device="cpu")
NAMES = ("DAPI", "GFP", "Cy5")
SCENES = np.stack([fluorescence_scene((40, 48), seed=seed).observed for seed in range(2)])
# Each channel has its own blur.
CHANNELS = np.stack([gaussian_filter(SCENES, (0, width, width)) for width in (1, 2, 3)])
COUNTS = (100 + 4000 * CHANNELS / CHANNELS.max()).astype(np.uint16)


@pytest.fixture
def panel(
    make_napari_viewer, qtbot, monkeypatch, fresh_panel
) -> Iterator[BlindDeconvolutionWidget]:
    """The panel in an empty viewer, with the quickest solver."""
    monkeypatch.setattr("napari_blind_deconv.plugin.widget.notify", lambda *_: None)
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    widget.form.fields.widgets["solver"].value = "wiener"
    yield widget
    qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)
    qtbot.waitUntil(is_saved(widget), timeout=guard.MILLISECONDS)


@pytest.fixture
def channels_file(tmp_path) -> Path:
    """An OME-TIFF with three channels of two planes."""
    path = tmp_path / "channels.ome.tif"
    sizes = {f"PhysicalSize{axis}": size for axis, size in (("X", 0.1), ("Y", 0.1), ("Z", 0.3))}
    units = {f"{name}Unit": "µm" for name in sizes}
    metadata = {"axes": "CZYX", **sizes, **units, "Channel": {"Name": list(NAMES)}}
    tifffile.imwrite(path, COUNTS, metadata=metadata)
    return path


def opened(panel: BlindDeconvolutionWidget, path: Path, axes: str):
    """Open a file in the viewer, and state its axes as a user would."""
    (layer,) = panel._viewer.open(str(path), plugin="napari")
    layer.axis_labels = tuple(axes)
    sizes = {"Z": 0.3, "Y": 0.1, "X": 0.1}
    layer.units = tuple("um" if axis in sizes else "pixel" for axis in axes)
    layer.scale = tuple(sizes.get(axis, 1) for axis in axes)
    return layer


def finish(panel, qtbot, scope: str) -> None:
    panel.form.input.scope.value = scope
    panel.start()
    qtbot.waitUntil(panel.run_button.isEnabled, timeout=guard.MILLISECONDS)


def is_saved(panel):
    return lambda: panel.result.save_button._worker is None


def save(panel, qtbot, path: Path, **options: bool) -> dict:
    panel.result.save_button.save(path, **options)
    qtbot.waitUntil(is_saved(panel), timeout=guard.MILLISECONDS)
    return json.loads(sidecar_of(path).read_text("utf-8")) if sidecar_of(path).exists() else {}


def pixels_of(path: Path) -> np.ndarray:
    with open_image(path) as file:
        return np.asarray(file.image.pixels)


class TestStack:
    @pytest.mark.parametrize("name", ["result.ome.tif", "result.ome.zarr", "result.tif"])
    def test_a_stack_is_saved_as_the_command_line_writes_it(
        self, panel, qtbot, tmp_path, channels_file, name
    ):
        opened(panel, channels_file, "CZYX")
        finish(panel, qtbot, "all planes")
        record = save(panel, qtbot, tmp_path / name)
        assert panel.status.text() == f"Saved as {name}."
        with open_image(tmp_path / name) as file:
            assert file.image.axes == "CZYX"
            assert file.image.spacing == pytest.approx({"Z": 0.3, "Y": 0.1, "X": 0.1})
            assert file.image.channel_names == (() if name == "result.tif" else NAMES)
            saved = np.asarray(file.image.pixels)
        assert saved.dtype == np.float32
        np.testing.assert_array_equal(saved, panel._last.layer.data)
        # The job of the sidecar repeats the run from file to file.
        job = Job.from_record(record["job"]).model_copy(update={"output": tmp_path / "again.tif"})
        kernel_file = tmp_path / "kernels.tif"
        run_job(job, kernel_out=kernel_file).result()
        np.testing.assert_array_equal(pixels_of(job.output), saved)
        again = json.loads(sidecar_of(job.output).read_text("utf-8"))
        assert again.keys() == record.keys()
        assert again["planes"][0].keys() == record["planes"][0].keys()
        assert Report.of(tmp_path / name, (1, 0)).title == f"{name}, plane (1, 0)"
        panel.result.save_kernel(tmp_path / "saved_kernels.tif")
        ours, theirs = tmp_path / "saved_kernels.tif", kernel_file
        np.testing.assert_array_equal(pixels_of(ours), pixels_of(theirs))
        assert len(pixels_of(ours)) == 3

    def test_the_kernel_of_each_channel_is_named(self, panel, qtbot, channels_file):
        opened(panel, channels_file, "CZYX")
        finish(panel, qtbot, "all planes")
        lines = panel.result.kernel_label.text().splitlines()
        assert [line.split(": FWHM ")[0] for line in lines] == list(NAMES)
        assert len(set(lines)) == 3
        assert not panel.result.slider.isVisibleTo(panel.result)

    def test_axes_are_written_in_the_order_of_ome(self, panel, qtbot, tmp_path):
        swapped = panel._viewer.add_image(
            COUNTS.swapaxes(0, 1), axis_labels=("z", "c", "y", "x"), name="cells"
        )
        finish(panel, qtbot, "all planes")
        record = save(panel, qtbot, tmp_path / "r.ome.zarr")
        with open_image(tmp_path / "r.ome.zarr") as file:
            assert file.image.axes == "CZYX"
        result = panel._viewer.layers["cells [deblurred]"].data
        assert result.shape == swapped.data.shape
        np.testing.assert_array_equal(pixels_of(tmp_path / "r.ome.zarr"), result.swapaxes(0, 1))
        assert [plane["index"] for plane in record["planes"]][:3] == [[0, 0], [0, 1], [1, 0]]
        assert record["job"] is None
        assert record["settings"]["solver"] == "wiener"
        with pytest.raises(ValueError, match="saved in napari"):
            Job.from_sidecar(sidecar_of(tmp_path / "r.ome.zarr"))

    def test_a_failed_plane_is_recorded(self, panel, qtbot, tmp_path):
        bad = SCENES.astype(np.float32)
        bad[1] = 7
        panel._viewer.add_image(bad, axis_labels=("z", "y", "x"), name="cells")
        finish(panel, qtbot, "all planes")
        record = save(panel, qtbot, tmp_path / "r.ome.tif")
        assert [bool(plane["failure"]) for plane in record["planes"]] == [False, True]
        result = panel._viewer.layers["cells [deblurred]"].data
        np.testing.assert_array_equal(pixels_of(tmp_path / "r.ome.tif"), result)

    def test_planes_that_were_not_computed_are_zeros_and_recorded(self, panel, qtbot, tmp_path):
        panel._viewer.add_image(
            np.concatenate([SCENES] * 6), axis_labels=("z", "y", "x"), name="cells"
        )
        panel.form.stack_kernel.value = "per-slice"
        panel.form.input.scope.value = "all planes"
        panel.start()
        panel._run.layer.events.set_data.connect(lambda: panel.stop_button.click())
        qtbot.waitUntil(panel.run_button.isEnabled, timeout=guard.MILLISECONDS)
        assert panel._last.outcome.missing
        record = save(panel, qtbot, tmp_path / "r.ome.tif")
        assert "stopped before this plane" in record["planes"][-1]["failure"]
        assert not pixels_of(tmp_path / "r.ome.tif")[-1].any()

    def test_some_channels_keep_their_names_and_their_job(
        self, panel, qtbot, tmp_path, channels_file
    ):
        opened(panel, channels_file, "CZYX")
        panel.form.input.scope.value = "some planes"
        panel.form.input.span.value = (1, 2)
        finish(panel, qtbot, "some planes")
        record = save(panel, qtbot, tmp_path / "r.ome.tif")
        assert record["job"]["select"] == "1:3,:,:,:"
        with open_image(tmp_path / "r.ome.tif") as file:
            assert file.image.channel_names == NAMES[1:]


class TestPlane:
    def test_a_region_of_a_file_is_saved_with_its_job(self, panel, qtbot, tmp_path, channels_file):
        layer = opened(panel, channels_file, "CZYX")
        panel._viewer.dims.set_current_step(0, 2)
        corners = np.array([[2, 0, 4, 3], [2, 0, 4, 43], [2, 0, 36, 43], [2, 0, 36, 3]])
        panel._viewer.add_shapes([corners], scale=layer.scale, units=layer.units)
        panel._viewer.layers.selection.active = layer
        finish(panel, qtbot, "drawn rectangle")
        record = save(panel, qtbot, tmp_path / "r.ome.tif")
        saved = pixels_of(tmp_path / "r.ome.tif")
        job = Job.from_record(record["job"]).model_copy(update={"output": tmp_path / "again.tif"})
        assert job.select.startswith("2,0,")
        run_job(job).result()
        np.testing.assert_array_equal(pixels_of(job.output), saved)
        assert saved.shape == panel._last.layer.data.shape[-2:]

    def test_optics_that_were_stated_are_in_the_file_and_its_job(
        self, panel, qtbot, tmp_path, channels_file
    ):
        layer = opened(panel, channels_file, "CZYX")
        optics = Optics(1.2, None, (0.45, 0.52, 0.6))
        Stated(optics=optics).store(layer)
        finish(panel, qtbot, "all planes")
        record = save(panel, qtbot, tmp_path / "r.ome.tif")
        assert Job.from_record(record["job"]).optics == optics
        with open_image(tmp_path / "r.ome.tif") as file:
            assert file.image.optics == optics

    def test_a_layer_that_differs_from_its_file_has_no_job(
        self, panel, qtbot, tmp_path, channels_file
    ):
        layer = opened(panel, channels_file, "CZYX")
        layer.data = layer.data + np.uint16(1)
        finish(panel, qtbot, "this plane")
        record = save(panel, qtbot, tmp_path / "r.ome.tif")
        assert record["job"] is None
        assert record["input"]["layer"] == layer.name

    def test_colours_are_saved_in_the_units_of_the_image(self, panel, qtbot, tmp_path):
        colours = np.stack([CHANNELS[1, 0]] * 3, axis=-1)
        stack = (255 * np.stack([colours, colours[::-1]]) / colours.max()).astype(np.uint8)
        panel._viewer.add_image(stack, rgb=True, name="stain", axis_labels=("z", "y", "x"))
        for scope, blocks in (("this plane", 1), ("all planes", 2)):
            finish(panel, qtbot, scope)
            save(panel, qtbot, tmp_path / "r.ome.tif", overwrite=True)
            saved = pixels_of(tmp_path / "r.ome.tif").reshape(blocks, *stack.shape[1:])
            assert saved.max() > 255  # not clipped, either
            shown = panel._last.layer.data.reshape(saved.shape)
            np.testing.assert_allclose(shown, np.clip(saved / 255, 0, 1), atol=1e-6)
        save(panel, qtbot, tmp_path / "r.ome.zarr")
        assert "OME-Zarr has no colours" in panel.status.text()

    def test_the_estimate_that_was_chosen_is_saved(self, panel, qtbot, tmp_path, monkeypatch):
        monkeypatch.setattr("napari_blind_deconv.plugin.worker._SECONDS_BETWEEN_REPORTS", 0)
        panel._viewer.add_image(SCENES[0], name="cells")
        finish(panel, qtbot, "this plane")
        before = panel._last.layer.data.copy()
        panel.result.slider.slider.setValue(0)
        panel.result.slider.use_button.click()
        record = save(panel, qtbot, tmp_path / "r.ome.tif")
        saved = pixels_of(tmp_path / "r.ome.tif")
        np.testing.assert_array_equal(saved, panel._last.layer.data)
        assert not np.array_equal(saved, before)
        assert record["planes"][0]["chosen_by_hand"]


class TestDialog:
    @pytest.mark.parametrize(
        ("typed", "chosen", "expected"),
        [
            ("r", "OME-Zarr (*.ome.zarr)", "r.ome.zarr"),
            ("r 1.5", "TIFF for ImageJ (*.tif)", "r 1.5.tif"),
            ("r.ome.tif", "OME-Zarr (*.ome.zarr)", "r.ome.tif"),
            ("r", "", "r.ome.tif"),
        ],
    )
    def test_the_ending_is_that_of_the_name_or_of_the_type(
        self, panel, qtbot, tmp_path, monkeypatch, typed, chosen, expected
    ):
        panel._viewer.add_image(SCENES[0], name="cells")
        finish(panel, qtbot, "this plane")
        asked = []

        def answer(_parent, _title, proposed, filters):
            asked.append((Path(proposed).name, filters.count(";;")))
            return str(tmp_path / typed), chosen

        monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
        panel.result.save_button.click()
        qtbot.waitUntil(is_saved(panel), timeout=guard.MILLISECONDS)
        assert asked == [("cells_deblurred.ome.tif", 2)]
        assert (tmp_path / expected).exists()
        assert panel.status.text() == f"Saved as {expected}."

    def test_the_button_waits_while_the_window_goes_on(self, panel, qtbot, tmp_path, monkeypatch):
        panel._viewer.add_image(SCENES[0], name="cells")
        button = panel.result.save_button
        assert not button.isEnabled()
        assert button.toolTip() == "There is no result yet."
        finish(panel, qtbot, "this plane")
        assert button.isEnabled()
        proceed, put = Event(), StackStore.put
        monkeypatch.setattr(
            StackStore, "put", lambda *plane: proceed.wait(guard.SECONDS) and put(*plane)
        )
        button.save(tmp_path / "r.ome.tif")
        assert not button.isEnabled()
        assert button.toolTip() == "The result is being saved."
        panel._viewer.layers.remove("cells [deblurred]")  # the result is saved all the same
        proceed.set()
        qtbot.waitUntil(is_saved(panel), timeout=guard.MILLISECONDS)
        assert (tmp_path / "r.ome.tif").exists()
        assert not button.isEnabled()

    @pytest.mark.parametrize("napari_ends", [True, False])
    def test_a_thread_that_is_ended_leaves_a_complete_file_or_none(
        self, panel, qtbot, tmp_path, monkeypatch, napari_ends
    ):
        panel._viewer.add_image(SCENES, name="cells", axis_labels=("z", "y", "x"))
        finish(panel, qtbot, "all planes")
        started, proceed, put = Event(), Event(), StackStore.put

        def wait_and_put(*plane) -> None:
            started.set()
            assert proceed.wait(guard.SECONDS)
            put(*plane)

        monkeypatch.setattr(StackStore, "put", wait_and_put)
        button, path = panel.result.save_button, tmp_path / "r.ome.tif"
        button.save(path)
        assert started.wait(guard.SECONDS)
        button._worker.quit()
        proceed.set()
        if napari_ends:
            result_saver._complete(button._worker, button._steps)
        qtbot.waitUntil(is_saved(panel), timeout=guard.MILLISECONDS)
        assert sorted(tmp_path.iterdir()) == [path, sidecar_of(path)] * napari_ends
        save(panel, qtbot, path, overwrite=True)  # nothing is locked
        assert panel.status.text() == "Saved as r.ome.tif."


class TestFailures:
    def failures(self, panel, qtbot, path: Path) -> str:
        save(panel, qtbot, path)
        assert panel.result.save_button.isEnabled()
        return panel.status.text()

    def test_each_is_one_sentence_and_leaves_nothing(self, panel, qtbot, tmp_path, monkeypatch):
        panel._viewer.add_image(SCENES, name="cells", axis_labels=("z", "y", "x"))
        finish(panel, qtbot, "all planes")
        (tmp_path / "old.ome.zarr").mkdir()
        assert self.failures(panel, qtbot, tmp_path / "old.ome.zarr") == (
            "old.ome.zarr already exists; choose another name."
        )
        assert "does not exist" in self.failures(panel, qtbot, tmp_path / "none" / "r.tif")
        before = sorted(tmp_path.iterdir())
        for place in ("put", "finish"):
            with monkeypatch.context() as full:

                def fail(*_: object) -> None:
                    raise OSError(errno.ENOSPC, "No space left on device")

                full.setattr(StackStore, place, fail)
                for name in ("r.ome.tif", "r.ome.zarr"):
                    assert self.failures(panel, qtbot, tmp_path / name) == (
                        f"The output {name} could not be written (No space left on device)."
                    )
        assert sorted(tmp_path.iterdir()) == before

    def test_planes_of_an_interrupted_run_are_kept(self, panel, qtbot, tmp_path):
        panel._viewer.add_image(SCENES[0], name="cells")
        finish(panel, qtbot, "this plane")
        folder = partial_folder(tmp_path / "r.ome.tif")
        folder.mkdir()
        for name in ("plan.json", "planes.jsonl"):
            (folder / name).write_text("{}")
        assert "planes of an interrupted run" in self.failures(panel, qtbot, tmp_path / "r.ome.tif")
        assert len(list(folder.iterdir())) == 2


class TestReplacing:
    """Nothing is replaced that the user has not agreed to, and never an input."""

    @pytest.fixture
    def answer(self, panel, qtbot, monkeypatch):
        """Press a button of the panel, answer its dialog, and return the status."""

        def press(button, name: str | Path) -> str:
            monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(name), ""))
            button.click()
            qtbot.waitUntil(is_saved(panel), timeout=guard.MILLISECONDS)
            return panel.status.text()

        return press

    def buttons(self, panel):
        return panel.result.save_button, panel.result.kernel_button

    def test_an_input_is_never_replaced(self, panel, qtbot, tmp_path, channels_file, answer):
        layer = opened(panel, channels_file, "CZYX")
        for name, values in (
            ("psf.tif", gaussian_kernel((9, 9), 1.5).astype(np.float32)),
            ("psf_layer.tif", gaussian_kernel((9, 9), 1.5).astype(np.float32)),
            ("mask.tif", np.eye(40, 48, dtype=np.uint8)),
        ):
            tifffile.imwrite(tmp_path / name, values)
        (mask,) = panel._viewer.open(str(tmp_path / "mask.tif"), layer_type="labels")
        (psf,) = panel._viewer.open(str(tmp_path / "psf_layer.tif"), plugin="napari")
        for thing in (mask, psf):
            thing.scale, thing.units = layer.scale[-2:], layer.units[-2:]
        (tmp_path / "link.tif").symlink_to(tmp_path / "mask.tif")
        panel._viewer.layers.selection.active = layer
        kernel = panel.form.kernel
        panel.form.input.mask.value = mask
        kernel.file.value = tmp_path / "psf.tif"
        for source, psf_file in (("from a file", "psf.tif"), ("from a layer", "psf_layer.tif")):
            kernel.source.value = source
            kernel.layer.value = psf
            finish(panel, qtbot, "this plane")
            for name in (channels_file.name, psf_file, "mask.tif", "link.tif"):
                before = (tmp_path / name).read_bytes()
                for button in self.buttons(panel):
                    assert answer(button, tmp_path / name) == (
                        f"Expected different files for input and output, got {name} for both."
                    )
                assert (tmp_path / name).read_bytes() == before

    def test_a_file_is_replaced_if_the_dialog_has_asked_for_its_name(
        self, panel, qtbot, tmp_path, answer
    ):
        panel._viewer.add_image(SCENES[0], name="cells")
        finish(panel, qtbot, "this plane")
        for button, name in zip(self.buttons(panel), ("r.ome.tif", "k.tif"), strict=True):
            (tmp_path / name).write_bytes(b"earlier")
            typed = tmp_path / name.split(".")[0]
            assert answer(button, typed) == f"{name} already exists; choose another name."
            assert (tmp_path / name).read_bytes() == b"earlier"
            # As on Windows, the text of the dialog is not the path as Python writes it.
            assert answer(button, f"{tmp_path}//{name}") == f"Saved as {name}."
            assert pixels_of(tmp_path / name).size

    def test_a_kernel_gets_the_ending_of_tiff(self, panel, qtbot, tmp_path, answer):
        panel._viewer.add_image(SCENES[0], name="cells")
        finish(panel, qtbot, "this plane")
        button = panel.result.kernel_button
        assert answer(button, tmp_path / "k.png") == "Saved as k.png.tif."
        assert answer(button, tmp_path / "k.TIFF") == "Saved as k.TIFF."
        assert answer(button, "") == "Saved as k.TIFF."  # cancelled
        assert sorted(path.name for path in tmp_path.iterdir()) == ["k.TIFF", "k.png.tif"]

    def test_an_error_of_the_kernel_is_one_sentence(
        self, panel, qtbot, tmp_path, monkeypatch, answer
    ):
        panel._viewer.add_image(SCENES[0], name="cells")
        finish(panel, qtbot, "this plane")
        button = panel.result.kernel_button
        sentence = answer(button, tmp_path / "none" / "k.tif")
        assert "does not exist" in sentence
        assert str(tmp_path) not in sentence

        def fail(*_: object) -> None:
            raise TypeError("The kernel is not an array.")

        monkeypatch.setattr(saving, "write_kernels", fail)
        assert answer(button, tmp_path / "k.tif") == "The kernel is not an array."


class TestWriter:
    @pytest.mark.parametrize("name", ["r.tif", "r.ome.zarr"])
    @pytest.mark.parametrize("has_output", [True, False])
    def test_a_sidecar_is_replaced_only_with_its_output(
        self, tmp_path, monkeypatch, name, has_output
    ):
        image, output = Image(SCENES, "ZYX"), tmp_path / name
        run = deconvolve_stack(image, LINEAR)
        blocks = list(run)
        plan = run.result().plan
        if has_output:
            list(write_result(output, image, plan, blocks, {"run": 1}))
        else:
            sidecar_of(output).write_text("the notes of a user")
        before, finish = sidecar_of(output).read_bytes(), StackStore.finish

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(StackStore, "finish", fail)
        with pytest.raises(OSError, match="No space left"):
            list(write_result(output, image, plan, blocks, {"run": 2}, overwrite=True))
        assert sidecar_of(output).read_bytes() == before
        expected = [output, sidecar_of(output)] if has_output else [sidecar_of(output)]
        assert sorted(tmp_path.iterdir()) == sorted(expected)
        monkeypatch.setattr(StackStore, "finish", finish)
        list(write_result(output, image, plan, blocks, {"run": 3}, overwrite=True))
        assert json.loads(sidecar_of(output).read_text("utf-8"))["run"] == 3

    def test_an_iterator_that_is_closed_leaves_nothing(self, tmp_path):
        image = Image(SCENES, "ZYX")
        run = deconvolve_stack(image, LINEAR)
        blocks = list(run)
        plan = run.result().plan
        assert isinstance(plan, StackPlan)
        for old in (False, True):
            output = tmp_path / "r.tif"
            if old:
                output.write_bytes(b"an earlier result")
            steps = write_result(output, image, plan, blocks, {}, overwrite=old)
            assert next(steps) == 1
            steps.close()
            assert [path.name for path in tmp_path.iterdir()] == ["r.tif"] * old
        assert output.read_bytes() == b"an earlier result"

    def test_an_existing_output_is_refused(self, tmp_path):
        (tmp_path / "r.tif").touch()
        steps = write_result(tmp_path / "r.tif", Image(SCENES, "ZYX"), None, [BlockResult], {})
        with pytest.raises(ValueError, match="already exists"):
            next(steps)


class TestReopened:
    def test_a_saved_result_is_not_the_next_input(self, panel, qtbot, tmp_path, channels_file):
        layer = opened(panel, channels_file, "CZYX")
        assert not is_output(layer)
        finish(panel, qtbot, "all planes")
        panel.result.save_kernel(tmp_path / "kernel.tif")
        for name in ("r.ome.tif", "r.ome.zarr", "r.tif"):
            save(panel, qtbot, tmp_path / name)
            sidecar_of(tmp_path / name).unlink()  # the file itself says so
        viewer = panel._viewer
        for path in (*map(tmp_path.joinpath, ("r.ome.tif", "r.ome.zarr", "r.tif", "kernel.tif")),):
            (again,) = viewer.open(str(path), plugin="napari")
            assert is_output(again), path
            viewer.layers.selection.active = again
            assert panel.form.input.layer.value == layer

    def test_a_file_is_read_only_once(self, tmp_path, monkeypatch, make_napari_viewer):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, COUNTS[0])
        (layer,) = make_napari_viewer().open(str(path), plugin="napari")
        read = []
        monkeypatch.setattr(
            "napari_blind_deconv.plugin.layers.is_result", lambda path: bool(read.append(path))
        )
        assert not is_output(layer)
        assert not is_output(layer)
        assert read == [path]
        path.unlink()
        assert not is_output(layer)
