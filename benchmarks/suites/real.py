"""Real pairs: two exposures of one field, of which one is sharper; no kernel is known.

The sharp exposure is noisy, too, so it is smoothed a little, and a part of a gain is that of
denoising; a run that assumes no blur shows how large this part is. The sharp exposure has its own
units, so intensities are fitted before a score.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.cases import FIELD, Alignment, Case
from benchmarks.comparison import Comparison

__all__ = ["SUITE", "real_pair"]

# Planes of a focus stack and their distance from the plane in focus, in µm.
FOCUS = {36: "−0.75 µm", 41: "−0.5 µm", 61: "+0.5 µm", 66: "+0.75 µm"}
CAMERA_OFFSET = 90.0  # of the focus stack, in counts; the detector of the confocal images has none
AXONS = (0, 1, 2)
REPETITIONS = 4
SMOOTHING = 1.0  # σ in pixels
ALIGNMENT = Alignment(border=16, reach=8, fits_intensities=True)


def real_pair(
    name: str, observed: NDArray[Any], sharp: NDArray[Any], *, offset: float = 0.0
) -> Case:
    """Return the centre of an image, with the sharp exposure of the same field as the truth."""
    truth = _centre(ndimage.gaussian_filter(sharp.astype(np.float64), SMOOTHING))
    scored = truth[(slice(ALIGNMENT.border, -ALIGNMENT.border),) * 2]
    low, high = np.percentile(scored, (0.1, 99.9))
    return Case(
        name=name,
        observed=_centre(observed.astype(np.float64)),
        truth=truth,
        peak=float(high - low),
        kernel=None,
        offset=offset,
        alignment=ALIGNMENT,
    )


def _centre(image: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (
        slice(start, start + FIELD) for start in (max(0, (n - FIELD) // 2) for n in image.shape)
    )
    return image[rows, columns]


def _coarse(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return an image as a detector with larger pixels sees it, each pixel repeated.

    This is how a confocal image is stored on the finer grid of a STED image.
    """
    rows, columns = (length // REPETITIONS for length in image.shape)
    blocks = image.reshape(rows, REPETITIONS, columns, REPETITIONS)
    pixels = np.rint(blocks.mean(axis=(1, 3)))
    return pixels.repeat(REPETITIONS, axis=0).repeat(REPETITIONS, axis=1)


def _cases(data: Path) -> Iterator[Case]:
    """Yield the ten cases: four focus pairs, three confocal/STED, and these with large pixels."""
    folder = data / "real-pairs"
    for plane, distance in FOCUS.items():
        observed, sharp = tifffile.imread(folder / f"focus_microtubules_{plane}.tif")
        yield real_pair(f"focus, {distance}", observed, sharp, offset=CAMERA_OFFSET)
    pairs = {n: tifffile.imread(folder / f"confocal_sted_axon_{n}.tif") for n in AXONS}
    for number, (confocal, sted) in pairs.items():
        yield real_pair(f"confocal/STED, axon {number}", confocal, sted)
    for number, (confocal, sted) in pairs.items():
        name = f"repeated pixels, axon {number} on a coarse grid"
        yield real_pair(name, _coarse(confocal), sted)


SUITE = Comparison(
    name="real",
    cases=_cases,
    methods=(
        "input",
        "RL, guessed PSF, 20 iterations",
        "Wiener, guessed PSF",
        "fast, no blur assumed",
        "draft",
        "fast",
    ),
    parts={"kind of pair": 0, "pair": 1},
)
