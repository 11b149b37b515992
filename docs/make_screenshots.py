"""Make the pictures of the docs: a walk through the panel, step by step (`make screenshots`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from superqt import QCollapsible

from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget

IMAGES = Path(__file__).parent / "images"
SIZE = (1200, 900)
PIXEL = 0.1  # µm; the sample does not say
REGION = np.array([[85, 20], [85, 140], [190, 140], [190, 20]]) - 0.4  # of the scene
PLANES = 5  # times the planes of the sample, so that some are still to come


def wait(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Let Qt work until a condition holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


class Walk:
    """A viewer with the panel, and pictures of it."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*SIZE)
        self.viewer.theme = "dark"
        _, panel = self.viewer.window.add_plugin_dock_widget(
            "napari-blind-deconv", "Blind deconvolution"
        )
        assert isinstance(panel, BlindDeconvolutionWidget)
        self.panel = panel
        panel.form.reset()

    def shoot(self, name: str) -> None:
        """Save the whole window, once it has been drawn."""
        wait(lambda: False, 1)
        self.viewer.screenshot(str(IMAGES / f"{name}.png"), canvas_only=False, flash=False)

    def unfold(self, *titles: str) -> None:
        """Unfold these sections and fold the others."""
        for fold in self.panel.findChildren(QCollapsible):
            change = fold.expand if fold.text() in titles else fold.collapse
            change(animate=False)

    def wait_for_run(self) -> None:
        """Until it has ended."""
        wait(self.panel.run_button.isEnabled)

    def open(self, sample: str) -> None:
        """A sample in place of what was there, the whole of it in view."""
        self.viewer.layers.clear()
        self.viewer.open_sample("napari-blind-deconv", sample)
        wait(lambda: False, 1)
        self.viewer.fit_to_view()

    def start(self) -> None:
        """A picture is open, and what a run will take is known."""
        self.open("cell")
        (layer,) = self.viewer.layers
        layer.scale, layer.units = (PIXEL, PIXEL), ("um", "um")
        self.viewer.fit_to_view()
        wait(lambda: " to " in self.panel.form.expected.value)
        self.shoot("start")

    def running(self) -> None:
        """The whole plane, as it runs."""
        self.unfold()
        self.panel.start()
        wait(lambda: self.panel.progress.value() > 60 or self.panel.run_button.isEnabled())
        self.shoot("running")
        self.wait_for_run()

    def slider(self) -> None:
        """An earlier picture of the run."""
        self.unfold("Result")
        slider = self.panel.result.slider.slider
        slider.setValue(slider.maximum() // 4)
        self.shoot("slider")

    def result(self) -> None:
        """A result with a line profile."""
        self.open("scene")
        self.panel.start()
        self.wait_for_run()
        self.panel.result.comparison.add_line()
        self.viewer.layers.selection.active = self.viewer.layers["scene [deblurred]"]
        self.unfold("Result")
        self.shoot("result")

    def region(self) -> None:
        """A rectangle is tried first."""
        panel = self.panel
        self.open("scene")
        panel.form.input.scope.value = "drawn rectangle"
        self.viewer.layers["region"].add_rectangles(REGION)
        self.viewer.layers["region"].mode = "pan_zoom"
        panel.start()
        self.wait_for_run()
        self.unfold("Result")
        self.shoot("region")
        panel.form.input.scope.value = "this plane"

    def kernel(self) -> None:
        """Where the kernel may come from, in the light theme."""
        choices = self.panel.form
        choices.kernel.source.value = "the microscope's"
        self.unfold("Kernel")
        self.viewer.theme = "light"
        self.shoot("kernel")
        choices.reset()

    def stack(self) -> None:
        """A stack, some of its planes done."""
        panel = self.panel
        self.viewer.theme = "dark"
        self.unfold()
        self.open("stack")
        (layer,) = self.viewer.layers
        layer.data = np.tile(layer.data, (PLANES, 1, 1))
        panel.form.input.scope.value = "whole stack"
        wait(lambda: " to " in panel.form.expected.value)
        panel.start()
        wait(lambda: panel.progress.value() > 1 or panel.run_button.isEnabled())
        self.viewer.dims.set_current_step(0, 1)
        self.viewer.fit_to_view()
        self.shoot("stack")
        panel.stop_button.click()
        self.wait_for_run()

    def error(self) -> None:
        """Something that cannot be done."""
        self.viewer.layers.clear()
        self.viewer.add_image(np.full((64, 64), np.nan), name="empty", contrast_limits=(0, 1))
        self.unfold()
        self.panel.start()
        self.shoot("error")


def main() -> None:
    """Walk through the panel."""
    walk = Walk()
    for step in (
        walk.start,
        walk.running,
        walk.slider,
        walk.result,
        walk.region,
        walk.kernel,
        walk.stack,
        walk.error,
    ):
        step()
    walk.viewer.close()


if __name__ == "__main__":
    main()
