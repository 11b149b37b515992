"""``python -m benchmarks.report``: put the tables of all results into this folder's README."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.runner import HERE, read_records, results_file
from benchmarks.suites import Suite, find_suites
from benchmarks.tables import latest, origin

README = HERE / "README.md"
RESULTS = HERE / "results"
FIGURES = HERE / "figures"


def main() -> None:
    """Replace what stands between the marks of each suite that has results."""
    text = README.read_text(encoding="utf-8")
    for suite in find_suites().values():
        section = section_of(suite, RESULTS, FIGURES)
        if section is not None:
            text = replaced(text, suite.name, section)
    README.write_text(text, encoding="utf-8")


def section_of(suite: Suite, results: Path, figures: Path) -> str | None:
    """A suite's tables and where they are from; None without results."""
    records = read_records(results_file(results, suite.name))
    if not records:
        return None
    frame = latest(records)
    return f"{suite.report(frame, figures)}\n\n{origin(frame)}"


def replaced(text: str, name: str, section: str) -> str:
    """A text with the section between the marks of a suite replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"The README has no {begin} … {end} for the suite {name!r}.")
    return pattern.sub(lambda _: f"{begin}\n{section}\n{end}", text)


if __name__ == "__main__":
    main()
