"""L-BFGS on functions whose minimum is known."""

import math
from collections.abc import Callable
from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor

from napari_blind_deconv.numerics.lbfgs import minimised


class Function:
    """A function of a tensor, its gradient by autograd, and how often it was evaluated."""

    def __init__(self, function: Callable[[Tensor], Tensor], start: Tensor) -> None:
        self.function, self.point = function, start.clone()
        self.gradient = torch.empty_like(start)
        self.evaluations = 0

    def __call__(self) -> float:
        self.evaluations += 1
        at = self.point.clone().requires_grad_()
        value = self.function(at)
        value.backward()
        self.gradient.copy_(at.grad)
        return value.item()

    def steps(self, count: int, memory: int = 5) -> list[float]:
        return list(islice(minimised(self, self.point, self.gradient, memory=memory), count))


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1].square()).square() + (1 - x[:-1]).square()).sum()


def steep(x: Tensor) -> Tensor:
    """Return a quadratic whose curvature is far from 1, for which the first step is too long."""
    return 5000 * x.square().sum() + x[0]


def shallow(x: Tensor) -> Tensor:
    return 1e-4 * (x - 3).square().sum()


def bounded(x: Tensor) -> Tensor:
    """Return a function that is infinite at 0 and below, with its minimum at 1."""
    return (x - x.log()).sum() if (x > 0).all() else 0 * x.sum() + math.inf


DOUBLE = {"dtype": torch.float64}
FUNCTIONS = pytest.mark.parametrize(
    ("function", "start", "minimum"),
    [
        (rosenbrock, torch.tensor([-1.2, 1, -0.5, 0.8], **DOUBLE), torch.ones(4, **DOUBLE)),
        (steep, torch.ones(3, **DOUBLE), torch.tensor([-1e-4, 0, 0], **DOUBLE)),
        (shallow, torch.zeros(2, 3, **DOUBLE), torch.full((2, 3), 3.0, **DOUBLE)),
        (bounded, torch.full((3,), 0.02, **DOUBLE), torch.ones(3, **DOUBLE)),
    ],
)


@FUNCTIONS
@pytest.mark.parametrize("memory", [1, 5])
def test_the_minimum_is_found_in_place(function, start, minimum, memory):
    run = Function(function, start)
    run.steps(400 if memory == 1 else 80, memory)
    torch.testing.assert_close(run.point, minimum, rtol=1e-4, atol=1e-6)


@FUNCTIONS
def test_no_step_increases_the_function(function, start, minimum):
    run = Function(function, start)
    values = [run(), *run.steps(30)]
    assert all(after <= before for before, after in pairwise(values))
    assert values[-1] == function(run.point).item(), "the value is that of the point"


def test_a_function_as_expected_takes_one_evaluation_per_step():
    """With a curvature of 1, the first step ends at the minimum."""
    run = Function(lambda x: (x - 2).square().sum() / 2, torch.zeros(5))
    assert run.steps(1) == [0.0]
    assert run.evaluations == 2
    run = Function(rosenbrock, torch.tensor([-1.2, 1.0]))
    run.steps(40)
    assert run.evaluations < 70


def test_a_longer_memory_takes_fewer_steps():
    scales = torch.logspace(-2, 1, 12, **DOUBLE)
    values = [
        Function(lambda x: (scales * (x - 1).square()).sum(), torch.zeros(12, **DOUBLE)).steps(
            25, memory
        )[-1]
        for memory in (1, 12)
    ]
    assert values[1] < 0.3 * values[0]


def test_nothing_changes_where_no_step_decreases_the_function():
    run = Function(lambda x: x.abs().sum(), torch.zeros(3))
    assert run.steps(3) == [0.0] * 3
    torch.testing.assert_close(run.point, torch.zeros(3))
    uphill = Function(lambda x: math.nan * x.sum(), torch.ones(3))
    assert math.isnan(uphill.steps(2)[-1])
    assert uphill.evaluations < 25, "a step ends after some evaluations"


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-15])
def test_changes_that_vanish_in_single_precision_are_left_out(scale):
    run = Function(lambda x: scale * (x - 1).square().sum(), torch.zeros(4))
    values = run.steps(10)
    assert all(math.isfinite(value) for value in values)
    assert torch.isfinite(run.point).all()
