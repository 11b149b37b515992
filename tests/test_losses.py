"""The Huber loss and the ratio of sparse gradients."""

import numpy as np
import pytest
import torch

from napari_blind_deconv import Image, KernelChoice, Settings
from napari_blind_deconv.engine.objective import Objective
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.numerics import losses
from napari_blind_deconv.numerics.losses import (
    gradient_sparsity,
    mean_gradient,
    mean_huber,
    mean_square,
)
from napari_blind_deconv.task import Task


def test_huber_is_quadratic_inside_and_linear_outside():
    delta = 0.05
    inside, outside = torch.tensor([0.02, -0.04]), torch.tensor([0.5, -1.0])
    torch.testing.assert_close(mean_huber(inside, delta), (inside**2 / 2).mean())
    linear = delta * (outside.abs() - delta / 2)
    torch.testing.assert_close(mean_huber(outside, delta), linear.mean())


SHAPES = pytest.mark.parametrize("shape", [(20, 30), (9, 12, 10)])


@SHAPES
@pytest.mark.parametrize("per_pixel", [True, False])
def test_sparsity_ignores_contrast_and_offset(shape, per_pixel):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        gradient_sparsity(7 * image + 3, per_pixel=per_pixel),
        gradient_sparsity(image, per_pixel=per_pixel),
        rtol=1e-4,
        atol=1e-4,
    )


@SHAPES
def test_all_axes_count_equally(shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for turned in (image.transpose(0, -1), image.flip(0)):
        torch.testing.assert_close(gradient_sparsity(turned), gradient_sparsity(image))
        torch.testing.assert_close(mean_gradient(turned), mean_gradient(image))


@pytest.mark.parametrize("shape", [(32, 32), (8, 8, 32)])
def test_sparsity_is_lower_for_a_sharp_edge_than_for_a_slope(shape):
    edge = torch.zeros(shape)
    edge[..., 16:] = 1
    slope = torch.linspace(0, 1, 32).expand(shape)
    assert gradient_sparsity(edge) < 0.5 * gradient_sparsity(slope)


def test_per_pixel_ratio_does_not_grow_with_the_image_while_the_published_one_does():
    small = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    large = torch.rand(256, 256, generator=torch.Generator().manual_seed(1))
    assert gradient_sparsity(large).item() == pytest.approx(
        gradient_sparsity(small).item(), rel=0.05
    )
    published = [gradient_sparsity(image, per_pixel=False) for image in (small, large)]
    assert published[1] > 6 * published[0]


@pytest.mark.parametrize("shape", [(8, 8), (4, 5, 6)])
def test_gradients_are_finite_even_for_a_constant_image(shape):
    image = torch.ones(shape, requires_grad=True)
    gradient_sparsity(image).backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


def test_mean_gradient_falls_with_contrast_and_not_with_size():
    ramp = torch.arange(40.0).expand(40, 40)
    assert mean_gradient(ramp).item() == pytest.approx(39 / 40)
    assert mean_gradient(0.5 * ramp) == 0.5 * mean_gradient(ramp)


def test_mean_square_counts_outliers_in_full():
    residual = torch.zeros(10)
    residual[0] = 2
    assert mean_square(residual).item() == pytest.approx(0.4)
    assert mean_huber(residual, 0.05) < 0.1 * mean_square(residual)


@SHAPES
@pytest.mark.parametrize("term", [gradient_sparsity, mean_gradient])
def test_a_large_image_is_measured_in_parts(shape, term, monkeypatch):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    whole = term(image)
    monkeypatch.setattr(losses, "_VALUES_AT_ONCE", image[0].numel() * 2)
    torch.testing.assert_close(term(image), whole)


@pytest.mark.parametrize("masked", [False, True])
def test_the_objective_of_parts_is_that_of_the_whole(masked, monkeypatch):
    random = np.random.default_rng(0)
    counts = random.poisson(100, (40, 50, 3)).astype(np.float32)
    mask = np.zeros(counts.shape[:2], bool)
    mask[:7, 20:] = masked
    image = Image(counts, "YXS", masked=mask)
    problem = Problem.of(Task(image, Settings(device="cpu"), KernelChoice.find()))
    blurred = torch.rand(problem.observed.shape, generator=torch.Generator().manual_seed(1))
    objective = Objective(problem)
    whole = objective.of_blurred(blurred, blurred)
    monkeypatch.setattr(losses, "_VALUES_AT_ONCE", 300)
    for part, expected in zip(objective.of_blurred(blurred, blurred), whole, strict=True):
        torch.testing.assert_close(part, expected)
