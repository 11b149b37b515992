"""Make the pictures of the docs: the widget before, during and after a run (`make screenshots`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_blind_deconv.synthetic import fluorescence_scene

IMAGES = Path(__file__).parent / "images"
SIZE = (1200, 800)


def wait(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Let Qt work until a condition holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def shoot(viewer: napari.Viewer, name: str) -> None:
    """Save the whole window, once it has been drawn."""
    wait(lambda: False, 1)
    viewer.screenshot(str(IMAGES / name), canvas_only=False, flash=False)


def main() -> None:
    """Deblur the synthetic scene in a viewer, with pictures on the way."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-blind-deconv", "scene")
    viewer.layers["scene kernel"].visible = False
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv", "Blind deconvolution")
    viewer.fit_to_view()
    shoot(viewer, "before.png")
    widget.start()
    wait(lambda: widget.progress.value() > 0 or widget.run_button.isEnabled())
    shoot(viewer, "during.png")
    wait(lambda: widget.run_button.isEnabled())
    viewer.fit_to_view()
    shoot(viewer, "after.png")
    viewer.layers.clear()
    stack = np.stack([fluorescence_scene((192, 192), seed=seed).observed for seed in range(6)])
    viewer.add_image(
        stack, name="stack", axis_labels=("z", "y", "x"), scale=(0.3, 0.1, 0.1), units=("um",) * 3
    )
    viewer.fit_to_view()
    widget.choices.scope.value = "whole stack"
    wait(lambda: " to " in widget.choices.expected.value)
    widget.start()
    wait(lambda: widget.progress.value() > 2)
    viewer.dims.set_current_step(0, 1)
    shoot(viewer, "stack.png")
    wait(lambda: widget.run_button.isEnabled())
    viewer.close()


if __name__ == "__main__":
    main()
