"""The blur model against a direct computation, its adjoint and its gradients."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from napari_blind_deconv.numerics.blur import (
    adjoint_blur,
    blur,
    crop_to_field_of_view,
    field_of_view_offset,
)

SHAPES = [
    ((20, 23), (5, 7)),
    ((21, 20), (4, 6)),
    ((17, 30), (3, 8)),
    ((16, 16), (16, 15)),
    ((19, 19), (1, 1)),
]


def random(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("canvas", "kernel"), SHAPES)
def test_equals_direct_convolution_of_what_the_field_of_view_sees(canvas, kernel):
    x, k = random(canvas), random(kernel, 1)
    direct = convolve2d(x.numpy(), k.numpy(), mode="valid")
    np.testing.assert_allclose(blur(x, k).numpy(), direct, atol=1e-12)


@pytest.mark.parametrize(("canvas", "kernel"), SHAPES)
def test_adjoint(canvas, kernel):
    x, k = random(canvas), random(kernel, 1)
    y = random(tuple(blur(x, k).shape), 2)
    assert adjoint_blur(y, k).shape == x.shape
    torch.testing.assert_close((blur(x, k) * y).sum(), (x * adjoint_blur(y, k)).sum())


@pytest.mark.parametrize("kernel_shape", [(5, 7), (4, 6), (1, 2)])
def test_a_point_at_the_origin_leaves_the_field_of_view_as_it_is(kernel_shape):
    x = random((3, 25, 26))
    kernel = torch.zeros(kernel_shape, dtype=torch.float64)
    kernel[kernel_shape[0] // 2, kernel_shape[1] // 2] = 1
    torch.testing.assert_close(blur(x, kernel), crop_to_field_of_view(x, kernel_shape))
    top, left = field_of_view_offset(kernel_shape)
    assert crop_to_field_of_view(x, kernel_shape)[0, 0, 0] == x[0, top, left]


def test_gradients_for_image_and_kernel():
    x = random((2, 9, 10)).requires_grad_()
    k = random((3, 4), 1).requires_grad_()
    assert torch.autograd.gradcheck(blur, (x, k))


def test_channels_are_blurred_alike():
    x, k = random((3, 20, 20)), random((5, 5), 1)
    for channel in range(3):
        torch.testing.assert_close(blur(x, k)[channel], blur(x[channel], k))
