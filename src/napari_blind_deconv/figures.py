"""Draw a run: a summary with image, result, kernel and trace, and a report on its quality."""

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
from napari_blind_deconv.numerics.regions import plane_with_contrast
from napari_blind_deconv.report import Report
from napari_blind_deconv.results import RESIDUAL_RANGE, Result, stage_starts

__all__ = ["report_figure", "summary_figure", "write_report", "write_summary"]


def summary_figure(image: NDArray[Any], result: Result, title: str) -> Figure:
    """Draw image and result at the same contrast, the kernel, and the trace of the variance.

    The trace is left out if the run recorded no variance, because it was stopped early.
    """
    has_trace = bool(np.isfinite(result.trace["variance"]).any())
    count = 4 if has_trace else 3
    figure = Figure(figsize=(3.3 * count, 3.6), layout="constrained")
    figure.suptitle(f"{title}: iteration {result.stop_iteration}. {result.stop_reason.sentence}")
    before, after, kernel, *rest = figure.subplots(1, count)
    low, high = np.percentile(image, (0.1, 99.9))  # a few extreme pixels must not set it
    for axes, pixels, name in ((before, image, "before"), (after, result.image, "after")):
        axes.imshow(pixels, cmap="gray", vmin=low, vmax=high)
        axes.set(title=name, xticks=[], yticks=[])
    _draw_kernel(kernel, result.kernel.weights)
    for axes in rest:
        _draw_trace(axes, result)
    return figure


def _draw_kernel(axes: Axes, kernel: NDArray[np.float32]) -> None:
    if kernel.ndim == 3:
        _draw_kernel(axes, kernel[len(kernel) // 2])
        axes.set(title="kernel, central plane")
        return
    # The origin is the centre of the central pixel.
    rows, columns = (side // 2 + 0.5 for side in kernel.shape)
    axes.imshow(kernel, cmap="inferno", extent=(-columns, columns, rows, -rows))
    axes.set(title="kernel", xlabel="pixels", ylabel="pixels")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))


def _draw_trace(axes: Axes, result: Result) -> None:
    axes.set(title="early stopping", xlabel="iteration", ylabel="windowed variance")
    axes.semilogy(result.trace["iteration"], result.trace["variance"], color="tab:blue")
    for stage, first in stage_starts(result.trace).items():
        axes.axvline(first, color="0.8", linewidth=0.8)
        axes.annotate(stage, (first, 1), xycoords=("data", "axes fraction"), fontsize="x-small")
    axes.axvline(result.stop_iteration, color="tab:orange", label="kept")
    axes.legend()


def write_summary(path: Path, image: NDArray[Any], result: Result, title: str) -> None:
    """Save :func:`summary_figure` as a PNG file."""
    figure = summary_figure(image, result, title)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=120))


def report_figure(report: Report) -> Figure:
    """Draw a page: image, result, residual, expected error, kernel, numbers and verdict.

    Of a volume, the plane with the most contrast is drawn.
    """
    figure = Figure(figsize=(8.3, 11.7), layout="constrained")
    figure.suptitle(report.title)
    panels = figure.subplots(4, 2, height_ratios=(1, 1, 0.8, 0.3))
    plane = plane_with_contrast(report.image)
    low, high = np.nanpercentile(report.image[plane], (0.1, 99.9))
    for axes, pixels, name in (
        (panels[0, 0], report.image, f"image, Z {plane[0]}" if plane else "image"),
        (panels[0, 1], report.estimate, "result, same contrast"),
    ):
        axes.imshow(pixels[plane], cmap="gray", vmin=low, vmax=high)
        axes.set(title=name, xticks=[], yticks=[])
    residual, expected = panels[1]
    span = {"vmin": -RESIDUAL_RANGE, "vmax": RESIDUAL_RANGE}
    heatmap = residual.imshow(report.trust.residual[plane], cmap="RdBu_r", **span)
    residual.set(title="image minus result blurred again", xticks=[], yticks=[])
    figure.colorbar(heatmap, ax=residual, label="expected noise, σ", shrink=0.7)
    heatmap = expected.imshow(report.expected_error[plane], cmap="magma", vmin=0)
    expected.set(title="expected error of the result", xticks=[], yticks=[])
    figure.colorbar(heatmap, ax=expected, label="in units of the image", shrink=0.7)
    _draw_kernel(panels[2, 1], report.kernel.weights)
    text = figure.add_subplot(panels[3, 0].get_gridspec()[3, :])
    for axes in (panels[2, 0], *panels[3], text):
        axes.set_axis_off()
    lines = [f"{name:<37}{value}" for name, value in _numbers(report)]
    panels[2, 0].text(0, 1, "\n".join(lines), va="top", family="monospace", size=8.5)
    paragraphs = (f"{report.verdict} {report.stop}", *report.notes)
    verdict = "\n".join(textwrap.fill(paragraph, 95) for paragraph in paragraphs)
    text.text(0, 1, verdict, va="top", size=9.5)
    return figure


def write_report(path: Path, report: Report) -> None:
    """Save :func:`report_figure` as PNG or PDF."""
    figure = report_figure(report)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=120))


def _numbers(report: Report) -> list[tuple[str, str]]:
    trust = report.trust
    along_axes, is_volume = report.kernel.widths.along_axes, report.image.ndim == 3
    widths = " × ".join(f"{w:.3g}" for w in (along_axes if is_volume else trust.kernel_fwhm))
    return [
        ("residual (1: noise alone)", _format_value(trust.residual_level)),
        ("residual, correlation of neighbours", _format_value(trust.residual_correlation)),
        ("noise, mean standard deviation", _format_value(trust.noise)),
        ("gain (noise variance / brightness)", _format_value(trust.gain)),
        ("offset", _format_value(trust.offset)),
        ("signal to noise", _format_value(trust.signal_to_noise)),
        ("flux, result / image", _format_value(trust.flux_ratio)),
        ("resolution of the image, px", _format_value(trust.resolution_before)),
        ("resolution of the result, px", _format_value(trust.resolution_after)),
        ("kernel, full widths, px" + ", Z × Y × X" * is_volume, widths),
        ("kernel, relative error of the widths", _format_value(report.kernel.width_deviation)),
        ("kernel, roundness", _format_value(trust.kernel_roundness)),
        ("kernel, share on window border", f"{100 * trust.kernel_border:.2g} %"),
    ]


def _format_value(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
