"""Tables in Markdown, and what stands below each: where its numbers are from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

__all__ = ["by_case", "gains", "latest", "markdown", "origin", "summary"]

# Figures of a comparison; those that no method of a suite has are there and empty.
_FIGURES = (
    "psnr",
    "peak",
    "ssim",
    "vif",
    "lpips",
    "flux",
    "kernel_similarity",
    "width_error",
    "seconds",
)
INPUT = "input"
ORACLE = "RL, true PSF (best iteration)"


def latest(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a measurement, the last of each; methods in the order they were first measured.

    Results of several devices belong into several folders.
    """
    frame = pd.json_normalize(records, max_level=1)
    for column in ("failure", "curve", *_FIGURES):
        if column not in frame:
            frame[column] = None
    order = {method: place for place, method in enumerate(frame["method"].unique())}
    frame = frame.drop_duplicates(["group", "case", "method", "seed"], keep="last")
    return frame.sort_values("method", key=lambda names: names.map(order), kind="stable")


def markdown(frame: pd.DataFrame, digits: Mapping[str, int] | None = None) -> str:
    """A table; numbers rounded, percentages to whole ones, others to two digits or as said."""

    def text(value: Any, places: int) -> str:
        if value is None or pd.isna(value):
            return ""
        return f"{value:.{places}f}" if isinstance(value, float) else str(value)

    shown = frame.reset_index()
    for column in shown.columns:
        usual = 0 if "%" in str(column) else 2
        places = (digits or {}).get(str(column), usual)
        shown[column] = [text(value, places) for value in shown[column]]
    return shown.to_markdown(index=False, disable_numparse=True)


def origin(frame: pd.DataFrame) -> str:
    """When, on what and by which command a table was measured."""

    def all_of(name: str) -> str:
        return ", ".join(map(str, sorted(frame[f"origin.{name}"].unique())))

    commands = "; ".join(f"`{command}`" for command in frame["origin.command"].unique())
    return (
        f"*{all_of('date')}, commit {all_of('commit')}, {all_of('device')}, "
        f"{all_of('threads')} thread(s) a task, {all_of('jobs')} task(s) at a time, "
        f"torch {all_of('torch')}: {commands}*"
    )


def gains(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows with PSNR of the input (`before`), of the oracle and the `gain`, in dB."""
    before, oracle = (
        frame[frame["method"] == name].groupby("case")["psnr"].mean() for name in (INPUT, ORACLE)
    )
    table = frame.assign(before=frame["case"].map(before), oracle=frame["case"].map(oracle))
    return table.assign(gain=table["psnr"] - table["before"])


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a method: means over the cases it was run on, gains over the input of the same."""
    rows = {name: _means(runs) for name, runs in gains(frame).groupby("method", sort=False)}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    if not table["failed"].any():
        table = table.drop(columns="failed")
    return table.dropna(axis="columns", how="all")


def _means(runs: pd.DataFrame) -> dict[str, Any]:
    sound = runs[runs["psnr"].notna()]
    numbers = {name: sound[name].astype(float) for name in _FIGURES}
    way = (sound["oracle"] - sound["before"]).mean()
    return {
        "cases": sound["case"].nunique(),
        "failed": int(runs["failure"].notna().sum()),
        "PSNR": numbers["psnr"].mean(),
        "gain": sound["gain"].mean(),
        "worst gain": sound["gain"].min(),
        "of the way to the oracle, %": 100 * sound["gain"].mean() / way,
        "peak PSNR": numbers["peak"].mean(),
        "SSIM": numbers["ssim"].mean(),
        "VIF": numbers["vif"].mean(),
        "LPIPS": numbers["lpips"].mean(),
        "flux": numbers["flux"].mean(),
        "kernel likeness": numbers["kernel_similarity"].mean(),
        "width error either way, median %": numbers["width_error"].abs().median(),
        "s, median": numbers["seconds"].median(),
    }


def by_case(frame: pd.DataFrame, columns: str | pd.Series = "case") -> pd.DataFrame:
    """Mean PSNR of each method, by case or by a series that groups the cases."""
    return frame.pivot_table(
        "psnr", index="method", columns=columns, aggfunc="mean", sort=False
    ).rename_axis(columns=None)
