"""Sixteen photographs blurred after Eq. 2, noise-free."""

from benchmarks.cases import natural_cases
from benchmarks.comparison import CLASSICAL, Comparison

__all__ = ["SUITE"]

SUITE = Comparison(
    name="natural",
    cases=natural_cases,
    methods=(*CLASSICAL, "fast", "fast, true PSF"),
    parts={"photograph": 0, "kernel": 1},
)
