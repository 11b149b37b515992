"""Problems and solvers on volumes, which have one axis more."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_blind_deconv import Image, KernelChoice, Settings, Stage, StopReason
from napari_blind_deconv.engine.double_dip import DoubleDip
from napari_blind_deconv.engine.log_gaussian import LogGaussian
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.richardson_lucy import RichardsonLucy
from napari_blind_deconv.engine.solver import RunControl, Solver, SolverOutcome, run_solver
from napari_blind_deconv.engine.wiener import Wiener
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.task import Task

KERNEL = gaussian_kernel((9, 7, 7), (1.8, 1.2, 1.2))
SETTINGS = Settings(
    channels=(8, 8), kernel_features=32, max_iterations=15, stop_at_noise=False, precision="float32"
)


@pytest.fixture(scope="module")
def volume() -> tuple[np.ndarray, np.ndarray]:
    """The ground truth and the image, in counts above an offset."""
    points = np.random.default_rng(0).random((28, 38, 40)) > 0.985
    scene = 2000 * ndimage.gaussian_filter(points.astype(np.float32), 0.8)
    convolution = Convolution(torch.from_numpy(KERNEL))
    blurred = convolution.forward(torch.from_numpy(scene)).numpy() + 100
    noisy = blurred + np.random.default_rng(1).normal(0, 1, blurred.shape)
    return convolution.field_of_view(scene) + 100, noisy.astype(np.float32)


@pytest.fixture(scope="module")
def problem(volume) -> Problem:
    image = Image(volume[1], "ZYX", space="ZYX")
    return Problem.of(Task(image, SETTINGS, KernelChoice.hold(KERNEL)))


def outcome_of(problem: Problem, solver: Solver) -> SolverOutcome:
    return run_to_end(run_solver(problem, solver, RunControl()))


def error(problem: Problem, outcome: SolverOutcome, truth: np.ndarray) -> float:
    estimate, kernel = problem.to_output(outcome.best.canvas, outcome.best.kernel)
    assert estimate.shape == truth.shape
    assert kernel.shape == KERNEL.shape
    return float(np.mean(np.square(estimate - truth)))


@pytest.mark.parametrize(
    "name", [Stage.WIENER, Stage.LOG_GAUSSIAN, Stage.RICHARDSON_LUCY, Stage.DOUBLE_DIP]
)
def test_every_solver_improves_a_volume(volume, problem, name):
    truth, recorded = volume
    wiener = Wiener(problem, KERNEL)
    linear = outcome_of(problem, wiener)
    solvers = {
        Stage.WIENER: lambda: wiener,
        Stage.LOG_GAUSSIAN: lambda: LogGaussian(problem, wiener),
        Stage.RICHARDSON_LUCY: lambda: RichardsonLucy(problem),
        Stage.DOUBLE_DIP: lambda: DoubleDip(problem, wiener.canvas),
    }
    outcome = linear if name is Stage.WIENER else outcome_of(problem, solvers[name]())
    assert outcome.reason in (StopReason.COMPLETED, StopReason.ITERATION_LIMIT)
    assert error(problem, outcome, truth) < 0.8 * np.mean(np.square(recorded - truth))
    assert problem.to_output(outcome.best.canvas, outcome.best.kernel)[0].mean() == pytest.approx(
        recorded.mean(), rel=0.02
    )


def test_a_kernel_with_other_axes_is_refused(volume):
    image = Image(volume[1], "ZYX", space="ZYX")
    with pytest.raises(ValueError, match="Expected a 3D PSF"):
        Problem.of(Task(image, SETTINGS, KernelChoice.hold(KERNEL[4])))
