"""Volumes with a given PSF: our estimates beside those of other tools, in one run."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation
from skimage.restoration import richardson_lucy as scikit_image

from benchmarks.methods import version_of
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from benchmarks.volumes import PIXEL_SIZE, VolumeCase, example, made_cases
from napari_blind_deconv import Image, Optics, Settings, deconvolve, deconvolve_stack
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.richardson_lucy import richardson_lucy
from napari_blind_deconv.optics import MicroscopeKind

__all__ = ["SUITE", "red_lionfish"]

BORDER = 4  # voxels that are left out of the score on each side
REACH = 2.0  # voxels; a larger shift against the truth is an error, not an alignment
SCORED = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200)  # iterations of Richardson-Lucy
PEER_ITERATIONS = (10, 30, 100)
SDECONV_PADDING = 13  # voxels; its default in napari
SOLVERS = ("wiener", "richardson-lucy", "log-gaussian")

Estimates = Iterator[tuple[str, NDArray[np.floating[Any]]]]

# Methods that find the kernel in the volume, and what they are told of the optics: nothing, the
# objective and the wavelength, or the kind of microscope, too.
FOUND: dict[str, Callable[[VolumeCase], Optics]] = {
    "default, kernel found": lambda _: Optics(),
    "default, kernel found, optics stated": lambda case: case.optics,
    "default, kernel found, microscope and optics stated": lambda case: replace(
        case.optics, microscope=MicroscopeKind(_kind(case).replace(" ", "-"))
    ),
}


@dataclass(frozen=True)
class Volumes:
    """Made volumes and the example of another tool."""

    name: str = "volumes"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield one task per case and method; rivals only if they are installed."""
        options.refuse_methods(self.name)
        for scene, microscope, photons, make in made_cases():
            yield from self._of_case(f"{scene}, {photons}", microscope, make, options)
        if (options.data / "volumes").is_dir():
            yield from self._of_case("example", "others", partial(example, options.data), options)

    def _of_case(
        self, case: str, group: str, make: Callable[[], VolumeCase], options: Options
    ) -> Iterator[Task]:
        for method, (estimate, version) in _methods(options).items():
            yield Task(group, case, method, partial(_measure, make, estimate), version=version)
        fast = _fast(options)
        for method, stated in FOUND.items():
            if group != "others" or "stated" not in method:
                found = partial(_measure_found, make, fast, stated)
                yield Task(group, case, method, found, version=version_of(fast))

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return the mean PSNR by microscope, by scene and by photons, and the times."""
        table = records[records["failure"].isna()].astype({"psnr": float, "seconds": float})
        made = table[table["group"] != "others"].copy()
        made[["scene", "photons"]] = made["case"].str.split(", ", expand=True)
        parts = [
            _pivot(made, "group"),
            _pivot(made, "scene"),
            _pivot(made, "photons"),
            _pivot(table[table["group"] == "others"], "case"),
        ]
        parts += [_widths(made, method) for method in FOUND]
        return "\n\n".join(part for part in parts if part)


def _widths(table: pd.DataFrame, method: str) -> str:
    """Return how far the widths of the kernels that were found are from those of the PSFs."""
    found = table[table["method"] == method]
    if found.empty or "lateral" not in found:
        return ""
    rows: dict[str, dict[str, float]] = {}
    for name, group in [*found.groupby("group", sort=False), *found.groupby("photons", sort=False)]:
        rows[name] = {}
        for axis in ("lateral", "axial"):
            errors = group[axis].astype(float)
            inside = errors.abs() < group["deviation"].astype(float)
            rows[name] |= {
                f"{axis}, off by %": 100 * errors.abs().median(),
                f"{axis}, bias %": 100 * errors.median(),
                f"{axis}, within one deviation %": 100 * inside.mean(),
            }
        rows[name]["kind right %"] = 100 * (group["chosen"] == group["kind"]).mean()
    return f"{method}:\n\n{markdown(pd.DataFrame(rows).T)}"


def _pivot(table: pd.DataFrame, column: str) -> str:
    if table.empty:
        return ""
    order = list(dict.fromkeys(table["method"]))
    means = table.pivot_table(index="method", columns=column, values="psnr", sort=False)
    means["all"] = table.groupby("method")["psnr"].mean()
    means["s, median"] = table.groupby("method")["seconds"].median()
    return markdown(means.loc[order])


def _fast(options: Options) -> Settings:
    return Settings.preset("fast").with_changes(device=options.device, seed=options.seed)


def _methods(options: Options) -> dict[str, tuple[Callable[[VolumeCase], Estimates], str]]:
    """Return the estimates of each method, and the version of its settings."""
    fast = _fast(options)
    methods: dict[str, tuple[Callable[[VolumeCase], Estimates], str]] = {
        "input": (_input, ""),
        "RL, true PSF (best iteration)": (_best_richardson_lucy, ""),
        "scikit-image RL (best of three)": (_scikit_image, ""),
    }
    if importlib.util.find_spec("RedLionfishDeconv") is not None:
        methods["RedLionfish (best of three)"] = (_red_lionfish, "")
    if importlib.util.find_spec("sdeconv") is not None:
        methods["sdeconv RL (best of three)"] = (_sdeconv, "")
    methods["planes, kernel found"] = (partial(_planes, fast), version_of(fast))
    for solver in SOLVERS:
        settings = fast.with_changes(solver=solver)
        methods[solver] = (partial(_ours, settings), version_of(settings))
    methods["default"] = (partial(_ours, fast), version_of(fast))
    return methods


def _measure(
    make: Callable[[], VolumeCase], estimates: Callable[[VolumeCase], Estimates]
) -> dict[str, Any]:
    """Return the score of the best estimate, what it is, and the time until it was computed."""
    case = make()
    best: dict[str, Any] = {"psnr": -math.inf}
    started, spent = time.perf_counter(), 0.0
    for name, estimate in estimates(case):
        spent += time.perf_counter() - started
        value = psnr(case, estimate)
        if value > best["psnr"]:
            best = {"psnr": value, "chosen": name, "seconds": spent}
        started = time.perf_counter()
    return best


def _measure_found(
    make: Callable[[], VolumeCase], settings: Settings, stated: Callable[[VolumeCase], Optics]
) -> dict[str, Any]:
    """Return the score without the PSF, and the logarithms of the widths found over the true."""
    case = make()
    spacing = dict(zip("ZYX", PIXEL_SIZE, strict=True))
    image = Image(case.observed, "ZYX", spacing, "µm", optics=stated(case), space="ZYX")
    started = time.perf_counter()
    result = deconvolve(image, settings)
    seconds = time.perf_counter() - started
    (depth, *_, width), (true_depth, *_, true_width) = (
        kernel.widths.along_axes for kernel in (result.kernel, case.psf)
    )
    return {
        "psnr": psnr(case, result.image),
        "seconds": seconds,
        "chosen": result.kernel.source.value,
        "kind": _kind(case),
        "lateral": math.log(width / true_width),
        "axial": math.log(depth / true_depth),
        "deviation": result.kernel.width_deviation,
    }


def _kind(case: VolumeCase) -> str:
    return case.name.split(",")[0]


def psnr(case: VolumeCase, estimate: NDArray[np.floating[Any]]) -> float:
    """Return PSNR inside the border, after the best shift of the truth."""
    inside = (slice(BORDER, -BORDER),) * 3
    shift, *_ = phase_cross_correlation(estimate, case.truth, upsample_factor=10)
    if np.abs(shift).max() > REACH:
        shift = np.zeros(3)
    moved = case.truth if not shift.any() else ndimage.shift(case.truth, shift, order=3)
    truth, values = moved[inside].ravel().astype(float), estimate[inside].ravel().astype(float)
    if case.fits_intensities:
        slope, level = np.polyfit(values, truth, 1)
        values = slope * values + level
    return float(10 * np.log10(case.peak**2 / np.mean(np.square(values - truth))))


def _input(case: VolumeCase) -> Estimates:
    yield "input", case.observed


def _best_richardson_lucy(case: VolumeCase) -> Estimates:
    convolution = Convolution(torch.from_numpy(case.psf.weights))
    light = torch.from_numpy(case.observed - case.offset)
    iterates = richardson_lucy(light, convolution)
    for number, canvas in enumerate(islice(iterates, max(SCORED)), start=1):
        if number in SCORED:
            yield str(number), convolution.field_of_view(canvas).numpy() + case.offset


def _scikit_image(case: VolumeCase) -> Estimates:
    light = (case.observed - case.offset).clip(0)
    scale = float(light.max())
    for iterations in PEER_ITERATIONS:
        estimate = scikit_image(light / scale, case.psf.weights, iterations, clip=False)
        yield str(iterations), estimate * scale + case.offset


def _red_lionfish(case: VolumeCase) -> Estimates:
    light = (case.observed - case.offset).clip(0)
    for iterations in PEER_ITERATIONS:
        yield str(iterations), red_lionfish(light, case.psf.weights, iterations) + case.offset


def red_lionfish(
    light: NDArray[np.float32], psf: NDArray[np.float32], iterations: int
) -> NDArray[np.float32]:
    """Return the estimate of RedLionfish on the CPU, of light without an offset."""
    import RedLionfishDeconv

    return np.asarray(
        RedLionfishDeconv.doRLDeconvolutionFromNpArrays(light, psf, niter=iterations, method="cpu")
    )


def _sdeconv(case: VolumeCase) -> Estimates:
    from sdeconv.deconv import SRichardsonLucy

    light = torch.from_numpy((case.observed - case.offset).clip(0))
    # It expects a PSF of the shape of the volume, with its origin at half the sides.
    psf = torch.zeros(light.shape)
    starts = [n // 2 - k // 2 for n, k in zip(light.shape, case.psf.shape, strict=True)]
    within = tuple(slice(s, s + k) for s, k in zip(starts, case.psf.shape, strict=True))
    psf[within] = torch.from_numpy(case.psf.weights)
    for iterations in PEER_ITERATIONS:
        estimate = SRichardsonLucy(psf, iterations, SDECONV_PADDING)(light)
        yield str(iterations), estimate.numpy() + case.offset


def _planes(settings: Settings, case: VolumeCase) -> Estimates:
    run = deconvolve_stack(case.observed, settings, axes="ZYX")
    image = run.result().image
    assert image is not None
    yield "planes", image


def _ours(settings: Settings, case: VolumeCase) -> Estimates:
    options: dict[str, Any] = {"axes": "ZYX", "kernel": case.psf.weights}
    result = deconvolve(case.observed, settings, pixel_size=PIXEL_SIZE, **options)
    yield result.stages, result.image


SUITE = Volumes()
