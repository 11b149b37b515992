"""How the panel looks and helps: narrow docks, themes, groups, tooltips, keyboard, first steps."""

import re
from collections.abc import Iterator
from html import unescape
from itertools import pairwise
from pathlib import Path

import napari
import numpy as np
import pytest
from napari.utils.theme import available_themes, get_theme
from qtpy.QtCore import QPoint, Qt, QUrl
from qtpy.QtGui import QColor, QDesktopServices, QImage, QPalette
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QScrollArea,
    QScrollBar,
    QWidget,
)
from scipy import ndimage
from superqt import QCollapsible
from tests import guard

from napari_blind_deconv import Settings
from napari_blind_deconv.plugin import help_button
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.plugin.colours import (
    BLUE,
    GREY,
    ORANGE,
    TEXT_CONTRAST,
    contrast_of,
    readable,
)
from napari_blind_deconv.plugin.kernel_form import (
    BEADS,
    FOUND,
    GAUSSIAN,
    LAYER,
    MICROSCOPE,
    PSF_FILE,
)
from napari_blind_deconv.plugin.kernel_view import KernelView
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.results import TRACE_DTYPE

STACK = np.random.default_rng(0).random((120, 24, 28)).astype(np.float32)
CONTROLS = (QAbstractButton, QComboBox, QAbstractSpinBox, QAbstractSlider, QLineEdit)


@pytest.fixture
def viewer(make_napari_viewer, fresh_panel) -> napari.Viewer:
    return make_napari_viewer()


@pytest.fixture
def panel(viewer) -> Iterator[BlindDeconvolutionWidget]:
    """The panel in a viewer with a stack, with all sections unfolded."""
    viewer.add_image(
        STACK, name="cells of a specimen with a long name", axis_labels=("z", "y", "x")
    )
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    widget.form.input.scope.value = "some planes"
    for fold in widget.findChildren(QCollapsible):
        fold.expand(animate=False)
    return widget


def show_at(panel: BlindDeconvolutionWidget, width: int) -> QWidget:
    """Show the panel in this width, and return its content."""
    panel.window().show()
    panel.setFixedWidth(width)
    for _ in range(5):
        QApplication.processEvents()
    scroll = panel.findChild(QScrollArea)
    assert panel.width() == width
    return scroll.widget()


def controls(panel: QWidget) -> list[QWidget]:
    """Return all visible controls, without the scroll bars and the parts of other controls."""
    return [
        widget
        for widget in panel.findChildren(QWidget)
        if isinstance(widget, CONTROLS)
        and widget.isVisibleTo(panel)
        and not isinstance(widget, QScrollBar)
        and not isinstance(widget.parent(), QAbstractSpinBox | QComboBox)
    ]


def without_tags(text: str) -> str:
    return unescape(re.sub("<[^<>]*>", "", text))


def name_of(widget: QWidget) -> str:
    return f"{type(widget).__name__} {getattr(widget, 'text', widget.objectName)()}"


