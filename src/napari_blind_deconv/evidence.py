"""A result on disk and the image it was made from, brought together again to be judged."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.inputs import luminance
from napari_blind_deconv.engine.quality import assess, doubts
from napari_blind_deconv.engine.repeats import error_of_repeats
from napari_blind_deconv.engine.survey import check_position, leading, read_slice
from napari_blind_deconv.io.stacks import open_stack
from napari_blind_deconv.jobs import Job, sidecar_of
from napari_blind_deconv.plan import Index
from napari_blind_deconv.reasons import QualityFlag, StopReason
from napari_blind_deconv.results import TrustReport
from napari_blind_deconv.settings import Settings

__all__ = ["Evidence"]


@dataclass(frozen=True)
class Evidence:
    """One plane, before and after.

    Attributes
    ----------
    title : str
        Name of the result, and the plane of a stack.
    image, estimate : ndarray
        ``(rows, columns)``, of colour the mean of the channels.
    kernel : ndarray
    trust : TrustReport
    flags : tuple of QualityFlag
    stop : str
        Why the run ended, as a sentence.
    pixel_size : tuple of float or None
        Height and width of a pixel in `unit`, if the result says.
    unit : str
    """

    title: str
    image: NDArray[np.float64]
    estimate: NDArray[np.float64]
    kernel: NDArray[np.float32]
    trust: TrustReport
    flags: tuple[QualityFlag, ...]
    stop: str
    pixel_size: tuple[float, float] | None
    unit: str
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
        image, estimate = (luminance(pixels, found.rgb) for pixels in (found.before, found.image))
        trust = assess(image, estimate, found.kernel)
        reason = StopReason(found.told["stop_reason"])
        return cls(
            title=f"{result.name}{f', plane {found.index}' if found.index else ''}",
            image=image,
            estimate=estimate,
            kernel=found.kernel,
            trust=trust,
            flags=doubts(
                trust,
                blur_found=found.blur,
                reason=reason,
                slowed_at=found.told.get("slowed_at"),
            ),
            stop=reason.sentence,
            pixel_size=found.pixel_size,
            unit=found.unit,
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

    def expected_error(self, *, repeats: int = 4, device: str = "auto") -> NDArray[np.float32]:
        """Map of the expected error; `error_of_repeats` says what that is and takes the same."""
        read = self._read
        return error_of_repeats(read.before, read, repeats=repeats, rgb=read.rgb, device=device)

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
    rgb: bool
    before: NDArray[Any]
    image: NDArray[np.float32]
    kernel: NDArray[np.float32]
    told: dict[str, Any]
    settings: Settings
    seed: int
    pixel_size: tuple[float, float] | None
    unit: str

    @classmethod
    def of(cls, result: Path, plane: Index | None) -> Self:
        record, job = _sidecar(result)
        with job.open() as before, open_stack(result) as after:
            if before.data.shape != after.data.shape:
                raise ValueError(
                    f"{job.input} has shape {before.data.shape} and {result} {after.data.shape}; "
                    "accepted is the image the result was made from."
                )
            shape = before.data.shape[: leading(before.axes)]
            index = (0,) * len(shape) if plane is None else plane
            check_position(index, before.axes, shape)
            pixels, estimate = (read_slice(stack.data, index) for stack in (before, after))
            channel = index[before.axes.index("C")] if "C" in before.axes else 0
            kernel, told = _story_of(record, index, channel)
            return cls(
                index=index,
                rgb=before.axes.endswith("S"),
                before=pixels,
                image=estimate,
                kernel=kernel,
                told=told,
                settings=job.settings,
                seed=job.seed,
                pixel_size=after.pixel_size,
                unit=after.unit,
            )

    @property
    def blur(self) -> str:
        """As `Result.blur`."""
        return self.told.get("blur") or "given"


def _sidecar(result: Path) -> tuple[dict[str, Any], Job]:
    path = sidecar_of(result)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; accepted is a result with its sidecar beside it.")
    job = Job.from_sidecar(path)
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record, job


def _story_of(
    record: dict[str, Any], index: Index, channel: int
) -> tuple[NDArray[np.float32], dict[str, Any]]:
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
    return np.array(kernel, np.float32), told
