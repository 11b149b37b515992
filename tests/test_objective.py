"""Huber's loss and the sparse-gradient ratio."""

import pytest
import torch

from napari_blind_deconv.numerics.objective import (
    gradient_sparsity,
    mean_gradient,
    mean_huber,
    mean_square,
)


def test_huber_is_quadratic_inside_and_linear_outside():
    delta = 0.05
    inside, outside = torch.tensor([0.02, -0.04]), torch.tensor([0.5, -1.0])
    torch.testing.assert_close(mean_huber(inside, delta), (inside**2 / 2).mean())
    linear = delta * (outside.abs() - delta / 2)
    torch.testing.assert_close(mean_huber(outside, delta), linear.mean())


@pytest.mark.parametrize("per_pixel", [True, False])
def test_sparsity_ignores_contrast_and_offset(per_pixel):
    picture = torch.rand(20, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        gradient_sparsity(7 * picture + 3, per_pixel=per_pixel),
        gradient_sparsity(picture, per_pixel=per_pixel),
        rtol=1e-4,
        atol=1e-4,
    )


def test_sparsity_is_lower_for_a_sharp_edge_than_for_a_slope():
    edge = torch.zeros(32, 32)
    edge[:, 16:] = 1
    slope = torch.linspace(0, 1, 32).repeat(32, 1)
    assert gradient_sparsity(edge) < 0.5 * gradient_sparsity(slope)


def test_per_pixel_ratio_does_not_grow_with_the_image_while_the_published_one_does():
    small = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    large = torch.rand(256, 256, generator=torch.Generator().manual_seed(1))
    assert gradient_sparsity(large).item() == pytest.approx(
        gradient_sparsity(small).item(), rel=0.05
    )
    published = [gradient_sparsity(picture, per_pixel=False) for picture in (small, large)]
    assert published[1] > 6 * published[0]


def test_gradients_are_finite_even_for_a_constant_picture():
    picture = torch.ones(8, 8, requires_grad=True)
    gradient_sparsity(picture).backward()
    assert picture.grad is not None
    assert torch.isfinite(picture.grad).all()


def test_mean_gradient_falls_with_contrast_and_knows_no_size():
    ramp = torch.arange(40.0).expand(40, 40)
    assert mean_gradient(ramp).item() == pytest.approx(39 / 40)
    assert mean_gradient(0.5 * ramp) == 0.5 * mean_gradient(ramp)


def test_mean_square_counts_outliers_in_full():
    residual = torch.zeros(10)
    residual[0] = 2
    assert mean_square(residual).item() == pytest.approx(0.4)
    assert mean_huber(residual, 0.05) < 0.1 * mean_square(residual)
