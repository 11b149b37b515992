"""Measure how long napari blocks its user during a run: ``python -m benchmarks.gui_latency``.

An event is posted to the GUI thread every few milliseconds. Its latency is the delay until the
thread handles it. A second table has the delay from a move of the slider *Strength* to its preview.
This needs a display, such as that of ``xvfb-run``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

import napari
import numpy as np
import pandas as pd
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.synthetic import fluorescence_scene

PERIOD = 0.01  # seconds between events
ITERATIONS = 100_000  # more than a measurement takes; the run is cancelled
STRENGTHS = (1.1, 1.2, 1.3, 1.2, 1.1, 0.9, 0.8, 0.9)
PAUSE = 0.3  # seconds between moves; the thread still computes the estimate before


class LatencyRecorder:
    """Record the latencies, in milliseconds, of events that are posted at regular intervals.

    Parameters
    ----------
    state : callable
        Returns what is going on; the latencies are kept apart by it.
    """

    def __init__(self, state: Callable[[], str]) -> None:
        self.latencies: dict[str, list[float]] = {}
        self._state = state
        self._due = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        """Start to post events."""
        self._post()

    def stop(self) -> None:
        """Stop posting events."""
        self._timer.stop()

    def _post(self) -> None:
        self._due = time.perf_counter() + PERIOD
        self._timer.start(round(1000 * PERIOD))

    def _tick(self) -> None:
        latency = 1000 * max(0.0, time.perf_counter() - self._due)
        self.latencies.setdefault(self._state(), []).append(latency)
        self._post()


def wait(condition: Callable[[], bool], seconds: float) -> None:
    """Let Qt process its events until a condition holds or the time is over."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.0005)


def measure(side: int, seconds: float) -> list[dict[str, object]]:
    """Measure the latencies before and during a run on an image of `side` × `side` pixels."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 800)
    viewer.add_image(fluorescence_scene((side, side)).observed, name="scene")
    _, panel = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    assert isinstance(panel, BlindDeconvolutionWidget)
    panel.form.reset()
    panel.form.fields.widgets["max_iterations"].value = ITERATIONS
    panel.form.fields.widgets["patience"].value = ITERATIONS
    panel.form.fields.widgets["stop_at_noise"].value = False
    wait(lambda: "measuring" not in panel.form.expected_time.value, 120)
    recorder = LatencyRecorder(lambda: panel.status.text() or "idle")
    recorder.start()
    wait(lambda: False, seconds)
    panel.start()
    wait(panel.run_button.isEnabled, seconds)
    recorder.stop()
    panel.cancel_button.click()
    wait(panel.run_button.isEnabled, 60)
    viewer.close()
    return [figures(side, state, found) for state, found in recorder.latencies.items()]


def measure_previews(side: int) -> dict[str, object]:
    """Measure the delays from moves of the slider to previews, on `side` × `side` pixels."""
    viewer = napari.Viewer(show=True)
    viewer.add_image(fluorescence_scene((side, side)).observed, name="scene")
    _, panel = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    assert isinstance(panel, BlindDeconvolutionWidget)
    panel.form.reset()
    wait(lambda: "measuring" not in panel.form.expected_time.value, 120)
    panel.start()
    wait(panel.run_button.isEnabled, 120)
    drawn: list[float] = []
    panel.result.strength.preview.drawn.connect(drawn.append)
    delays: list[float] = []
    for strength in STRENGTHS:
        drawn.clear()
        started = time.perf_counter()
        panel.result.strength.slider.setValue(round(20 * strength))
        wait(partial(drawn.__contains__, strength), 60)
        delays.append(1000 * (time.perf_counter() - started))
        wait(lambda: False, PAUSE)
    wait(lambda: not panel.result.strength.preview.is_computing, 120)
    viewer.close()
    return {
        "image": f"{side}²",
        "first, ms": round(delays[0]),
        "median of the others, ms": round(float(np.median(delays[1:]))),
        "worst of the others, ms": round(max(delays[1:])),
        "load of the machine": round(os.getloadavg()[0], 1),
    }


def figures(side: int, state: str, latencies: list[float]) -> dict[str, object]:
    """Return a row of the table."""
    return {
        "image": f"{side}²",
        "state": state,
        "events": len(latencies),
        "median, ms": round(float(np.median(latencies)), 1),
        "95 %, ms": round(float(np.percentile(latencies, 95)), 1),
        "worst, ms": round(max(latencies), 1),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    rows = [row for side in options.sides for row in measure(side, options.seconds)]
    print(pd.DataFrame(rows).to_markdown(index=False))
    print(pd.DataFrame([measure_previews(side) for side in options.sides]).to_markdown(index=False))


if __name__ == "__main__":
    main()
