"""The stage ``log-gaussian``: positivity, noise by pixel and local amplitude of detail."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_blind_deconv.engine.converging import Converging
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.camera import CameraNoise
from napari_blind_deconv.numerics.convolution import Fitted
from napari_blind_deconv.numerics.local_model import LocalModel
from napari_blind_deconv.numerics.log_gaussian import log_gaussian
from napari_blind_deconv.numerics.wiener import KERNEL_ERROR, scene_penalty
from napari_blind_deconv.results import Stage

__all__ = ["LogGaussian", "local_models"]

# Relative errors of the width of a kernel: of one that was measured or computed, and of one that
# was found without a statement of its error.
_ERROR_GIVEN = 0.05
_ERROR_UNKNOWN = 0.2
# Iterations in a volume before its model is refined. On 32 made volumes with other seeds than those
# of the benchmark, 15 give no more, and 3 give 0.25 dB less.
_FIRST_ITERATIONS = 8
_MEMORY = 5  # steps that L-BFGS remembers in a volume, each of which takes two canvases


class LogGaussian(Converging):
    """Solver that finds the most probable positive estimate for a kernel by L-BFGS.

    The objects of a volume are surrounded by dark space, so that local mean and deviation say more
    than in a plane, where all light is superposed. In a volume, the model is therefore refined.

    Parameters
    ----------
    problem : Problem
    start : ndarray
        Estimate ``(C, *canvas)`` with the same kernel, from which the steps begin.
    ratio : float
        Noise-to-signal ratio of all channels together, for this kernel.
    """

    stage = Stage.LOG_GAUSSIAN
    has_negative_light = False

    def __init__(self, problem: Problem, start: NDArray[np.float32], ratio: float) -> None:
        assert problem.kernel_start is not None
        models = local_models(problem, start, ratio)
        estimates = _refined if problem.is_volume else log_gaussian
        runs = [
            estimates(observed, model, model.field_of(canvas))
            for observed, model, canvas in zip(
                problem.on_device(problem.observed), models, start, strict=True
            )
        ]
        super().__init__(problem, problem.kernel_start, runs)


def _refined(observed: Tensor, model: LocalModel, field: NDArray[np.float32]) -> Iterator[Fitted]:
    """Yield the first estimates of a model, and then all of the model that they refine."""
    first = log_gaussian(observed, model, field, memory=_MEMORY)
    for fitted in islice(first, _FIRST_ITERATIONS):
        yield fitted
    estimate = fitted.canvas.cpu().numpy()
    del first, fitted  # frees their memory
    field = model.field_of(estimate)
    yield from log_gaussian(observed, model.refined(estimate, field), field, memory=_MEMORY)


def local_models(problem: Problem, start: NDArray[np.float32], ratio: float) -> list[LocalModel]:
    """Return the model of each channel, for an estimate ``(C, *canvas)`` as `LogGaussian`."""
    inspection = problem.inspection
    kernel = problem.kernel_start
    assert problem.kernel is not None
    assert kernel is not None
    error = _width_error(problem.kernel)
    penalty = scene_penalty(
        problem.canvas_shape,
        noise_to_signal=ratio,
        kernel_error=KERNEL_ERROR,
        noise=inspection.noise,
        sampling=problem.task.image.sampling,
    )
    return [
        LocalModel.of(
            observed,
            kernel,
            canvas,
            camera=CameraNoise.of(observed, valid, inspection.noise),
            penalty=penalty,
            width_error=error,
            valid=valid,
            sampling=problem.task.image.sampling,
        )
        for observed, canvas, valid in zip(problem.observed, start, inspection.valid, strict=True)
    ]


def _width_error(kernel: Kernel) -> float:
    """Return the relative error of the width of a kernel.

    A kernel that was found in one image and is held for others keeps the error that was told.
    """
    is_given = kernel.source is KernelSource.GIVEN
    return kernel.width_deviation or (_ERROR_GIVEN if is_given else _ERROR_UNKNOWN)
