"""Batches of a folder from the panel: they do what is stated, and are safe to repeat."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import tifffile
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QApplication, QWidget
from tests import guard
from tests.command import blind_deconv

from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.jobs import sidecar_of
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.plugin import batch_run
from napari_blind_deconv.plugin.batch_dialog import BatchDialog
from napari_blind_deconv.plugin.batch_run import (
    BatchChoices,
    FileOutcome,
    FolderBatch,
    Outcome,
    run_folder,
)
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.synthetic import fluorescence_scene

QUICK = Settings(solver="wiener")
SCENES = [fluorescence_scene((40, 48), seed=seed).observed for seed in range(2)]
PSF = (np.outer([1, 2, 1], [1, 2, 1]) / 16).astype(np.float32)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with two images and a file that is none."""
    images = tmp_path / "in [1]"  # brackets have a meaning in patterns
    images.mkdir()
    for name, pixels in zip(("a.tif", "b.ome.tif"), SCENES, strict=True):
        tifffile.imwrite(images / name, pixels)
    (images / "c.tif").write_text("no image")
    (images / "notes.txt").write_text("no image either")
    return images


def batch_of(folder: Path, choices: BatchChoices | None = None) -> FolderBatch:
    choices = choices or BatchChoices("fast", QUICK, KernelChoice())
    return FolderBatch(folder, batch_run.PATTERNS, folder / "out", choices)


def outcomes_of(batch: FolderBatch) -> dict[str, tuple[Outcome | None, str]]:
    reports = [step for step in run_folder(batch, Event()) if isinstance(step, FileOutcome)]
    return {report.name: (report.outcome, report.sentence) for report in reports}


class TestRun:
    def test_all_images_are_run_and_a_bad_one_is_reported(self, folder):
        outcomes = outcomes_of(batch_of(folder))
        assert [outcome for outcome, _ in outcomes.values()] == ["done", "done", "failed"]
        assert "cannot be read" in outcomes["c.tif"][1]
        np.testing.assert_array_equal(
            tifffile.imread(folder / "out" / "a_deblurred.ome.tif"),
            deconvolve(SCENES[0], QUICK).image,
        )
        assert not (folder / "out" / "kernel.tif").exists()

    def test_finished_results_are_skipped_and_those_made_otherwise_are_kept(self, folder):
        outcomes_of(batch_of(folder))
        again = outcomes_of(batch_of(folder))
        assert again["a.tif"] == ("skipped", "It was done before.")
        assert again["c.tif"][0] == "failed"
        result = folder / "out" / "a_deblurred.ome.tif"
        before = result.read_bytes()
        other = BatchChoices("fast", QUICK.with_changes(seed=3), KernelChoice())
        outcome, sentence = outcomes_of(batch_of(folder, other))["a.tif"]
        assert outcome == "failed"
        assert "choose another folder" in sentence
        assert "--overwrite" not in sentence
        assert result.read_bytes() == before

    def test_results_among_the_images_are_not_run_again(self, folder):
        outcomes_of(batch_of(folder))
        result = folder / "out" / "a_deblurred.ome.tif"
        result.rename(folder / "a_deblurred.ome.tif")
        sidecar_of(result).unlink()
        outcomes = outcomes_of(batch_of(folder))
        assert outcomes["a_deblurred.ome.tif"] == ("skipped", "It is a result itself.")

    def test_stop_ends_the_batch_after_the_present_file(self, folder):
        stop = Event()
        ended = []
        for step in run_folder(batch_of(folder), stop):
            if isinstance(step, FileOutcome):
                stop.set()
                ended.append(step.outcome)
        assert ended == [None, "done"]

    def test_the_folder_of_the_images_is_refused_for_the_results(self, folder):
        batch = FolderBatch(folder, "*.tif", folder / ".." / folder.name, batch_of(folder).choices)
        with pytest.raises(ValueError, match="Expected another folder for the results"):
            next(step for step in run_folder(batch, Event()) if isinstance(step, FileOutcome))
        assert len(list(folder.iterdir())) == 4

    @pytest.mark.parametrize("is_held", [True, False])
    def test_a_kernel_in_memory_is_written_beside_the_results(self, folder, is_held):
        kernel = Kernel.of(PSF, pixel_size=(0.1, 0.1), unit="µm")
        choose = KernelChoice.hold if is_held else KernelChoice.start_from
        batch = batch_of(folder, BatchChoices("fast", QUICK, choose(kernel), "a Gaussian"))
        assert outcomes_of(batch)["a.tif"][0] == "done"
        np.testing.assert_allclose(tifffile.imread(folder / "out" / "kernel.tif"), PSF)
        assert outcomes_of(batch)["a.tif"] == ("skipped", "It was done before.")
        other = BatchChoices("fast", QUICK, choose(Kernel.of(PSF.T[:, :1])), "a Gaussian")
        [job, *_] = batch_of(folder, other).jobs()
        assert (job.psf or job.psf_guess).name == "kernel-2.tif"
        np.testing.assert_allclose(tifffile.imread(folder / "out" / "kernel.tif"), PSF)

    def test_a_psf_among_the_images_is_no_image(self, folder):
        tifffile.imwrite(folder / "psf.tif", PSF)
        choices = BatchChoices(
            "fast", QUICK, KernelChoice.hold(Kernel.of(PSF)), "from a file", folder / "psf.tif"
        )
        outcomes = outcomes_of(batch_of(folder, choices))
        assert "psf.tif" not in outcomes
        assert outcomes["a.tif"][0] == "done"

    @pytest.mark.parametrize("choice", [KernelChoice(), KernelChoice.start_from(Kernel.of(PSF))])
    def test_the_copied_command_continues_the_same_batch(self, folder, choice):
        batch = batch_of(folder, BatchChoices("fast", QUICK, choice, "a Gaussian"))
        (folder / "c.tif").unlink()
        first = batch.as_command().splitlines()
        assert first[0].startswith("# Save the kernel") != choice.is_found
        outcomes_of(batch)
        times = [path.stat().st_mtime_ns for path in sorted((folder / "out").glob("*.tif"))]
        [line] = batch.as_command().splitlines()
        program, *arguments = shlex.split(line)
        assert program == "blind-deconv"
        done = blind_deconv(*arguments)
        assert done.returncode == 0, done.stderr
        assert "2 of 2 files done" in done.stderr
        assert times == [path.stat().st_mtime_ns for path in sorted((folder / "out").glob("*.tif"))]


