"""How long a stack will take on this machine, measured before it is begun."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.engine.deconvolve import iterate
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plan import WARM_SHARE
from napari_blind_deconv.results import Stage
from napari_blind_deconv.settings import ImageStart, Settings, SolverName

__all__ = ["RuntimeModel", "measure_runtime"]

_SIDE = 128
_KERNEL_SIDE = 13
_STEPS = 4


@dataclass(frozen=True)
class RuntimeModel:
    """What this machine takes.

    Attributes
    ----------
    start : float
        Seconds a pixel to the linear estimate of a plane whose kernel is known.
    search : float
        The same for a plane whose kernel is to be found.
    step : float
        Seconds a pixel for a step of the fit.
    network : float
        Seconds to make the kernel's network and to bring it to the kernel that was found; the
        larger part of what a small plane takes, and spared where noise ends a run before.
    """

    start: float
    search: float
    step: float
    network: float

    def seconds(
        self, settings: Settings, *, planes: int, pixels: int, kernels: int
    ) -> tuple[float, float]:
        """Least and most seconds for a stack.

        Least if noise ends every run as early as it can, most if none ends before its limit.

        Parameters
        ----------
        settings : Settings
        planes, pixels : int
            How many planes, and pixels in each.
        kernels : int
            How many kernels are to be found: channels, one, as many as planes, or none.
        """
        limit = settings.max_iterations
        if kernels >= planes:  # each plane finds its own, and its fit goes on from there
            return self._of_planes(settings, planes, pixels, self.search, self.network, limit)
        held = math.ceil(limit / WARM_SHARE) if kernels else limit
        least, most = self._of_planes(settings, planes, pixels, self.start, 0.0, held)
        found = self._of_planes(settings, kernels, pixels, self.search, self.network, limit)
        return least + found[0], most + found[1]

    def _of_planes(
        self,
        settings: Settings,
        planes: int,
        pixels: int,
        start: float,
        network: float,
        limit: int,
    ) -> tuple[float, float]:
        most = planes * (pixels * (start + limit * self.step) + network)
        if _may_end_linearly(settings):
            return planes * pixels * start, most
        return planes * (pixels * (start + self.step) + network), most


def _may_end_linearly(settings: Settings) -> bool:
    """Whether a run may end with its linear estimate, before there is a network."""
    linear = settings.image_start is ImageStart.WIENER and settings.kernel_start != "flat"
    return settings.solver is SolverName.WIENER or (
        settings.solver is SolverName.AUTO and settings.stop_at_noise and linear
    )


def measure_runtime(settings: Settings) -> RuntimeModel:
    """Sharpen a small made-up picture, a few steps with its kernel known and one without."""
    noise = np.random.default_rng(0).normal(size=(_SIDE, _SIDE))
    picture = ndimage.gaussian_filter(noise, 2.0) + 0.01 * noise
    some = settings.with_changes(max_iterations=_STEPS, stop_at_noise=False, kernel_size=None)
    psf = gaussian_kernel((_KERNEL_SIDE, _KERNEL_SIDE), 2.0)
    _times(picture, some, psf)  # what is loaded or compiled once does not count
    known = _times(picture, some, psf)
    flat = settings.solver is SolverName.WIENER and settings.kernel_start == "flat"
    given = flat or settings.solver is SolverName.RICHARDSON_LUCY  # which need a PSF
    unknown = known if given else _times(picture, some, None)
    pixels = picture.size
    step = float(np.median(np.diff(known.steps))) if len(known.steps) > 1 else 0.0
    before = unknown.steps[0] - unknown.linear if unknown.steps else 0.0
    return RuntimeModel(
        start=known.linear / pixels,
        search=unknown.linear / pixels,
        step=step / pixels,
        network=0.0 if given else max(before - step, 0.0),
    )


class _Times(NamedTuple):
    """Seconds until the linear estimate, 0 without one, and until each step after it."""

    linear: float
    steps: list[float]


def _times(picture: NDArray[Any], settings: Settings, psf: NDArray[Any] | None) -> _Times:
    begun, linear, steps = time.perf_counter(), 0.0, []
    for snapshot in iterate(picture, settings, kernel=psf, preview_seconds=math.inf):
        if not snapshot.iteration:
            continue
        passed = time.perf_counter() - begun
        if snapshot.stage is Stage.WIENER:
            linear = passed
        else:
            steps.append(passed)
    return _Times(linear, steps)
