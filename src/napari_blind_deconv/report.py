"""Judge a result on disk: read it together with the image it was made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.expected_error import expected_error
from napari_blind_deconv.engine.sampling import judge_block
from napari_blind_deconv.findings import Findings
from napari_blind_deconv.image import BlockKind, Image, Index
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.job import Job, kernel_in, planes_in, sidecar_of
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.optics import MicroscopeKind
from napari_blind_deconv.reasons import QualityFlag, StopReason
from napari_blind_deconv.results import TrustReport
from napari_blind_deconv.verdict import strength_notes

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """How far the result of one plane, or of one volume, can be trusted.

    Attributes
    ----------
    title : str
        Name of the result, and the index of the plane for a stack.
    image, estimate : ndarray
        Image and result, ``(rows, columns)``, or ``(planes, rows, columns)`` of a volume; for a
        colour image, the mean of its channels.
    kernel : Kernel
        The kernel of the plane or volume.
    trust : TrustReport
        Residual, noise, resolution and the other numbers.
    flags : tuple of QualityFlag
        Reasons to doubt the result, gravest first.
    findings : mapping
        What was found in the image besides the scene, as in `Result`.
    stop : str
        Why the run ended, as a sentence.
    strength : float
        As in `Settings`: how many times as wide as `kernel` the kernel was that was used.
    """

    title: str
    image: NDArray[np.float64]
    estimate: NDArray[np.float64]
    kernel: Kernel
    trust: TrustReport
    flags: tuple[QualityFlag, ...]
    findings: Findings
    stop: str
    strength: float
    _saved: _SavedPlane = field(repr=False)

    @classmethod
    def of(cls, result: Path, plane: Index | None = None) -> Self:
        """Read a result, its sidecar and its input, and judge the result.

        Parameters
        ----------
        result : Path
            File written by `run_job` or ``blind-deconv run``, with its sidecar beside it.
        plane : tuple of int, optional
            Index of the plane, or volume, in a stack; default: the first.

        Raises
        ------
        ValueError, OSError
            If a file is missing, if the files do not fit together, or if the plane failed.
        """
        saved = _SavedPlane.read(result, plane)
        kind = saved.before.block_kind
        reason = StopReason(saved.record["stop_reason"])
        trust, flags, findings = judge_block(
            saved.before,
            saved.image,
            saved.kernel,
            reason=reason,
            strength=saved.strength,
            slowed_at=saved.record.get("slowed_at"),
            microscope=saved.microscope,
        )
        return cls(
            title=f"{result.name}{f', {kind} {saved.index}' if saved.index else ''}",
            image=saved.before.luminance(),
            estimate=saved.after.luminance(),
            kernel=saved.kernel,
            trust=trust,
            flags=flags,
            findings=findings,
            stop=reason.sentence,
            strength=saved.strength,
            _saved=saved,
        )

    @property
    def _kind(self) -> BlockKind:
        return self._saved.before.block_kind

    @property
    def verdict(self) -> str:
        """All reasons to doubt the result, or a statement that there are none."""
        if not self.flags and self.trust.residual_level is None:
            return (
                "The image is too small to tell whether the result, blurred again, matches it; "
                "there is no other reason to doubt this result."
            )
        if not self.flags:
            return (
                "There is no reason to doubt this result: "
                "blurred again, it matches the image to within the noise."
            )
        return " ".join(flag.sentence_of(self._kind) for flag in self.flags)

    @property
    def notes(self) -> list[str]:
        """A sentence for each finding, and on a strength that is not 1."""
        notes = [finding.text(count, self._kind) for finding, count in self.findings.items()]
        return [*notes, *strength_notes(self.strength)]

    @cached_property
    def expected_error(self) -> NDArray[np.float32]:
        """Expected error of each pixel, as :func:`.engine.expected_error.expected_error`."""
        return expected_error(self._saved.before, self._saved)

    def error_image(self) -> Image:
        """Return the map of the expected error with the pixel size of the result."""
        after = self._saved.after
        return Image(
            self.expected_error,
            after.space,
            after.spacing,
            after.unit,
            space=after.space,
            origin=after.origin,
        )

    def as_record(self) -> dict[str, Any]:
        """Return the report, without its arrays, as a dictionary that can be written as JSON."""
        return {
            "result": self.title,
            "verdict": self.verdict,
            "warnings": [flag.value for flag in self.flags],
            "findings": {finding.value: count for finding, count in self.findings.items()},
            "stop": self.stop,
            "strength": self.strength,
            "optics": self._saved.after.optics.as_record(),
            **self.trust.as_record(),
        }


@dataclass(frozen=True)
class _SavedPlane:
    """A plane before and after its run, with the record of the run.

    It has the attributes of a `Result` that tell its expected error.
    """

    index: Index
    before: Image
    after: Image
    kernel: Kernel
    strength: float
    microscope: MicroscopeKind | None
    record: dict[str, Any]

    @classmethod
    def read(cls, result: Path, plane: Index | None) -> Self:
        job, sidecar = _read_sidecar(result)
        with job.open() as input_file, open_image(result) as result_file:
            before, after = input_file.image, result_file.image
            if before.block_kind is BlockKind.VOLUME:
                after = after.as_volumes()
            if before.pixels.shape != after.pixels.shape:
                raise ValueError(
                    f"Expected the image that {result} was made from, of shape "
                    f"{after.pixels.shape}, got {job.input} of shape {before.pixels.shape}."
                )
            index = (0,) * len(before.stack_shape) if plane is None else plane
            before.check_index(index)
            kernel, record = _kernel_and_record(sidecar, index, before.channel_of(index))
            return cls(
                index=index,
                before=before.read(index),
                after=after.read(index),
                kernel=kernel,
                strength=job.settings.strength,
                microscope=job.settings.microscope_with(before.optics),
                record=record,
            )

    @property
    def image(self) -> NDArray[np.float32]:
        """Pixels of the result, as in `Result`."""
        return self.after.array

    @property
    def kernel_used(self) -> Kernel:
        """The kernel of the estimate, as in `Result`."""
        return self.kernel.scaled(self.strength)

    @property
    def kernel_is_held(self) -> bool:
        """Whether the kernel was fixed, as in `Result`."""
        return bool(self.record.get("kernel_is_held", self.kernel.source is KernelSource.GIVEN))


def _read_sidecar(result: Path) -> tuple[Job, dict[str, Any]]:
    path = sidecar_of(result)
    if not path.is_file():
        raise ValueError(
            f"Expected a result with its sidecar beside it, but {path} does not exist."
        )
    return Job.with_sidecar(path)


def _kernel_and_record(
    sidecar: dict[str, Any], index: Index, channel: int
) -> tuple[Kernel, dict[str, Any]]:
    """Return the kernel of a plane and the record of its run.

    Raises
    ------
    ValueError
        If the plane failed, or if the sidecar has entries of other types.
    """
    try:
        return _find_kernel_and_record(sidecar, index, channel)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(
            f"Expected a sidecar with the kernel of plane {index}, got one that cannot be read "
            f"({error!r})."
        ) from error


def _find_kernel_and_record(
    sidecar: dict[str, Any], index: Index, channel: int
) -> tuple[Kernel, dict[str, Any]]:
    record = planes_in(sidecar).get(index, {})
    stored = record.get("kernel")
    if stored is None:  # planes that share a kernel do not repeat it
        stored = sidecar["kernels"][channel] if sidecar.get("kernels") else None
    kernel = kernel_in(stored, record)
    if record.get("failure") or kernel is None:
        reason = record.get("failure") or "its kernel is unknown"
        raise ValueError(f"Expected a deconvolved plane, but plane {index} is not ({reason}).")
    return kernel, record
