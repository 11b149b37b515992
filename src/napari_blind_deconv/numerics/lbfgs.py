"""L-BFGS: minimise a smooth function of many variables.

`torch.optim.LBFGS` does so, too, but gets memory for a dozen vectors in every step. For a volume,
this takes longer than the rest of the step. Here all vectors are kept and changed in place.

Source: Nocedal and Wright, *Numerical Optimization* (2006), algorithms 3.5, 3.6 and 7.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["minimised"]

_EVALUATIONS = 8  # of the function in a step, at most
# A step is long enough if it decreases the function by this share of what its slope at the start
# promises, and reduces the slope to this share (strong Wolfe conditions).
_DECREASE, _CURVATURE = 1e-4, 0.9
_LONGER = (1.5, 10.0)  # times the last step, if a step is too short
_INSIDE = 0.1  # share of a bracket that a step within it keeps to its ends


def minimised(
    evaluate: Callable[[], float], point: Tensor, gradient: Tensor, *, memory: int
) -> Iterator[float]:
    """Minimise a function without end.

    Parameters
    ----------
    evaluate : callable
        Returns the function at `point` and leaves its gradient in `gradient`.
    point, gradient : Tensor
        Contiguous, of the same shape. Both are changed in place. The function should have a
        curvature of about 1 along all axes, because the first step has the length of the gradient.
    memory : int
        Steps that are remembered. Raising it takes fewer steps, and two vectors more for each.

    Yields
    ------
    float
        The function after each step, at the point where it was evaluated last. It is the same as
        before if no step decreases the function.
    """
    variables, slopes = point.view(-1), gradient.view(-1)
    steps = _Steps(memory)
    direction, before = torch.empty_like(variables), torch.empty_like(variables)
    value = evaluate()
    while True:
        before.copy_(slopes)
        steps.descend(slopes, direction)
        line = _Line(evaluate, variables, slopes, direction)
        reached = line.searched(value)
        steps.add(reached.step, direction, slopes, before)
        value = reached.value
        yield value


class _Pair(NamedTuple):
    """A step, the change of the gradient on it, their product, and the square of the change."""

    step: Tensor
    change: Tensor
    product: float
    square: float


class _Steps:
    """The last steps, which tell the curvature of the function."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._pairs: list[_Pair] = []

    def add(self, length: float, direction: Tensor, gradient: Tensor, before: Tensor) -> None:
        """Remember a step, in the memory of the oldest, unless the function curves down on it."""
        if len(self._pairs) == self._memory:
            step, change, *_ = self._pairs.pop(0)
        else:
            step, change = torch.empty_like(direction), torch.empty_like(direction)
        torch.mul(direction, length, out=step)
        torch.sub(gradient, before, out=change)
        product, square = float(torch.dot(step, change)), float(torch.dot(change, change))
        if min(product, square) > torch.finfo(step.dtype).tiny:
            self._pairs.append(_Pair(step, change, product, square))

    def descend(self, gradient: Tensor, direction: Tensor) -> None:
        """Compute the direction in which the function is expected to have its minimum."""
        direction.copy_(gradient).neg_()
        shares = []
        for pair in reversed(self._pairs):
            shares.append(share := float(torch.dot(pair.step, direction)) / pair.product)
            direction.add_(pair.change, alpha=-share)
        if self._pairs:
            direction.mul_(self._pairs[-1].product / self._pairs[-1].square)
        for pair, share in zip(self._pairs, reversed(shares), strict=True):
            taken = float(torch.dot(pair.change, direction)) / pair.product
            direction.add_(pair.step, alpha=share - taken)


class _Sample(NamedTuple):
    step: float
    value: float
    slope: float


@dataclass
class _Line:
    """The function along a direction, from the point where it was evaluated last."""

    evaluate: Callable[[], float]
    point: Tensor
    gradient: Tensor
    direction: Tensor
    step: float = 0.0

    def searched(self, value: float) -> _Sample:
        """Go along the line until the strong Wolfe conditions hold, or evaluations run out."""
        start = low = _Sample(0.0, value, self._slope)
        sample, high, step = start, None, 1.0
        for _ in range(_EVALUATIONS):
            sample = self._at(step)
            decreases = sample.value <= start.value + _DECREASE * step * start.slope
            if not decreases or sample.value > low.value:
                high = sample
            else:
                if abs(sample.slope) <= -_CURVATURE * start.slope:
                    return sample
                towards = 1.0 if high is None else high.step - low.step
                if sample.slope * towards >= 0:
                    high = low
                low = sample
            step = _longer(start, low) if high is None else _between(low, high)
        return sample if sample is low else self._at(low.step)

    def _at(self, step: float) -> _Sample:
        self.point.add_(self.direction, alpha=step - self.step)
        self.step = step
        return _Sample(step, self.evaluate(), self._slope)

    @property
    def _slope(self) -> float:
        return float(torch.dot(self.gradient, self.direction))


def _longer(start: _Sample, last: _Sample) -> float:
    """Return a longer step than the last one, after which the function still decreases."""
    least, most = (factor * last.step for factor in _LONGER)
    wanted = _minimum(start, last)
    return most if math.isnan(wanted) else min(max(wanted, least), most)


def _between(low: _Sample, high: _Sample) -> float:
    """Return a step between two others, between which the function has a minimum."""
    margin = _INSIDE * abs(high.step - low.step)
    least, most = (min(low.step, high.step) + margin, max(low.step, high.step) - margin)
    wanted = _minimum(low, high)
    return (least + most) / 2 if math.isnan(wanted) else min(max(wanted, least), most)


def _minimum(one: _Sample, other: _Sample) -> float:
    """Return the minimum of the cubic through two samples (equation 3.59); NaN without one."""
    distance = other.step - one.step
    mean = one.slope + other.slope - 3 * (one.value - other.value) / (one.step - other.step)
    square = mean**2 - one.slope * other.slope
    if not 0 <= square < math.inf:
        return math.nan
    root = math.copysign(math.sqrt(square), distance)
    curvature = other.slope - one.slope + 2 * root
    if curvature == 0:
        return math.nan
    return other.step - distance * (other.slope + root - mean) / curvature
