"""Find and remove what a block contains besides the image: faulty pixels, offsets of lines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.engine.inputs import MIN_SIDE, check_block, has_contrast
from napari_blind_deconv.findings import Findings
from napari_blind_deconv.image import Image, Region
from napari_blind_deconv.numerics.line_offsets import line_offsets
from napari_blind_deconv.numerics.noise_shape import WHITE_NOISE, NoiseColour, NoiseShape
from napari_blind_deconv.numerics.pixel_faults import PixelFault, counted, fill, find_faults
from napari_blind_deconv.numerics.threads import in_threads
from napari_blind_deconv.reasons import Finding

__all__ = ["Inspection", "fault_map"]

# Somewhere in the image, a square of `MIN_SIDE` pixels per side must have this share of valid ones.
_MIN_VALID_SHARE = 0.5
_FOUND_AREAS = (PixelFault.FLAT, PixelFault.SATURATED)
# Pixels that the result takes from the input, because there is no image to estimate.
_KEPT = (PixelFault.NOT_FINITE, PixelFault.MASKED, PixelFault.FLAT)
_COLOURS = {
    NoiseColour.FILTERED: Finding.FILTERED,
    NoiseColour.PROCESSED: Finding.PROCESSED,
}
_LINES = (Finding.ROW_OFFSETS, Finding.COLUMN_OFFSETS)


@dataclass(frozen=True, eq=False)
class Inspection:
    """A block that was checked, without the pixels that are no image.

    Attributes
    ----------
    block : Image
        The block as it was given.
    channels : ndarray
        Image ``(C, *space)``, float64, in the units of the block. Pixels that are not valid are
        filled smoothly, and offsets of rows and columns are subtracted.
    faults : ndarray
        `PixelFault` of each pixel ``(C, *space)``; 0 if it is valid.
    noise : NoiseShape
        How the power of the noise depends on frequency.
    findings : mapping
        What was found, with the number of pixels or lines; None for the whole image.
    """

    block: Image
    channels: NDArray[np.float64]
    faults: NDArray[np.uint8]
    noise: NoiseShape = WHITE_NOISE
    findings: Findings = field(default_factory=dict)

    @classmethod
    def of(cls, block: Image) -> Self:
        """Check and inspect a block in memory.

        Raises
        ------
        TypeError, ValueError
            As :func:`check_block`; also if too few pixels are valid.
        """
        check_block(block)
        channels = block.by_channel()
        faults = _with_region(block, _faults(block))
        filled = _filled(channels, faults)
        findings: dict[Finding, int | None] = {**_counts(faults)}
        noise = WHITE_NOISE
        if len(block.space) == 2:
            valid = faults == PixelFault.NONE
            filled, offsets = _without_offsets(filled, valid)
            findings |= offsets
            noise = NoiseShape.of(filled.mean(axis=0), valid.all(axis=0))
            if noise.colour in _COLOURS:
                findings[_COLOURS[noise.colour]] = None
        inspection = cls(block, filled, faults, noise, findings)
        if not has_contrast(inspection.luminance):
            raise ValueError("Expected an image with some contrast, got none in its valid pixels.")
        return inspection

    def part(self, region: Region) -> Self | None:
        """Return the inspection of a part; None if it lacks contrast or valid pixels."""
        inside = (slice(None), *region)
        channels = self.channels[inside]
        faults = self.faults[inside]
        part = replace(
            self,
            block=self.block.part(region),
            channels=channels,
            faults=faults,
            findings={},
        )
        return part if _has_region(faults) and has_contrast(part.luminance) else None

    def without(self, held_out: NDArray[np.bool_]) -> Self:
        """Return the inspection with some pixels ``(C, *space)`` left out, as if masked."""
        faults = np.where(held_out, np.uint8(PixelFault.MASKED), self.faults)
        return replace(self, channels=_filled(self.channels, faults), faults=faults)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Mask of the valid pixels ``(C, *space)``."""
        return self.faults == PixelFault.NONE

    @cached_property
    def luminance(self) -> NDArray[np.float64]:
        """Mean of the channels ``(*space)``."""
        return np.asarray(self.channels.mean(axis=0))

    @cached_property
    def valid_luminance(self) -> NDArray[np.bool_]:
        """Mask of the pixels ``(*space)`` that are valid in all channels."""
        return np.asarray(self.valid.all(axis=0))

    @property
    def valid_share(self) -> float:
        """Share of the pixels that are valid in all channels."""
        return float(self.valid_luminance.mean())

    def with_kept_pixels(self, estimate: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an estimate ``(C, *space)`` with the pixels that are taken from the input.

        A saturated pixel is at least as bright as in the input.
        """
        if not self.faults.any():
            return estimate
        given = self.block.by_channel()
        brighter = np.fmax(estimate, given)
        with_limit = np.where(self.faults == PixelFault.SATURATED, brighter, estimate)
        return np.where(np.isin(self.faults, _KEPT), given, with_limit).astype(np.float32)


def _filled(channels: NDArray[np.floating[Any]], faults: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return channels ``(C, *space)`` whose faulty pixels are filled smoothly."""
    pairs = zip(channels, faults, strict=True)
    return np.stack([fill(channel, fault == PixelFault.NONE) for channel, fault in pairs])


def fault_map(block: Image) -> NDArray[np.uint8]:
    """Return the `PixelFault` of each pixel ``(*space)``; of several channels, the highest.

    Unlike :meth:`Inspection.of`, it accepts blocks that have too few valid pixels.
    """
    return np.asarray(_faults(block).max(axis=0))


def _faults(block: Image) -> NDArray[np.uint8]:
    """Return the faults of all channels ``(C, *space)``."""
    return np.stack([_faults_of(channel, block.masked) for channel in block.by_channel()])


def _faults_of(channel: NDArray[np.float64], masked: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """Return the faults of a channel ``(*space)``, found plane by plane."""
    given = channel if masked is None else np.where(masked, np.nan, channel)
    planes = given.reshape(-1, *given.shape[-2:])
    faults = np.stack(in_threads(find_faults, planes)).reshape(channel.shape)
    if channel.ndim == 3:
        faults[_lost_planes(given)] = PixelFault.FLAT
    if masked is not None:
        faults[masked] = PixelFault.MASKED
    return faults


def _lost_planes(volume: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which planes have one value beyond those of all others, as frames that were lost.

    Dark planes of an image without offset or noise are not lost: others are as dark in places.
    """
    lost = np.zeros(len(volume), bool)
    known = np.isfinite(volume).all(axis=(1, 2))
    lowest, highest = volume.min(axis=(1, 2)), volume.max(axis=(1, 2))
    varies = known & (lowest < highest)
    if varies.any():
        is_beyond = (highest < lowest[varies].min()) | (lowest > highest[varies].max())
        lost = known & ~varies & is_beyond
    return lost


def _counts(faults: NDArray[np.uint8]) -> dict[Finding, int]:
    """Return the number of pixels of each fault; a pixel counts once, not in each channel."""
    counts = counted(faults.max(axis=0))
    return {Finding[fault.name]: count for fault, count in counts.items()}


def _with_region(block: Image, faults: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return faults that leave a region with enough valid pixels.

    If an image is mostly of one value, such as a drawing on white, that value is part of it.

    Raises
    ------
    ValueError
        If there is no such region even then.
    """
    if _has_region(faults):
        return faults
    reduced = np.where(np.isin(faults, _FOUND_AREAS), np.uint8(PixelFault.NONE), faults)
    if _has_region(reduced):
        return reduced
    valid = (reduced == PixelFault.NONE).all(axis=0)
    found = ", ".join(f"{count} {finding.value}" for finding, count in _counts(reduced).items())
    raise ValueError(
        f"Expected an image with a region of {MIN_SIDE} pixels per side that is at least half "
        f"valid, got {int(valid.sum())} valid pixels of {valid.size} ({found})."
    )


def _has_region(faults: NDArray[np.uint8]) -> bool:
    valid = (faults == PixelFault.NONE).all(axis=0)
    if valid.all():
        return True
    sides = [min(side, MIN_SIDE) for side in valid.shape]  # a volume may have fewer planes
    shares = ndimage.uniform_filter(valid.astype(np.float32), sides, mode="constant")
    return bool(valid.any() and shares.max() >= _MIN_VALID_SHARE)


def _without_offsets(
    channels: NDArray[np.float64], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], dict[Finding, int]]:
    """Subtract the offsets of rows and columns; return also how many lines have one."""
    cleaned, found = channels.copy(), {}
    for axis, finding in enumerate(_LINES):
        for channel, known in zip(cleaned, valid, strict=True):
            offsets = line_offsets(channel, axis, known)
            if offsets.any():
                # Pixels that are not valid are filled again, because they had no offset.
                channel[:] = fill(channel - np.expand_dims(offsets, 1 - axis), known)
                found[finding] = int(np.count_nonzero(offsets))
    return cleaned, found
