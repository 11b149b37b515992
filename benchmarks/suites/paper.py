"""The controlled experiments of sections 3 and 4 of the paper, at a size for a CPU.

The photographs have 96² pixels in place of 256² and 1000 × 700. The runs use the preset
`paper-small`: our compact image network in place of 128 channels, and 400 iterations from a
Gaussian kernel in place of 10 000 from a flat one. Results at this size are hints about the
published size, not proofs. Only the experiment *full length* runs the published settings unchanged;
it takes hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.cases import Case, Degradation, natural
from benchmarks.comparison import compare
from benchmarks.methods import Context, Method
from benchmarks.methods.classical import Input
from benchmarks.methods.double_dip import DoubleDip, Kernel, reduced
from benchmarks.plots import plot_stopping_gaps
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown, origin
from napari_blind_deconv import Settings
from napari_blind_deconv.numerics.degrade import (
    add_gaussian_noise,
    add_impulse_noise,
    expose,
    saturate,
)

__all__ = ["SUITE"]

FIELD = 96
PHOTOGRAPHS = (("camera", 1), ("brick", 5))
SIDES = (64, 128)  # pixels, of the experiment on the size of the image
PAPER = Settings.preset("paper-small")
SELFDEBLUR = reduced("selfdeblur", kernel_start=PAPER.kernel_start)
# The paper increases the saturation of colours. These photographs are grey and overexposed.
OVEREXPOSURE = 1.5
SATURATION_NOISE = 1e-4

LOW_NOISE: dict[str, Degradation] = {"Gaussian 0.001": partial(add_gaussian_noise, sigma=1e-3)}
LOW_AND_HIGH_NOISE = LOW_NOISE | {"Gaussian 0.05": partial(add_gaussian_noise, sigma=5e-2)}


def _shot(image: Tensor, *, photons: float, generator: torch.Generator) -> Tensor:
    counts = expose(image, photons=photons, background=0, read_noise=0, generator=generator)
    return counts / photons


def _saturation(image: Tensor, *, generator: torch.Generator) -> Tensor:
    bright = saturate(image, OVEREXPOSURE)
    return add_gaussian_noise(bright, sigma=SATURATION_NOISE, generator=generator)


NOISES = LOW_AND_HIGH_NOISE | {
    "impulse 0.005": partial(add_impulse_noise, share=0.005),
    "impulse 0.08": partial(add_impulse_noise, share=0.08),
    "shot 90": partial(_shot, photons=90),
    "shot 25": partial(_shot, photons=25),
}
NOISES_WITHOUT_BLUR: dict[str, Degradation] = {
    "Gaussian 0.1": partial(add_gaussian_noise, sigma=0.1),
    "impulse 0.08": partial(add_impulse_noise, share=0.08),
    "shot 40": partial(_shot, photons=40),
}


def _blurred(data: Path) -> list[Case]:
    return [natural(data, photograph, kernel, FIELD) for photograph, kernel in PHOTOGRAPHS]


def _noisy(cases: Iterable[Case], noises: dict[str, Degradation]) -> list[Case]:
    return [case.degraded(name, noise) for case in cases for name, noise in noises.items()]


def _paper(name: str, **changes: Any) -> DoubleDip:
    return DoubleDip(name, PAPER.with_changes(**changes))


BLIND: list[Method] = [
    Input(),
    DoubleDip("paper", PAPER),
    DoubleDip("selfdeblur", SELFDEBLUR),
    DoubleDip("fast"),
]
GAPS = ("psnr", "kept", "peak", "peak_iteration", "stopping_gap", "last_gap")
QUALITY = ("psnr", "peak", "ssim", "vif", "lpips", "kernel_similarity", "width_error")
TITLES = {
    "psnr": "PSNR",
    "peak": "peak PSNR",
    "ssim": "SSIM",
    "vif": "VIF",
    "lpips": "LPIPS",
    "kernel_similarity": "kernel likeness",
    "width_error": "width error, %",
    "kept": "kept iteration",
    "peak_iteration": "peak iteration",
    "stopping_gap": "gap at the stop, dB",
    "last_gap": "gap at the end, dB",
}
DIGITS = {TITLES["kept"]: 0, TITLES["peak_iteration"]: 0}
Pairs = Iterable[tuple[Iterable[Case], list[Method]]]


def _over_specification(data: Path) -> Pairs:
    """Level 1 is the true size, level 5 is half the image, the others are evenly spaced (4.2.1)."""
    for case in _blurred(data):
        methods: list[Method] = [Input()]
        true, half = max(case.true_kernel.shape), FIELD // 2
        for level in range(1, 6):
            side = round(true + (half - true) * (level - 1) / 4)
            for name, settings in (
                ("paper", PAPER),
                ("selfdeblur", SELFDEBLUR),
                ("fast", Settings()),
            ):
                sized = settings.with_changes(kernel_size=side)
                methods.append(DoubleDip(f"{name}, level {level}", sized))
        yield [case], methods


def _noise(data: Path) -> Pairs:
    yield _noisy(_blurred(data), NOISES), BLIND


def _saturations(data: Path) -> Pairs:
    yield [_saturated(case) for case in _blurred(data)], BLIND


def _saturated(case: Case) -> Case:
    """Return a case whose truth and image are saturated in the same way."""
    bright = case.degraded("saturated", _saturation)
    truth = saturate(torch.from_numpy(case.truth), OVEREXPOSURE).numpy()
    return replace(bright, truth=truth, ceiling=1.0)


def _no_blur(data: Path) -> Pairs:
    single = DoubleDip("single DIP", PAPER, Kernel.NONE)
    sharp = [natural(data, photograph, None, FIELD) for photograph, _ in PHOTOGRAPHS]
    yield _noisy(sharp, NOISES_WITHOUT_BLUR), [*BLIND, single]


def _early_stopping(data: Path) -> Pairs:
    noises = LOW_AND_HIGH_NOISE | {"shot 25": NOISES["shot 25"]}
    paper = DoubleDip("paper", PAPER.with_changes(patience=200), to_the_end=True)
    fast = DoubleDip("fast", to_the_end=True)
    yield _noisy(_blurred(data), noises), [paper, fast]


def _learning_rates(data: Path) -> Pairs:
    """Both learning rates change together, in a ratio of 100 to 1, as in Table 4."""
    rates = (5e-2, 1e-2, 5e-3, 1e-3, 5e-4)
    methods = [
        _paper(f"{rate:g}", image_learning_rate=rate, kernel_learning_rate=rate / 100)
        for rate in rates
    ]
    yield _blurred(data)[:1], [Input(), *methods]


def _sparsities(data: Path) -> Pairs:
    """λ for plain sums, as in Eq. 19, and for the ratio per pixel, at two sizes of one image."""
    plain = [_paper(f"plain, λ = {w:g}", sparsity=w) for w in (0, 1e-7, 1e-6, 1e-5, 1e-4)]
    per_pixel = [
        _paper(f"per pixel, λ = {w:g}", sparsity=w, sparsity_scale="pixels")
        for w in (1e-5, 1e-4, 1e-3)
    ]
    for side in SIDES:
        camera = natural(data, *PHOTOGRAPHS[0], side)
        sized = replace(camera, name=f"{camera.name}, {side}²")
        yield _noisy([sized], LOW_AND_HIGH_NOISE), [Input(), *plain, *per_pixel]


def _regularisers(data: Path) -> Pairs:
    """Each penalty at several λ, as in Table 2."""
    ratio = [_paper(f"ℓ1/ℓ2, λ = {w:g}", sparsity=w) for w in (1e-7, 1e-6, 1e-5, 1e-4)]
    l1 = [_paper(f"ℓ1, λ = {w:g}", sparsity=w, regulariser="l1") for w in (1e-4, 1e-3, 1e-2, 1e-1)]
    yield _noisy(_blurred(data)[:1], LOW_AND_HIGH_NOISE), [Input(), *ratio, *l1]


def _kernel_networks(data: Path) -> Pairs:
    networks: dict[str, dict[str, Any]] = {
        "SIREN": {},
        "MLP": {
            "kernel_network": "mlp",
            "kernel_features": 1000,
            "kernel_layers": 1,
            "kernel_learning_rate": 1e-4,  # a step of this wide network has ten times the effect
        },
        "convolutional": {"kernel_network": "convolutional", "kernel_layers": 5},
    }
    methods = [_paper(name, **changes) for name, changes in networks.items()]
    yield _noisy(_blurred(data), LOW_AND_HIGH_NOISE), [Input(), *methods]


def _kernel_starts(data: Path) -> Pairs:
    methods = [
        _paper(f"start {start}, rate {rate:g}", kernel_start=start, kernel_learning_rate=rate)
        for start in ("flat", 2.0)
        for rate in (1e-4, 1e-3)
    ]
    yield _noisy(_blurred(data), LOW_AND_HIGH_NOISE), [Input(), *methods]


def _length(data: Path) -> Pairs:
    """Ten times as many iterations from the published start, with the published milestones."""
    long = reduced("paper-synthetic").with_changes(max_iterations=4000)
    run = DoubleDip("flat start, 4000 iterations", long, to_the_end=True)
    yield _noisy(_blurred(data), LOW_NOISE), [Input(), run]


def _full_length(data: Path) -> Pairs:
    """The published settings unchanged, without early stopping, beside the others."""
    published = [
        DoubleDip(name, Settings.preset(name), to_the_end=True)
        for name in ("paper-small", "paper-synthetic", "paper-real")
    ]
    for side in (64, 96):
        camera = natural(data, *PHOTOGRAPHS[0], side)
        sized = replace(camera, name=f"{camera.name}, {side}²")
        yield _noisy([sized], LOW_NOISE), [Input(), DoubleDip("fast"), *published]


@dataclass(frozen=True)
class Experiment:
    """One experiment: its section of the paper, its cases and methods, and columns of its table."""

    name: str
    section: str
    pairs: Callable[[Path], Pairs]
    columns: tuple[str, ...] = QUALITY

    def tasks(self, data: Path, context: Context) -> Iterator[Task]:
        """Yield a task for each of its methods on each of its cases."""
        for cases, methods in self.pairs(data):
            yield from compare(cases, methods, context, group=self.name)

    def table(self, runs: pd.DataFrame) -> str:
        """Return means over the images, by degradation and method."""
        condition = runs["case"].map(_condition).rename("input")
        shown = [name for name in self.columns if name in runs and runs[name].notna().any()]
        groups = runs[shown].astype(float).groupby([condition, runs["method"]], sort=False)
        means = groups.mean()
        means.insert(0, "pictures", groups[shown[0]].count())
        if not condition.any():
            means = means.droplevel("input")
        return markdown(means.rename(columns=TITLES), DIGITS)


def _condition(case: str) -> str:
    """Return the degradation in the name of a case, which is all but photograph and kernel."""
    return ", ".join(part for part in case.split(", ")[1:] if not part.startswith("kernel"))


EXPERIMENTS = (
    Experiment("over-specification", "4.2.1, Fig. 19", _over_specification),
    Experiment("noise", "4.2.2, Fig. 21 and 22", _noise),
    Experiment("saturation", "4.2.2, Fig. 23", _saturations),
    Experiment("no blur", "4.2.3, Fig. 24", _no_blur),
    Experiment("early stopping", "4.2.4, Fig. 26", _early_stopping, GAPS),
    Experiment("learning rates", "Table 4", _learning_rates),
    Experiment("sparsity", "Table 4", _sparsities),
    Experiment("regulariser", "Table 2", _regularisers),
    Experiment("kernel network", "Fig. 13", _kernel_networks),
    Experiment("kernel start", "open in the paper", _kernel_starts),
    Experiment("length", "4.1", _length, GAPS),
    Experiment("full length", "4.1, published settings", _full_length, GAPS),
)


@dataclass(frozen=True)
class Paper:
    """All experiments of the paper."""

    name: str = "paper"
    alone: bool = False
    experiments: tuple[Experiment, ...] = EXPERIMENTS

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield the tasks of all experiments, which have fixed methods."""
        options.refuse_methods(self.name)
        for experiment in self.experiments:
            yield from experiment.tasks(options.data, options.context)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return a table for each experiment, and the histogram of the early-stopping gaps."""
        text = []
        for experiment in self.experiments:
            runs = records[records["group"] == experiment.name]
            if len(runs):
                text.append(f"### {experiment.name.capitalize()} ({experiment.section})")
                text += [experiment.table(runs), origin(runs)]
        stopping = records[records["group"] == "early stopping"]
        if len(stopping):
            text.append(plot_stopping_gaps(stopping, figures / "early_stopping.png"))
        return "\n\n".join(text)


SUITE = Paper()
