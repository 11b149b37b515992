"""Measure time and quality of stacks with one kernel per channel and with one per plane."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from benchmarks.cases import Case, fluorescence
from benchmarks.memory import peak_memory
from benchmarks.methods import version_of
from benchmarks.scoring import quality
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from napari_blind_deconv import Settings, deconvolve_stack
from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.results import BlockResult
from napari_blind_deconv.synthetic import fluorescence_scene

__all__ = ["SUITE"]

MODES = ("per-channel", "per-slice")
FRAMES = 6
REAL = {
    "mitotic plate": "xyz_8bit__mitotic_plate_calibrated.tif",
    "golgi": "xyt_calibrated_16bit__golgi_bfa_sum_projection.tif",
}
TRUTHS = ("DNA", "microtubules", "actin", "neuron", "filaments")
SYNTHETIC = {"32 planes of 512²": (32, 512), "a plane of 2048²": (1, 2048)}


@dataclass(frozen=True)
class Stacks:
    """Time, memory and quality of stacks."""

    name: str = "stacks"
    alone: bool = True

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield one task per stack and mode, each in a process of its own with its peak memory."""
        options.refuse_methods(self.name)
        version = version_of(Settings.preset("fast"))
        for case, file in REAL.items():
            read = partial(_frames, options.data / "io" / file)
            for mode in MODES:
                yield Task(
                    "real", case, mode, partial(_measure, read, mode, options), version=version
                )
        for optics in ("Airy", "drift"):
            exposures = partial(_exposures, options.data, optics)
            for mode in MODES:
                work = partial(_measure_truth, exposures, mode, options)
                yield Task("five micrographs", optics, mode, work, version=version)
        for case, (planes, side) in SYNTHETIC.items():
            make = partial(_scenes, planes, side)
            work = partial(_measure, make, MODES[0], options)
            yield Task("synthetic", case, MODES[0], work, version=version)

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return one row per stack and mode."""
        table = records[records["failure"].isna()].copy()
        table["later"] = 100 * table["seconds_later"] / table["seconds_first"]
        shown = {
            "group": "stack",
            "case": "of",
            "method": "kernel",
            "seconds": "s",
            "seconds_first": "s to the first plane",
            "seconds_later": "s a later plane",
            "later": "of the first, %",
            "peak_memory": "peak memory, GiB",
            "psnr_input": "input, dB",
            "psnr": "PSNR, dB",
            "flicker": "flicker, %",
        }
        table = table.reindex(columns=list(shown)).rename(columns=shown)
        return markdown(table.set_index("stack"), {})


def _frames(path: Path) -> NDArray[Any]:
    return tifffile.imread(path)[:FRAMES]


def _scenes(planes: int, side: int) -> NDArray[Any]:
    return np.stack([fluorescence_scene((side, side), seed=s).observed for s in range(planes)])


def _exposures(data: Path, optics: str) -> list[Case]:
    return [fluorescence(data, truth, optics, 1000.0) for truth in TRUTHS]


def _measure(read: Callable[[], NDArray[Any]], mode: str, options: Options) -> dict[str, Any]:
    return _run(read(), mode, options)[0]


def _measure_truth(
    exposures: Callable[[], list[Case]], mode: str, options: Options
) -> dict[str, Any]:
    cases = exposures()
    figures, planes = _run(np.stack([case.observed for case in cases]), mode, options)
    scores = [quality(c, plane.image) for c, plane in zip(cases, planes, strict=True)]
    before = [quality(c, c.observed) for c in cases]
    return figures | {"psnr": float(np.mean(scores)), "psnr_input": float(np.mean(before))}


def _run(
    stack: NDArray[Any], mode: str, options: Options
) -> tuple[dict[str, Any], list[BlockResult]]:
    planes: list[BlockResult] = []
    ends: list[float] = []
    started = time.perf_counter()
    for plane in deconvolve_stack(
        stack,
        options.context.applied_to(Settings.preset("fast")),
        axes="ZYX",
        kernel=mode,
        collect=False,
    ):
        planes.append(replace(plane, result=None))  # only the images are used later
        ends.append(time.perf_counter())
    later = np.diff(ends)
    ratios = [plane.image.mean() / stack[plane.index].mean() for plane in planes]
    return {
        "seconds": time.perf_counter() - started,
        "seconds_first": ends[0] - started,
        "seconds_later": float(np.median(later)) if len(later) else None,
        "peak_memory": peak_memory(choose_device(options.device)),
        "flicker": 100 * float(np.abs(np.diff(ratios)).max()) if len(later) else None,
    }, planes


SUITE = Stacks()