class TestChoices:
    @pytest.fixture
    def form(self, qtbot, fresh_panel) -> RunForm:
        from napari.components import ViewerModel

        form = RunForm(ViewerModel())
        qtbot.addWidget(form)
        return form

    def test_are_those_of_the_panel_in_words(self, form):
        assert BatchChoices.of(form).described == "fast, kernel found in each image"
        form.fields.widgets["solver"].value = "wiener"
        form.stack_kernel.value = "per-slice"
        choices = BatchChoices.of(form)
        assert choices.settings.solver == "wiener"
        assert choices.described == (
            "fast, solver = wiener, kernel found in each image (of stacks per-slice)"
        )

    def test_a_kernel_is_stated_with_its_pixel_size(self, form):
        form.kernel.source.value = "a Gaussian"
        assert BatchChoices.of(form).described == "fast, kernel: a Gaussian, as a start"
        form.kernel.source.value = "the microscope's"
        with pytest.raises(ValueError, match="Expected square pixels"):
            BatchChoices.of(form)
        form._viewer.add_image(SCENES[0], scale=(0.1, 0.1), units=("um", "um"))
        choices = BatchChoices.of(form)
        assert choices.described.endswith("the microscope's, as a start, for pixels of 0.1 µm")
        assert choices.kernel.kernel.pixel_size == pytest.approx((0.1, 0.1))


