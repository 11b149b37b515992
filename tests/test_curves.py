"""The small plots, tested by their pixels."""

import numpy as np
import pytest
from qtpy.QtGui import QFontMetricsF, QPainter

from napari_blind_deconv.plugin import curves as curves_module
from napari_blind_deconv.plugin.curves import Curve, CurvePlot
from napari_blind_deconv.plugin.trace_plot import TracePlot
from napari_blind_deconv.results import TRACE_DTYPE

RED, BLUE = "#ff0000", "#0000ff"


def colours(widget) -> set[str]:
    image = widget.grab().toImage()
    return {
        image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())
    }


def is_orange(colour: str) -> bool:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red > 180 and 90 < green < 190 and blue < 90


def heights(widget, colour: str) -> list[int]:
    """Return the rows of all pixels of a colour above the caption."""
    image = widget.grab().toImage()
    bottom = image.height() - 2 * widget.fontMetrics().height()
    return [
        y
        for x in range(image.width())
        for y in range(bottom)
        if image.pixelColor(x, y).name() == colour
    ]


def line(name: str, colour: str, low: float, high: float) -> Curve:
    return Curve(name, colour, np.arange(10.0), np.linspace(low, high, 10))


@pytest.fixture
def plot(qtbot):
    def make(shared: bool) -> CurvePlot:
        widget = CurvePlot("nothing yet", shared=shared)
        qtbot.addWidget(widget)
        widget.resize(240, 160)
        return widget

    return make


def test_every_curve_is_drawn_in_its_colour(plot):
    widget = plot(shared=False)
    widget.draw([line("a", RED, 0, 1), line("b", BLUE, 1, 0)])
    assert {RED, BLUE} <= colours(widget)
    widget.draw([])
    assert not {RED, BLUE} & colours(widget)


def test_a_long_trace_is_painted_with_two_points_a_column_of_pixels(plot, monkeypatch):
    widget = plot(shared=False)
    noise = np.random.default_rng(0).normal(size=10_000)
    curves = [Curve(name, RED, np.arange(1e4), noise) for name in "ab"]
    widget.draw(curves, (500.0, "kept 500", BLUE))
    painted = []
    polygon = curves_module.QPolygonF
    monkeypatch.setattr(
        curves_module, "QPolygonF", lambda points: painted.append(len(points)) or polygon(points)
    )
    widget.grab()
    assert len(painted) == len(curves)
    assert all(widget.width() < points <= 2 * widget.width() for points in painted)


def test_a_spike_among_ten_thousand_points_is_visible(plot):
    widget = plot(shared=False)
    values = np.zeros(10_000)
    values[5003] = 1
    widget.draw([Curve("spike", RED, np.arange(1e4), values)])
    image = widget.grab().toImage()
    top = [image.pixelColor(x, 15) for x in range(image.width())]
    assert any(colour.red() > colour.blue() + 60 for colour in top)


def test_a_shared_scale_keeps_the_lower_curve_low(plot):
    widget = plot(shared=True)
    widget.draw([line("low", RED, 0, 0.1), line("high", BLUE, 0.9, 1.0)])
    assert min(heights(widget, RED)) > max(heights(widget, BLUE))


def test_the_names_of_sections_are_above_the_curves(plot):
    widget = plot(shared=False)
    name = widget.fontMetrics().height()
    widget.draw([line("b", BLUE, 0, 1)])
    assert min(heights(widget, BLUE)) < name + 4, "without names, the curve fills the frame"
    widget.draw([line("b", BLUE, 0, 1)], sections={"first": 0})
    assert min(heights(widget, BLUE)) > name + 4


def test_values_that_are_not_finite_are_left_out(plot):
    widget = plot(shared=True)
    broken = Curve("broken", RED, np.arange(4.0), np.array([np.nan, 1.0, np.inf, 2.0]))
    widget.draw([broken, Curve("empty", BLUE, np.zeros(0), np.zeros(0))])
    assert [list(curve.y) for curve in widget.curves] == [[1.0, 2.0]]
    widget.grab()


def test_the_trace_marks_the_kept_iteration(qtbot):
    widget = TracePlot("no trace yet")
    qtbot.addWidget(widget)
    trace = np.zeros(8, TRACE_DTYPE)
    trace["iteration"] = np.arange(1, 9)
    trace["loss"] = 0.1
    trace["variance"] = [np.nan, np.nan, 4, 3, 2, 1, 2, 3]
    widget.extend(trace[:5], None)
    assert widget.points == 5
    widget.extend(trace[5:], 6)
    assert [curve.name for curve in widget.curves] == ["variance", "loss"]
    assert len(widget.curves[0].x) == 6
    assert widget.kept == 6
    assert any(is_orange(colour) for colour in colours(widget))
    widget.clear()
    assert widget.points == 0
    assert not any(is_orange(colour) for colour in colours(widget))


def test_a_run_of_one_iteration_is_drawn(qtbot):
    widget = TracePlot("no trace yet")
    qtbot.addWidget(widget)
    trace = np.zeros(1, TRACE_DTYPE)
    trace["iteration"], trace["loss"], trace["variance"] = 1, 0.1, np.nan
    widget.extend(trace, 1)
    assert [curve.name for curve in widget.curves] == ["loss"]
    widget.grab()


@pytest.mark.parametrize("size", [8, 12, 17])
def test_the_caption_is_not_cut_in_a_narrow_dock(plot, monkeypatch, size):
    widget = plot(shared=False)
    font = widget.font()
    font.setPixelSize(size)
    widget.setFont(font)
    texts = ["variance", "loss", "kept 106"]
    drawn = []

    class Painter(QPainter):
        def drawText(self, place, _flags, text):  # noqa: N802 (Qt's name)
            advance = QFontMetricsF(self.font()).horizontalAdvance(text)
            drawn.append((text, place.width() - advance, self.font().pixelSize()))

    monkeypatch.setattr(curves_module, "QPainter", Painter)
    for width in (widget.minimumSizeHint().width(), 600):
        widget.resize(width, 100)
        widget.draw([line(name, RED, 0, 1) for name in texts[:2]], (5.0, texts[2], BLUE))
        drawn.clear()
        widget.grab()
        assert [text for text, _, _ in drawn] == texts
        assert all(room >= 0 for _, room, _ in drawn)
    assert {used for _, _, used in drawn} == {size}, "where there is room, nothing is made smaller"
