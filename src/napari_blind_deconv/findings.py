"""What was found in images besides the scene: read from records, added up, and told in lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from napari_blind_deconv.block_kind import BlockKind
from napari_blind_deconv.reasons import Finding

__all__ = ["Findings", "FoundInPlanes", "added_up", "finding_lines", "findings_in"]

Findings: TypeAlias = Mapping[Finding, int | None]
"""What was found in a plane, with the number that `Finding.text` states; None without one."""


@dataclass(frozen=True)
class FoundInPlanes:
    """How often something was found in a stack.

    Attributes
    ----------
    planes : int
        Number of planes in which it was found.
    count : int or None
        Number of pixels or lines in all these planes; None if the finding has no number.
    """

    planes: int
    count: int | None


def findings_in(record: Mapping[str, Any]) -> Findings:
    """Return the findings in the record of a plane; none in a record of an earlier version."""
    known = {finding.value for finding in Finding}
    stored = record.get("findings") or {}
    return {Finding(name): count for name, count in stored.items() if name in known}


def added_up(of_planes: Iterable[Findings]) -> dict[Finding, FoundInPlanes]:
    """Add up the findings of planes, in the order of `Finding`."""
    counts: dict[Finding, list[int | None]] = {}
    for findings in of_planes:
        for finding, count in findings.items():
            counts.setdefault(finding, []).append(count)
    return {
        finding: FoundInPlanes(len(counts[finding]), finding.total(counts[finding]))
        for finding in Finding
        if finding in counts
    }


def finding_lines(
    found: Mapping[Finding, FoundInPlanes], planes: int, kind: BlockKind = BlockKind.PLANE
) -> list[str]:
    """Return a line for each finding; with more than one plane, it begins with their number.

    Parameters
    ----------
    found : mapping
        Findings of all planes, from `added_up`.
    planes : int
        Number of planes of the image.
    kind : BlockKind
        What the planes are: planes, or volumes.
    """
    return [
        finding.text(all_of_it.count, kind)
        if planes == 1
        else f"{all_of_it.planes} {kind}{'s' * (all_of_it.planes > 1)}: "
        f"{finding.text(all_of_it.count, kind)}"
        for finding, all_of_it in found.items()
    ]
