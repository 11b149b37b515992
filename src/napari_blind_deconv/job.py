"""The record of a job: one file to be deconvolved into another, with all options of the run.

The sidecar of a result, a JSON file beside it, contains the job, so that the run can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.image import BlockKind, Index
from napari_blind_deconv.io.identity import content_hash, file_identity
from napari_blind_deconv.io.images import read_psf
from napari_blind_deconv.io.partial import has_partial
from napari_blind_deconv.io.provenance import read_json, read_provenance
from napari_blind_deconv.io.scaling import PixelType
from napari_blind_deconv.io.stacks import OpenImage, open_image
from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelScope, KernelSource
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.summary import Summary

__all__ = [
    "Job",
    "Summary",
    "earlier_summary",
    "finished_record",
    "is_finished",
    "kernel_in",
    "planes_in",
    "recorded_provenance",
    "result_record",
    "sidecar_of",
]

# Version 0.1.0 wrote these beside the settings; they are now part of the settings.
_MOVED_INTO_SETTINGS = ("device", "seed")


class Job(BaseModel):
    """A file to deconvolve, and everything that changes a pixel of the result.

    Attributes
    ----------
    input, output : Path
        The files, as the user typed them.
    settings : Settings
        How to deconvolve.
    axes : str or None
        One letter for each axis of the input, in place of the axes in the file.
    pixel_size : tuple of float or None
        Pixel size in µm in place of the one in the file, as in `open_image`.
    optics : Optics
        Optics in place of those in the file, where they are known.
    kernel : KernelScope
        What part of a stack shares a kernel, if the kernel is estimated.
    select : str or None
        Part of the input, as in `open_image`.
    series : str or None
        Number or name of the image in an input that contains several.
    psf : Path or None
        File of a known PSF; it is used as it is.
    psf_guess : Path or None
        File of a PSF that the estimate of the kernel starts from.
    mask : Path or None
        File of a mask, as in `open_image`: pixels where it is not 0 are left out.
    reference : tuple of int or None
        Index of the plane that the kernel is estimated on; None: the plane with the most contrast.
    dtype : PixelType
        Type of the pixels of the output: float32, or integers of 16 bits with a scaling that the
        sidecar and the output state.
    block : BlockKind
        What is deconvolved at once: planes or volumes.
    warm_start : bool
        Whether planes whose kernel is already estimated take fewer iterations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Path
    output: Path
    settings: Settings
    axes: str | None = None
    pixel_size: tuple[float, ...] | None = None
    optics: Optics = Field(default_factory=Optics)
    kernel: KernelScope = KernelScope.CHANNEL
    select: str | None = None
    series: str | None = None
    psf: Path | None = None
    psf_guess: Path | None = None
    mask: Path | None = None
    reference: tuple[int, ...] | None = None
    dtype: PixelType = PixelType.FLOAT32
    block: BlockKind = BlockKind.PLANE
    warm_start: bool = True

    @classmethod
    def from_sidecar(cls, path: Path) -> Self:
        """Read a job from the sidecar of a result.

        Raises
        ------
        ValueError
            If the file is not a sidecar.
        """
        return cls.with_sidecar(path)[0]

    @classmethod
    def with_sidecar(cls, path: Path) -> tuple[Self, dict[str, Any]]:
        """Read a job and all that its sidecar states; raise as :meth:`from_sidecar`."""
        try:
            record = read_json(path)
            if record["job"] is not None:
                return cls.from_record(record["job"]), record
        except (ValueError, KeyError, TypeError) as error:
            reason = first_line(error)
            raise ValueError(
                f"Expected the .json file beside a result, but {path} is not the sidecar of a run "
                f"({reason})."
            ) from error
        raise ValueError(
            f"Expected the sidecar of a run on files, got {path}, which was saved in napari: its "
            "run was stopped, or its input, its kernel or its mask is in no file."
        )

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return the job of :meth:`as_record`, also of one that version 0.1.0 wrote.

        Raises
        ------
        ValueError, TypeError, KeyError
            If the record is not a job.
        """
        job = dict(record)
        moved = {name: job.pop(name) for name in _MOVED_INTO_SETTINGS if name in job}
        return cls.model_validate({**job, "settings": {**job["settings"], **moved}})

    def corrected(self, pixel_size: tuple[float, ...] | None, optics: Optics) -> Self:
        """Return the job with a pixel size and optics in place of its own, where they are given."""
        return self.model_copy(
            update={
                "pixel_size": self.pixel_size if pixel_size is None else pixel_size,
                "optics": self.optics.corrected(optics),
            }
        )

    def open(self) -> OpenImage:
        """Open the image, or its selected part; raise as `open_image`."""
        opened = open_image(
            self.input,
            self.axes,
            self.select,
            series=self.series,
            pixel_size=self.pixel_size,
            optics=self.optics,
            mask=self.mask,
        )
        if self.block is BlockKind.PLANE:
            return opened
        try:
            return replace(opened, image=opened.image.as_volumes())
        except ValueError:
            opened.close()
            raise

    def kernel_choice(self) -> KernelChoice:
        """Return where the kernel comes from; a PSF is read from its file.

        Raises
        ------
        ValueError
            If both a PSF and a guess are given, or if the file is not one grey plane.
        """
        if self.psf is not None and self.psf_guess is not None:
            raise ValueError("Expected either a known PSF or a guess of it, got both.")
        if self.psf is not None:
            return KernelChoice.hold(read_psf(self.psf))
        if self.psf_guess is not None:
            return KernelChoice.start_from(read_psf(self.psf_guess), self.kernel)
        return KernelChoice.find(self.kernel)

    def as_record(self) -> dict[str, Any]:
        """Return the job as a dictionary that can be written as JSON."""
        return self.model_dump(mode="json")

    def inputs(self) -> dict[str, Any]:
        """Return the identities of the input, the PSF file and the mask, ready for JSON.

        Raises
        ------
        OSError
            If a file cannot be read.
        """
        psf = self.psf or self.psf_guess
        return {
            "input": file_identity(self.input),
            "PSF": None if psf is None else content_hash(psf),
            "mask": None if self.mask is None else content_hash(self.mask),
        }


def sidecar_of(output: Path) -> Path:
    """Return the path of the sidecar of an output."""
    return output.with_name(f"{output.name}.json")


def is_finished(job: Job) -> bool:
    """Whether the result of exactly this job is complete.

    A single plane that was stopped early has a result, but is not finished.
    """
    return finished_record(job) is not None


def finished_record(job: Job) -> dict[str, Any] | None:
    """Return the provenance of the complete result of exactly this job; None without one."""
    record = result_record(job)
    if record is None:
        return None
    reasons = [plane.get("stop_reason") for plane in planes_in(record).values()]
    return None if StopReason.STOPPED in reasons else record


def result_record(job: Job) -> dict[str, Any] | None:
    """Return the provenance of the output of exactly this job, made from its input as it is now.

    None if there is no such output.
    """
    if has_partial(job.output) or not job.output.exists():
        return None
    try:
        record = recorded_provenance(job.output)
        is_same_job = Job.from_record(record["job"]) == job
        fits = is_same_job and bool(planes_in(record)) and _is_current(job, record)
    except (ValueError, TypeError, KeyError, OSError):
        return None
    return record if fits else None


def _is_current(job: Job, record: dict[str, Any]) -> bool:
    """Whether the input, the PSF and the mask are still those of a provenance."""
    if "input" not in record:  # as in the sidecars of the first draft of 0.1.0
        return job.output.stat().st_mtime >= job.input.stat().st_mtime
    inputs = job.inputs()
    same_files = all(record.get(name) == inputs[name] for name in ("PSF", "mask"))
    return same_files and inputs["input"].items() <= record["input"].items()


def recorded_provenance(output: Path) -> dict[str, Any]:
    """Return what the sidecar of a result states, or the result itself if the sidecar is lost.

    Raises
    ------
    ValueError, OSError
        If neither can be read.
    """
    sidecar = sidecar_of(output)
    return read_json(sidecar) if sidecar.exists() else read_provenance(output)


def planes_in(record: dict[str, Any]) -> dict[Index, dict[str, Any]]:
    """Return the records of the planes in a provenance, by index.

    Raises
    ------
    ValueError, TypeError, KeyError
        If there are none.
    """
    # Version 0.1.0 wrote the record of a single plane into the sidecar itself.
    planes = record.get("planes") or [{"index": [], "failure": None, **record}]
    return {tuple(plane["index"]): {"failure": None, **plane} for plane in planes}


def kernel_in(stored: Any, plane: Mapping[str, Any]) -> Kernel | None:
    """Return a kernel as provenances store it, for a plane or shared by planes; None without one.

    Version 0.1.0 wrote only the weights, and their source as "blur" of the plane.
    """
    if isinstance(stored, list):
        stored = {"weights": stored, "source": plane.get("blur") or KernelSource.GIVEN}
    return None if stored is None else Kernel.from_record(stored)


def earlier_summary(record: dict[str, Any], seconds: float) -> Summary:
    """Return the summary of a run that an earlier one finished, from its provenance."""
    planes = planes_in(record)
    return Summary.of_records(
        planes,
        finished=True,
        planes=len(planes),
        done=0,
        seconds=seconds,
        block=Job.from_record(record["job"]).block,
    )
