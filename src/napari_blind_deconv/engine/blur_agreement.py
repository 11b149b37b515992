"""Whether planes of a stack, or parts of a plane, are blurred alike, so that one kernel suits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.numerics.kernel_search import gaussian_width
from napari_blind_deconv.results import Notice

__all__ = ["disagreement", "varies_over_field"]

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


def varies_over_field(inspection: Inspection) -> bool:
    """Return whether the quarters of a large plane are blurred differently.

    The widths of the Gaussians that explain the quarters best are compared. A smaller plane, or
    a volume, is not told apart.
    """
    luminance, valid = inspection.luminance, inspection.valid_luminance
    if luminance.ndim != 2 or min(luminance.shape) < _MIN_SIDE:
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
