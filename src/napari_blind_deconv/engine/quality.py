"""The trust report and the quality flags of a result."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from napari_blind_deconv.engine.blur_agreement import uneven_blur
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.findings import Findings
from napari_blind_deconv.image import BlockKind, Image
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.camera import CameraNoise
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.location import centre_kernel, origin_at_centroid
from napari_blind_deconv.numerics.pixel_faults import PixelFault, fill
from napari_blind_deconv.numerics.regions import plane_with_contrast
from napari_blind_deconv.numerics.resolution import resolution
from napari_blind_deconv.numerics.threads import in_threads
from napari_blind_deconv.optics import MicroscopeKind
from napari_blind_deconv.reasons import Finding, QualityFlag, StopReason
from napari_blind_deconv.results import MIN_SHARPENING, TrustReport

__all__ = ["Judgement", "judge", "quality_flags"]

# A kernel with a larger share of its sum on the border of its window may reach beyond the window.
_MAX_BORDER_SHARE = 0.02
_MIN_SIGNAL_TO_NOISE = 1.0
# A residual above one of these limits is more than noise.
_MAX_RESIDUAL_LEVEL = 1.5  # standard deviations of the noise
_MAX_RESIDUAL_CORRELATION = 0.4
# Standard deviation of the logarithm of the width of the kernel of a volume, beyond which it may be
# so much too wide that the estimate is worse than its input. In planes, estimates with a larger one
# are below their input as rarely as others: 6 of 64 and 7 of 91 (suite `scenes`).
_MAX_WIDTH_DEVIATION = 1 / 3
# If no blur is found, it is absent in an image that resolves such short periods, in pixels, and
# hidden by noise in others.
_MAX_SHARP_PERIOD = 4.0
_MIN_SIDE_FOR_BLUR = 64  # pixels; smaller images have too few frequencies
# Below this period, in pixels, the camera limits the resolution, or a linear motion spares one
# direction. The resolution then does not show what a result gains.
_MIN_COMPARED_PERIOD = 3.0
# The residual is computed where this share of the kernel lies within the field of view.
_MIN_KERNEL_SHARE = 0.995
_MIN_INTERIOR_SIDE = 8  # pixels
_OUTLIER_LIMIT = 5.0  # standard deviations
_MAX_SATURATED_SHARE = 0.05  # of a volume, beyond which its kernel is found too narrow
# Standard deviation of a normal distribution over its median absolute deviation (MAD).
_DEVIATION_PER_MAD = 1.4826


class Judgement(NamedTuple):
    """Trust report of a result, its quality flags (most serious first), findings in the image."""

    trust: TrustReport
    flags: tuple[QualityFlag, ...]
    findings: Findings


def judge(
    inspection: Inspection,
    estimate: NDArray[np.floating[Any]],
    kernel: Kernel,
    *,
    reason: StopReason,
    strength: float = 1.0,
    slowed_at: int | None = None,
    microscope: MicroscopeKind | None = None,
) -> Judgement:
    """Compute the trust report and the quality flags of an estimate.

    Every result is judged by this function: of a plane, of tiles and of a file.

    Parameters
    ----------
    inspection : Inspection
        The blurred image, one plane, and its valid pixels: no others are judged.
    estimate : ndarray
        Estimate in the layout and units of the image.
    kernel : Kernel
        Kernel of the estimate, as it is reported. It may be off its centre: the estimate is
        compared with the image through the centred kernel.
    reason : StopReason
        Reason why the run ended.
    strength : float
        As in `Settings`: the estimate is compared with the image through the kernel that was used.
    slowed_at : int, optional
        As `Result.slowed_at`.
    microscope : MicroscopeKind, optional
        Kind of the microscope, if it is known, so that it was not guessed.
    """
    valid = inspection.valid_luminance
    luminance = fill(inspection.block.with_pixels(estimate).luminance(), valid)
    trust = _trust_report(inspection, luminance, kernel, strength)
    flags = quality_flags(
        trust,
        kernel.source,
        reason,
        slowed_at,
        width_deviation=_width_deviation(inspection.block, kernel),
        noise_correlation=inspection.noise.neighbour_correlation,
        no_blur=_reason_for_no_blur(inspection.block, trust),
    )
    findings = dict(inspection.findings)
    if kernel.source is KernelSource.NARROWEST:
        findings[Finding.NARROWEST] = None
    if kernel.source.is_found and _is_mostly_saturated(inspection):
        findings[Finding.MOSTLY_SATURATED] = None
    if kernel.source.is_microscope and microscope is None:
        findings[Finding.MICROSCOPE] = None
    if kernel.source.is_gaussian or kernel.source.is_microscope:
        findings |= uneven_blur(inspection)
    return Judgement(trust, flags, findings)


def _width_deviation(block: Image, kernel: Kernel) -> float | None:
    """Return how uncertain the width of a kernel is that was found for a volume."""
    is_volume = block.block_kind is BlockKind.VOLUME
    return kernel.width_deviation if is_volume and kernel.source.is_found else None


def _is_mostly_saturated(inspection: Inspection) -> bool:
    """Return whether a volume has too many saturated voxels for the search for its kernel."""
    if inspection.block.block_kind is not BlockKind.VOLUME:
        return False
    saturated = (inspection.faults == PixelFault.SATURATED).any(axis=0)
    return float(saturated.mean()) > _MAX_SATURATED_SHARE


def _reason_for_no_blur(block: Image, trust: TrustReport) -> QualityFlag:
    """Return what it means if no blur is found in an image.

    A volume that is too small or too noisy to tell is refused before.
    """
    if block.block_kind is BlockKind.VOLUME:
        return QualityFlag.TOO_COARSE if _is_undersampled(block) else QualityFlag.NO_BLUR
    if min(block.block_shape) < _MIN_SIDE_FOR_BLUR:
        return QualityFlag.TOO_SMALL
    if trust.resolution_before is None or trust.resolution_before > _MAX_SHARP_PERIOD:
        return QualityFlag.TOO_NOISY
    return QualityFlag.TOO_COARSE if _is_undersampled(block) else QualityFlag.NO_BLUR


def _is_undersampled(block: Image) -> bool:
    """Return whether the pixels of a plane are known to be too coarse for the microscope."""
    limit, sides = block.optics.finest_period, block.pixel_micrometres
    return limit is not None and sides is not None and max(sides[-2:]) > limit / 2


def _trust_report(
    inspection: Inspection, estimate: NDArray[np.float64], kernel: Kernel, strength: float
) -> TrustReport:
    image, valid = inspection.luminance, inspection.valid_luminance
    centred, _ = centre_kernel(origin_at_centroid(kernel.weights)[0])
    kernel = kernel.with_weights(centred)
    camera = CameraNoise.of(image, valid, inspection.noise)
    residual = _residual(image, estimate, kernel.scaled(strength).weights, camera)
    residual[~valid] = np.nan
    interior = residual[np.isfinite(residual)]
    is_large_enough = interior.size >= _MIN_INTERIOR_SIDE**2
    level = _robust_deviation(interior) if is_large_enough else math.nan
    noise = float(np.sqrt(np.square(camera.deviation(image[valid])).mean()))
    signal = math.sqrt(max(float(image[valid].var()) - noise**2, 0.0))
    total = float(image[valid].sum(dtype=np.float64))
    longest, *_, shortest = kernel.widths.principal
    plane = plane_with_contrast(image)
    return TrustReport(
        residual=residual,
        residual_level=level if is_large_enough else None,
        residual_correlation=_neighbour_correlation(residual, level) if is_large_enough else None,
        noise=noise,
        gain=camera.gain,
        offset=camera.offset,
        signal_to_noise=signal / noise if noise else math.inf,
        flux_ratio=float(estimate[valid].sum(dtype=np.float64)) / total if total else math.nan,
        resolution_before=resolution(image[plane]),
        resolution_after=resolution(estimate[plane]),
        kernel_fwhm=(longest, shortest),
        kernel_border=kernel.border_share,
    )


def quality_flags(
    trust: TrustReport,
    source: KernelSource,
    reason: StopReason,
    slowed_at: int | None = None,
    *,
    width_deviation: float | None = None,
    noise_correlation: float = 0.0,
    no_blur: QualityFlag = QualityFlag.NO_BLUR,
) -> tuple[QualityFlag, ...]:
    """Return the quality flags of a result, the most serious first.

    A kernel that was found for a stack keeps its source, so every plane that uses the kernel gets
    the flags of this source.

    Parameters
    ----------
    trust : TrustReport
    source : KernelSource
        Source of the kernel.
    reason, slowed_at
        As in :func:`judge`.
    width_deviation : float, optional
        Standard deviation of the logarithm of the width of the kernel of a volume.
    noise_correlation : float
        Correlation of the noise of adjacent pixels; the residual is expected to have it, too.
    no_blur : QualityFlag
        Flag to raise if no blur was found.
    """
    level, correlation = trust.residual_level, trust.residual_correlation
    before = trust.resolution_before
    raised = {
        QualityFlag.MISFIT: level is not None
        and correlation is not None
        and (
            level > _MAX_RESIDUAL_LEVEL
            or correlation > _MAX_RESIDUAL_CORRELATION + noise_correlation
        ),
        # A search that is stopped has not found that there is no blur.
        no_blur: source is KernelSource.NO_BLUR and reason is not StopReason.STOPPED,
        QualityFlag.KERNEL_FILLS_WINDOW: (
            source is not KernelSource.GIVEN
            and not source.is_microscope  # whose light reaches beyond every window
            and trust.kernel_border > _MAX_BORDER_SHARE
        ),
        QualityFlag.KERNEL_UNCERTAIN: (width_deviation or 0.0) > _MAX_WIDTH_DEVIATION,
        QualityFlag.LOW_SIGNAL: trust.signal_to_noise < _MIN_SIGNAL_TO_NOISE,
        QualityFlag.NOT_SHARPER: before is not None
        and before > _MIN_COMPARED_PERIOD
        and trust.sharpening is not None
        and trust.sharpening < MIN_SHARPENING,
        QualityFlag.UNSTABLE: slowed_at is not None or reason is StopReason.DIVERGED,
        QualityFlag.ITERATION_LIMIT: reason is StopReason.ITERATION_LIMIT,
    }
    return tuple(flag for flag, is_raised in raised.items() if is_raised)


def _residual(
    image: NDArray[np.floating[Any]],
    estimate: NDArray[np.floating[Any]],
    kernel: NDArray[np.float32],
    camera: CameraNoise,
) -> NDArray[np.float32]:
    """Return the image minus the re-blurred estimate, in standard deviations of the noise.

    Pixels near the border are NaN: their light comes in part from outside the field of view.
    """
    core = _core(kernel)
    margin = [side // 2 for side in core.shape]
    residual = np.full(image.shape, np.nan, np.float32)
    inner = tuple(slice(m, side - m) for m, side in zip(margin, image.shape, strict=True))
    if any(part.stop - part.start < _MIN_INTERIOR_SIDE for part in inner):
        return residual
    sharp = torch.from_numpy(np.ascontiguousarray(estimate, np.float32))
    reblurred = Convolution(torch.from_numpy(core)).forward(sharp).numpy()
    residual[inner] = (image[inner] - reblurred) / camera.deviation(reblurred)
    return residual


def _core(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a kernel without the border of its window that holds almost no weight."""
    core = kernel
    inner = (slice(1, -1),) * kernel.ndim
    while min(core.shape) > 1 and core[inner].sum() >= _MIN_KERNEL_SHARE * kernel.sum():
        core = core[inner]
    return np.ascontiguousarray(core / core.sum())


def _robust_deviation(values: NDArray[np.floating[Any]]) -> float:
    return float(_DEVIATION_PER_MAD * np.median(np.abs(values - np.median(values))))


def _neighbour_correlation(residual: NDArray[np.float32], level: float) -> float:
    """Return the mean correlation of adjacent pixels along all axes, outliers clipped.

    Parameters
    ----------
    residual : ndarray
        NaN where it is not known.
    level : float
        Its robust standard deviation.
    """
    limit = _OUTLIER_LIMIT * max(level, float(np.finfo(np.float32).tiny))
    middle = np.median(residual[np.isfinite(residual)])
    clipped = np.clip(residual - middle, -limit, limit)
    variance = np.nanmean(np.square(clipped))
    if variance == 0:
        return 0.0

    def covariance(axis: int) -> float:
        along = np.moveaxis(clipped, axis, 0)
        product = along[1:] * along[:-1]
        return float(np.nanmean(product)) if np.isfinite(product).any() else math.nan

    known = [each for each in in_threads(covariance, range(clipped.ndim)) if math.isfinite(each)]
    return float(np.mean(known) / variance) if known else 0.0
