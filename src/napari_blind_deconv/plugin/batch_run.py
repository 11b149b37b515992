"""A batch of the images in a folder with the choices of the panel, in a thread. No Qt."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Generator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from napari_blind_deconv.batch import FileReport, plan_batch, run_batch
from napari_blind_deconv.engine.inputs import check_solver
from napari_blind_deconv.image import BlockKind, Image
from napari_blind_deconv.io.images import check_output, read_psf, write_plane
from napari_blind_deconv.io.provenance import is_result
from napari_blind_deconv.job import Job, result_record
from napari_blind_deconv.kernel import Kernel, KernelChoice, KernelScope
from napari_blind_deconv.plugin.kernel_form import FOUND, PSF_FILE
from napari_blind_deconv.plugin.kernel_selection import PixelGrid
from napari_blind_deconv.plugin.snippets import settings_options
from napari_blind_deconv.plugin.torch_loading import load_torch
from napari_blind_deconv.results import SOFTWARE
from napari_blind_deconv.settings import Settings

if TYPE_CHECKING:
    from napari_blind_deconv.plugin.run_form import RunForm

__all__ = ["PATTERNS", "BatchChoices", "FileOutcome", "FolderBatch", "Outcome", "run_folder"]

PATTERNS = "*.tif, *.tiff, *.zarr"
"""Names of the images that can be read, as the user may change them."""

_SUFFIX = "_deblurred.ome.tif"
_SPACE = {BlockKind.PLANE: "YX", BlockKind.VOLUME: "ZYX"}


class Outcome(StrEnum):
    """How the run on a file ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class FileOutcome(NamedTuple):
    """A report on a file of a batch.

    Attributes
    ----------
    number : int
        Number of the file, from 1.
    name : str
    outcome : Outcome or None
        How its run ended; None at its beginning.
    sentence : str
        Why it failed or was skipped, or the reasons to doubt the result.
    """

    number: int
    name: str
    outcome: Outcome | None = None
    sentence: str = ""


@dataclass(frozen=True)
class BatchChoices:
    """What a batch takes from the panel: settings, and the kernel or how to find it.

    Attributes
    ----------
    preset : str
        Preset of the settings.
    settings : Settings
    kernel : KernelChoice
    kernel_summary : str
        The kernel in the words of the panel; empty if it is found in each image.
    psf_file : Path or None
        File that the kernel was read from.
    block : BlockKind
        What is deconvolved at once in each image.
    """

    preset: str
    settings: Settings
    kernel: KernelChoice
    kernel_summary: str = ""
    psf_file: Path | None = None
    block: BlockKind = BlockKind.PLANE

    @classmethod
    def of(cls, form: RunForm) -> Self:
        """Return the present choices of the panel.

        Raises
        ------
        ValueError, OSError
            If they are not valid.
        """
        settings, scope = form.settings(), KernelScope(form.stack_kernel.value)
        source, block = form.kernel.source.value, form.input.block
        if source == FOUND:
            choice = KernelChoice.find(scope)
            check_solver(settings, choice, _SPACE[block])
            return cls(form.preset.value, settings, choice, block=block)
        has_layer = form.input.layer.value is not None
        if has_layer:
            selection = form.kernel_selection()
        else:
            selection = form.kernel.selection(PixelGrid((1.0, 1.0), "px"))
        psf_file = Path(selection.file) if source == PSF_FILE else None
        choice = replace(selection.choice, scope=scope)
        check_solver(settings, choice, _SPACE[block])
        return cls(form.preset.value, settings, choice, form.kernel.summary, psf_file, block)

    @property
    def described(self) -> str:
        """The choices in words, such as ``"fast, kernel found in each image"``."""
        changes = self.settings.changes_from(Settings.preset(self.preset))
        parts = [self.preset, *(f"{name} = {value}" for name, value in changes.items())]
        kernel = self.kernel.kernel
        if kernel is None:
            per_stack = f" (of stacks {self.kernel.scope.value})"
            is_usual = self.kernel.scope is KernelScope.CHANNEL
            parts.append(f"kernel found in each image{'' if is_usual else per_stack}")
        else:
            side = "" if kernel.pixel_size is None else f"{kernel.pixel_size[-1]:.3g} {kernel.unit}"
            parts.append(f"kernel: {self.kernel_summary}{side and f', for pixels of {side}'}")
        if self.block is BlockKind.VOLUME:
            parts.append("each volume at once")
        return ", ".join(parts)


