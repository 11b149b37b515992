"""What an image and its linear estimate tell about noise and detail, pixel by pixel.

The linear filter of :mod:`.wiener` assumes one level of noise and one level of detail everywhere.
In a micrograph neither holds: dark pixels have less noise than bright ones, and areas without
structure lie beside areas full of it. Here the scene is x = φ(m + a·u), where u is a Gaussian field
with the power spectrum of the linear filter and a the local amplitude of detail, taken from the
linear estimate. The link φ is an exponential where the light is dark, so that x is positive, and
the identity where it is bright. A first estimate tells more than the linear one: in a model that it
refines, m is the local mean and a the local deviation from it, over half the distance.

Compare Selig and Enßlin, *D3PO*, A&A 574, A74 (2015), whose link is the exponential everywhere, and
Wainwright and Simoncelli, *Scale mixtures of Gaussians*, NIPS (1999).

Images and kernels have any number of axes, all spatial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_blind_deconv.numerics.camera import CameraNoise
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.cosines import (
    cosine_frequencies,
    cosines_of,
    from_cosines,
    power_of_kernel,
)
from napari_blind_deconv.numerics.field_of_view import crop_to_field_of_view
from napari_blind_deconv.numerics.location import kernel_covariance
from napari_blind_deconv.numerics.spectrum import scene_frequency
from napari_blind_deconv.numerics.threads import gaussian_smoothed

__all__ = [
    "Link",
    "LocalModel",
    "dark_level",
    "expected_deviation",
    "local_amplitude",
    "with_kernel_error",
]

# Light below this share of the bright pixels is dark: the link is exponential there. Twice as much
# flattens dim structures; half as much leaves more noise in the dark.
_DARK = 0.1
_DARKEST = 0.1  # percentile of the linear estimate below which there is only noise
_DARKEST_NOISE = 3.1  # standard deviations of noise below its mean, at this percentile
_BRIGHT = 99.5  # percentile of the image that counts as bright
# A few bright points on black: the percentile is bounded by this share of the brightest pixel.
_MIN_BRIGHT = 0.01
# The field of no light is minus infinity. Before its field is taken, an estimate is raised to its
# local mean and the light that noise hides, which is this share of the least deviation; but to no
# less and no more than these shares of what is dark light for the link. The larger share alone left
# a haze in a volume of counted photons, where space is empty.
_HIDDEN = 0.5
_DARKEST_START, _MIN_START = 0.01, 0.1
# Added to the local energy of detail, as a share of its mean. A window holds a dozen independent
# samples of detail, so that its energy is uncertain by about this much.
_MIN_ENERGY = 0.1
# Distance over which a refined model is local, as a share of that of the linear estimate. It was
# chosen on made volumes of the kinds that the benchmark has, with other seeds. A third gains more
# in those of points and lines, and loses more in those of surfaces.
_REFINED_REACH = 0.5
# Range of the data per frequency for which the posterior variance is tabulated, and the points.
_DATA, _TABULATED = (1e-4, 1e4), 60
_SMOOTHING = 1.0  # pixels, of the blurred estimate before it is differentiated


@dataclass(frozen=True, eq=False)
class LocalModel:
    """What is known of an image before the fit: kernel, noise by pixel, local amplitude of detail.

    Attributes
    ----------
    kernel : ndarray
        Kernel ``(*kernel)`` with sum 1.
    variance : ndarray
        Variance of each pixel of the image ``(*image)``. Raising it at a pixel lets the estimate
        differ more from the image there.
    valid : ndarray
        Mask ``(*image)`` of the pixels that the estimate has to explain.
    power : ndarray
        |H|² of the kernel at the frequencies of the cosines ``(*canvas)``.
    penalty : ndarray
        Weight of the squared cosines ``(*canvas)``, as :func:`.wiener.scene_penalty` gives it for
        the mean variance. Raising it gives a smoother estimate.
    amplitude : ndarray
        Local amplitude of detail ``(*canvas)``. Raising it lets the estimate vary more there.
    reach : tuple of float
        Distances in pixels at which detail that the linear filter resolves is correlated.
    level : float or ndarray
        Mean m of the field, above `dark`, of which an array is ``(*canvas)``.
    dark : float
        Intensity without light, which the estimate exceeds everywhere. Lowering it allows darker
        areas and leaves more noise in them.
    bright : float
        Brightness of the bright pixels above `dark`; a tenth of it is dark light for the link.
    """

    kernel: NDArray[np.float32]
    variance: NDArray[np.float32]
    valid: NDArray[np.bool_]
    power: NDArray[np.float32]
    penalty: NDArray[np.float32]
    amplitude: NDArray[np.float32]
    reach: tuple[float, ...]
    level: float | NDArray[np.float32]
    dark: float
    bright: float

    @classmethod
    def of(
        cls,
        observed: NDArray[np.float32],
        kernel: NDArray[np.float32],
        linear: NDArray[np.float32],
        *,
        camera: CameraNoise,
        penalty: NDArray[np.float32],
        width_error: float,
        valid: NDArray[np.bool_] | None = None,
        sampling: Sequence[float] | None = None,
    ) -> Self:
        """Learn the model from an image and its linear estimate.

        Parameters
        ----------
        observed : ndarray
            Blurred image ``(*image)``.
        kernel : ndarray
            Kernel ``(*kernel)`` with sum 1.
        linear : ndarray
            Linear estimate on the canvas ``(*canvas)``.
        camera : CameraNoise
            How the variance of the noise grows with brightness.
        penalty : ndarray
            As the attribute.
        width_error : float
            Relative error of the kernel's width, as in :func:`with_kernel_error`.
        valid : ndarray, optional
            As the attribute. Default: all pixels.
        sampling : sequence of float, optional
            As in `Spectrum`.
        """
        known = np.ones(observed.shape, bool) if valid is None else valid
        power = power_of_kernel(kernel, linear.shape)
        blurred = Convolution(torch.from_numpy(kernel)).forward(torch.from_numpy(linear)).numpy()
        variance = np.square(camera.deviation(blurred).astype(np.float32))
        light = observed[known]
        darkest = blurred[known].min()
        dark = dark_level(
            light,
            linear,
            blurred=float(darkest),
            noise=float(camera.deviation(darkest)) * _noise_gain(power, penalty),
            offset=camera.offset,
        )
        bright = max(float(np.percentile(light, _BRIGHT)), _MIN_BRIGHT * float(light.max()))
        steps = tuple(sampling or (1.0,) * linear.ndim)
        reach = _correlation_lengths(power, penalty, steps)
        return cls(
            kernel=kernel,
            variance=with_kernel_error(variance, blurred, kernel, width_error),
            valid=known,
            power=power,
            penalty=penalty,
            amplitude=local_amplitude(linear, reach, steps),
            reach=reach,
            level=float(light.mean()) - dark,
            dark=dark,
            bright=max(bright - dark, math.ulp(1.0)),
        )

    def refined(self, estimate: NDArray[np.float32], field: NDArray[np.float32]) -> Self:
        """Return the model with the local mean and deviation of an estimate made with this model.

        Its field is that of `field_of`.

        It follows small and bright objects more closely, at the cost of more noise in textures that
        fill the image.
        """
        level = gaussian_smoothed(field, self.reach)
        deviation = np.square(estimate - gaussian_smoothed(estimate, self.reach))
        return replace(self, level=level, amplitude=_amplitude(deviation, self._narrow_reach))

    def field_of(self, estimate: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the field m + a·u of an estimate ``(*canvas)``, raised where it is dark."""
        light = estimate - np.float32(self.dark)
        hidden = _HIDDEN * np.sqrt(self.variance[self.valid].min())
        return self.link.inverse(light, gaussian_smoothed(light, self._narrow_reach) + hidden)

    @property
    def _narrow_reach(self) -> tuple[float, ...]:
        return tuple(_REFINED_REACH * length for length in self.reach)

    @property
    def link(self) -> Link:
        """The link φ."""
        return Link(self.bright)

    @cached_property
    def noise(self) -> float:
        """Mean variance of the valid pixels."""
        return float(self.variance[self.valid].mean(dtype=np.float64))