class TestDialog:
    @pytest.fixture
    def dock(self, make_napari_viewer, fresh_panel) -> Iterator[BlindDeconvolutionWidget]:
        viewer = make_napari_viewer()
        _, dock = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
        dock.form.fields.widgets["solver"].value = "wiener"
        yield dock
        dock.reuse.close_batch()

    @pytest.fixture
    def dialog(self, dock, folder, qtbot) -> Iterator[BatchDialog]:
        dock.reuse.batch_button.click()
        dialog = dock.reuse._dialog
        dialog.folder.value = folder
        yield dialog
        dialog.stop()
        qtbot.waitUntil(lambda: dialog._worker is None, timeout=guard.MILLISECONDS)

    @pytest.fixture
    def finish(self, dialog, qtbot) -> Callable[[], None]:
        return lambda: qtbot.waitUntil(lambda: dialog._worker is None, timeout=guard.MILLISECONDS)

    def test_it_states_what_will_be_done_or_why_it_cannot(self, dialog, folder):
        assert f"3 images → {folder / 'deblurred'}" in dialog.plan.text()
        assert "fast, solver = wiener, kernel found in each image" in dialog.plan.text()
        assert "Whole images are run" in dialog.plan.text()
        dialog.patterns.value = "a.*"
        assert dialog.plan.text().startswith("1 image →")
        for value, reason in (("*.png", "No file matches"), ("*.tif", "3 images")):
            dialog.patterns.value = value
            assert reason in dialog.plan.text()
            assert dialog.run_button.isEnabled() == (value == "*.tif")
        dialog.output.value = folder
        assert "Expected another folder for the results" in dialog.plan.text()
        assert dialog.run_button.toolTip() == dialog.plan.text()
        assert not dialog.command_button.isEnabled()

    def test_it_lists_how_every_file_has_ended(self, dialog, finish, folder, monkeypatch):
        assert not dialog.open_button.isEnabled()
        seen = []
        dialog.status.setText = lambda text, show=dialog.status.setText: (
            seen.append(text),
            show(text),
        )
        dialog.run_button.click()
        assert not dialog.run_button.isEnabled()
        assert "under way" in dialog.run_button.toolTip()
        finish()
        texts = [dialog.outcomes.item(row).text() for row in range(3)]
        assert texts[0].startswith("✓ a.tif – done")
        assert texts[2].startswith("✗ c.tif – failed: Expected a TIFF file")
        assert "2 of 3 · b.ome.tif" in seen
        assert dialog.status.text() == "2 of 3 images deconvolved, 1 failed."
        opened = []
        monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
        dialog.open_button.click()
        assert Path(opened[0].toLocalFile()) == folder / "deblurred"
        dialog.run_button.click()
        finish()
        assert dialog.status.text() == "0 of 3 images deconvolved, 1 failed, 2 skipped."

    def test_what_is_changed_in_the_panel_counts_when_it_is_opened_again(self, dock, dialog):
        dock.form.preset.value = "draft"
        assert ": fast" in dialog.plan.text()
        dock.reuse.batch_button.click()
        assert dock.reuse._dialog is dialog
        assert ": draft" in dialog.plan.text()

    def test_choices_that_are_not_valid_open_no_window(self, dock, monkeypatch):
        shown = []
        monkeypatch.setattr(
            "napari_blind_deconv.plugin.widget.notify", lambda sentence, _: shown.append(sentence)
        )
        dock.form.fields.widgets["sparsity"].value = "lots"
        dock.reuse.batch_button.click()
        assert "'sparsity'" in shown[0]
        assert dock.reuse._dialog is None

    @pytest.mark.parametrize("how", ["stop", "close", "close the panel"])
    def test_stop_and_closing_end_it_after_the_present_file(
        self, dock, dialog, finish, monkeypatch, how
    ):
        may_go_on = Event()
        run = batch_run._run

        def wait_and_run(job):
            may_go_on.wait(guard.SECONDS)
            return run(job)

        monkeypatch.setattr(batch_run, "_run", wait_and_run)
        dialog.run_button.click()
        {
            "stop": dialog.stop_button.click,
            "close": dialog.close,
            "close the panel": lambda: dock._viewer.window.remove_dock_widget(dock),
        }[how]()
        may_go_on.set()
        finish()
        assert dialog.outcomes.count() <= 1
        assert dialog.status.text().startswith("Stopped; ")

    def test_it_ends_with_the_panel(self, qtbot):
        panel = QWidget()
        dialog = BatchDialog(panel)
        stop = dialog._stop
        panel.deleteLater()
        qtbot.waitUntil(stop.is_set, timeout=guard.MILLISECONDS)

    def test_the_command_is_copied(self, dialog, folder):
        dialog.command_button.click()
        words = shlex.split(QApplication.clipboard().text())
        assert words[:2] == ["blind-deconv", "batch"]
        assert words[words.index("--out") + 1] == str(folder / "deblurred")
        assert "Copied" in dialog.status.text()

    def test_everything_has_a_tooltip_and_the_reason_if_it_is_disabled(self, dialog):
        buttons = (dialog.run_button, dialog.stop_button, dialog.command_button)
        for button in (*buttons, dialog.open_button, dialog.outcomes, dialog.progress):
            assert button.toolTip().endswith(".")
