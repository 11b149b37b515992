"""A result in plain words: what became sharper, and what to try if nothing did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from napari_blind_deconv.kernel import KernelSource
from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.reasons import Finding, QualityFlag, StopReason
from napari_blind_deconv.results import MIN_SHARPENING, Result

__all__ = ["NextStep", "Verdict", "strength_notes", "verdict"]


class NextStep(StrEnum):
    """What to try after a result; the value is the text of a button or link."""

    GAUSSIAN = "start from a Gaussian"
    MICROSCOPE = "use the microscope's kernel"
    REGION = "try a region"


_NOTHING = "Nothing sharpened"
_STOPPED = f"{_NOTHING}: the run was stopped before the blur was found."
_KERNEL_UNKNOWN = (NextStep.GAUSSIAN, NextStep.MICROSCOPE)
# Sentences of planes in place of "Sharper: …", and what to try.
_NOT_SHARPENED: dict[QualityFlag, tuple[str, tuple[NextStep, ...]]] = {
    QualityFlag.NO_BLUR: (
        f"{_NOTHING}: the image is as sharp as its pixels.",
        _KERNEL_UNKNOWN,
    ),
    QualityFlag.TOO_COARSE: (
        f"{_NOTHING}: the pixels are too coarse to show the blur of the microscope.",
        (),
    ),
    QualityFlag.TOO_NOISY: (f"{_NOTHING}: noise hides how the image is blurred.", _KERNEL_UNKNOWN),
    QualityFlag.TOO_SMALL: (
        f"{_NOTHING}: the image is too small to show how it is blurred.",
        _KERNEL_UNKNOWN,
    ),
}
_NOISE_TAKEN_OFF = 0.5  # standard deviation of the residual, in units of the noise
_ROUND = 1.1  # ratio of the widths of a kernel that is called round


class Verdict(NamedTuple):
    """What became of an image.

    Attributes
    ----------
    sentence : str
        One or two sentences for the user.
    next_steps : tuple of NextStep
        What to try, the most promising first; empty if the result needs nothing.
    flags : frozenset of QualityFlag
        Flags of the result that the sentence states already.
    """

    sentence: str
    next_steps: tuple[NextStep, ...]
    flags: frozenset[QualityFlag]


def verdict(result: Result, pixel_size: Sequence[float] | None = None, unit: str = "px") -> Verdict:
    """Return what became of an image, in plain words.

    Parameters
    ----------
    result : Result
    pixel_size : sequence of float, optional
        Height and width of a pixel, or depth, height and width of a voxel. Default: that of the
        kernel, else 1.
    unit : str
        Unit of `pixel_size`, such as ``"µm"``.

    Returns
    -------
    Verdict
        Such as ``"Sharper: detail down to 0.34 µm (was 0.49). Kernel 0.33 ± 0.03 µm wide."``
    """
    if pixel_size is None:
        known = result.kernel.pixel_size
        pixel_size, unit = (
            (known, result.kernel.unit) if known else ((1.0,) * result.kernel.weights.ndim, "px")
        )
    for flag, (sentence, steps) in _NOT_SHARPENED.items():
        if flag in result.flags:
            sentence = result.block_kind.worded(sentence)
            if (result.trust.residual_level or 0.0) > _NOISE_TAKEN_OFF:
                sentence = f"{sentence.removesuffix('.')}; noise was taken off."
            return Verdict(sentence, steps, frozenset({flag}))
    if result.kernel.source is KernelSource.NO_BLUR and result.stop_reason is StopReason.STOPPED:
        return Verdict(_STOPPED, (), frozenset())
    steps = (NextStep.REGION,) if Finding.UNEVEN in result.findings else ()
    # Detail is measured in planes, also in those of a volume.
    detail, flags = _detail(result, math.prod(pixel_size[-2:]) ** 0.5, unit)
    return Verdict(f"{detail} {_width(result, pixel_size, unit)}", steps, flags)


def strength_notes(strength: float) -> list[str]:
    """Return the sentence on a strength that is not 1, for a page that states the kernel."""
    if strength == 1:
        return []
    return [f"The kernel that was used was {strength:g} times as wide as the one that is reported."]


def _detail(result: Result, side: float, unit: str) -> tuple[str, frozenset[QualityFlag]]:
    """Return what happened to the finest detail, and the flags that this states."""
    before, after = result.trust.resolution_before, result.trust.resolution_after
    if after is None:
        return "Deconvolved; noise hides how fine its detail is.", frozenset()
    finest = f"detail down to {after * side:.2g} {unit}"
    if before is None:
        return f"Sharper: {finest} (noise hid it before).", frozenset()
    assert result.trust.sharpening is not None
    flags = frozenset({QualityFlag.NOT_SHARPER} & set(result.flags))
    if result.trust.sharpening >= MIN_SHARPENING:
        return f"Sharper: {finest} (was {before * side:.2g}).", flags
    if result.trust.sharpening <= -MIN_SHARPENING:
        return f"No sharper: {finest} (was {before * side:.2g}).", flags
    if flags:
        return f"No sharper: {finest}, as before.", flags
    return f"Deconvolved: {finest}, as before; contrast was restored.", flags


def _width(result: Result, pixel_size: Sequence[float], unit: str) -> str:
    """Return the width of the kernel, and how many times as wide a one was used."""
    strength = result.settings.strength
    used = "" if strength == 1 else f"; {strength:g} times that was used"
    return f"{_found_width(result, pixel_size, unit)}{used}."


def _found_width(result: Result, pixel_size: Sequence[float], unit: str) -> str:
    """Return the width of the kernel, with its uncertainty, without a full stop."""
    widths = KernelWidths.of(result.kernel.weights, tuple(pixel_size))
    longest, *_, shortest = widths.principal
    told = result.kernel.width_deviation
    is_given = result.kernel.source is KernelSource.GIVEN
    subject = "The given kernel is" if is_given else "Kernel"
    if result.kernel.source.is_microscope:
        subject = f"Kernel ({result.kernel.source})"
    margin = f" (± {100 * told:.0f} %)" if told else ""
    if len(widths.along_axes) == 3:
        sides = " × ".join(f"{width:.2g}" for width in widths.along_axes)
        return f"{subject} {sides} {unit} wide along Z, Y and X{margin}"
    if longest > _ROUND * shortest:
        return f"{subject} {longest:.2g} × {shortest:.2g} {unit} wide{margin}"
    width = math.sqrt(longest * shortest)
    if not told:
        return f"{subject} {width:.2g} {unit} wide"
    # The uncertainty has two digits if the first is 1, else one.
    decimals = max(0, -math.floor(math.log10(told * width / 2)))
    return f"{subject} {width:.{decimals}f} ± {told * width:.{decimals}f} {unit} wide"
