"""Many runs, one after another, in parallel and in one viewer: memory and threads do not grow."""

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import torch
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication
from tests import guard

from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.plugin import run as run_module
from napari_blind_deconv.synthetic import fluorescence_scene

# LOAD_IN_FULL=1 repeats the runs as often as in a day at the microscope.
FULL = "LOAD_IN_FULL" in os.environ
RUNS, VIEWER_RUNS, PARALLEL_RUNS = (200, 100, 10) if FULL else (50, 6, 3)
TINY = Settings(channels=(8,), max_iterations=3, kernel_features=16, stop_at_noise=False, window=2)
# A very short run with all its parts except the search for the kernel and the linear estimate.
BRIEF = TINY.with_changes(kernel_start="flat", image_start="random")
PIXELS = np.random.default_rng(0).random((32, 36)).astype(np.float32)


def test_many_runs_leak_no_memory_and_no_threads():
    process = psutil.Process()
    memory, threads = [], []
    for seed in range(RUNS):
        settings = TINY if seed % 5 == 0 else BRIEF
        deconvolve(PIXELS, settings.with_changes(seed=seed))
        if seed % 10 == 9:
            gc.collect()
            memory.append(process.memory_info().rss)
            threads.append(process.num_threads())
    settled = memory[2]  # by then the allocators have grown
    assert max(memory[3:]) - settled < 20 * 2**20, memory
    assert max(threads) <= threads[0], threads


def test_parallel_runs_equal_single_runs():
    def result_image(seed: int) -> np.ndarray:
        return deconvolve(PIXELS, TINY.with_changes(seed=seed)).image

    alone = [result_image(seed) for seed in range(PARALLEL_RUNS)]
    with ThreadPoolExecutor(PARALLEL_RUNS) as pool:
        parallel = list(pool.map(result_image, range(PARALLEL_RUNS)))
    for one, other in zip(alone, parallel, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_number_of_threads_changes_only_rounding():
    before = torch.get_num_threads()
    settings = TINY.with_changes(max_iterations=10, precision="float32")
    image = fluorescence_scene((48, 48)).observed
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(deconvolve(image, settings))
    finally:
        torch.set_num_threads(before)
    contrast = float(np.ptp(results[0].image))
    widths = results[0].kernel.widths.along_axes
    for other in results[1:]:
        difference = np.abs(other.image - results[0].image)
        assert difference.max() < 1e-2 * contrast
        assert np.sqrt(np.square(difference).mean()) < 1e-3 * contrast
        assert other.kernel.widths.along_axes == pytest.approx(widths, rel=0.02)


def test_a_viewer_open_for_many_runs_leaks_nothing(make_napari_viewer, qtbot, fresh_panel):
    viewer = make_napari_viewer()
    image = viewer.add_image(PIXELS, name="cells")
    _, widget = viewer.window.add_plugin_dock_widget("napari-blind-deconv")
    for name, value in {
        **{"stop_at_noise": False, "max_iterations": 2, "channels": "[8]", "window": 2},
        **{"kernel_features": 16, "kernel_start": "flat", "image_start": "random"},
    }.items():
        widget.form.fields.widgets[name].value = value

    def one_run() -> None:
        viewer.layers.selection.active = image
        widget.start()
        qtbot.waitUntil(lambda: not run_module._active, timeout=guard.MILLISECONDS)
        for layer in list(viewer.layers):
            if layer is not image and layer.name != "cells":
                viewer.layers.remove(layer)

    counts = []
    for number in range(VIEWER_RUNS):
        one_run()
        if number in (2, VIEWER_RUNS - 1):
            QThreadPool.globalInstance().waitForDone()
            QApplication.processEvents()
            gc.collect()
            counts.append(
                (len(QApplication.allWidgets()), threading.active_count(), len(viewer.layers))
            )
    assert counts[1] == counts[0]
