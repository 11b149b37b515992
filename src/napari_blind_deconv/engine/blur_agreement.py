"""Whether planes of a stack, or parts of an image, are blurred alike, so that one kernel suits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.findings import Findings
from napari_blind_deconv.image import BlockKind, Image, Index
from napari_blind_deconv.numerics.kernel_search import gaussian_width
from napari_blind_deconv.numerics.volume_depths import widening
from napari_blind_deconv.reasons import Finding
from napari_blind_deconv.results import Notice

__all__ = ["disagreement", "uneven_blur"]

# Largest ratio of the widths of two planes or parts that are blurred alike: the width of one is
# uncertain by a quarter, and brightness that fades from plane to plane changes it little.
_MAX_RATIO = 1.6
_MIN_SIDE = 512  # pixels of a plane whose quarters are compared


def disagreement(image: Image, indices: Iterable[Index]) -> Notice | None:
    """Compare the widths of the Gaussians that explain some planes best.

    Parameters
    ----------
    image : Image
        A stack.
    indices : iterable of tuple of int
        Indices of the planes, which must be usable.

    Returns
    -------
    Notice or None
        A sentence for the user, if the widths differ; None if they do not, or if fewer than two
        planes show blur.
    """
    widths = {}
    for index in indices:
        plane = Inspection.of(image.read(index))
        width = gaussian_width(plane.luminance, plane.valid_luminance, plane.noise)
        if width is not None:
            widths[index] = width
    if len(widths) < 2:
        return None
    least, most = (pick(widths, key=widths.__getitem__) for pick in (min, max))
    if widths[most] <= _MAX_RATIO * widths[least]:
        return None
    return Notice(
        f"The planes {_named(image, least)} and {_named(image, most)} are blurred by about "
        f"σ {widths[least]:.1f} and {widths[most]:.1f} px, but share one kernel; "
        "consider a kernel for each plane (per-slice)."
    )


def uneven_blur(inspection: Inspection) -> Findings:
    """Return what is found if the parts of a plane or a volume are blurred differently.

    The widths of the Gaussians that explain them best are compared: those of the quarters of a
    large plane, or of the first, the middle and the last planes of a volume.
    """
    if inspection.block.block_kind is BlockKind.PLANE:
        return {Finding.UNEVEN: None} if _varies_over_field(inspection) else {}
    luminance, valid = inspection.luminance, inspection.valid_luminance
    ratio = widening(luminance, inspection.block.sampling, valid)
    if ratio == 1:
        return {}
    finding = Finding.WIDER_AT_END if ratio > 1 else Finding.WIDER_AT_START
    return {finding: round(100 * (max(ratio, 1 / ratio) - 1))}


def _varies_over_field(inspection: Inspection) -> bool:
    luminance, valid = inspection.luminance, inspection.valid_luminance
    if min(luminance.shape) < _MIN_SIDE:
        return False
    halves = [(slice(None, side // 2), slice(side // 2, None)) for side in luminance.shape]
    found = [
        gaussian_width(luminance[quarter], valid[quarter], inspection.noise)
        for quarter in itertools.product(*halves)
    ]
    widths = [width for width in found if width is not None]
    return len(widths) > 1 and max(widths) > _MAX_RATIO * min(widths)


def _named(image: Image, index: Index) -> str:
    return ", ".join(f"{axis} {at}" for axis, at in zip(image.stack_axes, index, strict=True))
