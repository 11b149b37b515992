"""The PSF of a microscope in voxels: widefield, confocal, two-photon, or with a light sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.interpolate import BSpline, make_interp_spline
from scipy.special import roots_legendre

from napari_blind_deconv.numerics.pupil import Pupil, peak_position

__all__ = ["Microscope", "averaged_over_disc", "voxel_psf", "voxel_sides"]

# The window of a PSF: planes whose brightest point is brighter than this share of the brightest of
# all, and the rows and columns that hold this share of the light of these planes.
_DIMMEST_PLANE = 0.01
_LIGHT_INSIDE = 0.98
_LARGEST_SIDE = 255
_SAMPLES_PER_PERIOD = 12  # of the profile along the radius, which a cubic spline joins
_FOCUS_SAMPLES = 81
_LARGEST_PINHOLE = 20.0  # Airy units; a larger one lets everything pass
_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True)
class Microscope:
    """A microscope, as far as its PSF depends on it.

    A point is seen through all of the parts that are given: its image is the product of them.

    Attributes
    ----------
    emission : Pupil or None
        The objective at the emission wavelength, which forms the image. None if the detector
        collects all light, so that the excitation alone forms it.
    excitation : Pupil or None
        The objective at the excitation wavelength, if it focuses the excitation to a point.
    pinhole : float or None
        Diameter of the pinhole in Airy units, 1.22 emission wavelengths over the numerical
        aperture. 0 is a closed one. Raising it widens the PSF. None: there is none.
    photons : int
        Number of photons that excite at once.
    sheet_thickness : float or None
        FWHM in µm of a light sheet that lies in the focus.
    """

    emission: Pupil | None
    excitation: Pupil | None = None
    pinhole: float | None = None
    photons: int = 1
    sheet_thickness: float | None = None

    @property
    def _pupils(self) -> list[Pupil]:
        return [pupil for pupil in (self.emission, self.excitation) if pupil is not None]

    @property
    def lateral_period(self) -> float:
        """A period, in µm, to be sampled well by whatever samples the PSF in a plane."""
        return min(pupil.lateral_period for pupil in self._pupils)

    @property
    def axial_period(self) -> float:
        """The same along the optical axis."""
        periods = [pupil.axial_period for pupil in self._pupils]
        return min(periods if self.sheet_thickness is None else [*periods, self.sheet_thickness])

    def focus(self) -> float:
        """Return the height in µm at which the PSF is brightest on the axis."""
        start = self._pupils[0].brightest_height()
        heights = start + np.linspace(-1, 1, _FOCUS_SAMPLES) * self.axial_period
        return peak_position(heights, self.profile(0.0, heights)(0.0))

    def profile(self, reach: float, heights: ArrayLike) -> BSpline:
        """Return the PSF as a spline of the distance from the optical axis.

        Parameters
        ----------
        reach : float
            Largest distance from the optical axis, in µm.
        heights : array_like
            Positions of the focus in µm; the spline has a value for each of them.
        """
        z = np.asarray(heights, np.float64)
        disc = self._pinhole_radius
        step = self.lateral_period / _SAMPLES_PER_PERIOD
        # Some samples more, because a spline is less accurate at its end.
        radii = step * np.arange(math.ceil((reach + disc) / step) + 8)
        light = np.ones((radii.size, z.size))
        if self.emission is not None:
            light *= self.emission.intensity(radii, z)
            if self.sheet_thickness is not None:
                sigma = self.sheet_thickness / _FWHM_PER_SIGMA
                light *= np.exp(-np.square((z - self.emission.brightest_height()) / sigma) / 2)
        if disc > 0:
            centres = radii[radii <= radii[-1] - disc]
            light = averaged_over_disc(radii, light, centres, disc, self.lateral_period)
            radii = centres
        if self.excitation is not None:
            light *= self.excitation.intensity(radii, z) ** self.photons
        return make_interp_spline(radii, light, k=3)

    @property
    def _pinhole_radius(self) -> float:
        """Radius of the pinhole in the sample, in µm."""
        if self.pinhole is None or self.emission is None:
            return 0.0
        # An Airy unit is 1.22 wavelengths over the aperture, 2.44 periods.
        return min(self.pinhole, _LARGEST_PINHOLE) * 1.22 * self.emission.lateral_period


def voxel_psf(
    microscope: Microscope, shape: Sequence[int], voxel_size: Sequence[float]
) -> NDArray[np.float64]:
    """Return a PSF integrated over voxels.

    A pixel of a camera collects the light on its area, and each plane of a volume stands for a
    layer of the sample.

    Parameters
    ----------
    microscope : Microscope
    shape : sequence of int
        Odd sides: planes, rows and columns, or rows and columns for the plane in focus.
    voxel_size : sequence of float
        Size of a voxel along these axes, in µm.

    Returns
    -------
    ndarray
        Sum 1. The origin, where the PSF is brightest on the axis, is the central element.
    """
    *planes, rows, columns = shape
    *depth, height, width = voxel_size
    spline = _over_heights(
        microscope, planes, depth, math.hypot(rows * height, columns * width) / 2
    )
    nodes, weights = _rule(max(height, width) / microscope.lateral_period)
    # One quadrant; the others are its mirror images.
    y, x = (
        (np.arange(side // 2 + 1)[:, None] + nodes) * size
        for side, size in ((rows, height), (columns, width))
    )
    radii = np.hypot(y[:, None, :, None], x[None, :, None, :])
    points = radii.reshape(-1, nodes.size**2)
    values = _averaged(spline, points, np.outer(weights, weights).ravel())
    quadrant = np.moveaxis(values.reshape(y.shape[0], x.shape[0], -1), -1, 0)
    psf = np.pad(quadrant, [(0, 0), (rows // 2, 0), (columns // 2, 0)], mode="reflect")
    return (psf / psf.sum()).reshape(shape)


def voxel_sides(microscope: Microscope, voxel_size: Sequence[float]) -> tuple[int, ...]:
    """Return the odd sides of a window that is large enough for a PSF.

    The window has the planes whose brightest point is brighter than 1 % of the brightest of all,
    and the rows and columns that hold 98 % of the light of these planes; at most 255 of each.
    Parameters are those of :func:`voxel_psf`.
    """
    *depth, height, width = voxel_size
    most = _LARGEST_SIDE // 2
    reach = most * max(height, width)
    focus = microscope.focus()
    offsets = np.arange(-most, most + 1) if depth else np.array([0])
    spline = microscope.profile(reach, focus + offsets * (depth[0] if depth else 0.0))
    radii = np.linspace(0, reach, 8 * most)
    light = spline(radii)
    bright = np.abs(offsets[light.max(axis=0) > _DIMMEST_PLANE * light.max()]).max()
    within = np.cumsum((light[:, np.abs(offsets) <= bright] * radii[:, None]).sum(axis=1))
    radius = radii[np.searchsorted(within, _LIGHT_INSIDE * within[-1])]
    return (
        *(2 * int(bright) + 1 for _ in depth),
        *(2 * min(math.ceil(radius / side), most) + 1 for side in (height, width)),
    )


def _over_heights(
    microscope: Microscope, planes: Sequence[int], depth: Sequence[float], reach: float
) -> BSpline:
    """Return the profile in each plane, averaged over its thickness."""
    focus = microscope.focus()
    if not planes:
        return microscope.profile(reach, [focus])
    (count,), (size,) = planes, depth
    nodes, weights = _rule(size / microscope.axial_period)
    offsets = np.arange(count)[:, None] - count // 2 + nodes
    spline = microscope.profile(reach, focus + size * offsets.ravel())
    coefficients = spline.c.reshape(-1, count, nodes.size) @ weights
    return BSpline(spline.t, coefficients, spline.k)


def _rule(periods: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes within ±0.5, and weights of sum 1, to average over a number of periods."""
    nodes, weights = roots_legendre(2 + math.ceil(2 * periods))
    return nodes / 2, weights / 2


