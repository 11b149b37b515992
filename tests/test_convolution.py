"""The forward model, its adjoint and its gradients, for any number of axes."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve

from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.field_of_view import (
    canvas_shape,
    crop_to_field_of_view,
    fast_window,
    field_of_view_origin,
)

SHAPES = [
    ((20, 23), (5, 7)),
    ((21, 20), (4, 6)),
    ((17, 30), (3, 8)),
    ((16, 16), (16, 15)),
    ((19, 19), (1, 1)),
    ((9, 14, 11), (3, 4, 5)),
    ((6, 13, 16), (6, 1, 7)),
    ((40,), (7,)),
]


def random(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("canvas", "kernel"), SHAPES)
def test_equals_direct_convolution_in_the_field_of_view(canvas, kernel):
    x, k = random(canvas), random(kernel, 1)
    direct = convolve(x.numpy(), k.numpy(), mode="valid", method="direct")
    np.testing.assert_allclose(Convolution(k).forward(x).numpy(), direct, atol=1e-12)


@pytest.mark.parametrize(("canvas", "kernel"), SHAPES)
def test_adjoint(canvas, kernel):
    convolution = Convolution(random(kernel, 1))
    x = random(canvas)
    blurred = convolution.forward(x)
    y = random(tuple(blurred.shape), 2)
    back = convolution.adjoint(y)
    assert back.shape == x.shape
    torch.testing.assert_close((blurred * y).sum(), (x * back).sum())


@pytest.mark.parametrize(("canvas", "kernel"), SHAPES)
def test_the_canvas_holds_all_light_the_field_of_view_receives(canvas, kernel):
    convolution = Convolution(random(kernel))
    image = convolution.forward(random(canvas)).shape
    assert convolution.canvas_shape(image) == canvas_shape(image, kernel) == canvas


@pytest.mark.parametrize("kernel_shape", [(5, 7), (4, 6), (1, 2), (3, 2, 5)])
def test_a_point_at_the_origin_does_not_change_the_field_of_view(kernel_shape):
    x = random((3, *(25, 26, 9)[: len(kernel_shape)]))
    kernel = torch.zeros(kernel_shape, dtype=torch.float64)
    kernel[tuple(side // 2 for side in kernel_shape)] = 1
    convolution = Convolution(kernel)
    torch.testing.assert_close(convolution.forward(x), convolution.field_of_view(x))
    first = convolution.field_of_view(x)[(0, *(0,) * len(kernel_shape))]
    assert first == x[(0, *field_of_view_origin(kernel_shape))]


def test_arrays_are_cropped_like_tensors():
    x = random((3, 25, 26))
    cropped = crop_to_field_of_view(x.numpy(), (5, 7))
    np.testing.assert_array_equal(cropped, crop_to_field_of_view(x, (5, 7)).numpy())


@pytest.mark.parametrize(("canvas", "kernel"), [((2, 9, 10), (3, 4)), ((5, 6, 7), (3, 2, 3))])
def test_gradients_for_image_and_kernel(canvas, kernel):
    x, k = random(canvas).requires_grad_(), random(kernel, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, k: Convolution(k).forward(x), (x, k))


@pytest.mark.parametrize("kernel", [(5, 5), (3, 5, 5)])
def test_all_channels_are_blurred_with_the_same_kernel(kernel):
    convolution = Convolution(random(kernel, 1))
    x = random((3, *(20,) * len(kernel)))
    for channel in range(3):
        torch.testing.assert_close(convolution.forward(x)[channel], convolution.forward(x[channel]))


@pytest.mark.parametrize(("image", "kernel"), [(512, 31), (64, 31), (61, 17), (80, 9)])
def test_a_fast_window_keeps_origin_and_has_no_large_factor(image, kernel):
    (side,) = fast_window((image,), (kernel,))
    assert side >= kernel
    assert side % 2 == kernel % 2
    canvas = image + side - 1
    assert max(factor for factor in range(1, canvas + 1) if is_prime_factor(factor, canvas)) <= 13
    assert fast_window((image,), (side,)) == (side,)


def is_prime_factor(factor: int, number: int) -> bool:
    return number % factor == 0 and all(factor % other for other in range(2, factor))
