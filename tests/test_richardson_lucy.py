"""Richardson-Lucy with a known and with an unknown kernel."""

from itertools import islice

import pytest
import torch
from benchmarks.richardson_lucy import blind_richardson_lucy

from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.richardson_lucy import richardson_lucy

KERNEL = torch.from_numpy(gaussian_kernel((13, 13), 1.8)).double()
CONVOLUTION = Convolution(KERNEL)


@pytest.fixture(scope="module")
def scene() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(60, 64, generator=generator, dtype=torch.float64)
    return 0.2 + 20 * (points > 0.98) * points


def nth(iterates, count):
    return next(islice(iterates, count - 1, None))


def test_misfit_to_photons_falls_with_every_iteration(scene):
    observed = CONVOLUTION.forward(scene)
    models = map(CONVOLUTION.forward, islice(richardson_lucy(observed, CONVOLUTION), 30))
    misfits = [(model - observed * model.log()).mean().item() for model in models]
    assert misfits == sorted(misfits, reverse=True)


def test_the_known_kernel_reduces_the_error(scene):
    truth, observed = CONVOLUTION.field_of_view(scene), CONVOLUTION.forward(scene)
    estimate = CONVOLUTION.field_of_view(nth(richardson_lucy(observed, CONVOLUTION), 100))
    assert (estimate - truth).norm() < 0.9 * (observed - truth).norm()


@pytest.mark.parametrize(("iterations", "plainly"), [(10, 20), (20, 60)])
def test_accelerated_iterations_are_worth_many(scene, iterations, plainly):
    observed = CONVOLUTION.forward(scene)

    def misfit(canvas):
        model = CONVOLUTION.forward(canvas)
        return (model - observed * model.log()).mean().item()

    plain = nth(richardson_lucy(observed, CONVOLUTION), plainly)
    fast = nth(richardson_lucy(observed, CONVOLUTION, accelerated=True), iterations)
    assert misfit(fast) < misfit(plain)
    assert (fast >= 0).all()


def test_a_point_as_kernel_returns_the_image(scene):
    point = Convolution(torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(nth(richardson_lucy(scene, point), 2), scene)


def test_a_guessed_kernel_moves_towards_the_true_one(scene):
    observed = CONVOLUTION.forward(scene)
    guess = torch.from_numpy(gaussian_kernel((13, 13), 2.6)).double()
    canvas, kernel = nth(blind_richardson_lucy(observed, guess), 20)
    assert kernel.sum().item() == pytest.approx(1)
    assert (kernel >= 0).all()
    assert (canvas >= 0).all()
    assert (kernel - KERNEL).norm() < 0.7 * (guess - KERNEL).norm()


def test_pixels_that_are_not_valid_are_not_explained(scene):
    observed = CONVOLUTION.forward(scene)
    valid = torch.ones_like(observed, dtype=torch.bool)
    valid[10:25, 12:30] = False
    other = observed.clone()
    other[10:25, 12:30] = observed[10:25, 12:30].flip(0)  # the mean stays
    estimates = (nth(richardson_lucy(a, CONVOLUTION, valid), 4) for a in (observed, other))
    torch.testing.assert_close(*estimates)
