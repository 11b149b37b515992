"""Where a fit starts: a kernel, and the linear estimate of the picture that goes with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.numerics.blur_search import placed
from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.wiener import wiener

__all__ = ["first_kernel", "first_picture"]

# The power of a sharp picture falls like the frequency to this power. Steeper than in the search
# for a blur: detail nobody is sure of is better left out.
_EXPONENT = 3.5
# No kernel is known better than this (mean square error of its transfer function), and no image
# follows the model better than to this share of its strength.
_KERNEL_ERROR = 1e-3
_LEAST_NOISE_TO_SIGNAL = 1e-3


def first_kernel(problem: Problem) -> NDArray[np.float32] | None:
    """The kernel that is given, or the kernel network is to start from; None: as it comes."""
    if problem.psf is not None:
        return problem.psf
    if problem.blur is not None:
        return placed(problem.blur.kernel, problem.window)
    start = problem.settings.kernel_start
    return gaussian_kernel(problem.window, float(start)).numpy() if start != "flat" else None


def first_picture(problem: Problem, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Wiener estimate of every channel on its canvas, shape ``(C, *problem.canvas_shape)``."""
    spectrum = Spectrum.of(problem.luminance)
    found = spectrum.explained_by(spectrum.transfer_of(kernel), _EXPONENT)
    noise_to_signal = spectrum.noise_variance / found.strength
    return np.stack(
        [
            wiener(
                channel,
                kernel,
                noise_to_signal=noise_to_signal + _LEAST_NOISE_TO_SIGNAL,
                exponent=_EXPONENT,
                kernel_error=_KERNEL_ERROR,
            )
            for channel in problem.calm
        ]
    )
