"""Prediction of the run time of a stack, from a short measurement on this machine."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.engine.deconvolve import iterate
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plan import WARM_START_DIVISOR
from napari_blind_deconv.results import Stage
from napari_blind_deconv.settings import ImageStart, Settings, SolverName

__all__ = ["RuntimeModel", "measure_runtime"]

_SIDE = 128  # pixels of the test image
_KERNEL_SIDE = 13  # pixels
_ITERATIONS = 4
# The search for the kernel of a volume takes this many seconds, and this share of the time until
# the log-gaussian estimate. Measured on volumes of 14 thousand to 9 million voxels, for which it
# took 0.4 to 7 s. It is not timed here, because that would take longer than what it adds.
_VOLUME_SEARCH = 0.4
_VOLUME_SEARCH_SHARE = 0.03


@dataclass(frozen=True)
class RuntimeModel:
    """Run time of the parts of a run on this machine.

    Attributes
    ----------
    start : float
        Seconds per pixel until the log-gaussian estimate of a plane with a known kernel.
    search : float
        Seconds per pixel until the log-gaussian estimate of a plane whose kernel must be found.
    step : float
        Seconds per pixel for one iteration of the fit.
    network : float
        Seconds to make the kernel network and to fit it to the kernel found. This is the larger
        part of the time of a small plane. It is not needed when the run ends with the linear
        estimate.
    """

    start: float
    search: float
    step: float
    network: float

    def seconds(
        self,
        settings: Settings,
        *,
        planes: int,
        pixels: int,
        kernels: int,
        block: BlockKind = BlockKind.PLANE,
    ) -> tuple[float, float]:
        """Return the minimum and the maximum number of seconds for a stack.

        The minimum holds if every run ends as early as the noise allows, the maximum if every run
        reaches its iteration limit.

        Parameters
        ----------
        settings : Settings
        planes : int
            Number of planes, or of volumes.
        pixels : int
            Number of pixels per plane, or of voxels per volume with those beyond its border.
        kernels : int
            Number of kernels to find: one per channel, one per stack, one per plane, or none.
        block : BlockKind
            What is deconvolved at once.
        """
        limit = settings.max_iterations
        if block is BlockKind.VOLUME:
            searches = kernels * (_VOLUME_SEARCH + _VOLUME_SEARCH_SHARE * pixels * self.start)
            held = self._plane_seconds(settings, planes, pixels, self.start, 0.0, limit)
            return searches + held[0], searches + held[1]
        if kernels >= planes:  # each plane finds its own kernel, and its fit continues from there
            return self._plane_seconds(settings, planes, pixels, self.search, self.network, limit)
        held_limit = math.ceil(limit / WARM_START_DIVISOR) if kernels else limit
        shortest, longest = self._plane_seconds(
            settings, planes, pixels, self.start, 0.0, held_limit
        )
        found = settings.with_changes(strength=1.0)  # shared kernels are found without a strength
        search = self._plane_seconds(found, kernels, pixels, self.search, self.network, limit)
        return shortest + search[0], longest + search[1]

    def _plane_seconds(
        self,
        settings: Settings,
        planes: int,
        pixels: int,
        start: float,
        network: float,
        limit: int,
    ) -> tuple[float, float]:
        if settings.solver is SolverName.AUTO and settings.strength != 1:  # without networks
            return planes * pixels * start, planes * pixels * start
        longest = planes * (pixels * (start + limit * self.step) + network)
        if _can_end_with_linear_estimate(settings):
            return planes * pixels * start, longest
        return planes * (pixels * (start + self.step) + network), longest


def _can_end_with_linear_estimate(settings: Settings) -> bool:
    has_estimate = settings.image_start is ImageStart.WIENER and settings.kernel_start != "flat"
    return settings.solver is SolverName.WIENER or (
        settings.solver is SolverName.AUTO and settings.stop_at_noise and has_estimate
    )


def measure_runtime(settings: Settings) -> RuntimeModel:
    """Deconvolve a small synthetic image, with a known kernel and with a search for the kernel."""
    noise = np.random.default_rng(0).normal(size=(_SIDE, _SIDE))
    image = ndimage.gaussian_filter(noise, 2.0) + 0.01 * noise
    short = settings.with_changes(max_iterations=_ITERATIONS, stop_at_noise=False, kernel_size=None)
    psf = gaussian_kernel((_KERNEL_SIDE, _KERNEL_SIDE), 2.0)
    _times(image, short, psf)  # the first run also loads and compiles code
    known = _times(image, short, psf)
    is_flat = settings.solver is SolverName.WIENER and settings.kernel_start == "flat"
    needs_psf = is_flat or settings.solver is SolverName.RICHARDSON_LUCY
    unknown = known if needs_psf else _times(image, short, None)
    pixels = image.size
    step = float(np.median(np.diff(known.steps))) if len(known.steps) > 1 else 0.0
    # The time to the first iteration includes the kernel network.
    first_step = unknown.steps[0] - unknown.linear if unknown.steps else 0.0
    return RuntimeModel(
        start=known.linear / pixels,
        search=unknown.linear / pixels,
        step=step / pixels,
        network=0.0 if needs_psf else max(first_step - step, 0.0),
    )


class _Times(NamedTuple):
    """Seconds until the linear estimate (0 if there is none) and until each later iteration."""

    linear: float
    steps: list[float]


def _times(image: NDArray[Any], settings: Settings, psf: NDArray[Any] | None) -> _Times:
    started, linear, steps = time.perf_counter(), 0.0, []
    for snapshot in iterate(image, settings, kernel=psf, preview_seconds=math.inf):
        if not snapshot.iteration:
            continue
        elapsed = time.perf_counter() - started
        if snapshot.stage in (Stage.WIENER, Stage.LOG_GAUSSIAN):
            linear = elapsed
        else:
            steps.append(elapsed)
    return _Times(linear, steps)
