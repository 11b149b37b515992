"""A result on disk and the image it was made from, brought together again to be judged."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.quality import judge
from napari_blind_deconv.engine.repeats import error_of_repeats
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, sidecar_of
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.reasons import QualityFlag, StopReason
from napari_blind_deconv.results import TrustReport
from napari_blind_deconv.settings import Settings

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """One plane, before and after.

    Attributes
    ----------
    title : str
        Name of the result, and the plane of a stack.
    image, estimate : ndarray
        ``(rows, columns)``, of colour the mean of the channels.
    kernel : Kernel
    trust : TrustReport
    flags : tuple of QualityFlag
    stop : str
        Why the run ended, as a sentence.
    """

    title: str
    image: NDArray[np.float64]
    estimate: NDArray[np.float64]
    kernel: Kernel
    trust: TrustReport
    flags: tuple[QualityFlag, ...]
    stop: str
    _read: _Read = field(repr=False)

    @classmethod
    def of(cls, result: Path, plane: Index | None = None) -> Self:
        """Read a result, its sidecar and its input.

        Parameters
        ----------
        result : Path
            As written by `run_job` or by ``blind-deconv run``, its sidecar beside it.
        plane : tuple of int, optional
            Of a stack; default: the first.

        Raises
        ------
        ValueError, OSError
            In one sentence, if something is missing or does not fit.
        """
        found = _Read.of(result, plane)
        reason = StopReason(found.told["stop_reason"])
        trust, flags = judge(
            found.before,
            found.image,
            found.kernel,
            reason=reason,
            slowed_at=found.told.get("slowed_at"),
        )
        return cls(
            title=f"{result.name}{f', plane {found.index}' if found.index else ''}",
            image=found.before.luminance(),
            estimate=found.after.luminance(),
            kernel=found.kernel,
            trust=trust,
            flags=flags,
            stop=reason.sentence,
            _read=found,
        )

    @property
    def verdict(self) -> str:
        """What to think of it, in words."""
        if not self.flags:
            return (
                "Nothing speaks against this result: blurred again, it is the image but for noise."
            )
        return " ".join(flag.sentence for flag in self.flags)

    def expected_error(self, *, repeats: int = 4, device: str = "auto") -> Image:
        """Map of the expected error, as `error_of_repeats` makes it, with the result's pixel size.

        `device` computes it: the one that made the result may be elsewhere.
        """
        read = self._read
        settings = read.settings.with_changes(device=device)
        error = error_of_repeats(read.before, replace(read, settings=settings), repeats=repeats)
        return Image(error, "YX", read.after.spacing, read.after.unit)

    def as_record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "result": self.title,
            "verdict": self.verdict,
            "warnings": [flag.value for flag in self.flags],
            "stop": self.stop,
            **self.trust.as_record(),
        }


@dataclass(frozen=True)
class _Read:
    """A plane before and after, and what is told of its run."""

    index: Index
    before: Image
    after: Image
    kernel: Kernel
    told: dict[str, Any]
    settings: Settings

    @classmethod
    def of(cls, result: Path, plane: Index | None) -> Self:
        record, job = _sidecar(result)
        with job.open() as opened, open_image(result) as made:
            before, after = opened.image, made.image
            if before.pixels.shape != after.pixels.shape:
                raise ValueError(
                    f"{job.input} has shape {before.pixels.shape} and {result} "
                    f"{after.pixels.shape}; accepted is the image the result was made from."
                )
            index = (0,) * len(before.stack_shape) if plane is None else plane
            before.check_index(index)
            kernel, told = _provenance_of(record, index, before.channel_of(index))
            return cls(
                index=index,
                before=before.read(index),
                after=after.read(index),
                kernel=kernel,
                told=told,
                settings=job.settings,
            )

    @property
    def image(self) -> NDArray[np.float32]:
        """Pixels of the estimate."""
        return self.after.array

    @property
    def kernel_is_held(self) -> bool:
        """As in `Result`."""
        return bool(self.told.get("kernel_is_held", self.kernel.source is KernelSource.GIVEN))


def _sidecar(result: Path) -> tuple[dict[str, Any], Job]:
    path = sidecar_of(result)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; accepted is a result with its sidecar beside it.")
    job = Job.from_sidecar(path)
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record, job


def _provenance_of(
    record: dict[str, Any], index: Index, channel: int
) -> tuple[Kernel, dict[str, Any]]:
    """Kernel of a plane, and what is told of its run."""
    told = record
    for plane in record.get("planes", ()):
        if tuple(plane["index"]) == index:
            told = plane
    kernel = told.get("kernel")
    if kernel is None:
        kernel = record["kernels"][channel] if record.get("kernels") else None
    if told.get("failure") or kernel is None:
        raise ValueError(
            f"The plane {index} was not sharpened ({told.get('failure') or 'no kernel is known'}); "
            "accepted is one that was."
        )
    if isinstance(kernel, list):  # 0.1.0 wrote the weights alone, and "blur" for their source
        kernel = {"weights": kernel, "source": told.get("blur") or KernelSource.GIVEN}
    return Kernel.from_record(kernel), told
