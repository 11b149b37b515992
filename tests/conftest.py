"""Shared fixtures. Seeds are fixed everywhere; each process computes on one thread."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

# A touch of a layer from a thread that is not the GUI's is an error, not a race.
os.environ["NAPARI_ENSURE_PLUGIN_MAIN_THREAD"] = "1"
# The suite runs in as many processes as there are cores; commands it starts inherit this.
os.environ["OMP_NUM_THREADS"] = "1"
# What the panel remembers goes here, not into the user's settings.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    fixture, reason = _what_cannot_run()
    for item in items:
        if reason and fixture in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


def _what_cannot_run() -> tuple[str, str]:
    """A fixture this machine has no means for, and why."""
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
    """A sharp 48×48 picture and its blurred, slightly noisy recording, both in [0, 1]."""
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
    """Spare the garbage collector all that the collection of the tests has imported.

    Every test with a viewer collects several times, each a third of a second with that.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def quick_kernel_network() -> Iterator[None]:
    """Bring the kernel's network to its start in a fifteenth of its iterations.

    That takes most of the time of a short fit. How near it comes in full is what
    `test_priors.py` is about.
    """
    from napari_blind_deconv.engine import double_dip

    quick = functools.partial(double_dip.fit_kernel, steps=40)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(double_dip, "fit_kernel", quick)
        yield


@pytest.fixture
def fresh_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels that remember nothing, and need not measure this machine first."""
    from napari_blind_deconv.engine.runtime import RuntimeModel
    from napari_blind_deconv.plugin.preferences import Preferences

    gc.freeze()  # what the viewers before this one have imported
    Preferences().save()
    pace = RuntimeModel(start=1e-5, search=1e-4, step=1e-6, network=1.0)
    monkeypatch.setattr(
        "napari_blind_deconv.plugin.runtime_estimator._measure_runtime", lambda *_: pace
    )
