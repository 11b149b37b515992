"""Pictures of a run: before, after, kernel and trace on one, what it is worth on another."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from napari_blind_deconv.io.images import write_atomically
from napari_blind_deconv.report import Report
from napari_blind_deconv.results import Result

__all__ = ["report_figure", "summary_figure", "write_report", "write_summary"]

_RESIDUAL_RANGE = 4  # in units of the expected noise


def summary_figure(image: NDArray[Any], result: Result, title: str) -> Figure:
    """Before and after at one contrast, the kernel, and the variance if there is a trace of it."""
    has_trace = bool(np.isfinite(result.trace["variance"]).any())
    count = 4 if has_trace else 3
    figure = Figure(figsize=(3.3 * count, 3.6), layout="constrained")
    figure.suptitle(f"{title}: iteration {result.stop_iteration}. {result.stop_reason.sentence}")
    before, after, kernel, *rest = figure.subplots(1, count)
    low, high = np.percentile(image, (0.1, 99.9))
    for axes, pixels, name in ((before, image, "before"), (after, result.image, "after")):
        axes.imshow(pixels, cmap="gray", vmin=low, vmax=high)
        axes.set(title=name, xticks=[], yticks=[])
    _draw_kernel(kernel, result.kernel.weights)
    for axes in rest:
        _draw_trace(axes, result)
    return figure


def _draw_kernel(axes: Axes, kernel: NDArray[np.float32]) -> None:
    rows, columns = (side // 2 + 0.5 for side in kernel.shape)
    axes.imshow(kernel, cmap="inferno", extent=(-columns, columns, rows, -rows))
    axes.set(title="kernel", xlabel="pixels", ylabel="pixels")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))


def _draw_trace(axes: Axes, result: Result) -> None:
    axes.set(title="early stopping", xlabel="iteration", ylabel="windowed variance")
    axes.semilogy(result.trace["iteration"], result.trace["variance"], color="tab:blue")
    axes.axvline(result.stop_iteration, color="tab:orange", label="kept")
    axes.legend()


def write_summary(path: Path, image: NDArray[Any], result: Result, title: str) -> None:
    """Save :func:`summary_figure` as a PNG file."""
    figure = summary_figure(image, result, title)
    write_atomically(path, lambda part: figure.savefig(part, dpi=120))


def report_figure(evidence: Report) -> Figure:
    """One page: before, after, residual and kernel, the numbers, and what to think of it."""
    figure = Figure(figsize=(8.3, 11.7), layout="constrained")
    figure.suptitle(evidence.title)
    panels = figure.subplots(3, 2, height_ratios=(1, 1, 0.9))
    low, high = np.percentile(evidence.image, (0.1, 99.9))
    for axes, pixels, name in (
        (panels[0, 0], evidence.image, "image"),
        (panels[0, 1], evidence.estimate, "result, same contrast"),
    ):
        axes.imshow(pixels, cmap="gray", vmin=low, vmax=high)
        axes.set(title=name, xticks=[], yticks=[])
    residual, kernel = panels[1]
    span = {"vmin": -_RESIDUAL_RANGE, "vmax": _RESIDUAL_RANGE}
    drawn = residual.imshow(evidence.trust.residual, cmap="RdBu_r", **span)
    residual.set(title="image less result blurred again", xticks=[], yticks=[])
    figure.colorbar(drawn, ax=residual, label="expected noise, σ", shrink=0.7)
    _draw_kernel(kernel, evidence.kernel.weights)
    words = figure.add_subplot(panels[2, 0].get_gridspec()[2, :])
    for axes in (*panels[2], words):
        axes.set_axis_off()
    lines = [f"{name:<36}{value}" for name, value in _numbers(evidence)]
    words.text(0, 1, "\n".join(lines), va="top", family="monospace", size=8.5)
    verdict = textwrap.fill(f"{evidence.verdict} {evidence.stop}", 95)
    words.text(0, 0, verdict, va="bottom", size=9.5)
    return figure


def write_report(path: Path, evidence: Report) -> None:
    """Save :func:`report_figure` as PNG or PDF."""
    figure = report_figure(evidence)
    write_atomically(path, lambda part: figure.savefig(part, dpi=120))


def _numbers(evidence: Report) -> list[tuple[str, str]]:
    trust = evidence.trust
    longest, shortest = trust.kernel_fwhm
    return [
        ("residual (1 is noise alone)", _told(trust.residual_level)),
        ("residual, neighbours' correlation", _told(trust.residual_correlation)),
        ("noise, mean standard deviation", _told(trust.noise)),
        ("gain (variance by brightness)", _told(trust.gain)),
        ("offset", _told(trust.offset)),
        ("signal to noise", _told(trust.signal_to_noise)),
        ("flux, result by image", _told(trust.flux_ratio)),
        ("resolution of the image, px", _told(trust.resolution_before)),
        ("resolution of the result, px", _told(trust.resolution_after)),
        ("kernel, full widths, px", f"{longest:.3g} × {shortest:.3g}"),
        ("kernel, roundness", _told(trust.kernel_roundness)),
        ("kernel at its window's border", f"{100 * trust.kernel_border:.2g} %"),
    ]


def _told(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"
