"""Tables in Markdown, and what stands below each: where its numbers are from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

__all__ = ["by_case", "latest", "markdown", "origin", "summary"]

INPUT = "input"
ORACLE = "RL, true PSF (best iteration)"


def latest(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a measurement, the last of each, in the order they were first measured."""
    frame = pd.json_normalize(records, max_level=1)
    for column in ("failure", "kept", "peak", "width_error", "kernel_similarity", "lpips"):
        if column not in frame:
            frame[column] = None
    key = ["group", "case", "method", "seed", "origin.device"]
    return frame.drop_duplicates(key, keep="last").reset_index(drop=True)


def markdown(frame: pd.DataFrame, digits: Mapping[str, int] | int = 2) -> str:
    """A table; numbers rounded to as many digits as said, missing ones left out."""

    def text(value: Any, places: int) -> str:
        if value is None or pd.isna(value):
            return ""
        return f"{value:.{places}f}" if isinstance(value, float) else str(value)

    shown = frame.reset_index()
    for column in shown.columns:
        places = digits if isinstance(digits, int) else digits.get(str(column), 2)
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


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a method: means over the cases it was run on, gains over the input of the same."""
    before = frame[frame["method"] == INPUT].set_index("case")["psnr"]
    oracle = frame[frame["method"] == ORACLE].set_index("case")["psnr"]
    rows = {}
    for method, runs in frame.groupby("method", sort=False):
        sound = runs[runs["psnr"].notna()].set_index("case")
        gain = sound["psnr"] - before.reindex(sound.index)
        way = (oracle - before).reindex(sound.index)
        rows[method] = {
            "cases": len(runs),
            "failed": int(runs["failure"].notna().sum()),
            "PSNR": sound["psnr"].mean(),
            "gain": gain.mean(),
            "worst gain": gain.min(),
            "of the way to the oracle, %": 100 * gain.mean() / way.mean(),
            "peak PSNR": sound["peak"].astype(float).mean(),
            "SSIM": sound["ssim"].mean(),
            "VIF": sound["vif"].mean(),
            "LPIPS": sound["lpips"].astype(float).mean(),
            "flux": sound["flux"].mean(),
            "kernel likeness": sound["kernel_similarity"].astype(float).mean(),
            "width error, median %": 100 * sound["width_error"].astype(float).abs().median(),
            "s, median": sound["seconds"].median(),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    if not table["failed"].any():
        table = table.drop(columns="failed")
    return table.dropna(axis="columns", how="all")


def by_case(frame: pd.DataFrame, columns: str | pd.Series = "case") -> pd.DataFrame:
    """Mean PSNR of each method, by case or by a series that groups the cases."""
    return frame.pivot_table(
        "psnr", index="method", columns=columns, aggfunc="mean", sort=False
    ).rename_axis(columns=None)
