"""Compare how much of the truth a blurred volume contains with what its PSF passes.

``python -m benchmarks.psf_agreement ../shared/data`` does so for the example of RedLionfish. At
each frequency, the gain is that with which the truth explains the volume, or the truth blurred with
the PSF, with the smallest squared error. Both would be the same, up to noise, if the volume were
the truth blurred with the PSF.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from scipy import fft, signal

from benchmarks.volumes import VolumeCase, example

__all__ = ["gains"]

_RINGS = np.arange(0, 0.55, 0.05)  # cycles per voxel


def gains(case: VolumeCase) -> pd.DataFrame:
    """Return the gains by ring of frequency, and the coherence of the volume with its truth."""
    expected = signal.fftconvolve(case.truth, case.psf.weights, mode="same")
    slope = np.polyfit(expected.ravel(), case.observed.ravel(), 1)[0]
    truth, observed, blurred = (
        fft.rfftn(values) for values in (case.truth, case.observed, slope * expected)
    )
    axes = [*map(fft.fftfreq, truth.shape[:-1]), fft.rfftfreq(case.truth.shape[-1])]
    frequency = np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*axes, indexing="ij")))
    rows = []
    for low, high in itertools.pairwise(_RINGS):
        ring = (frequency >= low) & (frequency < high) & (frequency > 0)
        rows.append(
            {
                "cycles per voxel": f"{low:.2f}–{high:.2f}",
                "gain of the volume": _gain(observed[ring], truth[ring]),
                "gain of the PSF": _gain(blurred[ring], truth[ring]),
                "coherence": _coherence(observed[ring], truth[ring]),
            }
        )
    return pd.DataFrame(rows)


def _gain(one: NDArray[np.complex128], truth: NDArray[np.complex128]) -> float:
    return float(np.vdot(truth, one).real / np.vdot(truth, truth).real)


def _coherence(one: NDArray[np.complex128], other: NDArray[np.complex128]) -> float:
    return float(abs(np.vdot(one, other)) / (np.linalg.norm(one) * np.linalg.norm(other)))


def main(data: Path) -> None:
    """Print the table."""
    print(gains(example(data)).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    typer.run(main)
