"""Transforms of real images: both libraries give the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_blind_deconv.numerics.fourier import inverse_real_transform, real_transform


@pytest.mark.parametrize("shape", [(9, 12, 15), (2, 9, 12, 14), (12, 15)])
@pytest.mark.parametrize("sides", [(9, 12, 15), (10, 12, 16)])
def test_transforms_are_those_of_numpy(shape, sides):
    sides = sides[-min(len(shape), 3) :]
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    axes = tuple(range(-len(sides), 0))
    spectrum = real_transform(torch.from_numpy(values), sides)
    expected = np.fft.rfftn(values, sides, axes)
    np.testing.assert_allclose(spectrum.numpy(), expected, atol=1e-3)
    assert spectrum.dtype == torch.complex64
    restored = inverse_real_transform(spectrum, sides)
    padded = np.fft.irfftn(expected, sides, axes)
    np.testing.assert_allclose(restored.numpy(), padded, atol=1e-5)


def test_gradients_flow_through_the_transforms_of_a_volume():
    values = torch.rand(6, 7, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    restored = inverse_real_transform(real_transform(values, values.shape), values.shape)
    restored.square().sum().backward()
    torch.testing.assert_close(values.grad, 2 * values.detach())
