"""Disturbances of micrographs: pixels that are no image, and noise that is not independent.

Each is a function of an undisturbed exposure and a strength, 0 (weak) or 1 (strong). It returns the
image as a user would open it, the truth on the same pixels, and the mask of the pixels that are
scored.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from scipy import ndimage
from skimage.restoration import denoise_nl_means, richardson_lucy

from napari_blind_deconv.numerics.optics import gaussian_kernel

__all__ = [
    "NOISE",
    "PIXELS",
    "RESAMPLED",
    "Exposure",
    "compressed",
    "deconvolved",
    "rectangle",
]

_REACH = 4  # pixels beside a disturbance that are not scored


@dataclass(frozen=True)
class Exposure:
    """An image in counts, its truth in the same units, and the pixels that are scored."""

    observed: NDArray[np.float64]
    truth: NDArray[np.float64]
    scored: NDArray[np.bool_]

    def without(self, disturbed: NDArray[np.bool_], observed: NDArray[Any]) -> Exposure:
        """Return this exposure with other pixels where it is disturbed; they are not scored."""
        beside = ndimage.binary_dilation(disturbed, iterations=_REACH)
        changed = np.where(disturbed, observed, self.observed)
        return Exposure(changed, self.truth, self.scored & ~beside)

    def resampled(
        self, function: Callable[[NDArray[Any], int], NDArray[Any]], order: int
    ) -> Exposure:
        """Return this exposure resampled with splines of an order, its truth with cubic ones."""
        scored = function(self.scored.astype(float), 1) > 1 - 1e-6
        return Exposure(function(self.observed, order), function(self.truth, 3), scored)


Disturbance = Callable[[Exposure, int], Exposure]


def rectangle(exposure: Exposure, rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Return the mask of a rectangle."""
    mask = np.zeros(exposure.observed.shape, bool)
    mask[rows, columns] = True
    return mask


def _zero_border(exposure: Exposure, strength: int) -> Exposure:
    width = (1, 12)[strength]
    return exposure.without(rectangle(exposure, slice(None), slice(width)), np.array(0.0))