class TestNarrowDock:
    @pytest.mark.parametrize("width", [200, 250, 300])
    def test_every_control_is_complete_and_can_be_reached(self, panel, width):
        content = show_at(panel, width)
        scroll = panel.findChild(QScrollArea)
        right_end = scroll.viewport().width() + scroll.horizontalScrollBar().maximum()
        for control in controls(panel):
            place = control.mapTo(content, QPoint(0, 0))
            assert place.x() >= 0
            assert place.x() + control.width() <= right_end, name_of(control)
            assert place.y() + control.height() <= content.height(), name_of(control)
            assert control.height() >= control.minimumSizeHint().height(), name_of(control)
            if not isinstance(control, QLineEdit | QAbstractSpinBox):  # their text can be scrolled
                assert control.width() >= control.minimumSizeHint().width(), name_of(control)

    def test_rows_wrap_before_they_need_a_scroll_bar(self, panel):
        for form in (panel.form, panel.form.kernel_section, panel.form.settings_section):
            assert form.minimumSizeHint().width() <= 180
        content = show_at(panel, 300)
        row = [panel.run_button, panel.stop_button, panel.cancel_button]
        for width, rows in ((180, 3), (300, 1)):
            content.setFixedWidth(width)
            for _ in range(3):
                QApplication.processEvents()
            assert len({button.geometry().center().y() for button in row}) == rows
            assert panel.trace_plot.width() >= 140  # the caption needs this

    def test_trace_and_kernel_take_the_width_of_the_dock(self, panel):
        sides = []
        for width in (300, 500, 900):
            show_at(panel, width)
            kernel, trace = panel.kernel_view, panel.trace_plot
            assert kernel.width() == kernel.height() == trace.height()
            assert kernel.parentWidget().height() >= kernel.height(), "neither is cut"
            assert trace.geometry().right() < kernel.geometry().left()
            assert kernel.geometry().right() + 1 == kernel.parentWidget().width()
            assert trace.width() >= 140
            sides.append(kernel.width())
        assert sides[0] > 100
        assert sides[1] > 180
        assert sides[2] == 240
        show_at(panel, 200)  # below one another
        assert kernel.geometry().top() > trace.geometry().bottom()
        assert kernel.parentWidget().height() > kernel.geometry().bottom()

    def test_a_click_enlarges_the_kernel_in_a_window_that_follows(self, panel, qtbot):
        show_at(panel, 300)
        kernel = np.zeros((9, 9), np.float32)
        kernel[4, 4] = 1
        qtbot.mouseClick(panel.kernel_view, Qt.MouseButton.LeftButton)
        assert panel.kernel_view.findChild(KernelView) is None, "there is no kernel yet"
        panel.kernel_view.show_kernel(kernel)
        assert "Click to enlarge" in panel.kernel_view.toolTip()
        qtbot.mouseClick(panel.kernel_view, Qt.MouseButton.LeftButton)
        larger = panel.kernel_view.findChild(KernelView)
        assert larger.isWindow()
        assert larger.isVisible()
        assert larger.width() > 2 * panel.kernel_view.width()
        before = larger.grab().toImage()
        panel.kernel_view.show_kernel(np.roll(kernel, 2, axis=0))
        assert larger.grab().toImage() != before
        larger.close()

    @pytest.mark.parametrize("width", [200, 300])
    def test_no_choice_is_cut(self, panel, width):
        show_at(panel, width)
        boxes = [box for box in panel.findChildren(QComboBox) if box.isVisibleTo(panel)]
        assert len(boxes) > 10
        for box in boxes:
            texts = [box.itemText(index) for index in range(box.count())]
            if box is panel.form.input.layer.native:  # a name has any length; the list shows it
                assert box.view().minimumWidth() >= box.view().sizeHintForColumn(0)
                continue
            widest = max(box.fontMetrics().horizontalAdvance(text) for text in texts)
            assert box.width() >= widest + 20, texts

    def test_the_slider_of_the_planes_shows_both_numbers(self, panel):
        show_at(panel, 300)
        span = panel.form.input.span
        span.value = (7, 108)
        QApplication.processEvents()
        labels = [
            label for label in span.native.findChildren(QLineEdit) if label.isVisibleTo(panel)
        ]
        assert [label.text() for label in labels] == ["7", "108"]
        first, last = sorted((label.geometry() for label in labels), key=lambda place: place.x())
        assert first.right() < last.left()
        for label in labels:
            assert span.native.rect().contains(label.geometry())
            assert label.width() >= label.fontMetrics().horizontalAdvance(label.text())


class TestGroups:
    def test_every_setting_is_in_one_group(self):
        groups = Settings.groups()
        assert [name for names in groups.values() for name in names] == list(Settings.model_fields)
        assert list(groups) == ["Kernel", "Noise and stopping", "Method", "Networks", "Computing"]
        assert groups["Computing"] == ["precision", "device", "seed"]

    def test_settings_are_below_the_heading_of_their_group(self, panel):
        content = show_at(panel, 300)
        widgets = {**panel.form.fields.widgets, "device": panel.form.device}
        widgets["seed"] = panel.form.seed

        def top(widget: QWidget) -> int:
            return widget.mapTo(content, QPoint(0, 0)).y()

        section = panel.form.settings_section
        labels = {
            re.sub("<.*?>", "", label.text()): label for label in section.findChildren(QLabel)
        }
        expected, found = [], []
        for heading, names in Settings.groups().items():
            rows = [labels[heading], *(widgets[n].native for n in names if n in widgets)]
            expected += rows
            found += rows
        assert sorted(found, key=top) == expected


