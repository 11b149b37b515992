"""Made exposures with known kernels: which kernel is found, and how wide it is said to be.

None of their seeds trains anything, and scenes of one sort are never trained on. See ``training``.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import fft
from training.samples import Blur, Exposure, draw_blur, exposure, frequencies, log_widths
from training.scenes import HELD_OUT, log_uniform

from benchmarks.plots import plot_reliability
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from napari_blind_deconv import Kernel, KernelChoice, Settings, deconvolve
from napari_blind_deconv.kernel import KernelSource
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.kernel_search import search_kernel
from napari_blind_deconv.numerics.metrics import psnr_up_to_shift
from napari_blind_deconv.numerics.width_posterior import LEVELS
from napari_blind_deconv.steps import run_to_end

__all__ = ["SUITE"]

FIRST_SEED = 50_000_000
SEARCHED = 1000
ESTIMATED = 5  # of every so many, the estimate is computed, too
LARGEST = 81  # side in pixels of the largest kernel
LEVEL = LEVELS.index(0.1)
FWHM = math.sqrt(8 * math.log(2))
EXPECTED = {  # sources that suit a kind of blur
    "Gaussian": ("Gaussian", "none"),
    "in focus": ("Gaussian", "none"),
    "defocused": ("Gaussian", "none"),
    "elliptic": ("elliptic Gaussian",),
    "motion": ("linear motion", "elongated", "free"),
}
PHOTONS = (25, 200, 2000, 20_000)


def _elliptic(random: np.random.Generator) -> Blur:
    across = log_uniform(random, 0.8, 2.5)
    along = across * random.uniform(1.3, 2.2)
    down, right = _turned(random)
    transfer = np.exp(-(np.square(along * right) + np.square(across * down)) / 2)
    return Blur(transfer, "elliptic", math.sqrt(along * across))


def _motion(random: np.random.Generator) -> Blur:
    length, sigma = random.uniform(6, 15), random.uniform(0.5, 1.2)
    down, right = _turned(random)
    soft = np.exp(-np.square(sigma) * (np.square(down) + np.square(right)) / 2)
    return Blur(np.sinc(length * right / (2 * np.pi)) * soft, "motion")


def _turned(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the frequencies along two axes that are turned by a random angle."""
    down, right = frequencies()
    angle = random.uniform(0, math.pi)
    cosine, sine = math.cos(angle), math.sin(angle)
    return down * cosine - right * sine, right * cosine + down * sine


# Drawn in turns: three in five as in training, and one in five each of the directional kinds.
BLURS: tuple[Callable[[np.random.Generator], Blur], ...] = (
    draw_blur,
    draw_blur,
    draw_blur,
    _elliptic,
    _motion,
)


@dataclass(frozen=True)
class Scenes:
    """Kernels found in a thousand made exposures, and the estimates of two hundred."""

    name: str = "scenes"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield one task per exposure; every fifth scene is of a sort that is never trained on."""
        options.refuse_methods(self.name)
        for number in range(SEARCHED):
            sorts = tuple(HELD_OUT) if number % 25 < len(BLURS) else None
            group = "sections, never trained on" if sorts else "sorts as in training"
            is_estimated = number // len(BLURS) % ESTIMATED == 1
            search = _Search(FIRST_SEED + number, sorts, BLURS[number % len(BLURS)], is_estimated)
            yield Task(group, f"exposure {number}", "search", search)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return widths by kind and by photons, kinds found, gains, and a reliability diagram."""
        table = records[records["failure"].isna()].copy()
        parts = [
            _by("kind", table, _widths),
            _by("group", table, _widths),
            _by("photons", _with_photon_classes(table), _widths),
            _by("kind", table, _found),
            _by("kind", table[table["gain"].notna()], _gains),
            plot_reliability(table[table["told"].notna()], figures / "scenes_reliability.png"),
        ]
        return "\n\n".join(parts)


