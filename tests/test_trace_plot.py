"""The live trace is really drawn: an exception while painting would take napari down."""

import numpy as np
import pytest

from napari_blind_deconv.plugin.trace_plot import TracePlot
from napari_blind_deconv.results import TRACE_DTYPE


@pytest.fixture
def plot(qtbot) -> TracePlot:
    plot = TracePlot()
    plot.resize(240, 120)
    qtbot.addWidget(plot)
    return plot


def trace(variances: list[float], first: int = 1) -> np.ndarray:
    rows = [(first + step, 1.0, 1.0, 1.0, value) for step, value in enumerate(variances)]
    return np.array(rows, dtype=TRACE_DTYPE)


def drawn(plot: TracePlot, color: str) -> np.ndarray:
    """Columns in which a colour, or something near it, has been drawn."""
    picture = plot.grab().toImage()
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    columns = []
    for x in range(picture.width()):
        for y in range(picture.height() - 22):  # above the caption
            pixel = picture.pixelColor(x, y)
            if np.abs(np.array([pixel.red(), pixel.green(), pixel.blue()]) - wanted).max() < 40:
                columns.append(x)
                break
    return np.array(columns)


def test_draws_nothing_but_its_frame_without_a_trace(plot):
    assert len(drawn(plot, "#4c9be8")) == 0
    plot.extend(trace([np.nan, np.nan, 0.0]), None)
    assert plot.points == 0
    assert len(drawn(plot, "#4c9be8")) == 0


def test_draws_curve_and_mark(plot):
    plot.extend(trace([np.nan, 1e-1, 1e-2]), 3)
    plot.extend(trace([1e-3, 1e-2, 1e-1], first=4), 4)
    assert plot.points == 5
    curve, mark = drawn(plot, "#4c9be8"), drawn(plot, "#ff9f1c")
    assert np.ptp(curve) > 0.8 * plot.grab().width()
    assert np.ptp(mark) <= 4
    assert mark.mean() == pytest.approx(plot.grab().width() / 2, abs=4)  # 4 is amid 2 to 6


def test_a_flat_curve_and_clearing(plot):
    plot.extend(trace([0.5] * 5), 2)
    assert len(drawn(plot, "#4c9be8")) > 100
    plot.clear()
    assert plot.points == 0
    assert plot.kept is None
    assert len(drawn(plot, "#4c9be8")) == 0