def _mosaic(exposure: Exposure, strength: int) -> Exposure:
    side = (15, 40)[strength]
    corners = rectangle(exposure, slice(side), slice(70))
    corners |= rectangle(exposure, slice(-side // 2, None), slice(90, None))
    return exposure.without(corners, np.array(0.0))


def _gap(exposure: Exposure, strength: int) -> Exposure:
    gap = rectangle(exposure, slice(None), slice(80, 80 + (4, 20)[strength]))
    return exposure.without(gap, np.array(np.median(exposure.observed)))


def _scale_bar(exposure: Exposure, strength: int) -> Exposure:
    level = (1.5 * exposure.observed.max(), 65535.0)[strength]
    bar = rectangle(exposure, slice(-14, -9), slice(-62, -12))
    return exposure.without(bar, np.array(level))


def _time_stamp(exposure: Exposure, strength: int) -> Exposure:
    drawing = PillowImage.new("L", exposure.observed.shape[::-1])
    ImageDraw.Draw(drawing).text((6, 4), "t = 12:34.5 s", fill=1, font_size=(10, 16)[strength])
    return exposure.without(np.asarray(drawing) > 0, np.array(exposure.observed.max()))


def _dead_column(exposure: Exposure, strength: int) -> Exposure:
    level = (0.0, 2 * exposure.observed.max())[strength]
    return exposure.without(rectangle(exposure, slice(None), slice(80, 81)), np.array(level))


def _hot_pixels(exposure: Exposure, strength: int) -> Exposure:
    random = np.random.default_rng(1)
    hot = random.random(exposure.observed.shape) < (1e-4, 3e-3)[strength]
    hot[50, 60] = True
    changed = exposure.observed + np.ptp(exposure.observed) * random.uniform(0.5, 20, hot.shape)
    return exposure.without(hot, changed)


def _not_a_number(exposure: Exposure, strength: int) -> Exposure:
    random = np.random.default_rng(2)
    missing = random.random(exposure.observed.shape) < 1e-3
    if strength:
        missing |= rectangle(exposure, slice(30), slice(30))
    return exposure.without(missing, np.array(np.nan))


def _saturated(exposure: Exposure, strength: int) -> Exposure:
    ceiling = np.percentile(exposure.observed, (99, 95)[strength])
    return exposure.without(exposure.observed >= ceiling, np.array(ceiling))


def _rotated(exposure: Exposure, strength: int) -> Exposure:
    def rotate(image: NDArray[Any], order: int) -> NDArray[Any]:
        return np.asarray(ndimage.rotate(image, (2, 8)[strength], reshape=False, order=order))

    return exposure.resampled(rotate, 1)


def _shifted(exposure: Exposure, strength: int) -> Exposure:
    def shift(image: NDArray[Any], order: int) -> NDArray[Any]:
        return np.asarray(ndimage.shift(image, (0.5, 0.5), order=order)[4:, 4:])

    return exposure.resampled(shift, (3, 1)[strength])


def _offsets(exposure: Exposure, strength: int, axis: int) -> Exposure:
    random = np.random.default_rng(3)
    spread = (1, 3)[strength] * _noise_of(exposure)
    shape = [1, 1]
    shape[axis] = exposure.observed.shape[axis]
    return replace(exposure, observed=exposure.observed + random.normal(0, spread, shape))


def _row_offsets(exposure: Exposure, strength: int) -> Exposure:
    return _offsets(exposure, strength, 0)


def _column_offsets(exposure: Exposure, strength: int) -> Exposure:
    return _offsets(exposure, strength, 1)


def _noise_of(exposure: Exposure) -> float:
    """Return the noise in dark regions, in counts."""
    difference = np.diff(exposure.observed, axis=0)
    return float(1.4826 * np.median(np.abs(difference)) / np.sqrt(2))


def _smoothed(exposure: Exposure, strength: int) -> Exposure:
    smooth = ndimage.gaussian_filter(exposure.observed, (0.7, 1.2)[strength])
    return replace(exposure, observed=smooth)


def _median(exposure: Exposure, strength: int) -> Exposure:
    return replace(exposure, observed=ndimage.median_filter(exposure.observed, (3, 5)[strength]))


def _denoised(exposure: Exposure, strength: int) -> Exposure:
    noise = _noise_of(exposure)
    options: dict[str, Any] = {"patch_size": 5, "patch_distance": 6, "sigma": noise}
    smooth = denoise_nl_means(exposure.observed, h=(0.6, 1.0)[strength] * noise, **options)
    return replace(exposure, observed=smooth)


def _jpeg(exposure: Exposure, strength: int) -> Exposure:
    return compressed(exposure, (90, 60)[strength])


def compressed(exposure: Exposure, quality: int) -> Exposure:
    """Return this exposure after conversion to 8 bits and JPEG compression."""
    low, high = exposure.observed.min(), exposure.observed.max()
    scaled = (255 * (exposure.observed - low) / (high - low)).astype(np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(scaled).save(file, "JPEG", quality=quality)
    decoded = np.asarray(PillowImage.open(file), np.float64)
    return replace(exposure, observed=decoded * (high - low) / 255 + low)


def _enlarged(exposure: Exposure, strength: int) -> Exposure:
    def enlarge(image: NDArray[Any], order: int) -> NDArray[Any]:
        zoomed = ndimage.zoom(image, (1.5, 2)[strength], order=order, mode="mirror", grid_mode=True)
        return np.asarray(zoomed)

    return exposure.resampled(enlarge, (3, 1)[strength])


def _repeated(exposure: Exposure, strength: int) -> Exposure:
    times = (2, 4)[strength]

    def repeat(image: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(image[:96, :96].repeat(times, 0).repeat(times, 1))

    return Exposure(*map(repeat, (exposure.observed, exposure.truth, exposure.scored)))


def _deconvolved(exposure: Exposure, strength: int) -> Exposure:
    return deconvolved(exposure, 1.6, (10, 40)[strength])


def deconvolved(exposure: Exposure, sigma: float, iterations: int) -> Exposure:
    """Return this exposure after Richardson-Lucy iterations with a Gaussian of `sigma` pixels."""
    low, high = exposure.observed.min(), exposure.observed.max()
    scaled = (exposure.observed - low) / (high - low)
    psf = gaussian_kernel((13, 13), sigma)
    sharp = richardson_lucy(scaled, psf, num_iter=iterations, clip=False)
    return replace(exposure, observed=sharp * (high - low) + low)


# Pixels that are no image.
PIXELS: dict[str, Disturbance] = {
    "zero border": _zero_border,
    "mosaic corners": _mosaic,
    "gap at the median": _gap,
    "scale bar": _scale_bar,
    "time stamp": _time_stamp,
    "dead column": _dead_column,
    "hot pixels": _hot_pixels,
    "NaN": _not_a_number,
    "saturated": _saturated,
}
# Resampling, and offsets of rows and columns: the noise is no longer independent.
RESAMPLED: dict[str, Disturbance] = {
    "rotated": _rotated,
    "shifted by half a pixel": _shifted,
    "row offsets": _row_offsets,
    "column offsets": _column_offsets,
}
# Processing after the exposure, which removes or amplifies noise.
NOISE: dict[str, Disturbance] = {
    "smoothed": _smoothed,
    "median filter": _median,
    "denoised": _denoised,
    "JPEG": _jpeg,
    "enlarged": _enlarged,
    "repeated pixels": _repeated,
    "deconvolved before": _deconvolved,
}
