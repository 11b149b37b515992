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
SIZE = (1200, 800)
PIXEL = 0.1  # µm; the sample does not say
REGION = np.array([[25, 20], [25, 125], [120, 125], [120, 20]]) - 0.4


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
        panel.choices.reset()

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

    def start(self) -> None:
        """A picture is open, and what a run will take is known."""
        (layer,) = self.viewer.open_sample("napari-blind-deconv", "cell")
        layer.scale, layer.units = (PIXEL, PIXEL), ("um", "um")
        self.viewer.fit_to_view()
        wait(lambda: " to " in self.panel.choices.expected.value)
        self.shoot("start")

    def region(self) -> None:
        """A rectangle is tried first."""
        panel = self.panel
        panel.choices.target.scope.value = "drawn rectangle"
        self.viewer.layers["region"].add_rectangles(REGION)
        self.viewer.layers["region"].mode = "pan_zoom"
        panel.start()
        self.wait_for_run()
        self.unfold("Result")
        self.viewer.fit_to_view()
        self.shoot("region")

    def whole(self) -> None:
        """The whole plane, as it runs, and its result with a line profile."""
        panel = self.panel
        for layer in list(self.viewer.layers)[1:]:
            self.viewer.layers.remove(layer)
        panel.choices.target.scope.value = "this plane"
        self.unfold()
        self.viewer.fit_to_view()
        panel.start()
        wait(lambda: panel.progress.value() > 60 or panel.run_button.isEnabled())
        self.shoot("running")
        self.wait_for_run()
        panel.result.comparison.add_line()
        self.viewer.layers.selection.active = self.viewer.layers["cell [deblurred]"]
        self.unfold("Result")
        self.viewer.fit_to_view()
        self.shoot("result")

    def slider(self) -> None:
        """An earlier picture of the run."""
        slider = self.panel.result.slider.slider
        slider.setValue(slider.maximum() // 4)
        self.shoot("slider")

    def kernel(self) -> None:
        """Where the kernel may come from, in the light theme."""
        choices = self.panel.choices
        choices.kernel.source.value = "the microscope's"
        self.unfold("Kernel")
        self.viewer.theme = "light"
        self.shoot("kernel")
        choices.reset()

    def error(self) -> None:
        """Something that cannot be done."""
        self.viewer.layers.clear()
        self.viewer.add_image(np.full((64, 64), np.nan), name="empty", contrast_limits=(0, 1))
        self.unfold()
        self.panel.start()
        self.shoot("error")

    def stack(self) -> None:
        """A stack, one of its first planes done."""
        panel = self.panel
        self.viewer.theme = "dark"
        self.unfold()
        self.viewer.layers.clear()
        self.viewer.open_sample("napari-blind-deconv", "stack")
        self.viewer.fit_to_view()
        panel.choices.target.scope.value = "whole stack"
        wait(lambda: " to " in panel.choices.expected.value)
        panel.start()
        wait(lambda: panel.progress.value() > 1)
        self.viewer.dims.set_current_step(0, 1)
        self.shoot("stack")
        self.wait_for_run()


def main() -> None:
    """Walk through the panel."""
    walk = Walk()
    for step in (
        walk.start,
        walk.region,
        walk.whole,
        walk.slider,
        walk.kernel,
        walk.stack,
        walk.error,
    ):
        step()
    walk.viewer.close()


if __name__ == "__main__":
    main()
