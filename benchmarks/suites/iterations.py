"""Measure an iteration of the networks, by image size: its time and its share of the peak rate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.memory import peak_memory
from benchmarks.methods import version_of
from benchmarks.methods.double_dip import DoubleDip
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from napari_blind_deconv import Kernel, Settings, Stage, deconvolve, iterate
from napari_blind_deconv.engine.devices import choose_device, computes_bfloat16
from napari_blind_deconv.settings import Precision
from napari_blind_deconv.synthetic import fluorescence_scene

__all__ = ["SUITE"]

SIDES = (128, 256, 512, 1024, 2048)
ITERATIONS = 15  # that are timed
WARM_UP = 5  # of these, iterations that are left out of the median; CUDA records the fourth
# The convolution that measures the peak rate of the machine.
RATE_CHANNELS = 64
RATE_SIDE = 256


@dataclass(frozen=True)
class Iterations:
    """Time, memory and arithmetic of an iteration of the networks, by image size."""

    name: str = "iterations"
    alone: bool = True

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield one task per size, each in a process of its own, which measures its peak memory."""
        for method in options.chosen(["fast"]):
            if not isinstance(method, DoubleDip):
                raise ValueError(
                    f"Expected presets for the suite 'iterations', got {method.name!r}."
                )
            for side in SIDES:
                work = partial(_measure, side, options.context.applied_to(method.settings))
                yield Task("", f"{side}²", method.name, work, options.seed, version_of(method))

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return one row per size, with the growth from a quarter of the pixels."""
        table = records[records["failure"].isna()].copy()
        table["side"] = table["case"].str.rstrip("²").astype(int)
        table = table.sort_values(["method", "side"], kind="stable").set_index("case")
        seconds = table["seconds_per_iteration"]
        rate = table["flops"] / seconds
        shown = pd.DataFrame(
            {
                "method": table["method"],
                "canvas": table["canvas"],
                "s/iteration": seconds,
                "growth for 4 × the pixels": seconds / seconds.groupby(table["method"]).shift(),
                "s before the first": table["seconds_to_start"],
                "peak memory of the process, GiB": table["peak_memory"],
                "GFLOP/iteration": table["flops"] / 1e9,
                "GFLOP/s": rate / 1e9,
                "machine's convolutions, GFLOP/s": table["machine_rate"] / 1e9,
                "share, %": 100 * rate / table["machine_rate"],
            }
        ).rename_axis("image")
        digits = {"s/iteration": 3, "GFLOP/s": 0, "machine's convolutions, GFLOP/s": 0}
        return markdown(shown, digits)


def _measure(side: int, settings: Settings) -> dict[str, Any]:
    device = choose_device(settings.device)
    image = fluorescence_scene((side, side)).observed
    kernel, to_start, per_iteration = _timed_iterations(image, settings)
    return {
        "canvas": f"{side + kernel.shape[0] - 1}²",
        "seconds_per_iteration": per_iteration,
        "seconds_to_start": to_start,
        "peak_memory": peak_memory(device),
        "flops": _flops(image, settings),
        "machine_rate": _convolution_rate(device, settings),
    }


def _timed_iterations(image: NDArray[Any], settings: Settings) -> tuple[Kernel, float, float]:
    """Return the kernel, and the seconds before the first iteration and per iteration.

    Noise does not end the run.
    """
    limited = settings.with_changes(stop_at_noise=False, max_iterations=ITERATIONS)
    started = time.perf_counter()
    run = iterate(image, limited, preview_seconds=float("inf"))
    ticks = [
        time.perf_counter()
        for snapshot in run
        if snapshot.stage is Stage.DOUBLE_DIP and snapshot.iteration
    ]
    per_iteration = float(np.median(np.diff(ticks)[WARM_UP:]))
    return run.result().kernel, ticks[0] - started - per_iteration, per_iteration


def _flops(image: NDArray[Any], settings: Settings) -> int:
    """Count the operations of an iteration, forward and backward, without Fourier transforms."""
    counts = []
    # The difference leaves out the fit of the initial kernel, which precedes the first iteration.
    for iterations in (1, 2):
        limited = settings.with_changes(stop_at_noise=False, max_iterations=iterations)
        with FlopCounterMode(display=False) as counter:
            deconvolve(image, limited)
        counts.append(counter.get_total_flops())
    return counts[1] - counts[0]


def _convolution_rate(device: torch.device, settings: Settings) -> float:
    """Return the highest rate of one plain convolution, forward and backward, in operations/s."""
    half_precision = settings.precision is Precision.AUTO and computes_bfloat16(device)
    layer = torch.nn.Conv2d(RATE_CHANNELS, RATE_CHANNELS, 3, padding=1).to(device)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(1, RATE_CHANNELS, RATE_SIDE, RATE_SIDE, device=device)
    image = image.to(memory_format=torch.channels_last).requires_grad_()
    times = []
    for _ in range(10):
        started = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half_precision):
            output = layer(image)
        output.sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    forward = 2 * RATE_CHANNELS**2 * 9 * RATE_SIDE**2
    return 3 * forward / min(times)


SUITE = Iterations()
