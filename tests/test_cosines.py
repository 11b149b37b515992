"""Cosine transforms of a canvas: both ways to compute them give the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from napari_blind_deconv.numerics import cosines
from napari_blind_deconv.numerics.cosines import cosines_of, from_cosines


@pytest.fixture(params=["scipy", "torch"])
def library(request, monkeypatch) -> str:
    monkeypatch.setattr(cosines, "_is_for_scipy", lambda _: request.param == "scipy")
    return request.param


@pytest.mark.parametrize("shape", [(12, 15), (7, 8, 9), (6, 1, 5)])
def test_coefficients_are_those_of_scipy_and_give_the_canvas_back(library, shape):
    canvas = np.random.default_rng(0).random(shape).astype(np.float32)
    coefficients = cosines_of(torch.from_numpy(canvas))
    np.testing.assert_allclose(coefficients.numpy(), dctn(canvas, norm="ortho"), atol=1e-5)
    assert coefficients.is_contiguous()
    restored = from_cosines(coefficients)
    np.testing.assert_allclose(restored.numpy(), canvas, atol=1e-6)
    assert restored.dtype == torch.float32
