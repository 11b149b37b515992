"""Measure complete runs, by image size, beside Richardson-Lucy of other packages on the same image.

All programs of a size run one after the other in one process, so that their ratios do not depend on
the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from skimage.restoration import richardson_lucy

from benchmarks.memory import peak_memory
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stacks import run_stack
from napari_blind_deconv.image import Image
from napari_blind_deconv.results import BlockResult, Snapshot
from napari_blind_deconv.synthetic import OFFSET, Scene, fluorescence_scene
from napari_blind_deconv.task import Task as Deconvolution

__all__ = ["SUITE"]

REPEATS = {256: 5, 512: 3, 1024: 2, 2048: 1}  # by the side of the image; the fastest one counts
ITERATIONS = 30  # of Richardson-Lucy
SDECONV_PADDING = 13  # pixels; its default in napari
PREVIEW_SECONDS = 0.4  # as in the panel
PEER = "Richardson-Lucy, scikit-image"

Program = Callable[[Scene], NDArray[Any]]


def _scikit_image(scene: Scene) -> NDArray[Any]:
    light = _light(scene)
    estimate = richardson_lucy(light, scene.kernel, num_iter=ITERATIONS, clip=False)
    return np.asarray(estimate) + OFFSET


def _sdeconv(scene: Scene) -> NDArray[Any]:
    from sdeconv.deconv import SRichardsonLucy

    light, kernel = torch.from_numpy(_light(scene)), torch.from_numpy(scene.kernel)
    estimate = SRichardsonLucy(kernel, ITERATIONS, SDECONV_PADDING)(light)
    return estimate.numpy() + OFFSET


def _light(scene: Scene) -> NDArray[np.float32]:
    """Return the counts without the offset of the camera, which is given to Richardson-Lucy."""
    return np.maximum(scene.observed.astype(np.float32) - np.float32(OFFSET), 0)


def _given_the_psf(settings: Settings, scene: Scene) -> NDArray[Any]:
    return deconvolve(scene.observed, settings, kernel=scene.kernel).image


def _blind(settings: Settings, scene: Scene) -> NDArray[Any]:
    return deconvolve(scene.observed, settings).image


@dataclass(frozen=True)
class Speed:
    """Time, quality and memory of complete runs, by image size."""

    name: str = "speed"
    alone: bool = True

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield two tasks per size: one for all programs, one for the memory of the default."""
        options.refuse_methods(self.name)
        settings = Settings(device=options.device, seed=options.seed)
        programs: dict[str, Program] = {
            PEER: _scikit_image,
            "Richardson-Lucy, sdeconv": _sdeconv,
            "wiener, true PSF": partial(_given_the_psf, settings.with_changes(solver="wiener")),
            "fast, true PSF": partial(_given_the_psf, settings),
            "fast": partial(_blind, settings),
        }
        for side in REPEATS:
            yield Task("beside others", f"{side}²", "all", partial(_compare, side, programs))
            yield Task("memory", f"{side}²", "fast", partial(_run_once, side, settings))

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return a table of times and quality, and one of memory."""
        records = records[records["failure"].isna()]
        tables = []
        compared = records[records["group"] == "beside others"]
        if len(compared):
            rows = [row for _, record in compared.iterrows() for row in _rows(record)]
            tables.append(markdown(pd.DataFrame(rows).set_index("image"), {"s": 3}))
        memory = records[records["group"] == "memory"].set_index("case").rename_axis("image")
        if len(memory):
            shown = {
                "first_image": "s to the first image",
                "seconds": "s to the result",
                "peak_memory": "peak memory of the process, GiB",
            }
            tables.append(markdown(memory[list(shown)].astype(float).rename(columns=shown)))
        return "\n\n".join(tables)


def _rows(record: pd.Series[Any]) -> Iterator[dict[str, Any]]:
    """Yield the table rows of a size."""
    names = [name.removeprefix("s.") for name in record.index if name.startswith("s.")]
    for name in names:
        seconds = record[f"s.{name}"]
        if pd.notna(seconds):
            yield {
                "image": record["case"],
                "method": name,
                "s": seconds,
                f"times {PEER}": seconds / record[f"s.{PEER}"],
                "PSNR": record[f"db.{name}"],
            }


def _compare(side: int, programs: dict[str, Program]) -> dict[str, Any]:
    """Run all programs on one image; one that is not installed is left out."""
    scene = fluorescence_scene((side, side))
    seconds, quality = {}, {}
    for name, program in programs.items():
        times = []
        try:
            for _ in range(REPEATS[side]):
                started = time.perf_counter()
                estimate = program(scene)
                times.append(time.perf_counter() - started)
        except ModuleNotFoundError:
            continue
        seconds[name], quality[name] = min(times), scene.psnr(estimate)
    return {"s": seconds, "db": quality}


def _run_once(side: int, settings: Settings) -> dict[str, Any]:
    """Run the default once, as the panel does, in a process that has done nothing before."""
    image = Image(fluorescence_scene((side, side)).observed)
    task, control = Deconvolution(image, settings), RunControl(preview_seconds=PREVIEW_SECONDS)
    started, first = time.perf_counter(), None
    for step in run_stack(task, control, collect=False):
        if first is None and isinstance(step, Snapshot | BlockResult) and step.image is not None:
            first = time.perf_counter() - started
    return {
        "first_image": first,
        "seconds": time.perf_counter() - started,
        "peak_memory": peak_memory(choose_device(settings.device)),
    }


SUITE = Speed()
