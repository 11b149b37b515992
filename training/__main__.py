"""``python -m training``: make the scenes, fit the model and write it into the package."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import track

import napari_blind_deconv.numerics
from napari_blind_deconv.numerics.width_posterior import LEVELS, MODEL_FILE
from training.fit import fit
from training.samples import sample

MODEL = Path(napari_blind_deconv.numerics.__file__).parent / MODEL_FILE
_TEST_SEED = 10_000_000  # first seed of the scenes that are never trained on
_WIDEST = 14.0  # σ in pixels; wider kernels are not searched for


def main(
    scenes: Annotated[int, typer.Option(min=1000, help="Number of scenes to train on.")] = 13_000,
    tested: Annotated[int, typer.Option(min=100, help="Number of other scenes to test on.")] = 1000,
    out: Annotated[Path, typer.Option(help="File of the model.")] = MODEL,
) -> None:
    """Train the model of the width of the kernel; about ten minutes on two cores."""
    features, targets = _samples(0, scenes)
    model = fit(features, targets)
    model.write(out)
    features, targets = _samples(_TEST_SEED, tested)
    means, deviations = model.predict(features)
    errors = means - targets
    for number, level in enumerate(LEVELS):
        error, told = errors[:, number], deviations[:, number]
        inside = float((np.abs(error) < told).mean())
        typer.echo(
            f"|H|² = {level}: ln σ off by {np.median(np.abs(error)):.3f} in the median, "
            f"{np.sqrt(np.square(error).mean()):.3f} rms, bias {error.mean():+.3f}; "
            f"{100 * inside:.0f} % within one deviation"
        )


def _samples(first: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cores = os.cpu_count()
    with ProcessPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        made = pool.map(sample, range(first, first + count), chunksize=50)
        both = list(track(made, "scenes", count))
    features, targets = map(np.array, zip(*both, strict=True))
    used = targets.max(axis=1) < np.log(_WIDEST)
    return features[used], targets[used]


if __name__ == "__main__":
    typer.run(main)
