"""Reasons why a run ended, reasons to doubt its result, and what was found in the image.

Each has a readable sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from napari_blind_deconv.block_kind import BlockKind

__all__ = ["Finding", "QualityFlag", "SkipReason", "StopReason"]


_NOT_COUNTED = ("times", "%")  # units that do not add up and have no plural


class _Reason(StrEnum):
    """A reason: its value is a short name, its `sentence` explains it to the user, for a plane.

    `unit` is what a number beside it counts; empty without one.
    """

    sentence: str
    unit: str

    # The sentence is optional because a lookup by value, such as ``StopReason("stopped")``, passes
    # the value alone.
    def __new__(cls, value: str, sentence: str = "", unit: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        member.unit = unit
        return member

    def sentence_of(self, kind: BlockKind) -> str:
        """Return the sentence on a plane or a volume, which has voxels in place of pixels."""
        return kind.worded(self.sentence)


class StopReason(_Reason):
    """Why a run ended; `sentence` explains it to the user."""

    EARLY_STOPPING = (
        "early stopping",
        "The estimate had settled, and further iterations began to add noise.",
    )
    NOISE = (
        "noise reached",
        "The result, blurred again, matches the image to within its noise.",
    )
    ITERATION_LIMIT = (
        "iteration limit",
        "The run reached its iteration limit before the estimate settled.",
    )
    STOPPED = (
        "stopped",
        "The run was stopped by hand, and the best estimate so far was kept.",
    )
    COMPLETED = (
        "completed",
        "The run completed the last stage of the chosen solver.",
    )
    DIVERGED = (
        "unstable",
        "The fit became unstable twice, and the best estimate before that was kept.",
    )


class SkipReason(_Reason):
    """Why a stage was left out; `sentence` explains it to the user."""

    ONLY_NOISE_LEFT = (
        "only noise is left",
        "The estimate, blurred again, matches the image to within its noise.",
    )
    FILTERED_NOISE = (
        "the noise is filtered",
        "The networks would fit filtered noise first, because it is as smooth as the scene.",
    )
    PROCESSED_NOISE = (
        "the noise was processed",
        "Noise was removed from flat parts, so that the noise of each pixel is not known.",
    )
    VOLUME = (
        "the image is a volume",
        "The networks refine planes only.",
    )
    LITTLE_NOISE = (
        "there is little noise",
        "The error of the kernel, not noise, limits the estimate.",
    )
    STRENGTH = (
        "the strength is not 1",
        "The networks would undo the strength, because they explain the image better than a "
        "kernel of another width does.",
    )


class QualityFlag(_Reason):
    """A reason to doubt a result; `sentence` states what was found and what to try."""

    MISFIT = (
        "the model does not explain the image",
        "The result, blurred again, differs from the image by more than noise: try a larger kernel "
        "window or more iterations, or check the PSF if you gave one.",
    )
    NO_BLUR = (
        "no blur found",
        "No blur was found: the image shows detail down to the size of its pixels. If it looks "
        "blurred, start from a Gaussian kernel.",
    )
    TOO_COARSE = (
        "pixels too coarse to show blur",
        "The pixels are too coarse to show the blur of the microscope: nothing was deconvolved. "
        "Use a higher magnification or smaller pixels.",
    )
    TOO_NOISY = (
        "noise hides the blur",
        "Noise hides how the image is blurred: noise was removed, but nothing was deconvolved. "
        "Start from a Gaussian kernel or use the microscope's PSF, or expose longer.",
    )
    TOO_SMALL = (
        "too small to show blur",
        "The image is too small to tell how it is blurred: nothing was deconvolved. Choose a "
        "larger region, or start from a Gaussian kernel or the microscope's PSF.",
    )
    KERNEL_FILLS_WINDOW = (
        "kernel fills its window",
        "The kernel fills its window: choose a larger kernel window and run again.",
    )
    KERNEL_UNCERTAIN = (
        "width of the kernel uncertain",
        "The volume tells the width of its kernel only roughly, and with a kernel that is too wide "
        "the estimate can be worse than the input: compare the two, state the optics, or give a "
        "PSF.",
    )
    LOW_SIGNAL = (
        "signal too low to trust detail",
        "The signal is too low to trust detail: the image varies less than its noise. Average "
        "several exposures or expose longer.",
    )
    NOT_SHARPER = (
        "no sharper than the input",
        "The result resolves no finer detail than the input: compare the two, because there may "
        "have been no blur to remove.",
    )
    UNSTABLE = (
        "fit became unstable on the way",
        "The fit became unstable and went back to an earlier state: run again with lower learning "
        "rates.",
    )
    ITERATION_LIMIT = (
        "stopped at the iteration limit",
        "The run was stopped at the iteration limit: more iterations may sharpen the result.",
    )


class Finding(_Reason):
    """What was found in an image that is not the scene; `sentence` states what was done.

    Attributes
    ----------
    unit : str
        What is counted: "pixel", "row" or "column"; "times" that each pixel is repeated, or "%"
        by which a width differs. Empty if the finding concerns the whole image.
    """

    NOT_FINITE = (
        "not finite",
        "Pixels that are not finite numbers were left out and kept as they are.",
        "pixel",
    )
    MASKED = (
        "masked",
        "Masked pixels were left out and kept as they are.",
        "pixel",
    )
    FLAT = (
        "without image",
        "Areas of one value that end abruptly, such as gaps, scale bars and stuck lines, were left "
        "out and kept as they are.",
        "pixel",
    )
    HOT = (
        "hot or dead",
        "Hot or dead pixels were left out and replaced.",
        "pixel",
    )
    SATURATED = (
        "saturated",
        "Saturated pixels, whose true brightness is unknown, were left out.",
        "pixel",
    )
    MOSTLY_SATURATED = (
        "kernel of a saturated volume",
        "So many voxels are saturated that the kernel, which was found in the others, may be too "
        "narrow. Expose for a shorter time, or give a PSF.",
    )
    ROW_OFFSETS = (
        "offsets of rows",
        "Rows have offsets, which were subtracted.",
        "row",
    )
    COLUMN_OFFSETS = (
        "offsets of columns",
        "Columns have offsets, which were subtracted.",
        "column",
    )
    FILTERED = (
        "filtered noise",
        "The noise of neighbouring pixels is correlated, as after smoothing, interpolation or "
        "enlargement: the kernel contains that filter too. Where possible, use the original image.",
    )
    PROCESSED = (
        "processed noise",
        "Noise was removed from flat parts, as by denoising, compression or an earlier "
        "deconvolution: fine detail cannot be trusted. Where possible, use the original image.",
    )
    UNEVEN = (
        "uneven blur",
        "The quarters of the image are blurred differently, so that one kernel does not suit all "
        "of them. Try parts of the image on their own.",
    )
    WIDER_AT_START = (
        "wider kernel at the start",
        "The kernel is wider at the first planes than at the last, so that one kernel does not "
        "suit all of them. Try parts of the volume on their own.",
        "%",
    )
    WIDER_AT_END = (
        "wider kernel at the end",
        "The kernel is wider at the last planes than at the first, so that one kernel does not "
        "suit all of them. Try parts of the volume on their own.",
        "%",
    )
    NARROWEST = (
        "kernel from the optics",
        "The image shows no blur as wide as the optics make it, so that the narrowest kernel that "
        "the numerical aperture and the emission wavelength allow was used. Check the two, and "
        "the pixel size, if the result looks wrong.",
    )
    MICROSCOPE = (
        "kind of microscope",
        "The kind of microscope was not known: the kernel is that of the kind that explains the "
        "volume best. A wrong one can make the estimate worse than the volume: state the "
        "microscope and its optics, or give a PSF.",
    )
    REPEATED = (
        "repeated pixels",
        "The image was deconvolved on the grid on which it was sampled, and its kernel is in "
        "pixels of that grid, because each pixel is repeated.",
        "times",
    )

    def text(self, count: int | None, kind: BlockKind = BlockKind.PLANE) -> str:
        """Return the sentence, with the number of pixels, lines or repeats at its end.

        Parameters
        ----------
        count : int or None
        kind : BlockKind
            Where it was found; a volume has voxels in place of pixels.
        """
        sentence = self.sentence_of(kind)
        if count is None or not self.unit:
            return sentence
        unit = self.unit if self.unit in _NOT_COUNTED or count == 1 else f"{self.unit}s"
        return f"{sentence.removesuffix('.')} ({count} {kind.worded(unit)})."

    def total(self, counts: Sequence[int | None]) -> int | None:
        """Return the number for several planes: a sum; of repeats and percentages, the largest."""
        numbers = [count for count in counts if count is not None]
        if not numbers or not self.unit:
            return None
        return max(numbers) if self.unit in _NOT_COUNTED else sum(numbers)
