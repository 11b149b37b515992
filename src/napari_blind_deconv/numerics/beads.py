"""Find the spots of beads in an image, tell which can be used, and average them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.optimize import least_squares
from skimage.feature import peak_local_max

from napari_blind_deconv.numerics.recorded_psf import border

__all__ = ["Bead", "LeftOut", "average", "find_beads", "measured"]

_FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
_SMOOTHING = 1.0  # σ in pixels, before local maxima are searched
_SIGNIFICANT = 8.0  # standard deviations of the noise of the smoothed image
_MAD_PER_SIGMA = 0.6745
_FIRST_REACH = 12  # pixels, to measure the widths of spots before they are known
_MOST_SPOTS = 400  # the brightest; more tell nothing new
# Half sides of the window of a bead in its FWHM, across and along the optical axis. A stack is
# seldom much longer than its beads, so the window is at most this part of each side of the image.
_ACROSS, _ALONG, _LARGEST_PART = 4.0, 2.5, 0.8
_CORE = 1.0  # half side of the region that a Gaussian is fitted to, in FWHM
_TOO_NEAR = 1.5  # a neighbour is too near within the window and this many FWHM more ...
_NEIGHBOUR = 0.1  # ... if it is brighter than this fraction of the spot
_DIM = 0.1  # of the median brightness of the beads
_NO_BEAD = 0.02  # of the brightest spot; less is noise or dirt, even beside a clump of beads
_NARROW = 0.6  # of the widths of the brightest spots
_WIDER, _BRIGHTER = 1.3, 2.0  # than the median: several beads
_PICKED_WITHIN = 4  # pixels along each axis
_PLATEAU = 3  # pixels that have the largest value of the image


class LeftOut(StrEnum):
    """Why a spot is not used."""

    CUT_OFF = "cut off by the border"
    SATURATED = "saturated"
    TOUCHING = "too near to another bead"
    DIM = "too dim"
    HOT = "narrower than a bead, so probably a hot pixel"
    CLUMPED = "wider or brighter than most, so probably several beads"
    NO_FIT = "not like a single spot"


@dataclass(frozen=True)
class Bead:
    """A spot in an image.

    Attributes
    ----------
    position : tuple of float
        In pixels along the axes of the image.
    brightness : float
        Above the background, in the units of the image.
    fwhm : tuple of float
        Along the axes, in pixels; empty before it is measured.
    left_out : LeftOut or None
        Why it is not used.
    """

    position: tuple[float, ...]
    brightness: float
    fwhm: tuple[float, ...] = ()
    left_out: LeftOut | None = None


def find_beads(
    image: NDArray[Any],
    positions: ArrayLike | None = None,
    saturation: float | None = None,
    shape: Sequence[int] | None = None,
) -> tuple[list[Bead], tuple[int, ...]]:
    """Find spots and decide which can be used.

    Parameters
    ----------
    image : ndarray
        Plane or volume.
    positions : array_like, optional
        Positions of the spots to use, in pixels, one row each; each stands for the brightest pixel
        near it. They are left out only if they are cut off, saturated or no single spot. Default:
        all local maxima above the noise.
    saturation : float, optional
        Value from which pixels are saturated. Default: the largest of the type of an integer image,
        and the largest in the image if several pixels of a spot have it.
    shape : sequence of int, optional
        Sides of the window around a bead. Default: 8 FWHM across and 5 FWHM along the optical axis,
        and at most 0.8 of the sides of the image.

    Returns
    -------
    beads : list of Bead
    window : tuple of int
        Odd sides of the window around a bead.
    """
    values = image.astype(np.float64)
    smooth = ndimage.gaussian_filter(values, _SMOOTHING)
    level = float(np.median(smooth))
    if positions is None:
        noise = float(np.median(np.abs(smooth - level))) / _MAD_PER_SIGMA
        found = peak_local_max(
            smooth,
            min_distance=2,
            threshold_abs=level + max(_SIGNIFICANT * noise, 1e-6 * float(np.ptp(smooth))),
            exclude_border=False,
            num_peaks=_MOST_SPOTS,
        )
    else:
        picked = np.atleast_2d(np.asarray(positions))
        found = np.array([_brightest_near(smooth, at) for at in picked])
    limit = _saturation(image, saturation)
    spots = [
        Bead(
            tuple(map(float, at)),
            float(smooth[tuple(at)] - level),
            left_out=LeftOut.SATURATED if _is_saturated(values, at, limit) else None,
        )
        for at in found
    ]
    if not spots:
        return [], (1,) * image.ndim
    widths = _typical_widths(values, spots)
    if shape is None:
        wanted = np.array([_ALONG, _ACROSS, _ACROSS])[-image.ndim :] * widths
        reach = np.minimum(wanted, _LARGEST_PART / 2 * np.array(image.shape)).astype(int)
        reach = np.maximum(reach, 3)
    else:
        reach = (np.array(shape) - 1) // 2
    judged = [_judged(values, bead, reach, widths) for bead in spots]
    if positions is None:
        judged = _without_neighbours(judged, reach + _TOO_NEAR * widths)
        judged = _without_odd_ones(judged)
    return judged, tuple(2 * reach + 1)


def average(
    image: NDArray[Any], beads: Sequence[Bead], window: Sequence[int]
) -> NDArray[np.float64]:
    """Return the sum of the beads, moved by spline interpolation to the centre of the window.

    The background of each window, the median of its rim, is taken off. The sum weights beads by
    their brightness, as suits the noise of photons.
    """
    total = np.zeros(tuple(window))
    for bead in beads:
        nearest = np.round(bead.position).astype(int)
        cut = _cut(image, nearest, np.array(window) // 2 + 1).astype(np.float64)
        light = cut - np.median(border(cut))
        moved = ndimage.shift(light, nearest - np.array(bead.position), order=3, mode="nearest")
        total += moved[(slice(1, -1),) * image.ndim]
    return total


def measured(window: NDArray[Any], widths: NDArray[np.float64]) -> Bead | None:
    """Fit a Gaussian to the core of a spot; None if it does not fit.

    The position is relative to the centre of the window.
    """
    core = np.maximum(np.round(_CORE * widths), 2).astype(int)
    centre = np.array(window.shape) // 2
    values = _cut(window, centre, np.minimum(core, centre)).astype(np.float64)
    axes = np.meshgrid(*(np.arange(side) - side // 2 for side in values.shape), indexing="ij")
    grid = np.stack(axes).reshape(values.ndim, -1)
    low, high = float(np.median(border(window))), float(values.max())
    scale = max(high - low, np.finfo(np.float64).tiny)
    flat = (values.ravel() - low) / scale

    def residual(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        height, offset = parameters[:2]
        middle, sigmas = parameters[2 : 2 + values.ndim], parameters[2 + values.ndim :]
        squares = np.square((grid - middle[:, None]) / sigmas[:, None]).sum(axis=0)
        return height * np.exp(-squares / 2) + offset - flat

    start = np.concatenate([[1.0, 0.0], np.zeros(values.ndim), widths / _FWHM_PER_SIGMA])
    fit = least_squares(residual, start)
    height, position = fit.x[0], fit.x[2 : 2 + values.ndim]
    fwhm = np.abs(fit.x[2 + values.ndim :]) * _FWHM_PER_SIGMA
    fits = height > 0 and (np.abs(position) <= core).all() and (fwhm < 4 * widths).all()
    return Bead(tuple(position), height * scale, tuple(fwhm)) if fits else None


def _brightest_near(smooth: NDArray[np.float64], at: NDArray[Any]) -> tuple[int, ...]:
    """Return the brightest pixel near a position that was picked by eye."""
    reach = _PICKED_WITHIN
    starts = np.clip(np.round(at).astype(int), 0, np.array(smooth.shape) - 1)
    region = tuple(slice(max(start - reach, 0), start + reach + 1) for start in starts)
    best = np.unravel_index(smooth[region].argmax(), smooth[region].shape)
    return tuple(int(part.start + index) for part, index in zip(region, best, strict=True))


def _cut(image: NDArray[Any], centre: NDArray[Any], reach: NDArray[Any]) -> NDArray[Any]:
    """Return the part of an image around a pixel, shorter where the image ends."""
    return image[tuple(slice(max(c - r, 0), c + r + 1) for c, r in zip(centre, reach, strict=True))]


def _typical_widths(values: NDArray[np.float64], spots: Sequence[Bead]) -> NDArray[np.float64]:
    """Return the median full width at half maximum along lines through the spots.

    Spots are weighted by the square of their brightness, because there may be more spots of noise
    than of beads. Saturated ones are too wide.
    """
    good = [bead for bead in spots if bead.left_out is None] or spots
    bright = sorted(good, key=lambda bead: -bead.brightness)[: _MOST_SPOTS // 4]
    widths = []
    for bead in bright:
        centre = np.array(bead.position, int)
        part = _cut(values, centre, np.full(values.ndim, _FIRST_REACH))
        middle = np.minimum(centre, _FIRST_REACH)
        level = float(np.median(border(part)))
        half = level + (part[tuple(middle)] - level) / 2
        widths.append([_width_along(part, middle, axis, half) for axis in range(values.ndim)])
    weights = np.square([bead.brightness for bead in bright])
    order = np.argsort(widths, axis=0)
    sums = np.cumsum(weights[order], axis=0)
    middle_one = np.argmax(sums >= sums[-1] / 2, axis=0)
    medians = np.take_along_axis(np.sort(widths, axis=0), middle_one[None], axis=0)[0]
    return np.maximum(medians, 1.5)


def _width_along(part: NDArray[Any], middle: NDArray[Any], axis: int, half: float) -> float:
    line = np.moveaxis(part, axis, -1)[tuple(np.delete(middle, axis))]
    pieces, _ = ndimage.label(line >= half)
    return float(np.count_nonzero(pieces == pieces[middle[axis]]))


def _is_saturated(values: NDArray[np.float64], at: NDArray[Any], limit: float) -> bool:
    """Whether pixels of a spot have the largest value that pixels can have."""
    core = _cut(values, at, np.full(values.ndim, 2))
    is_plateau = core.max() == values.max() and np.count_nonzero(core == core.max()) >= _PLATEAU
    return bool(core.max() >= limit or is_plateau)


def _saturation(image: NDArray[Any], given: float | None) -> float:
    if given is not None:
        return given
    return float(np.iinfo(image.dtype).max) if image.dtype.kind in "ui" else np.inf


def _judged(
    values: NDArray[np.float64],
    bead: Bead,
    reach: NDArray[np.int64],
    widths: NDArray[np.float64],
) -> Bead:
    """Measure a spot, or tell why it cannot be used."""
    centre = np.array(bead.position, int)
    around = _cut(values, centre, reach + 1)
    if around.shape != tuple(2 * reach + 3):
        return replace(bead, left_out=LeftOut.CUT_OFF)
    if bead.left_out is not None:
        return bead
    fitted = measured(around, widths)
    if fitted is None:
        return replace(bead, left_out=LeftOut.NO_FIT)
    if (np.array(fitted.fwhm) < _NARROW * widths).any():
        return replace(bead, left_out=LeftOut.HOT)
    return replace(fitted, position=tuple(centre + np.array(fitted.position)))


def _without_neighbours(beads: Sequence[Bead], distance: NDArray[np.float64]) -> list[Bead]:
    """Leave out beads with a neighbour; maxima within a brighter spot are no beads at all."""
    places = np.array([bead.position for bead in beads])
    brightness = np.array([bead.brightness for bead in beads])
    kept = []
    for number, bead in enumerate(beads):
        offsets = np.abs(places - places[number])
        near = (offsets < distance).all(axis=1)
        near[number] = False
        if (near & (brightness * _NEIGHBOUR > bead.brightness)).any():
            continue  # a ring or noise on the wings of the other one
        is_near = (near & (brightness > _NEIGHBOUR * bead.brightness)).any()
        usable = bead.left_out is None
        kept.append(replace(bead, left_out=LeftOut.TOUCHING) if is_near and usable else bead)
    return kept


def _without_odd_ones(beads: Sequence[Bead]) -> list[Bead]:
    """Leave out beads that are much dimmer, brighter or wider than the others."""
    whole = [bead.brightness for bead in beads if bead.left_out is not LeftOut.SATURATED]
    faintest = _NO_BEAD * max(whole, default=0.0)
    beads = [
        replace(bead, left_out=LeftOut.DIM) if bead.brightness < faintest else bead
        for bead in beads
    ]
    usable = [bead for bead in beads if bead.left_out is None]
    if len(usable) < 3:
        return beads
    brightness = float(np.median([bead.brightness for bead in usable]))
    widths = np.median([bead.fwhm for bead in usable], axis=0)

    def reason(bead: Bead) -> LeftOut | None:
        if bead.left_out is not None:
            return bead.left_out
        if bead.brightness < _DIM * brightness:
            return LeftOut.DIM
        is_wide = (np.array(bead.fwhm) > _WIDER * widths).any()
        is_bright = bead.brightness > _BRIGHTER * brightness
        return LeftOut.CLUMPED if is_wide or is_bright else None

    return [replace(bead, left_out=reason(bead)) for bead in beads]
