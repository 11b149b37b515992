"""Tables in Markdown, and the line below each table with the origin of its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

__all__ = ["by_case", "gains", "latest", "markdown", "origin", "summary"]

# Columns of a comparison. Those that no method of a suite measures stay empty.
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
    "before_networks",
)
INPUT = "input"
ORACLE = "RL, true PSF (best iteration)"


def latest(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the last record of each measurement, with methods in the order of the first records.

    Results of several devices belong in several folders.
    """
    frame = pd.json_normalize(records, max_level=1)
    for column in ("failure", "curve", "curve_interval", *_FIGURES):
        if column not in frame:
            frame[column] = None
    order = {method: rank for rank, method in enumerate(frame["method"].unique())}
    frame = frame.drop_duplicates(["group", "case", "method", "seed"], keep="last")
    return frame.sort_values("method", key=lambda names: names.map(order), kind="stable")


def markdown(frame: pd.DataFrame, digits: Mapping[str, int] | None = None) -> str:
    """Return a table whose numbers have no decimals for percentages, `digits` or two for others."""

    def text(value: Any, decimals: int) -> str:
        if value is None or pd.isna(value):
            return ""
        return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)

    shown = frame.reset_index()
    for column in shown.columns:
        default = 0 if "%" in str(column) else 2
        decimals = (digits or {}).get(str(column), default)
        shown[column] = [text(value, decimals) for value in shown[column]]
    return shown.to_markdown(index=False, disable_numparse=True)


def origin(frame: pd.DataFrame) -> str:
    """Return a line with date, machine and command of the measurements of a table."""

    def all_of(name: str) -> str:
        return ", ".join(map(str, sorted(frame[f"origin.{name}"].unique())))

    commands = "; ".join(f"`{command}`" for command in frame["origin.command"].unique())
    return (
        f"*{all_of('date')}, commit {all_of('commit')}, {all_of('device')}, "
        f"{all_of('threads')} thread(s) a task, {all_of('jobs')} task(s) at a time, "
        f"torch {all_of('torch')}: {commands}*"
    )


def gains(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the PSNR of the input (`before`) and of the `oracle`, and the `gain`, all in dB."""
    before, oracle = (
        frame[frame["method"] == name].groupby("case")["psnr"].mean() for name in (INPUT, ORACLE)
    )
    table = frame.assign(before=frame["case"].map(before), oracle=frame["case"].map(oracle))
    return table.assign(gain=table["psnr"] - table["before"])


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method, with means over its cases and gains over the input of these."""
    rows = {name: _means(runs) for name, runs in gains(frame).groupby("method", sort=False)}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    if not table["failed"].any():
        table = table.drop(columns="failed")
    return table.dropna(axis="columns", how="all")


def _means(runs: pd.DataFrame) -> dict[str, Any]:
    complete = runs[runs["psnr"].notna()]
    numbers = {name: complete[name].astype(float) for name in _FIGURES}
    oracle_gain = (complete["oracle"] - complete["before"]).mean()
    added = (numbers["psnr"] - numbers["before_networks"]).dropna()
    return {
        "cases": complete["case"].nunique(),
        "failed": int(runs["failure"].notna().sum()),
        "PSNR": numbers["psnr"].mean(),
        "gain": complete["gain"].mean(),
        "worst gain": complete["gain"].min(),
        "of the way to the oracle, %": 100 * complete["gain"].mean() / oracle_gain,
        "peak PSNR": numbers["peak"].mean(),
        "SSIM": numbers["ssim"].mean(),
        "VIF": numbers["vif"].mean(),
        "LPIPS": numbers["lpips"].mean(),
        "flux": numbers["flux"].mean(),
        "kernel likeness": numbers["kernel_similarity"].mean(),
        "width error either way, median %": numbers["width_error"].abs().median(),
        "with networks": str(len(added)) if len(added) else None,
        "networks add": added.mean(),
        "networks add, worst": added.min(),
        "s, median": numbers["seconds"].median(),
    }


def by_case(frame: pd.DataFrame, columns: str | pd.Series = "case") -> pd.DataFrame:
    """Return the mean PSNR of each method, by case or by a series that groups the cases."""
    return frame.pivot_table(
        "psnr", index="method", columns=columns, aggfunc="mean", sort=False
    ).rename_axis(columns=None)
