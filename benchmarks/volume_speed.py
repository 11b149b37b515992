"""``python -m benchmarks.volume_speed``: time, memory and PSNR of a large volume, beside its peers.

Every method runs in a process of its own, with all threads, on the same made volume of points and
clouds in a confocal microscope. What Python and its packages take is part of the memory of the
CPU, and what they take to be loaded is not part of the time. The peers always compute on the CPU.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from numpy.typing import NDArray
from scipy import ndimage, signal
from skimage.restoration import richardson_lucy as scikit_image

from benchmarks.memory import peak_memory
from benchmarks.suites.volumes import psnr, red_lionfish
from benchmarks.tables import markdown
from benchmarks.volumes import (
    BACKGROUND,
    OFFSET,
    OPTICS,
    PIXEL_SIZE,
    READ_NOISE,
    SCENES,
    VolumeCase,
    psf_of,
)
from napari_blind_deconv import KernelChoice, Settings, deconvolve
from napari_blind_deconv.engine.devices import choose_device

ITERATIONS = 30  # of Richardson-Lucy
FEWER = (5, 10)  # by which as good an estimate may be reached
WINDOW = (11, 33, 33)  # voxels of the PSF
_PHOTONS = 200
_PEER = f"Richardson-Lucy of scikit-image, {ITERATIONS} iterations"


def main(
    sides: Annotated[tuple[int, int, int], typer.Option(help="Sides in voxels.")] = (64, 512, 512),
    only: Annotated[str, typer.Option("--method", help="Methods with this in the name.")] = "",
    device: Annotated[str, typer.Option(help="Of our methods: auto, cpu, cuda or mps.")] = "cpu",
    photon_counting: Annotated[
        bool, typer.Option(help="A volume without background and read noise.")
    ] = False,
) -> None:
    """Print seconds, their ratio to scikit-image, iterations, memory and PSNR of each method."""
    rows = {}
    for name in _methods(device):
        if only in name:
            # A new process, whose peak memory is that of the method alone.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                rows[name] = pool.submit(_measured, name, sides, device, photon_counting).result()
            typer.echo(f"{name}: {rows[name]['s']:.1f} s", err=True)
    table = pd.DataFrame(rows).T.astype({"iterations": int})
    if _PEER in table.index:
        table["times scikit-image"] = table["s"] / table.loc[_PEER, "s"]
    typer.echo(markdown(table))


def _measured(
    name: str, sides: tuple[int, int, int], device: str, photon_counting: bool
) -> dict[str, float]:
    case = _case(sides, photon_counting)
    where = choose_device(device if name in _our_methods(device) else "cpu")
    torch.zeros(1, device=where)  # a GPU is started, which is not part of the time
    started = time.perf_counter()
    iterations, estimate = _methods(device)[name](case)
    seconds = time.perf_counter() - started
    memory = peak_memory(where)
    return {
        "s": seconds,
        "iterations": iterations,
        "peak memory, GiB": float("nan") if memory is None else memory,
        "PSNR": psnr(case, estimate),
    }


def _case(sides: tuple[int, int, int], photon_counting: bool) -> VolumeCase:
    """Return a made volume in counts, with its PSF.

    It has the background and the read noise of the suite `volumes`, unless photons are counted.
    """
    random = np.random.default_rng(0)
    psf = psf_of("confocal", within=WINDOW)
    clouds = ndimage.gaussian_filter(random.normal(size=sides), (3, 9, 9))
    scene = SCENES["spots"](random, sides) + 0.05 * (clouds > 0.02)
    scene = scene / scene.max() + (0 if photon_counting else BACKGROUND)
    light = signal.fftconvolve(scene, psf.weights, mode="same").clip(0)
    gain = _PHOTONS / np.quantile(light, 0.999)
    counts = random.poisson(gain * light) + random.normal(
        OFFSET, 0 if photon_counting else READ_NOISE, sides
    )
    truth = (gain * scene + OFFSET).astype(np.float32)
    peak = float(truth.max()) - OFFSET
    counts = np.rint(counts).astype(np.uint16)
    return VolumeCase("confocal", counts, truth, peak, psf, OPTICS["confocal"])


_Method = Callable[[VolumeCase], tuple[int, NDArray[Any]]]


def _methods(device: str) -> dict[str, _Method]:
    """Return methods that return their number of iterations, and their estimate."""
    methods: dict[str, _Method] = {_PEER: _scikit_image}
    if importlib.util.find_spec("RedLionfishDeconv") is not None:
        for number in (*FEWER, ITERATIONS):
            methods[f"RedLionfish, {number} iterations"] = partial(_red_lionfish, number)
    return methods | _our_methods(device)


def _our_methods(device: str) -> dict[str, _Method]:
    default = Settings(device=device)
    lucy = {
        f"richardson-lucy, {number} iterations": partial(_ours, _richardson_lucy(default, number))
        for number in (*FEWER, ITERATIONS)
    }
    return {
        **lucy,
        "default": partial(_ours, default),
        "default, kernel found": partial(_ours, default, is_blind=True),
    }


def _richardson_lucy(default: Settings, iterations: int) -> Settings:
    return default.with_changes(
        solver="richardson-lucy",
        max_iterations=iterations,
        stop_at_noise=False,
        early_stopping=False,
    )


def _ours(
    settings: Settings, case: VolumeCase, *, is_blind: bool = False
) -> tuple[int, NDArray[Any]]:
    kernel = KernelChoice.find() if is_blind else case.psf
    result = deconvolve(case.observed, settings, axes="ZYX", pixel_size=PIXEL_SIZE, kernel=kernel)
    return len(result.trace), result.image


def _scikit_image(case: VolumeCase) -> tuple[int, NDArray[Any]]:
    light = _light(case)
    peak = light.max()
    estimate = scikit_image(light / peak, case.psf.weights, ITERATIONS, clip=False)
    return ITERATIONS, peak * estimate + case.offset


def _red_lionfish(iterations: int, case: VolumeCase) -> tuple[int, NDArray[Any]]:
    return iterations, red_lionfish(_light(case), case.psf.weights, iterations) + case.offset


def _light(case: VolumeCase) -> NDArray[np.float32]:
    return (case.observed.astype(np.float32) - case.offset).clip(0)


if __name__ == "__main__":
    typer.run(main)
