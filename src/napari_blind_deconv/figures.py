"""One picture of a run: before, after, kernel and trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_blind_deconv.io.images import write_atomically
from napari_blind_deconv.results import Result

__all__ = ["summary_figure", "write_summary"]


def summary_figure(image: NDArray[Any], result: Result, title: str) -> Figure:
    """Before and after at one contrast, the kernel, and the variance with its stopping point."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    figure.suptitle(title)
    before, after, kernel, trace = figure.subplots(1, 4)
    low, high = np.percentile(image, (0.1, 99.9))
    for axes, pixels, name in ((before, image, "before"), (after, result.image, "after")):
        axes.imshow(pixels, cmap="gray", vmin=low, vmax=high)
        axes.set(title=name, xticks=[], yticks=[])
    kernel.imshow(result.kernel, cmap="inferno")
    kernel.set(title="kernel", xlabel="pixels", ylabel="pixels")
    iterations = result.trace["iteration"]
    trace.semilogy(iterations, result.trace["variance"], color="tab:blue")
    trace.axvline(result.stop_iteration, color="tab:orange", label="kept")
    trace.set(title="early stopping", xlabel="iteration", ylabel="windowed variance")
    trace.legend()
    return figure


def write_summary(path: Path, image: NDArray[Any], result: Result, title: str) -> None:
    """Save :func:`summary_figure` as a PNG file."""
    figure = summary_figure(image, result, title)
    write_atomically(path, lambda part: figure.savefig(part, dpi=120))
