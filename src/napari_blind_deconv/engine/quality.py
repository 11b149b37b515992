"""What a result is worth, and what gives reason to doubt it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.camera import CameraNoise
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.location import centre_kernel, origin_at_centroid
from napari_blind_deconv.numerics.resolution import resolution
from napari_blind_deconv.reasons import QualityFlag, StopReason
from napari_blind_deconv.results import TrustReport

__all__ = ["Judgement", "judge", "quality_flags"]

# Share of the kernel on its window's outermost pixels from which on it may reach beyond.
_MOST_AT_BORDER = 0.02
_LEAST_SIGNAL_TO_NOISE = 1.0
# A residual of so many times the noise, or so much alike from pixel to pixel, is not noise alone.
_MOST_RESIDUAL = 1.5
_MOST_CORRELATION = 0.4
_LEAST_GAIN_IN_RESOLUTION = 0.02
# Finer than this, in pixels, the camera is the limit, or a drift that spares one direction: what a
# result gains does not show in its resolution.
_FINEST = 3.0
# The residual is taken where so much of the kernel's light comes from within the field of view.
_KERNEL_MASS = 0.995
_SMALLEST_INTERIOR = 8
_OUTLIERS = 5.0  # in standard deviations
_MAD_OF_NORMAL = 1.4826


class Judgement(NamedTuple):
    """What a result is worth, and the reasons to doubt it, gravest first."""

    trust: TrustReport
    flags: tuple[QualityFlag, ...]


def judge(
    block: Image,
    estimate: NDArray[np.floating[Any]],
    kernel: Kernel,
    *,
    reason: StopReason,
    slowed_at: int | None = None,
) -> Judgement:
    """Judge an estimate: every result, however it came about, is judged here.

    Parameters
    ----------
    block : Image
        The blurred image, one plane.
    estimate : ndarray
        Laid out as its pixels, in the same units.
    kernel : Kernel
        What it is off its centre has been taken out of the estimate.
    reason : StopReason
        Why the run ended.
    slowed_at : int, optional
        As `Result.slowed_at`.
    """
    image, sharpened = block.luminance(), block.with_pixels(estimate).luminance()
    trust = _trust(image, sharpened, kernel)
    return Judgement(trust, quality_flags(trust, kernel.source, reason, slowed_at))


def _trust(
    image: NDArray[np.float64], estimate: NDArray[np.float64], kernel: Kernel
) -> TrustReport:
    centred, _ = centre_kernel(origin_at_centroid(kernel.weights)[0])
    kernel = kernel.with_weights(centred)
    camera = CameraNoise.of(image)
    residual = _residual(image, estimate, centred, camera)
    known = residual[np.isfinite(residual)]
    enough = known.size >= _SMALLEST_INTERIOR**2
    expected = float(np.sqrt(np.square(camera.deviation(image)).mean()))
    signal = math.sqrt(max(float(image.var()) - expected**2, 0.0))
    total = float(image.sum(dtype=np.float64))
    longest, *_, shortest = kernel.widths.principal
    return TrustReport(
        residual=residual,
        residual_level=_robust_deviation(known) if enough else None,
        residual_correlation=_neighbour_correlation(residual) if enough else None,
        noise=expected,
        gain=camera.gain,
        offset=camera.offset,
        signal_to_noise=signal / expected if expected else math.inf,
        flux_ratio=float(estimate.sum(dtype=np.float64)) / total if total else math.nan,
        resolution_before=resolution(image),
        resolution_after=resolution(estimate),
        kernel_fwhm=(longest, shortest),
        kernel_border=kernel.border_share,
    )


def quality_flags(
    trust: TrustReport, source: KernelSource, reason: StopReason, slowed_at: int | None = None
) -> tuple[QualityFlag, ...]:
    """Flags of a result, gravest first, from what is known of it; as in :func:`judge`.

    A kernel that was found for a whole stack keeps its source, and so its flags, with every plane
    that uses it.
    """
    level, correlation = trust.residual_level, trust.residual_correlation
    before, after = trust.resolution_before, trust.resolution_after
    raised = {
        QualityFlag.MISFIT: level is not None
        and correlation is not None
        and (level > _MOST_RESIDUAL or correlation > _MOST_CORRELATION),
        QualityFlag.NO_BLUR: source is KernelSource.NO_BLUR,
        QualityFlag.KERNEL_FILLS_WINDOW: (
            source is not KernelSource.GIVEN and trust.kernel_border > _MOST_AT_BORDER
        ),
        QualityFlag.LOW_SIGNAL: trust.signal_to_noise < _LEAST_SIGNAL_TO_NOISE,
        QualityFlag.NOT_SHARPER: before is not None
        and after is not None
        and before > _FINEST
        and after > (1 - _LEAST_GAIN_IN_RESOLUTION) * before,
        QualityFlag.UNSTABLE: slowed_at is not None or reason is StopReason.DIVERGED,
        QualityFlag.ITERATION_LIMIT: reason is StopReason.ITERATION_LIMIT,
    }
    return tuple(flag for flag, doubtful in raised.items() if doubtful)


def _residual(
    image: NDArray[np.floating[Any]],
    estimate: NDArray[np.floating[Any]],
    kernel: NDArray[np.float32],
    camera: CameraNoise,
) -> NDArray[np.float32]:
    core = _core(kernel)
    margin = [side // 2 for side in core.shape]
    residual = np.full(image.shape, np.nan, np.float32)
    inner = tuple(slice(m, side - m) for m, side in zip(margin, image.shape, strict=True))
    if any(part.stop - part.start < _SMALLEST_INTERIOR for part in inner):
        return residual
    sharp = torch.from_numpy(np.ascontiguousarray(estimate, np.float32))
    again = Convolution(torch.from_numpy(core)).forward(sharp).numpy()
    residual[inner] = (image[inner] - again) / camera.deviation(again)
    return residual


def _core(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A kernel without the border of its window that holds next to nothing."""
    core = kernel
    while min(core.shape) > 1 and core[1:-1, 1:-1].sum() >= _KERNEL_MASS * kernel.sum():
        core = core[1:-1, 1:-1]
    return np.ascontiguousarray(core / core.sum())


def _robust_deviation(values: NDArray[np.floating[Any]]) -> float:
    return float(_MAD_OF_NORMAL * np.median(np.abs(values - np.median(values))))


def _neighbour_correlation(residual: NDArray[np.float32]) -> float:
    """Mean over rows and columns; outliers count as what they exceed."""
    known = residual[np.isfinite(residual)]
    limit = _OUTLIERS * max(_robust_deviation(known), float(np.finfo(np.float32).tiny))
    calm = np.clip(residual - np.median(known), -limit, limit)
    variance = np.nanmean(np.square(calm))
    if variance == 0:
        return 0.0
    pairs = (calm[1:] * calm[:-1], calm[:, 1:] * calm[:, :-1])
    return float(np.mean([np.nanmean(pair) for pair in pairs]) / variance)
