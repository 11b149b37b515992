"""Disturbances on which no constant of the package was chosen, on other micrographs and PSFs.

As in `benchmarks.disturbances`, each is a function of an undisturbed exposure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from scipy import ndimage
from skimage.restoration import denoise_bilateral, denoise_tv_chambolle

from benchmarks.disturbances import Exposure, compressed, deconvolved, rectangle

__all__ = ["UNSEEN"]

Change = Callable[[Exposure], Exposure]


def _filtered(function: Callable[[NDArray[Any]], Any]) -> Change:
    """Return a disturbance that filters the image, scaled to a maximum of 1."""

    def change(exposure: Exposure) -> Exposure:
        highest = exposure.observed.max()
        return replace(
            exposure, observed=highest * np.asarray(function(exposure.observed / highest))
        )

    return change


def _enlarged(factor: float, order: int, side: int) -> Change:
    def enlarge(image: NDArray[Any], spline: int) -> NDArray[Any]:
        part = image[:side, :side]
        return np.asarray(ndimage.zoom(part, factor, order=spline, mode="mirror", grid_mode=True))

    return lambda exposure: exposure.resampled(enlarge, order)


def _rotated(exposure: Exposure) -> Exposure:
    def rotate(image: NDArray[Any], order: int) -> NDArray[Any]:
        return np.asarray(ndimage.rotate(image, 30, reshape=False, order=order))

    return exposure.resampled(rotate, 3)


def _shifted(exposure: Exposure) -> Exposure:
    def shift(image: NDArray[Any], order: int) -> NDArray[Any]:
        return np.asarray(ndimage.shift(image, (0.3, 0.7), order=order)[4:-4, 4:-4])

    return exposure.resampled(shift, 1)


def _corners(level: float, side: int) -> Change:
    def change(exposure: Exposure) -> Exposure:
        diagonal = np.indices(exposure.observed.shape).sum(axis=0)
        outside = (diagonal < side) | (diagonal > diagonal.max() - side)
        return exposure.without(outside, np.array(level))

    return change


def _frame(level: float, width: int) -> Change:
    def change(exposure: Exposure) -> Exposure:
        inside = ndimage.binary_erosion(np.ones(exposure.observed.shape, bool), iterations=width)
        return exposure.without(~inside, np.array(level))

    return change


def _drawn(rows: slice, columns: slice, percentile: float | None = None) -> Change:
    """Return a disturbance that sets a rectangle to a percentile of the image, or to 0."""

    def change(exposure: Exposure) -> Exposure:
        level = 0.0 if percentile is None else np.percentile(exposure.observed, percentile)
        return exposure.without(rectangle(exposure, rows, columns), np.array(level))

    return change


def _arrow(exposure: Exposure) -> Exposure:
    rows, columns = exposure.observed.shape
    drawing = PillowImage.new("L", (4 * columns, 4 * rows))
    draw = ImageDraw.Draw(drawing)
    draw.line((80, 80, 260, 200), fill=255, width=12)
    draw.polygon([(260, 200), (220, 200), (250, 160)], fill=255)
    small = drawing.resize((columns, rows), PillowImage.Resampling.BOX)  # smooth edges
    opacity = np.asarray(small, np.float64) / 255
    mixed = exposure.observed + opacity * (1.2 * exposure.observed.max() - exposure.observed)
    return exposure.without(opacity > 0, mixed)


def _pairs(exposure: Exposure) -> Exposure:
    random = np.random.default_rng(5)
    hot = np.zeros(exposure.observed.shape, bool)
    for row, column in random.integers(3, min(hot.shape) - 4, (12, 2)):
        hot[row : row + 2, column] = True
    return exposure.without(hot, exposure.observed.max() * random.uniform(1, 5, hot.shape))


def _salt(exposure: Exposure) -> Exposure:
    random = np.random.default_rng(3)
    return exposure.without(random.random(exposure.observed.shape) < 0.02, np.array(4095.0))


def _rows_and_columns(exposure: Exposure) -> Exposure:
    random = np.random.default_rng(4)
    rows, columns = exposure.observed.shape
    offsets = random.normal(0, 8, (rows, 1)) + random.normal(0, 8, (1, columns))
    return replace(exposure, observed=exposure.observed + offsets)


def _repeated(exposure: Exposure) -> Exposure:
    def repeat(image: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(image[:70, :70].repeat(3, 0).repeat(3, 1))

    return Exposure(*map(repeat, (exposure.observed, exposure.truth, exposure.scored)))


ALL = slice(None)
UNSEEN: dict[str, Change] = {
    "corners of zeros": _corners(0.0, 60),
    "corners of 65535": _corners(65535.0, 90),
    "frame of zeros, 3 px": _frame(0.0, 3),
    "frame of NaN, 9 px": _frame(np.nan, 9),
    "bar, grey": _drawn(slice(200, 206), slice(150, 200), 90),
    "bar, black": _drawn(slice(100, 105), slice(90, 140)),
    "arrow with smooth edges": _arrow,
    "two dead columns": _drawn(ALL, slice(60, 62)),
    "half a dead row": _drawn(slice(70, 71), slice(0, 110)),
    "pairs of hot pixels": _pairs,
    "2 % white pixels": _salt,
    "offsets of rows and columns": _rows_and_columns,
    "rotated by 30°, cubic": _rotated,
    "shifted by 0.3 and 0.7 px, linear": _shifted,
    "Gaussian filter, 2 px": _filtered(lambda image: ndimage.gaussian_filter(image, 2)),
    "mean filter, 3 px": _filtered(lambda image: ndimage.uniform_filter(image, 3)),
    "total variation": _filtered(lambda image: denoise_tv_chambolle(image, 0.05)),
    "bilateral filter": _filtered(lambda image: denoise_bilateral(image, win_size=7)),
    "unsharp mask": _filtered(lambda image: 2 * image - ndimage.gaussian_filter(image, 1.5)),
    "JPEG, quality 75": lambda exposure: compressed(exposure, 75),
    "JPEG, quality 30": lambda exposure: compressed(exposure, 30),
    "enlarged 1.3 times, cubic": _enlarged(1.3, 3, 224),
    "enlarged 2 times, cubic": _enlarged(2, 3, 150),
    "enlarged 3 times, linear": _enlarged(3, 1, 100),
    "15 Richardson-Lucy iterations": lambda exposure: deconvolved(exposure, 1.3, 15),
    "pixels repeated 3 times": _repeated,
}
