"""Shared fixtures. All seeds are fixed, and each process computes on one thread."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from tests import guard

if TYPE_CHECKING:
    from napari_blind_deconv.plugin.widget import BlindDeconvolutionWidget

# Access to a layer from any thread but that of the GUI raises an error instead of a race.
os.environ["NAPARI_ENSURE_PLUGIN_MAIN_THREAD"] = "1"
# The suite runs one process per core. The commands that it starts inherit this limit.
os.environ["OMP_NUM_THREADS"] = "1"
# The panel stores its preferences here, not in the settings of the user.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    fixture, reason = _unavailable_fixture()
    for item in items:
        if reason and fixture in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


def _unavailable_fixture() -> tuple[str, str]:
    """Return a fixture that is unavailable on this machine, and the reason."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and not shutil.which("Xvfb"):
        return "qapp", "Qt needs a display; install Xvfb (see `make display`)"
    if sys.platform == "win32" and "GITHUB_ACTIONS" in os.environ:
        return "make_napari_viewer", "a viewer needs OpenGL, which GitHub's Windows lacks"
    return "", ""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("the benchmark images are not part of the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def small_scene() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A sharp 48×48 image and the same image blurred and slightly noisy, both in [0, 1]."""
    rows, columns = np.mgrid[:80, :80]
    sharp = 0.8 * ((rows // 9 + columns // 9) % 2) * (columns > 20)
    sharp += 0.7 * np.exp(-((rows - 35) ** 2 + (columns - 28) ** 2) / 4)
    sharp = np.clip(sharp, 0, 1)
    noise = np.random.default_rng(0).normal(0, 0.005, sharp.shape)
    blurred = ndimage.gaussian_filter(sharp, 1.8) + noise
    field = np.s_[16:64, 16:64]
    return sharp[field], blurred[field]


@pytest.fixture(scope="session", autouse=True)
def frozen_imports() -> None:
    """Exclude all objects that exist after the collection of the tests from garbage collection.

    Each test with a viewer collects several times. With these objects, a collection would take a
    third of a second.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def quick_kernel_network() -> Iterator[None]:
    """Fit the kernel network to its initial kernel with a fifteenth of the iterations.

    This fit takes most of the time of a short run. Its accuracy with all iterations is tested in
    `test_priors.py`.
    """
    from napari_blind_deconv.engine import double_dip

    quick = functools.partial(double_dip.fit_kernel, steps=40)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(double_dip, "fit_kernel", quick)
        yield


@pytest.fixture
def fresh_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let panels start without stored preferences and without a measurement of this machine."""
    from napari_blind_deconv.engine.runtime import RuntimeModel
    from napari_blind_deconv.plugin.preferences import Preferences

    gc.freeze()  # objects that earlier viewers have imported
    Preferences().save()
    pace = RuntimeModel(start=1e-5, search=1e-4, step=1e-6, network=1.0)
    monkeypatch.setattr(
        "napari_blind_deconv.plugin.runtime_estimator._measure_runtime", lambda *_: pace
    )


@pytest.fixture
def notifications(monkeypatch) -> list[str]:
    """Sentences shown as napari notifications."""
    shown: list[str] = []
    monkeypatch.setattr(
        "napari_blind_deconv.plugin.widget.notify", lambda sentence, _: shown.append(sentence)
    )
    return shown


@pytest.fixture
def dock(
    make_napari_viewer, qtbot, fresh_panel, notifications
) -> Iterator[BlindDeconvolutionWidget]:
    """The panel in a viewer without layers; its runs have ended when the test has."""
    from napari_blind_deconv.plugin import run as run_module

    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    yield widget
    for run in list(run_module._active):
        run.stop_and_keep()
    qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)
