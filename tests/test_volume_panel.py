"""Volumes in the panel: what they need, the run, its layers, and what can be done with them."""

from collections.abc import Iterator

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from tests import guard

from napari_blind_deconv import Optics, deconvolve, microscope_psf
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.io.images import read_psf
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plugin import kernel_form
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.plugin.kernel_view import orthogonal_sections
from napari_blind_deconv.plugin.snippets import Script
from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget

SIZE = (0.3, 0.1, 0.1)
PSF = gaussian_kernel((7, 7, 7), (1.5, 1.2, 1.2)).astype(np.float32)
CALIBRATION = {"scale": SIZE, "translate": (3, 1, 2), "units": ("um",) * 3}
LABELS = {"axis_labels": ("z", "y", "x")}


def recorded(seed: int) -> np.ndarray:
    """A volume (12, 32, 36) of blurred points, in counts above an offset."""
    points = np.random.default_rng(seed).random((12, 32, 36)) > 0.985
    blurred = ndimage.convolve(3000.0 * points, PSF, mode="wrap")
    return np.random.default_rng(seed).poisson(blurred + 100).astype(np.uint16)


VOLUME = recorded(0)


@pytest.fixture
def dock(
    make_napari_viewer, qtbot, fresh_panel, notifications
) -> Iterator[BlindDeconvolutionWidget]:
    """The panel in a viewer without layers, with the PSF as the kernel of volumes."""
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    yield widget
    for run in list(run_module._active):
        run.stop_and_keep()
    qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)


def add(dock, pixels=VOLUME, **options):
    layer = dock._viewer.add_image(pixels, name="cells", **{**CALIBRATION, **LABELS, **options})
    return layer


def choose(dock, scope="this volume") -> None:
    """Choose volumes, and a PSF from a layer that lies in no world of a length."""
    psf = dock._viewer.add_image(PSF, name="psf", scale=SIZE, units=("um",) * 3)
    dock.form.input.layer.value = dock._viewer.layers["cells"]
    dock.form.input.scope.value = scope
    dock.form.kernel.source.value = kernel_form.LAYER
    dock.form.kernel.layer.value = psf


def finish(dock, qtbot) -> None:
    dock.start()
    qtbot.waitUntil(dock.run_button.isEnabled, timeout=guard.MILLISECONDS)


def result_of(dock):
    return dock._viewer.layers["cells [deblurred]"]


def test_smoke(dock, qtbot, notifications):
    add(dock)
    assert "this volume" in dock.form.input.scope.choices
    choose(dock)
    print(dock.form.expected_time.value, dock.run_button.isEnabled())
    finish(dock, qtbot)
    print(notifications, dock.status.text(), dock.verdict.text() if hasattr(dock.verdict, "text") else "")
    print([ (l.name, l.data.shape, l.translate, l.scale, l.visible) for l in dock._viewer.layers])
    print(dock.result.kernel_label.text())
    dock.result.comparison.swipe_button.click()
    dock._viewer.dims.set_current_step(0, 5)
    dock.result.comparison.line_button.click()
    dock.result.comparison.residual_button.click()
    dock.result.left_out.show_layer()
    print(dock.form.script().as_python()); print(dock.form.script().as_command())
    dock._viewer.dims.ndisplay = 3
