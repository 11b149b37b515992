"""Figures of the results. Each function writes one and returns the Markdown that shows it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.methods.double_dip import SCORING_INTERVAL
from benchmarks.tables import gains

__all__ = [
    "plot_curves",
    "plot_gains",
    "plot_ratios",
    "plot_reliability",
    "plot_stopping_gaps",
]


def plot_gains(frame: pd.DataFrame, path: Path) -> str:
    """Plot the gain over the input, with a box for each method."""
    table = gains(frame)
    methods = [method for method in table["method"].unique() if method != "input"]
    figure = Figure(figsize=(8, 0.6 + 0.33 * len(methods)), layout="constrained")
    axes = figure.subplots()
    values = [table.loc[table["method"] == method, "gain"].dropna() for method in methods]
    axes.boxplot(values, orientation="horizontal", widths=0.6, medianprops={"color": "tab:orange"})
    names = [f"{method} ({len(runs)})" for method, runs in zip(methods, values, strict=True)]
    axes.set_yticks(range(1, len(methods) + 1), names)
    axes.invert_yaxis()
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_xlabel("gain over the input, dB")
    return _save(figure, path, "Gain by method")


def plot_curves(frame: pd.DataFrame, path: Path) -> str:
    """Plot the mean gain of the current estimate by iteration, for methods that record it."""
    table = gains(frame)
    table = table[table["curve"].notna()]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for method, runs in table.groupby("method", sort=False):
        # A run that stopped keeps its last value in the mean. Otherwise the mean would jump.
        longest = max(map(len, runs["curve"]))
        curves = [np.pad(curve, (0, longest - len(curve)), "edge") for curve in runs["curve"]]
        mean = np.mean([c - b for c, b in zip(curves, runs["before"], strict=True)], axis=0)
        axes.plot(
            runs["curve_interval"].fillna(SCORING_INTERVAL).iloc[0] * np.arange(1, longest + 1),
            mean,
            label=f"{method} ({len(runs)} cases)",
        )
    axes.set(xlabel="iteration", ylabel="gain over the input, dB", ylim=(-6, None))
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.legend(fontsize="small")
    return _save(figure, path, "Gain by iteration")


def plot_ratios(frame: pd.DataFrame, path: Path) -> str:
    """Plot the sparsity ratios of first looks and of complete searches, a dot for each image."""
    groups = list(frame["group"].unique())
    figure = Figure(figsize=(8, 0.8 + 0.5 * len(groups)), layout="constrained")
    axes = figure.subplots()
    for row, group in enumerate(groups):
        part = frame[frame["group"] == group]
        for column, colour, offset in (("look", "tab:grey", 0.12), ("ratio", "tab:orange", -0.12)):
            values = part[column].astype(float)
            axes.plot(values, np.full(len(values), row + offset), ".", color=colour, alpha=0.6)
    for bound, colour in ((1.0, "tab:grey"), (0.99, "tab:orange")):
        axes.axvline(bound, color=colour, linewidth=0.8)
    axes.set_yticks(range(len(groups)), groups)
    axes.set(xlabel="sparsity ratio: first look (grey), second smallest of a search (orange)")
    axes.set_xlim(0.88, 1.25)
    axes.invert_yaxis()
    return _save(figure, path, "Sparsity ratios")


def plot_stopping_gaps(frame: pd.DataFrame, path: Path) -> str:
    """Plot the loss against the peak with and without early stopping, as in Fig. 26."""
    methods = list(frame["method"].unique())
    figure = Figure(figsize=(4 * len(methods), 3), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(methods), sharey=True))
    for axes, method in zip(panels, methods, strict=True):
        runs = frame[frame["method"] == method][["stopping_gap", "last_gap"]].astype(float)
        axes.hist(runs.to_numpy(), bins=12, label=["where it stopped", "at the last iteration"])
        axes.set(title=method, xlabel="below the peak, dB", ylabel="runs")
    panels[-1].legend()
    return _save(figure, path, "Early-stopping gaps")


def _save(figure: Figure, path: Path, title: str) -> str:
    """Write a figure, and return the Markdown that shows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return f"![{title}]({path.parent.name}/{path.name})"


def plot_reliability(frame: pd.DataFrame, path: Path) -> str:
    """Plot how often a width is within a multiple of its deviation, and how often it should be."""
    ratio = np.sort(frame["error"].abs() / frame["told"])
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    normal = np.array([math.erf(value / math.sqrt(2)) for value in ratio])
    axes.plot(normal, np.arange(1, len(ratio) + 1) / len(ratio))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set(xlabel="share expected within the interval", ylabel="share found within it")
    return _save(figure, path, "Reliability of the interval that is told for a width")