class Link:
    """φ(z) = c·ln(1 + exp(z/c)): z itself where it is much larger than c, and positive below.

    Parameters
    ----------
    bright : float
        Brightness of bright pixels, of which c is a tenth.
    """

    def __init__(self, bright: float) -> None:
        self._dark = _DARK * float(bright)

    def __call__(self, field: Tensor) -> Tensor:
        """Return the light of a field."""
        light: Tensor = torch.nn.functional.softplus(field, beta=1 / self._dark)
        return light

    def inverse(
        self, light: NDArray[np.float32], least: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the field of light that is raised to the least one, within bounds above 0."""
        least = np.clip(least / self._dark, _DARKEST_START, _MIN_START)
        scaled = np.maximum(light / self._dark, least)
        field: NDArray[np.float32] = self._dark * (scaled + np.log(-np.expm1(-scaled)))
        return field

    def slope(self, light: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the derivative of the link where its value is a light ≥ 0."""
        return torch.div(light, -self._dark, out=out).expm1_().neg_()


def expected_deviation(estimate: NDArray[np.float32], model: LocalModel) -> NDArray[np.float64]:
    """Return the standard deviation of the scene around an estimate, given the image.

    Around the estimate, link and noise are taken as constant over the reach of the kernel; the
    deviation is then that of a Gaussian field with as much data as each pixel has.

    Parameters
    ----------
    estimate : ndarray
        Estimate in the field of view ``(*image)``.
    model : LocalModel
        What is known of the image.

    Returns
    -------
    ndarray
        Deviation ``(*image)``, in the units of the image. It does not contain errors of the kernel
        that are larger than the model assumes, nor those of the model itself.
    """
    amplitude = crop_to_field_of_view(model.amplitude, model.kernel.shape)
    light = torch.from_numpy(np.asarray(estimate - model.dark, np.float32).clip(0))
    reach = amplitude * model.link.slope(light).numpy()
    # Per frequency, in units of the noise: 1 / (penalty + data · |H|²), where data grows with the
    # reach of the field and falls with the variance of the pixel. Its mean is interpolated.
    data = np.square(reach) * model.noise / model.variance
    tabulated = np.geomspace(*_DATA, _TABULATED)
    means = [float(np.mean(1 / (model.penalty + each * model.power))) for each in tabulated]
    mean = np.exp(np.interp(np.log(np.maximum(data, _DATA[0])), np.log(tabulated), np.log(means)))
    deviation: NDArray[np.float64] = np.sqrt(model.noise * mean)
    return deviation * reach


def dark_level(
    observed: NDArray[np.float32],
    estimate: NDArray[np.float32],
    *,
    blurred: float,
    noise: float,
    offset: float | None,
) -> float:
    """Return the intensity without light, as far as an image and its linear estimate tell.

    Blur makes dark places brighter, so that the scene was darker than the darkest place of the
    image without noise. The linear estimate shows darker places, but noise and ringing make them
    too dark. The level is in the middle between both, and no higher than the noise explains.

    Parameters
    ----------
    observed : ndarray
        Valid pixels of the image.
    estimate : ndarray
        Linear estimate.
    blurred : float
        Darkest pixel of the blurred linear estimate.
    noise : float
        Standard deviation of the noise of the linear estimate where it is dark. Raising it raises
        the level.
    offset : float, optional
        Intensity at which the noise of the camera would vanish, as `CameraNoise.offset`.
    """
    darkest = float(np.percentile(estimate, _DARKEST))
    if offset is not None:
        darkest = max(darkest, offset)
    darkest = min(float(observed.min()), darkest)
    return darkest + min(max(blurred - darkest, 0) / 2, _DARKEST_NOISE * noise)


def _noise_gain(power: NDArray[np.float32], penalty: NDArray[np.float32]) -> float:
    """Return the standard deviation of white noise after the linear filter, over that before."""
    return float(np.sqrt((power / np.square(power + penalty)).mean()))


def local_amplitude(
    estimate: NDArray[np.float32], reach: Sequence[float], steps: Sequence[float]
) -> NDArray[np.float32]:
    """Return the local amplitude of detail in a linear estimate, with a mean square of 1.

    It is the root of the energy of the gradient, smoothed over the distance at which detail that
    the linear filter resolves is correlated, so that every amplitude is the mean of a dozen
    independent samples.

    Parameters
    ----------
    estimate : ndarray
        Linear estimate ``(*canvas)``.
    reach : sequence of float
        That distance along each axis, in pixels. Raising it gives a more even amplitude.
    steps : sequence of float
        Pixel size along each axis, as a multiple of the smallest.

    Returns
    -------
    ndarray
        Amplitude ``(*canvas)``, float32.
    """
    energy = np.zeros(estimate.shape, np.float32)
    for axis, step in enumerate(steps):
        energy += np.square(np.gradient(estimate, step, axis=axis))
    return _amplitude(energy, reach)


def _amplitude(energy: NDArray[np.float32], reach: Sequence[float]) -> NDArray[np.float32]:
    """Return the root of the local mean of an energy, with a mean square of 1."""
    local = gaussian_smoothed(energy, reach)
    local += np.float32(_MIN_ENERGY * local.mean(dtype=np.float64))
    mean = np.float32(local.mean(dtype=np.float64))
    return np.sqrt(local / mean) if mean > 0 else np.ones_like(local)


def _correlation_lengths(
    power: NDArray[np.float32], penalty: NDArray[np.float32], sampling: tuple[float, ...]
) -> tuple[float, ...]:
    """Return the lengths in pixels over which the gradient of a linear estimate is correlated.

    The area of correlation of a random field with the power P(ω) is (2π)² ∫P² / (∫P)².
    """
    radius = scene_frequency(cosine_frequencies(penalty.shape), sampling)
    # Both relative to their largest values, because single precision would not hold the squares.
    gain = power / (power + penalty)
    gain /= gain.max()
    # The scene's power is proportional to 1 / penalty, where this is not the error of the kernel.
    resolved = np.square(radius * gain) / (penalty / penalty.min())
    resolved[radius > math.pi] = 0
    resolved /= resolved.max()
    total = float(resolved.sum(dtype=np.float64))
    samples = total**2 / float(np.square(resolved).sum(dtype=np.float64))
    length = (math.prod(sampling) * resolved.size / samples) ** (1 / resolved.ndim)
    return tuple(length / step for step in sampling)


def with_kernel_error(
    variance: NDArray[np.floating[Any]],
    blurred: NDArray[np.float32],
    kernel: NDArray[np.float32],
    deviation: float,
) -> NDArray[np.floating[Any]]:
    """Add to the variance of each pixel what an error of the kernel's width makes there.

    A change of the kernel's variance along an axis by δ changes the blurred image by δ/2 times its
    second derivative. The addition is at most as large as the variance of the noise, so that a
    nearly noiseless image is not smoothed because of it.

    Parameters
    ----------
    variance : ndarray
        Variance of the noise ``(*image)``.
    blurred : ndarray
        Image without noise ``(*image)``.
    kernel : ndarray
        Kernel with as many axes.
    deviation : float
        Standard deviation of the logarithm of the kernel's width, about its relative error. Raising
        it gives less weight to the edges of bright objects.
    """
    squares = [np.square(along) for along in cosine_frequencies(blurred.shape)]
    smooth = [np.exp(-(_SMOOTHING**2) / 2 * square) for square in squares]
    widths = np.diag(kernel_covariance(kernel)).astype(np.float32)
    curvature = reduce(np.add, [w * square for w, square in zip(widths, squares, strict=True)])
    filtered = cosines_of(torch.from_numpy(blurred)).numpy()
    filtered *= reduce(np.multiply, smooth, curvature)
    change = np.float32(deviation) * from_cosines(torch.from_numpy(filtered)).numpy()
    error = gaussian_smoothed(np.square(change), _SMOOTHING)
    error /= np.maximum(error + variance, np.finfo(np.float32).tiny)
    increased: NDArray[np.floating[Any]] = variance * (1 + error)
    return increased
