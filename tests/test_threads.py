"""Work in several threads gives what it gives in one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_blind_deconv.numerics import threads
from napari_blind_deconv.numerics.threads import gaussian_smoothed, in_threads


@pytest.fixture(params=[1, 3])
def number(request, monkeypatch) -> int:
    monkeypatch.setattr(threads, "threads", lambda: request.param)
    return request.param


def test_results_keep_their_order(number):
    assert in_threads(lambda part: 2 * part, range(20)) == list(range(0, 40, 2))


def test_an_error_of_a_part_is_raised(number):
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 / part, (1, 0, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(23, 7, 11), (2, 31, 17), (40, 30), (50,)])
def test_smoothing_is_that_of_scipy(number, monkeypatch, shape, dtype):
    monkeypatch.setattr(threads, "_LARGE", 0)
    image = np.random.default_rng(0).random(shape).astype(dtype)
    sigmas = (1.5, 0.0, 2.5)[: len(shape)]
    for sigma in (sigmas, 2.0):
        smoothed = gaussian_smoothed(image, sigma)
        np.testing.assert_array_equal(smoothed, ndimage.gaussian_filter(image, sigma))
        assert smoothed.dtype == dtype
