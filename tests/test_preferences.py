"""Stored preferences of the panel, and problem reports."""

import json

import pytest
from napari.components import ViewerModel
from napari.settings import get_plugin_settings

from napari_blind_deconv import DeconvolutionError, Settings
from napari_blind_deconv.plugin.preferences import Preferences
from napari_blind_deconv.plugin.problem_report import problem_report
from napari_blind_deconv.plugin.run_form import RunForm


@pytest.fixture
def stored(fresh_panel):
    return get_plugin_settings("napari-blind-deconv").panel


@pytest.mark.usefixtures("stored")
class TestPreferences:
    def test_chosen_settings_are_restored(self):
        changes = {"sparsity": 0.5, "kernel_size": 31, "device": "cpu"}
        settings = Settings.preset("draft").with_changes(**changes)
        Preferences.of("draft", settings).save()
        found = Preferences.load()
        assert found.preset == "draft"
        assert found.changes == changes
        assert found.settings() == settings

    def test_the_device_is_a_separate_field_of_the_napari_settings(self, stored):
        settings = Settings.preset("draft").with_changes(sparsity=0.5, device="cpu")
        Preferences.of("draft", settings).save()
        assert (stored.preset, stored.device) == ("draft", "cpu")
        assert json.loads(stored.changes) == {"sparsity": 0.5}
        Preferences.of("draft", settings.with_changes(device="auto")).save()
        assert stored.device == "auto"

    def test_a_seed_is_not_stored(self):
        settings = Settings.preset("draft").with_changes(sparsity=0.5)
        Preferences.of("draft", settings.with_changes(seed=5)).save()
        assert Preferences.load().settings() == settings

    def test_a_new_panel_has_the_last_settings_and_can_be_reset(self, qtbot):
        changes = {"sparsity": 0.5, "kernel_size": 31, "device": "cpu"}
        settings = Settings.preset("draft").with_changes(**changes)
        Preferences.of("draft", settings).save()
        panel = RunForm(ViewerModel())
        qtbot.addWidget(panel)
        assert panel.settings() == settings
        assert panel.device.value == "cpu"
        panel.reset_button.click()
        assert panel.settings() == Settings()
        assert panel.device.value == "auto"

    @pytest.mark.parametrize(
        ("preset", "changes"),
        [("selfdeblur", "{}"), ("gone", "{}"), ("fast", "{"), ("fast", '{"sparsity": "lots"}')],
    )
    def test_invalid_preferences_are_ignored(self, stored, preset, changes):
        stored.preset, stored.changes = preset, changes
        assert Preferences.load() == Preferences()


class TestReport:
    def test_it_contains_traceback_and_settings_but_no_paths(self):
        try:
            try:
                raise OSError("/home/ada/secret/cells.tif is gone")
            except OSError as cause:
                raise DeconvolutionError("It failed at /home/ada/secret/cells.tif.") from cause
        except DeconvolutionError as error:
            text = problem_report(str(error), error, Settings(), "(9, 9) uint8")
        assert "DeconvolutionError: It failed at cells.tif." in text
        assert "OSError at test_preferences.py:" in text
        assert '"max_iterations": 150' in text
        assert '"device": "auto"' in text
        assert "napari-blind-deconv 0" in text
        assert "(9, 9) uint8" in text
        assert "ada" not in text
        assert "/home" not in text

    @pytest.mark.parametrize(
        ("sentence", "reported"),
        [
            ("'/home/ada lovelace/x/cells.tif' is gone", "'cells.tif' is gone"),
            ("No /home/ada/a.tif in /mnt/ada l/b c.tif.", "No a.tif in b c.tif."),
            (r"C:\Users\Ada Lovelace\x\cells.tif: no TIFF", "cells.tif: no TIFF"),
            (r"(\\server\ada's share\cells.tif)", "(cells.tif)"),
            ("data/ada/cells.tif is gone", "cells.tif is gone"),
            ("file:///home/ada/cells.tif", "file:cells.tif"),
            ("~/ada lovelace/cells.tif", "cells.tif"),
            ("A grey/colour image of 3 px/µm.", "A grey/colour image of 3 px/µm."),
        ],
    )
    def test_folders_with_spaces_are_left_out(self, sentence, reported):
        assert problem_report(sentence, None, None, "none").splitlines()[0] == reported

    def test_missing_settings_are_left_out(self):
        assert "settings" not in problem_report("No.", None, None, "none")