@dataclass(frozen=True)
class _Search:
    seed: int
    sorts: tuple[str, ...] | None
    blur: Callable[[np.random.Generator], Blur]
    is_estimated: bool

    def __call__(self) -> dict[str, Any]:
        """Search for the kernel, and compare its width with that of the blur."""
        made = exposure(self.seed, self.sorts, self.blur)
        unit = IntensityMap.of(made.image[np.newaxis]).to_unit(made.image)
        started = time.perf_counter()
        kernel = run_to_end(search_kernel(unit, LARGEST))
        seconds = time.perf_counter() - started
        width = math.log(math.sqrt(math.prod(kernel.widths.principal)) / FWHM)
        sigma = made.blur.sigma
        true_width = log_widths(made.blur.transfer)[LEVEL] if sigma is None else math.log(sigma)
        figures: dict[str, Any] = {
            "kind": made.blur.kind,
            "photons": made.photons,
            "found": kernel.source.value,
            "width": width,
            "error": width - float(true_width),
            "told": kernel.width_deviation,
            "seconds": seconds,
        }
        if self.is_estimated:
            figures |= _gains_of(made)
        return figures


def _gains_of(made: Exposure) -> dict[str, float]:
    """Return the gain in dB of the default, with the kernel that it finds and with the true one."""

    def psnr(image: NDArray[np.floating[Any]]) -> float:
        return psnr_up_to_shift(made.truth, image, peak=made.photons, border=15, reach=4)

    true_kernel = KernelChoice.hold(Kernel.of(_weights(made.blur.transfer)))
    kernels = {"gain": KernelChoice.find(), "gain_true": true_kernel}
    before, settings = psnr(made.image), Settings.preset("fast")
    return {
        name: psnr(deconvolve(made.image, settings, kernel=kernel).image) - before
        for name, kernel in kernels.items()
    }


def _weights(transfer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the kernel ``(LARGEST, LARGEST)`` of a transfer function."""
    kernel = fft.fftshift(fft.irfft2(transfer, (len(transfer), len(transfer))))
    centre, half = len(kernel) // 2, LARGEST // 2
    window = slice(centre - half, centre + half + 1)
    return np.clip(kernel[window, window], 0, None)


def _by(column: str, table: pd.DataFrame, summary: Callable[[pd.DataFrame], Any]) -> str:
    rows = {name: summary(part) for name, part in table.groupby(column, sort=False)}
    return markdown(pd.DataFrame(rows).T.rename_axis(column))


def _with_photon_classes(table: pd.DataFrame) -> pd.DataFrame:
    names = [f"{low} to {high}" for low, high in itertools.pairwise(PHOTONS)]
    return table.assign(photons=pd.cut(table["photons"].astype(float), PHOTONS, labels=names))


def _widths(part: pd.DataFrame) -> dict[str, Any]:
    """Return statistics of the widths that were told, in exposures where one was."""
    told = part[part["told"].notna()].astype({"error": float, "told": float})
    errors, deviations = told["error"], told["told"]
    return {
        "exposures": str(len(part)),
        "width told": str(len(told)),
        "median error, %": 100 * errors.abs().median(),
        "bias, %": 100 * errors.mean(),
        "within the deviation, %": 100 * (errors.abs() < deviations).mean(),
        "deviation told / rms error": math.sqrt((deviations**2).mean() / (errors**2).mean())
        if len(told)
        else math.nan,
    }


def _found(part: pd.DataFrame) -> dict[str, Any]:
    kind = str(part["kind"].iloc[0])
    share = part["found"].value_counts(normalize=True)
    return {
        "as expected, %": 100 * float(part["found"].isin(EXPECTED[kind]).mean()),
        **{
            f"{source}, %": 100 * float(share.get(source, 0.0))
            for source in KernelSource
            if source.is_found
        },
        "s, median": float(part["seconds"].astype(float).median()),
    }


def _gains(part: pd.DataFrame) -> dict[str, Any]:
    gain, best = part["gain"].astype(float), part["gain_true"].astype(float)
    return {
        "exposures": str(len(part)),
        "gain, dB": gain.mean(),
        "with the true kernel": best.mean(),
        "of the way, %": 100 * gain.mean() / best.mean(),
        "worst": gain.min(),
    }


SUITE = Scenes()