class TestThemes:
    @pytest.mark.parametrize("theme", available_themes())
    @pytest.mark.parametrize("color", [BLUE, ORANGE, GREY])
    def test_colours_are_readable_in_every_theme(self, theme, color):
        background = QColor(*get_theme(theme).background.as_rgb_tuple())
        assert contrast_of(readable(color, background, TEXT_CONTRAST), background) >= TEXT_CONTRAST

    def test_a_colour_that_is_readable_stays(self):
        assert readable(ORANGE, QColor("black"), TEXT_CONTRAST) == QColor(ORANGE)

    def test_plots_and_triangles_follow_the_theme(self, viewer, panel):
        show_at(panel, 300)
        trace = np.zeros(8, TRACE_DTYPE)
        trace["iteration"] = np.arange(1, 9)
        trace["loss"] = trace["variance"] = np.linspace(1, 2, 8)
        panel.trace_plot.extend(trace, 4)
        for theme in ("dark", "light", "dark"):
            viewer.theme = theme
            QApplication.processEvents()
            plot = panel.trace_plot.grab().toImage()
            background = QColor(*get_theme(theme).background.as_rgb_tuple())
            assert panel.trace_plot.palette().color(QPalette.ColorRole.Window) == background
            for is_hue in (is_orange, is_blue):
                contrasts = [contrast_of(c, background) for c in colours(plot) if is_hue(c)]
                assert max(contrasts) >= 0.95 * TEXT_CONTRAST
            button = panel.result_section.toggleButton()
            triangle = button.icon().pixmap(16, 16).toImage()
            drawn = [color for color in colours(triangle) if color.alpha() > 200]
            text = QColor(*get_theme(theme).text.as_rgb_tuple())
            assert drawn
            assert all(contrast_of(color, text) < 1.5 for color in drawn)


def colours(image: QImage) -> list[QColor]:
    places = ((x, y) for x in range(image.width()) for y in range(image.height()))
    return [QColor.fromRgba(pixel) for pixel in {image.pixel(x, y) for x, y in places}]


def is_orange(color: QColor) -> bool:
    return color.saturation() > 150 and 20 < color.hue() < 50


def is_blue(color: QColor) -> bool:
    return color.saturation() > 100 and 195 < color.hue() < 225


class TestTooltips:
    def test_everything_has_a_tooltip(self, panel):
        labelled = [label for label in panel.findChildren(QLabel) if label.buddy() is not None]
        assert len(labelled) > 30
        plain = [panel.progress, panel.trace_plot, panel.kernel_view, panel.result.kernel_label]
        for source in (FOUND, LAYER, PSF_FILE, BEADS, GAUSSIAN, MICROSCOPE):
            panel.form.kernel.source.value = source
            for widget in (*controls(panel), *labelled, *plain):
                assert tooltip_of(widget, panel), name_of(widget)

    def test_a_label_has_the_tooltip_of_its_field(self, panel):
        labels = [label for label in panel.findChildren(QLabel) if label.buddy() is not None]
        for preset in ("draft", "fast"):
            panel.form.preset.value = preset
            for label in labels:
                assert label.toolTip() == label.buddy().toolTip()

    def test_tooltips_are_sentences(self, panel):
        for preset in Settings.presets():
            panel.form.preset.value = preset
            assert not without_sentence(panel)
        assert "≥ 0 and < 1." in without_tags(panel.form.fields.widgets["averaging"].tooltip)

    def test_tooltips_are_sentences_during_and_after_a_run(self, viewer, panel, qtbot):
        viewer.layers.clear()
        pixels = ndimage.gaussian_filter(STACK[0], 2)
        pixels[5, 7] = 20 * pixels.max()  # a pixel to leave out
        viewer.add_image(pixels, name="cells")
        for name, value in {"max_iterations": 2, "channels": "[8]", "kernel_features": 16}.items():
            panel.form.fields.widgets[name].value = value
        panel.start()
        assert not without_sentence(panel)
        qtbot.waitUntil(panel.run_button.isEnabled, timeout=guard.MILLISECONDS)
        assert panel.result.left_out.button.isEnabled()
        assert not without_sentence(panel)
        qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)


