"""How long napari keeps a user waiting while a run is on: ``python -m benchmarks.gui_latency``.

An event is posted to the GUI thread every few milliseconds; its latency is how much later than that
it is handled. Needs a display (``xvfb-run`` will do).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import napari
import numpy as np
import pandas as pd
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.synthetic import fluorescence_scene

PERIOD = 0.01  # seconds between events
ITERATIONS = 100_000  # ended by hand


class Clock:
    """Latencies of events posted at a steady pace, in milliseconds."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self._due = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        """Begin anew."""
        self.latencies = []
        self._post()

    def stop(self) -> None:
        """Post no more."""
        self._timer.stop()

    def _post(self) -> None:
        self._due = time.perf_counter() + PERIOD
        self._timer.start(round(1000 * PERIOD))

    def _tick(self) -> None:
        self.latencies.append(1000 * max(0.0, time.perf_counter() - self._due))
        self._post()


def wait(condition: Callable[[], bool], seconds: float) -> None:
    """Let Qt work until a condition holds, as it does when nobody waits."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.0005)


def measure(side: int, seconds: float) -> list[dict[str, object]]:
    """Latencies before and during a run on a picture of some side."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 800)
    viewer.add_image(fluorescence_scene((side, side)).observed, name="scene")
    _, panel = viewer.window.add_plugin_dock_widget("napari-blind-deconv", "Blind deconvolution")
    assert isinstance(panel, BlindDeconvolutionWidget)
    panel.form.basic.widgets["max_iterations"].value = ITERATIONS
    panel.form.advanced.widgets["patience"].value = ITERATIONS
    panel.form.advanced.widgets["stop_at_noise"].value = False
    wait(lambda: " to " in panel.form.expected_time.value, 120)
    clock = Clock()
    rows = []
    clock.start()
    wait(lambda: False, seconds)
    rows.append(figures(side, "idle", clock.latencies, 0, seconds))
    panel.start()
    wait(lambda: panel.progress.maximum() == ITERATIONS, 300)
    clock.start()
    before = panel.progress.value()
    wait(lambda: False, seconds)
    done = panel.progress.value() - before
    rows.append(figures(side, "running", clock.latencies, done, seconds))
    clock.stop()
    panel.stop_button.click()
    wait(panel.run_button.isEnabled, 60)
    viewer.close()
    return rows


def figures(
    side: int, state: str, latencies: list[float], steps: int, seconds: float
) -> dict[str, object]:
    """A row of the table."""
    return {
        "image": f"{side}²",
        "state": state,
        "median, ms": round(float(np.median(latencies)), 1),
        "95 %, ms": round(float(np.percentile(latencies, 95)), 1),
        "worst, ms": round(max(latencies), 1),
        "steps a second": round(steps / seconds, 1) if steps else "",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    rows = [row for side in options.sides for row in measure(side, options.seconds)]
    print(pd.DataFrame(rows).to_markdown(index=False))


if __name__ == "__main__":
    main()
