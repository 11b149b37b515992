"""Where a fit starts: a kernel, and the linear estimate of the picture that goes with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel
from napari_blind_deconv.numerics.location import crop_or_pad
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.wiener import EXPONENT, KERNEL_ERROR, noise_to_signal, wiener

__all__ = ["first_kernel", "first_picture"]


def first_kernel(problem: Problem) -> NDArray[np.float32] | None:
    """The kernel that is given, or the kernel network is to start from; None: as it comes."""
    if problem.psf is not None:
        return problem.psf
    if problem.blur is not None:
        return crop_or_pad(problem.blur.kernel, problem.window)
    start = problem.settings.kernel_start
    return gaussian_kernel(problem.window, float(start)).numpy() if start != "flat" else None


def first_picture(problem: Problem, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Wiener estimate of every channel on its canvas, shape ``(C, *problem.canvas_shape)``."""
    ratio = noise_to_signal(Spectrum.of(problem.luminance), kernel)
    return np.stack(
        [
            wiener(
                channel,
                kernel,
                noise_to_signal=ratio,
                exponent=EXPONENT,
                kernel_error=KERNEL_ERROR,
            )
            for channel in problem.calm
        ]
    )