def tooltip_of(widget: QWidget, panel: QWidget) -> str:
    """Return what Qt shows: the tooltip of a widget, or else of the nearest one around it."""
    while widget is not panel:
        if widget.toolTip():
            return str(widget.toolTip())
        widget = widget.parentWidget()
    return ""


def without_sentence(panel: QWidget) -> set[str]:
    """Return all tooltips that are no sentences."""
    texts = {without_tags(widget.toolTip()) for widget in panel.findChildren(QWidget)}
    return {text for text in texts if text and not is_sentence(text)}


def is_sentence(text: str) -> bool:
    return text.endswith(".") and text[0].isupper() and len(text.split()) >= 4


class TestKeyboard:
    @pytest.mark.parametrize("source", [FOUND, PSF_FILE, BEADS, MICROSCOPE])
    def test_tab_follows_what_is_seen(self, panel, source):
        panel.form.kernel.source.value = source
        content = show_at(panel, 300)
        chain, widget = [], content.nextInFocusChain()
        while widget is not content:
            if (
                content.isAncestorOf(widget)
                and widget.isVisibleTo(panel)
                and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
                and widget.focusProxy() is None
            ):
                chain.append(widget)
            widget = widget.nextInFocusChain()
        assert {panel.run_button, panel.result_section.toggleButton()} <= set(chain)
        places = [
            (control.mapTo(content, control.rect().center()), name_of(control)) for control in chain
        ]
        for (before, _), (after, name) in pairwise(places):
            same_row = abs(after.y() - before.y()) < 8
            assert after.x() > before.x() if same_row else after.y() > before.y(), name

    def test_the_main_controls_are_in_order(self, panel):
        form = panel.form
        main = [
            form.input.layer.native,
            form.input.scope.native,
            form.preset.native,
            panel.run_button,
            panel.stop_button,
            panel.cancel_button,
            panel.result_section.toggleButton(),
            form.kernel.source.native,
            form.reset_button,
            form.fields.widgets["max_iterations"].native,
            form.seed.native,
            panel.reuse.python_button,
            panel.help_button,
        ]
        found, widget = [], main[0]
        for _ in range(500):
            if widget in main:
                found.append(widget)
            widget = widget.nextInFocusChain()
            if widget is main[0]:
                break
        assert found == main


class TestFirstSteps:
    def test_an_empty_viewer_offers_a_sample(self, viewer):
        _, panel = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
        assert panel.welcome.isVisibleTo(panel)
        viewer.add_points(np.zeros((1, 2)))
        assert panel.welcome.isVisibleTo(panel)
        panel.welcome.button.click()
        assert "microtubules" in viewer.layers
        assert not panel.welcome.isVisibleTo(panel)
        assert panel.form.input.layer.value.name == "microtubules"
        viewer.layers.clear()
        assert panel.welcome.isVisibleTo(panel)

    def test_help_opens_the_page_that_the_release_states(self, panel, monkeypatch, qtbot):
        opened = []
        monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
        stated = {"Project-URL": ["Source, https://x.org", "Documentation, https://x.org/docs/"]}
        monkeypatch.setattr(
            help_button, "metadata", lambda _: type("Metadata", (), {"get_all": stated.get})
        )
        button = help_button.HelpButton()
        qtbot.addWidget(button)
        button.click()
        assert opened == [QUrl("https://x.org/docs/napari.html")]
        assert (Path(__file__).parents[1] / "docs" / "napari.md").is_file()

    def test_without_a_stated_page_help_says_why_it_is_disabled(self, monkeypatch, qtbot):
        monkeypatch.setattr(
            help_button, "metadata", lambda _: type("Metadata", (), {"get_all": {}.get})
        )
        button = help_button.HelpButton()
        qtbot.addWidget(button)
        assert not button.isEnabled()
        assert "no release" in button.toolTip()
