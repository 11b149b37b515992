"""The published settings at full size, on the noise levels of Table 2. Takes hours on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.cases import KERNELS, Case, levin_synthetic
from benchmarks.comparison import Comparison
from napari_blind_deconv.numerics.degrade import add_gaussian_noise

__all__ = ["SUITE"]

NOISES = (1e-3, 5e-2)


def _cases(data: Path) -> Iterator[Case]:
    """Yield two images with four kernels and two noise levels.

    The peaks in the paper at these noise levels are 32.64 and 27.74 dB.
    """
    for image in (1, 2):
        for kernel in KERNELS:
            case = levin_synthetic(data, image, kernel)
            for sigma in NOISES:
                noise = partial(add_gaussian_noise, sigma=sigma)
                yield case.degraded(f"Gaussian {sigma:g}", noise)


SUITE = Comparison(
    name="published",
    cases=_cases,
    methods=("input", "paper-synthetic", "selfdeblur, true size", "fast"),
    parts={"noise": 2, "picture": 0},
)
