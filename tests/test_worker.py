"""Progress reports of a run from the worker to the panel."""

from threading import Event

import numpy as np
import pytest

from napari_blind_deconv import Settings
from napari_blind_deconv.image import BlockKind, Image
from napari_blind_deconv.kernel import KernelChoice
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plugin.worker import Progress, _Reporter, work
from napari_blind_deconv.results import Notice, Snapshot, Stage
from napari_blind_deconv.steps import mapped, run_to_end
from napari_blind_deconv.task import Task

QUICK = Settings(max_iterations=5, stop_at_noise=False, channels=(8,), kernel_features=16)


@pytest.mark.parametrize("solver", ["auto", "richardson-lucy"])
def test_iterations_of_all_solvers_are_reported(small_scene, solver):
    settings = QUICK.with_changes(solver=solver, device="cpu")
    kernel = KernelChoice.hold(gaussian_kernel((13, 13), 1.8))
    task = Task(Image(small_scene[1]), settings, kernel)
    reports: list[Progress] = []
    run_to_end(mapped(work(task, Event()), reports.append))
    result = reports[-1].block.result
    shown = [progress for progress in reports if progress.iteration]
    assert shown[0].iteration == 1
    assert shown[0].max_iterations == (60 if solver == "auto" else 5)
    rows = np.concatenate([progress.trace for progress in shown])
    assert {Stage.DOUBLE_DIP, Stage.RICHARDSON_LUCY} & set(rows["stage"])
    for name in ("iteration", "stage", "loss", "data", "regulariser"):
        np.testing.assert_array_equal(rows[name], result.trace[name][: len(rows)])


def test_a_wait_is_shown_at_once_and_then_the_stage_again():
    reporter = _Reporter("cpu", BlockKind.PLANE)
    snapshot = Snapshot.waiting(Stage.WIENER)
    steps = [snapshot, Notice("waiting for workers …"), snapshot]
    reporter._next_report = 0.0
    shown = []
    for step in steps:
        shown += [progress.stage for progress in reporter.reports(step)]
        reporter._next_report = 0.0
    assert shown[1] == "waiting for workers …"
    assert shown[2] == shown[0]
