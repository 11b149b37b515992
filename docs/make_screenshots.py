"""Make the screenshots of the docs: a walk through the panel (`make screenshots`)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from superqt import QCollapsible

from napari_blind_deconv import microscope_psf
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget
from napari_blind_deconv.synthetic import VOLUME_OPTICS

IMAGES = Path(__file__).parent / "images"
SIZE = (1200, 900)
PIXEL = 0.1  # µm; the sample has no pixel size
REGION = np.array([[85, 20], [85, 140], [190, 140], [190, 20]]) - 0.4  # of the scene
REPEATS = 5  # of the planes of the sample, so that some are not done yet

HOT_PIXELS = 12
BEADS = ((35, 35), (30, 90), (92, 60), (96, 100), (104, 106))  # rows and columns


def wait(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Process Qt events until a condition holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


class Walk:
    """A viewer with the panel, and one method per screenshot."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*SIZE)
        self.viewer.theme = "dark"
        _, panel = self.viewer.window.add_plugin_dock_widget("napari-blind-deconv")
        assert isinstance(panel, BlindDeconvolutionWidget)
        self.panel = panel
        panel.form.reset()

    def shoot(self, name: str) -> None:
        """Save a screenshot of the whole window, after it has been drawn."""
        wait(lambda: False, 1)
        self.viewer.screenshot(str(IMAGES / f"{name}.png"), canvas_only=False, flash=False)

    def unfold(self, *titles: str) -> None:
        """Unfold these sections and fold the others."""
        for fold in self.panel.findChildren(QCollapsible):
            change = fold.expand if fold.text() in titles else fold.collapse
            change(animate=False)

    def wait_for_run(self) -> None:
        """Wait until the run has ended."""
        wait(self.panel.run_button.isEnabled)

    def open(self, sample: str) -> None:
        """Replace all layers by a sample, and fit the view to it."""
        self.viewer.layers.clear()
        self.viewer.open_sample("napari-blind-deconv", sample)
        wait(lambda: False, 1)
        self.viewer.fit_to_view()

    def start(self) -> None:
        """Show an open image and the expected time of a run."""
        self.open("cell")
        (layer,) = self.viewer.layers
        layer.scale, layer.units = (PIXEL, PIXEL), ("um", "um")
        self.viewer.fit_to_view()
        wait(lambda: "measuring" not in self.panel.form.expected_time.value)
        self.shoot("start")

    def running(self) -> None:
        """Show a run of a whole plane."""
        self.unfold()
        self.panel.start()
        wait(lambda: self.panel.progress.value() > 60 or self.panel.run_button.isEnabled())
        self.shoot("running")
        self.wait_for_run()

    def slider(self) -> None:
        """Show an earlier estimate of the run."""
        self.unfold("Result")
        slider = self.panel.result.slider.slider
        slider.setValue(slider.maximum() // 4)
        self.shoot("slider")

    def result(self) -> None:
        """Show a result with a line profile."""
        self.open("microtubules")
        self.panel.start()
        self.wait_for_run()
        self.panel.result.comparison.add_line()
        self.viewer.layers.selection.active = self.viewer.layers["microtubules [deblurred]"]
        self.unfold("Result")
        self.shoot("result")
        self.viewer.layers.remove("line profile")
        self.panel.result.comparison.swipe_button.click()
        self.shoot("swipe")
        self.panel.result.comparison.swipe_button.click()

    def left_out(self) -> None:
        """Show the pixels that were left out: a gap, a scale bar and hot pixels."""
        self.open("scene")
        layer = self.viewer.layers["scene"]
        limits = layer.contrast_limits
        pixels = np.array(layer.data)
        brightest = pixels.max()
        pixels[:, :6] = 0
        pixels[-22:-16, -80:-20] = 2 * brightest
        pixels[tuple(np.random.default_rng(0).integers(8, 150, (2, HOT_PIXELS)))] = 4 * brightest
        layer.data, layer.contrast_limits = pixels, limits
        self.panel.start()
        self.wait_for_run()
        self.unfold("Result")
        self.panel.result.left_out.button.click()
        self.shoot("left_out")

    def region(self) -> None:
        """Show the result of a drawn rectangle."""
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
        """Show the choices for the kernel, in the light theme."""
        form = self.panel.form
        form.kernel.source.value = "the microscope's"
        self.unfold("Kernel")
        self.viewer.theme = "light"
        self.shoot("kernel")
        form.reset()

    def stack(self) -> None:
        """Show a stack of which some planes are done."""
        panel = self.panel
        self.viewer.theme = "dark"
        self.unfold()
        self.open("stack")
        (layer,) = self.viewer.layers
        layer.data = np.tile(layer.data, (REPEATS, 1, 1))
        panel.form.input.scope.value = "all planes"
        wait(lambda: "measuring" not in panel.form.expected_time.value)
        panel.start()
        wait(lambda: panel.progress.value() > 1 or panel.run_button.isEnabled())
        self.viewer.dims.set_current_step(0, 1)
        self.viewer.fit_to_view()
        self.shoot("stack")
        panel.stop_button.click()
        self.wait_for_run()

    def volume(self) -> None:
        """Show a plane of a volume with its three-dimensional kernel, and the volume in 3D."""
        panel = self.panel
        self.viewer.theme = "dark"
        self.open("volume")
        (layer,) = self.viewer.layers
        self.viewer.dims.set_current_step(0, len(layer.data) // 2)
        panel.form.input.scope.value = "this volume"
        panel.form.kernel.source.value = "the microscope's"
        panel.start()
        self.wait_for_run()
        self.unfold("Kernel")
        self.shoot("volume")
        self.unfold("Result")
        self.viewer.dims.ndisplay = 3
        self.viewer.fit_to_view()
        self.viewer.scene.camera.angles = (0, 25, 60)
        self.shoot("volume_3d")
        self.viewer.dims.ndisplay = 2
        panel.form.reset()

    def beads(self) -> None:
        """Show the PSF that was measured on beads, and which of them were used."""
        panel, random = self.panel, np.random.default_rng(0)
        self.open("volume")
        (layer,) = self.viewer.layers
        psf = microscope_psf(VOLUME_OPTICS, tuple(layer.scale), shape=(33, 41, 41)).weights
        beads = random.poisson(100, (41, 128, 128)).astype(float)
        for row, column in BEADS:
            within = (slice(4, 37), slice(row - 20, row + 21), slice(column - 20, column + 21))
            beads[within] += random.poisson(3e5 * psf)
        layer.visible = False
        grid = {"scale": layer.scale, "units": layer.units, "axis_labels": layer.axis_labels}
        recorded = self.viewer.add_image(beads.astype(np.uint16), name="beads", **grid)
        recorded.contrast_limits = (80, 600)
        self.viewer.layers.selection.active = layer
        panel.form.input.scope.value = "this volume"
        kernel = panel.form.kernel
        kernel.source.value = "measured on beads"
        kernel.beads.layer.value = recorded
        kernel.beads.diameter.value = 0.1
        kernel.beads.measure()
        wait(lambda: kernel.source.value == "from a layer")
        wait(lambda: "measuring" not in panel.form.expected_time.value)
        self.unfold("Kernel")
        self.viewer.fit_to_view()
        self.shoot("beads")
        panel.form.reset()

    def error(self) -> None:
        """Show the error for an image that cannot be deconvolved."""
        self.viewer.layers.clear()
        self.viewer.add_image(np.full((64, 64), np.nan), name="empty", contrast_limits=(0, 1))
        self.unfold()
        self.panel.start()
        self.shoot("error")


def main(names: Sequence[str] = ()) -> None:
    """Make all screenshots, or those of some steps of the walk."""
    walk = Walk()
    steps = (
        walk.start,
        walk.running,
        walk.slider,
        walk.result,
        walk.left_out,
        walk.region,
        walk.kernel,
        walk.stack,
        walk.volume,
        walk.beads,
        walk.error,
    )
    for step in steps:
        if not names or step.__name__ in names:
            step()
    walk.viewer.close()


if __name__ == "__main__":
    main(sys.argv[1:])
