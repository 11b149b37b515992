"""``python -m benchmarks.report [SUITE ...]``: print the tables of all results.

With ``--write`` the tables and their figures go into the README of this folder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.runner import HERE, read_records, results_file
from benchmarks.suites import Suite, find_suites
from benchmarks.tables import latest, origin

README = HERE / "README.md"


def main(
    suites: Annotated[
        list[str] | None, typer.Argument(help="Names of suites; default: all.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = HERE / "results",
    write: Annotated[
        bool, typer.Option("--write", help="Write the tables into the README.")
    ] = False,
) -> None:
    """Print the tables, or write them into the README."""
    known = find_suites()
    unknown = [name for name in suites or [] if name not in known]
    if unknown:
        raise typer.BadParameter(f"no suite {unknown[0]!r}; suites are {', '.join(known)}.")
    text = README.read_text(encoding="utf-8")
    figures = HERE / "figures" if write else results / "figures"
    for name, suite in known.items():
        section = section_of(suite, results, figures) if not suites or name in suites else None
        if section is not None and write:
            text = replaced(text, name, section)
        elif section is not None:
            typer.echo(f"## {name}\n\n{section}\n")
    if write:
        README.write_text(text, encoding="utf-8")


def section_of(suite: Suite, results: Path, figures: Path) -> str | None:
    """Return the tables of a suite and their origin; None without results."""
    records = read_records(results_file(results, suite.name))
    if not records:
        return None
    frame = latest(records)
    return f"{suite.report(frame, figures)}\n\n{origin(frame)}"


def replaced(text: str, name: str, section: str) -> str:
    """Return a text with a new section between the marks of a suite."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"The README has no {begin} … {end} for the suite {name!r}.")
    return pattern.sub(lambda _: f"{begin}\n{section}\n{end}", text)


if __name__ == "__main__":
    typer.run(main)
