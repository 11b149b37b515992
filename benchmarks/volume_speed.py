"""``python -m benchmarks.volume_speed``: time and memory for a large volume, beside its peers.

Every method runs in a process of its own, with all threads, on the same made volume of points and
clouds in a widefield microscope. What Python and its packages take is part of the memory of the
CPU, and what they take to be loaded is not part of the time. The peers always compute on the CPU.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from numpy.typing import NDArray
from scipy import ndimage, signal
from skimage.restoration import richardson_lucy as scikit_image

from benchmarks.memory import peak_memory
from benchmarks.suites.volumes import red_lionfish
from benchmarks.tables import markdown
from benchmarks.volumes import OFFSET, OPTICS, PIXEL_SIZE, SCENES
from napari_blind_deconv import Kernel, KernelChoice, Settings, deconvolve, microscope_psf
from napari_blind_deconv.engine.devices import choose_device

ITERATIONS = 30  # of Richardson-Lucy
WINDOW = (11, 33, 33)  # voxels of the PSF
_PHOTONS = 200
_PEER = f"Richardson-Lucy of scikit-image, {ITERATIONS} iterations"


def main(
    sides: Annotated[tuple[int, int, int], typer.Option(help="Sides in voxels.")] = (64, 512, 512),
    only: Annotated[str, typer.Option("--method", help="Methods with this in the name.")] = "",
    device: Annotated[str, typer.Option(help="Of our methods: auto, cpu, cuda or mps.")] = "cpu",
) -> None:
    """Print seconds, their ratio to scikit-image's, iterations and peak memory of each method."""
    rows = {}
    for name in _methods(device):
        if only in name:
            # A new process, whose peak memory is that of the method alone.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                rows[name] = pool.submit(_measured, name, sides, device).result()
            typer.echo(f"{name}: {rows[name]['s']:.1f} s", err=True)
    table = pd.DataFrame(rows).T.astype({"iterations": int})
    if _PEER in table.index:
        table["times scikit-image"] = table["s"] / table.loc[_PEER, "s"]
    typer.echo(markdown(table))


def _measured(name: str, sides: tuple[int, int, int], device: str) -> dict[str, float]:
    volume, psf = _volume(sides)
    where = choose_device(device if name in _our_methods(device) else "cpu")
    torch.zeros(1, device=where)  # a GPU is started, which is not part of the time
    started = time.perf_counter()
    iterations = _methods(device)[name](volume, psf)
    seconds = time.perf_counter() - started
    memory = peak_memory(where)
    return {
        "s": seconds,
        "iterations": iterations,
        "peak memory, GiB": float("nan") if memory is None else memory,
    }


def _volume(sides: tuple[int, int, int]) -> tuple[NDArray[np.uint16], Kernel]:
    """Return a made volume in counts, and its PSF."""
    random = np.random.default_rng(0)
    psf = microscope_psf(OPTICS["widefield"], PIXEL_SIZE, within=WINDOW)
    clouds = ndimage.gaussian_filter(random.normal(size=sides), (3, 9, 9))
    scene = SCENES["spots"](random, sides) + 0.05 * (clouds > 0.02)
    light = signal.fftconvolve(scene, psf.weights, mode="same").clip(0)
    counts = random.poisson(_PHOTONS * light / np.quantile(light, 0.999)) + OFFSET
    return counts.astype(np.uint16), psf


_Method = Callable[[NDArray[np.uint16], Kernel], int]


def _methods(device: str) -> dict[str, _Method]:
    """Return methods that deconvolve a volume and return their number of iterations."""
    methods: dict[str, _Method] = {_PEER: _scikit_image}
    if importlib.util.find_spec("RedLionfishDeconv") is not None:
        methods[f"RedLionfish, {ITERATIONS} iterations"] = _red_lionfish
    return methods | _our_methods(device)


def _our_methods(device: str) -> dict[str, _Method]:
    default = Settings(device=device)
    lucy = default.with_changes(
        solver="richardson-lucy",
        max_iterations=ITERATIONS,
        stop_at_noise=False,
        early_stopping=False,
    )
    return {
        f"richardson-lucy, {ITERATIONS} iterations": lambda volume, psf: _ours(volume, lucy, psf),
        "default": lambda volume, psf: _ours(volume, default, psf),
        "default, kernel found": lambda volume, _: _ours(volume, default, None),
    }


def _ours(volume: NDArray[np.uint16], settings: Settings, psf: Kernel | None) -> int:
    kernel = KernelChoice.find() if psf is None else psf
    result = deconvolve(volume, settings, axes="ZYX", pixel_size=PIXEL_SIZE, kernel=kernel)
    return len(result.trace)


def _scikit_image(volume: NDArray[np.uint16], psf: Kernel) -> int:
    light = _light(volume)
    scikit_image(light / light.max(), psf.weights, ITERATIONS, clip=False)
    return ITERATIONS


def _red_lionfish(volume: NDArray[np.uint16], psf: Kernel) -> int:
    red_lionfish(_light(volume), psf.weights, ITERATIONS)
    return ITERATIONS


def _light(volume: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (volume.astype(np.float32) - OFFSET).clip(0)


if __name__ == "__main__":
    typer.run(main)
