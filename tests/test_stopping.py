"""Early stopping on synthetic estimates and curves."""

import math

import numpy as np
import pytest

from napari_blind_deconv.numerics.stopping import EarlyStopping, WindowedVariance


def test_windowed_variance_is_the_mean_variance_of_the_pixels():
    estimates = np.random.default_rng(0).normal(3, 1, (40, 50)).astype(np.float32)
    variance = WindowedVariance(window=10, pixels=50)
    for step, estimate in enumerate(estimates):
        found = variance.update(estimate)
        if step < 9:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(
                estimates[step - 9 : step + 1].var(axis=0).mean(), rel=1e-6
            )


def test_windowed_variance_stays_exact_after_many_steps():
    random = np.random.default_rng(0)
    variance = WindowedVariance(window=5, pixels=100)
    for _ in range(5000):
        variance.update(random.random(100, dtype=np.float32))
    constant = np.full(100, 0.5, dtype=np.float32)
    assert max(variance.update(constant) for _ in range(10)) < 0.1
    assert variance.update(constant) < 1e-12


def feed(stopping: EarlyStopping, curve: list[float]) -> int:
    """Return the iteration at which the rule stops, or the length of the curve."""
    for iteration, variance in enumerate(curve, start=1):
        stopping.update(iteration, variance)
        if stopping.exhausted:
            return iteration
    return len(curve)


def test_stops_after_the_minimum_and_the_patience():
    curve = [math.nan] * 5 + [10.0 - i for i in range(8)] + [3.0 + i for i in range(50)]
    stopping = EarlyStopping(patience=20)
    assert feed(stopping, curve) == 13 + 20
    assert stopping.best_iteration == 13
    assert stopping.best_variance == 3.0


def test_continues_over_a_peak_shorter_than_the_patience():
    curve = [5.0, 4.0, 6.0, 6.0, 6.0, 3.0, 7.0]
    stopping = EarlyStopping(patience=4)
    assert feed(stopping, curve) == len(curve)
    assert stopping.best_iteration == 6


def test_never_stops_while_the_window_fills_or_the_variance_falls():
    assert feed(EarlyStopping(patience=3), [math.nan] * 100) == 100
    assert feed(EarlyStopping(patience=3), [1 / i for i in range(1, 100)]) == 99


def test_an_equal_variance_is_no_decrease():
    stopping = EarlyStopping(patience=10)
    assert feed(stopping, [1.0] * 50) == 11
    assert stopping.best_iteration == 1
