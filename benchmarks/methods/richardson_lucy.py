"""Richardson-Lucy with a PSF that is guessed, true or estimated, and blind Richardson-Lucy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.blur_sure import gaussian_width, white_noise
from benchmarks.cases import Case
from benchmarks.methods import Context, Method, Outcome, best_of
from benchmarks.methods.classical import GUESS, GUESSED_SIGMA
from benchmarks.richardson_lucy import blind_richardson_lucy
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.field_of_view import crop_to_field_of_view
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.richardson_lucy import richardson_lucy

__all__ = ["METHODS"]

GUESSED_ITERATIONS = 20
COUNTS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 720, 1000)
KERNEL_SIDE = 41  # pixels, of estimated kernels


def _iterates(case: Case, kernel: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    """Yield the estimate of each iteration in the units of the input.

    The offset is given, because users know that of their camera.
    """
    light = torch.from_numpy(case.observed - case.offset)
    convolution = Convolution(torch.from_numpy(kernel).double())
    for canvas in richardson_lucy(light, convolution):
        yield _in_input_units(case, canvas, kernel.shape)


def _in_input_units(
    case: Case, canvas: torch.Tensor, kernel: tuple[int, ...]
) -> NDArray[np.float64]:
    return crop_to_field_of_view(canvas, kernel).numpy() + case.offset


def _blur_sure_kernel(case: Case) -> NDArray[np.float32]:
    """Return the Gaussian whose width is estimated from the image, see `gaussian_width`."""
    return gaussian_kernel((KERNEL_SIDE, KERNEL_SIDE), gaussian_width(case.observed))


@dataclass(frozen=True)
class Guessed:
    """A Gaussian of σ 2 px and twenty iterations: the guess of a user who does not know the PSF."""

    name: str = "RL, guessed PSF, 20 iterations"

    def run(self, case: Case, context: Context) -> Outcome:
        """Take the twentieth iterate."""
        image = next(islice(_iterates(case, GUESS), GUESSED_ITERATIONS - 1, None))
        return Outcome(image, None, {"kept": GUESSED_ITERATIONS})


@dataclass(frozen=True)
class Oracle:
    """The true PSF, and the best iteration by comparison with the truth."""

    name: str = "RL, true PSF (best iteration)"

    def run(self, case: Case, context: Context) -> Outcome:
        """Take the best iterate."""
        kernel = case.true_kernel
        return best_of(case, ((image, None) for image in _iterates(case, kernel)), COUNTS)


@dataclass(frozen=True)
class BlurSure:
    """The Gaussian of blur-SURE, and the best iteration by comparison with the truth."""

    name: str = "blur-SURE + RL (best iteration)"

    def run(self, case: Case, context: Context) -> Outcome:
        """Take the best iterate."""
        kernel = _blur_sure_kernel(case)
        return best_of(case, ((image, kernel) for image in _iterates(case, kernel)), COUNTS)


@dataclass(frozen=True)
class BlurSureStopped:
    """The Gaussian of blur-SURE, stopped when the misfit reaches the noise, without the truth."""

    name: str = "blur-SURE + RL (stop at the noise)"

    def run(self, case: Case, context: Context) -> Outcome:
        """Take the first iterate whose misfit is at most the estimated noise (Morozov)."""
        noise = white_noise(case.observed) ** 2
        kernel = _blur_sure_kernel(case)
        convolution = Convolution(torch.from_numpy(kernel).double())
        light = torch.from_numpy(case.observed - case.offset)
        for count, canvas in enumerate(richardson_lucy(light, convolution), 1):
            misfit = (convolution.forward(canvas) - light).square().mean()
            if misfit <= noise or count == COUNTS[-1]:
                break
        image = _in_input_units(case, canvas, kernel.shape)
        return Outcome(image, kernel, {"kept": count})


@dataclass(frozen=True)
class Blind:
    """Fish et al. (1995), as deconvblind of MATLAB, from the guess.

    Takes the best iteration by comparison with the truth.
    """

    name: str = "blind RL from the guess (best iteration)"

    def run(self, case: Case, context: Context) -> Outcome:
        """Take the best iterate."""
        light = torch.from_numpy(case.observed - case.offset)
        start = torch.from_numpy(
            gaussian_kernel((KERNEL_SIDE, KERNEL_SIDE), GUESSED_SIGMA)
        ).double()
        iterates = blind_richardson_lucy(light, start)
        pairs = (
            (_in_input_units(case, canvas, tuple(kernel.shape)), kernel.numpy())
            for canvas, kernel in iterates
        )
        return best_of(case, pairs, COUNTS[:-2])


METHODS: list[Method] = [Guessed(), Oracle(), BlurSure(), BlurSureStopped(), Blind()]
