"""Fifty exposures of sharp micrographs with blurs that occur in microscopy."""

from benchmarks.cases import OPTICS, fluorescence, fluorescence_cases
from benchmarks.comparison import CLASSICAL, Comparison

__all__ = ["SUITE"]

SLOW_TRUTHS = ("actin", "neuron")

SUITE = Comparison(
    name="fluorescence",
    cases=fluorescence_cases,
    methods=(*CLASSICAL, "draft", "fast"),
    slow_methods=("fast, true PSF", "selfdeblur, true size, reduced", "wang, true size, reduced"),
    slow_cases=lambda data: (fluorescence(data, t, o, 1000.0) for t in SLOW_TRUTHS for o in OPTICS),
    parts={"truth": 0, "kernel": 1, "exposure": 2},
)