def _averaged(
    spline: BSpline, points: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the values of a spline, averaged over the points of each row."""
    return _averaging(spline, points, weights) @ spline.c


def _averaging(
    spline: BSpline, points: NDArray[np.float64], weights: NDArray[np.float64]
) -> sparse.csr_array:
    values = BSpline.design_matrix(points.ravel(), spline.t, spline.k)
    return sparse.kron(sparse.eye_array(len(points)), weights[None], format="csr") @ values


def averaged_over_disc(
    radii: NDArray[np.floating[Any]],
    light: NDArray[np.float64],
    centres: NDArray[np.floating[Any]],
    disc: float,
    period: float,
) -> NDArray[np.float64]:
    """Average a radial profile over discs, as a pinhole does.

    Parameters
    ----------
    radii : ndarray
        Distances from the axis ``(n,)``.
    light : ndarray
        Intensity there ``(n, heights)``. It is taken for constant beyond the radii.
    centres : ndarray
        Distances of the centres of the discs from the axis.
    disc : float
        Radius of the discs.
    period : float
        Finest period of the light.
    """
    spline = make_interp_spline(radii, light, k=3)
    nodes, weights = _rule(2 * disc / period)
    angles = np.pi * (np.arange(nodes.size) + 0.5) / nodes.size
    even = np.full(nodes.size, 1 / nodes.size)
    total = sparse.csr_array((centres.size, radii.size))
    for share, weight in zip(nodes + 0.5, weights, strict=True):
        distance = disc * math.sqrt(share)  # so that equal shares are equal areas
        square = centres[:, None] ** 2 + distance**2
        points = np.sqrt(square - 2 * centres[:, None] * distance * np.cos(angles))
        total = total + weight * _averaging(spline, np.clip(points, radii[0], radii[-1]), even)
    return np.asarray(total @ spline.c)
