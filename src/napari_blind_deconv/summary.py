"""The summary of a job: what a run wrote, what failed, and what it found, as lines to be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from napari_blind_deconv.findings import FoundInPlanes, added_up, finding_lines, findings_in
from napari_blind_deconv.image import BlockKind, Index
from napari_blind_deconv.io.scaling import Scaling
from napari_blind_deconv.reasons import Finding

__all__ = ["Summary"]


@dataclass(frozen=True)
class Summary:
    """How a job ended.

    Attributes
    ----------
    finished : bool
        Whether the output is complete; if not, `resume` continues the job.
    planes : int
        Number of planes of the image.
    done : int
        Number of planes that this run computed.
    failures : dict
        Error sentences of the planes that failed, by index.
    warnings : dict
        Reasons to doubt the result, as sentences, and the number of planes each was raised for.
    seconds : float
        Wall time of this run.
    stopped : bool
        Whether the run was stopped early. A single plane is then written with the best estimate so
        far; of a stack, the finished planes are kept.
    scaling : Scaling or None
        How the output stores its values as 16-bit integers; None if it contains the values.
    findings : mapping
        What was found in the planes besides the scene, with the number of planes and of pixels or
        lines.
    block : BlockKind
        What the planes are: planes, or volumes.
    """

    finished: bool
    planes: int
    done: int
    failures: dict[Index, str]
    warnings: dict[str, int]
    seconds: float
    stopped: bool = False
    scaling: Scaling | None = None
    findings: Mapping[Finding, FoundInPlanes] = field(default_factory=dict)
    block: BlockKind = BlockKind.PLANE

    @classmethod
    def of_records(
        cls,
        records: Mapping[Index, dict[str, Any]],
        *,
        finished: bool,
        planes: int,
        done: int,
        seconds: float,
        stopped: bool = False,
        scaling: Scaling | None = None,
        block: BlockKind = BlockKind.PLANE,
    ) -> Self:
        """Summarise the records of planes; the other parameters are those of the class."""
        warnings = (text for record in records.values() for text in record.get("warnings") or ())
        return cls(
            finished=finished,
            planes=planes,
            done=done,
            failures={index: r["failure"] for index, r in sorted(records.items()) if r["failure"]},
            warnings=dict(Counter(warnings)),
            seconds=seconds,
            stopped=stopped,
            scaling=scaling,
            findings=added_up(findings_in(record) for record in records.values()),
            block=block,
        )

    def finding_lines(self) -> list[str]:
        """Return the findings as lines; for a stack, each with its number of planes."""
        return finding_lines(self.findings, self.planes, self.block)

    def warning_lines(self) -> list[str]:
        """Return the warnings as lines; for a stack, each with its number of planes."""
        lines = [
            text if self.planes == 1 else f"{count} {self.block}{'s' * (count > 1)}: {text}"
            for text, count in self.warnings.items()
        ]
        return [*lines, self.scaling.loss] if self.scaling and self.scaling.loss else lines
