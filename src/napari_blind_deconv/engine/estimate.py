"""How long a stack will take on this machine, measured before it is begun."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.engine.deconvolve import iterate
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plan import WARM_SHARE
from napari_blind_deconv.results import Stage
from napari_blind_deconv.settings import Settings, SolverName

__all__ = ["Pace", "measure_pace"]

_SIDE = 128
_KERNEL_SIDE = 13
_STEPS = 4


@dataclass(frozen=True)
class Pace:
    """What this machine takes, in seconds a pixel of a plane.

    Attributes
    ----------
    start : float
        Before the first step of a plane whose kernel is known.
    step : float
        A step of its fit.
    search : float
        Before the first step of a plane whose kernel is to be found.
    """

    start: float
    step: float
    search: float

    def seconds(
        self, settings: Settings, *, planes: int, pixels: int, kernels: int
    ) -> tuple[float, float]:
        """Least and most seconds for a stack.

        Least if noise ends every fit at its first step, most if none ends before its limit.

        Parameters
        ----------
        settings : Settings
        planes, pixels : int
            How many planes, and pixels in each.
        kernels : int
            How many kernels are to be found: channels, one, as many as planes, or none.
        """
        limit = settings.max_iterations
        each = pixels * planes
        if kernels >= planes:  # each plane finds its own, and its fit goes on from there
            return each * (self.search + self.step), each * (self.search + limit * self.step)
        held = math.ceil(limit / WARM_SHARE) if kernels else limit
        found = pixels * kernels
        least = each * (self.start + self.step) + found * (self.search + self.step)
        most = each * (self.start + held * self.step) + found * (self.search + limit * self.step)
        return least, most


def measure_pace(settings: Settings) -> Pace:
    """Sharpen a small made-up picture, a few steps with its kernel known and one without."""
    noise = np.random.default_rng(0).normal(size=(_SIDE, _SIDE))
    picture = ndimage.gaussian_filter(noise, 2.0) + 0.01 * noise
    some = settings.with_changes(max_iterations=_STEPS, stop_at_noise=False, kernel_size=None)
    psf = gaussian_kernel((_KERNEL_SIDE, _KERNEL_SIDE), 2.0)
    _ticks(picture, some, psf)  # what is loaded or compiled once does not count
    known = _ticks(picture, some, psf)
    given = settings.solver is SolverName.RICHARDSON_LUCY  # which searches for no kernel
    unknown = known if given else _ticks(picture, some, None)
    pixels = picture.size
    steps = np.diff(known[1:])
    step = float(np.median(steps)) if len(steps) else 0.0  # the linear estimate is one
    return Pace(
        start=max(known[1] - known[0] - step, 0) / pixels,
        step=step / pixels,
        search=max(unknown[1] - unknown[0] - step, 0) / pixels,
    )


def _ticks(picture: NDArray[Any], settings: Settings, psf: NDArray[Any] | None) -> list[float]:
    """Times of the beginning and of every step of the last stage."""
    last = Stage.DOUBLE_DIP if settings.solver is SolverName.AUTO else Stage(settings.solver)
    ticks = [time.perf_counter()]
    for snapshot in iterate(picture, settings, kernel=psf, preview_seconds=math.inf):
        if snapshot.stage is last and snapshot.iteration:
            ticks.append(time.perf_counter())
    return ticks