@dataclass(frozen=True)
class FolderBatch:
    """The images of a folder, the folder for their results, and the choices of the panel.

    Attributes
    ----------
    folder, output : Path
    patterns : str
        Patterns of file names, separated by commas.
    choices : BatchChoices
    """

    folder: Path
    patterns: str
    output: Path
    choices: BatchChoices

    def pairs(self) -> list[tuple[Path, Path]]:
        """Return the pairs of image and result.

        Raises
        ------
        ValueError
            If there is no such image, or the results would lie among the images.
        """
        if not self.folder.is_dir():
            raise ValueError(f"Expected a folder with images, got {self.folder}.")
        if os.path.realpath(self.folder) == os.path.realpath(self.output):
            raise ValueError(
                "Expected another folder for the results than that of the images, got "
                f"{self.output} for both."
            )
        pairs = plan_batch(self._inputs(), self.output, _SUFFIX)
        psf = self.choices.psf_file
        return [pair for pair in pairs if psf is None or not _is_same(pair[0], psf)]

    def as_command(self) -> str:
        """Return a command line that runs the same batch; raise as :meth:`pairs`."""
        self.pairs()
        choices = self.choices
        changes = choices.settings.changes_from(Settings.preset(choices.preset))
        arguments = ["blind-deconv", "batch", *self._inputs(), "--out", str(self.output)]
        arguments += settings_options(choices.preset, changes)
        arguments += ["--kernel", choices.kernel.scope.value]
        arguments += ["--volume"] if choices.block is BlockKind.VOLUME else []
        lines = []
        if choices.kernel.kernel is not None:
            psf, is_written = self._psf_file(choices.kernel.kernel)
            arguments += ["--psf" if choices.kernel.is_held else "--psf-guess", str(psf)]
            lines += [] if is_written else [f"# Save the kernel as {str(psf)!r} first."]
        return "\n".join([*lines, shlex.join([*arguments, "--resume"]), ""])

    def jobs(self) -> list[Job]:
        """Return the jobs; a kernel that is in no file is written into the folder of the results.

        Raises
        ------
        ValueError, OSError
            As :meth:`pairs`, or if a folder or file cannot be written.
        """
        pairs, choice = self.pairs(), self.choices.kernel
        self.output.mkdir(parents=True, exist_ok=True)
        psf = None if choice.kernel is None else self._stored(choice.kernel)
        return [
            Job(
                input=source,
                output=target,
                settings=self.choices.settings,
                kernel=choice.scope,
                psf=psf if choice.is_held else None,
                psf_guess=None if choice.is_held else psf,
                block=self.choices.block,
            )
            for source, target in pairs
        ]

    def _inputs(self) -> list[str]:
        folder = glob.escape(str(self.folder))
        patterns = (pattern.strip() for pattern in self.patterns.split(","))
        return [f"{folder}{os.sep}{pattern}" for pattern in patterns if pattern]

    def _stored(self, kernel: Kernel) -> Path:
        path, is_written = self._psf_file(kernel)
        if not is_written:
            check_output(path, overwrite=False)
            write_plane(path, _as_image(kernel), {"software": SOFTWARE})
        return path

    def _psf_file(self, kernel: Kernel) -> tuple[Path, bool]:
        """Return the file for a kernel, and whether it is there; another kernel keeps its own."""
        if self.choices.psf_file is not None:
            return self.choices.psf_file, True
        path, number = self.output / "kernel.tif", 1
        while path.exists() and not _contains(path, kernel):
            number += 1
            path = self.output / f"kernel-{number}.tif"
        return path, path.exists()


def run_folder(batch: FolderBatch, stop: Event) -> Generator[FileOutcome | str, None, int]:
    """Run a batch, file by file, and return the number of files.

    Setting `stop` ends it after the present file. Results that an earlier batch has finished in the
    same way are skipped, and an interrupted one is continued.

    Yields
    ------
    FileOutcome or str
        For each file its beginning and its end; or what happens before the first one.

    Raises
    ------
    ValueError, OSError
        As :meth:`FolderBatch.jobs`.
    """
    yield "Loading PyTorch …"
    load_torch()
    jobs = batch.jobs()
    for number, job in enumerate(jobs, 1):
        if stop.is_set():
            break
        yield FileOutcome(number, job.input.name)
        outcome, sentence = _run(job)
        yield FileOutcome(number, job.input.name, outcome, sentence)
    return len(jobs)


def _run(job: Job) -> tuple[Outcome, str]:
    if is_result(job.input):
        return Outcome.SKIPPED, "It is a result itself."
    # The sentence of `run_job` names --overwrite, which the panel does not have.
    if job.output.exists() and result_record(job) is None:
        name = job.output.name
        return Outcome.FAILED, f"{name} exists already, made otherwise; choose another folder."
    [(_, report)] = run_batch([job], resume=True)
    return _outcome_of(report)


def _outcome_of(report: FileReport) -> tuple[Outcome, str]:
    if report.trouble:
        return Outcome.FAILED, report.trouble
    if report.is_earlier:
        return Outcome.SKIPPED, "It was done before."
    return Outcome.DONE, " ".join(f"⚠ {warning}" for warning in report.warnings)


def _as_image(kernel: Kernel) -> Image:
    axes = "ZYX"[-kernel.weights.ndim :]
    image = Image(kernel.weights, axes, space=axes)
    size = kernel.pixel_size
    return image if size is None else image.with_pixel_size(size, kernel.unit)


def _contains(path: Path, kernel: Kernel) -> bool:
    """Whether a file contains just this kernel."""
    try:
        stored = read_psf(path)
    except (ValueError, TypeError, OSError):
        return False
    own_axes = kernel.weights.ndim
    size, own = (each.pixel_size or (0.0,) * own_axes for each in (stored, kernel))
    return (
        stored.shape == kernel.shape
        and bool(np.allclose(stored.weights, kernel.weights, rtol=1e-5, atol=1e-9))
        and bool(np.allclose(size, own))
    )


def _is_same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)
