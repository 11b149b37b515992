"""What the default preset gains on four cases whose truth is known.

``python -m benchmarks.default_preset DATA [KEY=VALUE ...]`` prints a Markdown table: two camera
shakes of Levin et al. and two fluorescence images, blurred here with a scene wider than the field
of view and exposed with photon and read noise. PSNR is up to shift, without any fit of gain.
Settings may be changed to see what each is worth.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from skimage.io import imread

from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.numerics.blur import blur, crop_to_field_of_view
from napari_blind_deconv.numerics.degrade import expose
from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel
from napari_blind_deconv.numerics.metrics import psnr_up_to_shift

OFFSET = 100.0
FIELD = 256
WINDOW = (31, 31)


@dataclass(frozen=True)
class Case:
    """An image to deblur, its truth in the same units, and their full scale."""

    name: str
    observed: NDArray[np.float64]
    truth: NDArray[np.float64]
    peak: float


def camera_shake(data: Path, image: int, kernel: int) -> Case:
    """A real capture of Levin et al. (2009) and its sharp counterpart."""
    name = f"im{image}_kernel{kernel}"
    observed = imread(data / "levin" / "blurry" / f"{name}_img.png").astype(float) / 255
    truth = imread(data / "levin" / "gt" / f"im{image}.png").astype(float) / 255
    return Case(f"camera shake, {name}", observed, truth, 1.0)


def fluorescence(data: Path, channel: int, name: str, sigma: float, photons: float) -> Case:
    """A sharp channel of the three-channel cell, blurred by a Gaussian and exposed."""
    stack = tifffile.imread(data / "micro-truth" / "xyc_16bit__cell_dna_mts_actin.tif")
    plane = stack[channel].astype(np.float32)
    low, high = np.percentile(plane, [0.5, 99.9])
    side = FIELD + WINDOW[0] - 1
    top, left = ((length - side) // 2 for length in plane.shape)
    crop = np.clip((plane - low) / (high - low), 0, 1)[top : top + side, left : left + side]
    scene = torch.from_numpy(crop)
    counts = expose(
        blur(scene, gaussian_kernel(WINDOW, sigma)),
        photons=photons,
        background=0.02,
        read_noise=1.5,
        generator=torch.Generator().manual_seed(0),
    )
    truth = photons * (crop_to_field_of_view(scene, WINDOW).numpy() + 0.02) + OFFSET
    observed = np.rint(counts.numpy() + OFFSET).astype(float)
    title = f"{name}, Gaussian σ {sigma} px, {photons:.0f} photons"
    return Case(title, observed, truth, photons)


def cases(data: Path) -> Iterator[Case]:
    """The four."""
    yield camera_shake(data, 1, 1)
    yield camera_shake(data, 2, 5)
    yield fluorescence(data, 2, "actin", 2.5, 1000)
    yield fluorescence(data, 0, "DNA", 1.5, 100)


def main(data: Path, changes: list[str]) -> None:
    """Print the table."""
    settings = Settings().with_texts(changes)
    print(f"{' '.join(changes) or 'default'}, {torch.get_num_threads()} threads\n")
    print("| case | before, dB | after, dB | gain, dB | kept of iterations | s | s/iteration |")
    print("|---|---|---|---|---|---|---|")
    for case in cases(data):
        result = deconvolve(case.observed, settings)
        before, after = (
            psnr_up_to_shift(case.truth, picture, peak=case.peak)
            for picture in (case.observed, result.image)
        )
        steps = len(result.trace)
        print(
            f"| {case.name} | {before:.2f} | {after:.2f} | {after - before:+.2f} "
            f"| {result.stop_iteration} of {steps} | {result.seconds:.0f} "
            f"| {result.seconds / steps:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
