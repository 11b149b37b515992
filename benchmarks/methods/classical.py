"""Methods without a network: the unchanged input, the Wiener filter and least squares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse.linalg import LinearOperator, cg
from skimage.restoration import unsupervised_wiener

from benchmarks.cases import Case
from benchmarks.methods import Context, Method, Outcome, best_of
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.optics import gaussian_kernel

__all__ = ["GUESS", "GUESSED_SIGMA", "METHODS"]

# The guess of a user who does not know the PSF: a Gaussian of σ 2 px.
GUESSED_SIGMA = 2.0
GUESS = gaussian_kernel((17, 17), GUESSED_SIGMA)
_PADDING = 32
# Weights of the squared gradients relative to the squared misfit, the strongest first.
_SMOOTHNESS = tuple(10.0 ** np.arange(-0.5, -6.1, -0.5))


@dataclass(frozen=True)
class Input:
    """The unchanged input."""

    name: str = "input"

    def run(self, case: Case, context: Context) -> Outcome:
        """Return the observed image."""
        return Outcome(case.observed)


@dataclass(frozen=True)
class UnsupervisedWiener:
    """The Wiener filter of scikit-image that estimates its weights, with the guessed Gaussian."""

    name: str = "Wiener, guessed PSF"

    def run(self, case: Case, context: Context) -> Outcome:
        """Filter the image with mirrored borders, because the filter treats it as periodic."""
        padded = np.pad((case.observed - case.offset) / case.peak, _PADDING, mode="reflect")
        random = np.random.default_rng(context.seed)
        sharp, _ = unsupervised_wiener(padded, GUESS, clip=False, rng=random)
        image = sharp[_PADDING:-_PADDING, _PADDING:-_PADDING]
        return Outcome(image * case.peak + case.offset)


@dataclass(frozen=True)
class LeastSquares:
    """Deconvolution with a quadratic prior and the true PSF, at the best of several weights."""

    name: str = "least squares, true PSF (best weight)"

    def run(self, case: Case, context: Context) -> Outcome:
        """Solve for decreasing weights of ‖∇x‖², each from the previous solution."""
        outcome = best_of(case, _smooth_solutions(case), range(1, len(_SMOOTHNESS) + 1))
        weight = _SMOOTHNESS[outcome.figures.pop("kept") - 1]
        return replace(outcome, figures={**outcome.figures, "weight": weight})


def _smooth_solutions(case: Case) -> Iterator[tuple[NDArray[np.float64], None]]:
    convolution = Convolution(torch.from_numpy(case.true_kernel).double())
    observed = torch.from_numpy((case.observed - case.offset) / case.peak)
    right_side = convolution.adjoint(observed).numpy()  # of the normal equations
    shape = right_side.shape
    canvas = np.full(shape, float(observed.mean()))
    for weight in _SMOOTHNESS:

        def normal(flat: NDArray[Any], weight: float = weight) -> NDArray[np.float64]:
            x = flat.reshape(shape)
            data_term = convolution.adjoint(convolution.forward(torch.from_numpy(x))).numpy()
            # With repeated border pixels the Laplacian is exactly -DᵀD of forward differences.
            product: NDArray[np.float64] = data_term - weight * ndimage.laplace(x, mode="nearest")
            return product.ravel()

        operator = LinearOperator((canvas.size, canvas.size), matvec=normal, dtype=np.float64)
        flat, _ = cg(operator, right_side.ravel(), canvas.ravel(), rtol=1e-4, maxiter=60)
        canvas = flat.reshape(shape)
        yield convolution.field_of_view(canvas) * case.peak + case.offset, None


METHODS: list[Method] = [Input(), UnsupervisedWiener(), LeastSquares()]
