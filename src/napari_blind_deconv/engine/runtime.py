"""Prediction of the run time of a stack, from a short measurement on this machine."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.engine.converging import Converging
from napari_blind_deconv.engine.deconvolve import iterate
from napari_blind_deconv.engine.richardson_lucy import START_ITERATIONS
from napari_blind_deconv.engine.solver import MAX_PREVIEW_SHARE
from napari_blind_deconv.image import Image
from napari_blind_deconv.numerics.field_of_view import canvas_shape
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plan import WARM_START_DIVISOR
from napari_blind_deconv.results import Stage
from napari_blind_deconv.settings import ImageStart, Settings, SolverName

__all__ = ["RuntimeModel", "VolumeRuntimeModel", "measure_runtime", "measure_volume_runtime"]

_SIDE = 128  # pixels of the test image
_KERNEL_SIDE = 13  # pixels
_ITERATIONS = 4
_RUNS = 4  # on the test volume
_VOLUME_SIDES, _VOLUME_KERNEL = (26, 56, 56), (7, 9, 9)  # voxels; the canvas has 32 × 64 × 64
# The search for the kernel in the spectrum of a volume takes this many seconds, and as long as this
# many iterations of its slowest stage. Measured on volumes of 14 thousand to 9 million voxels, for
# which it took 0.4 to 7 s. The kernels on trial then take so many iterations, all together, on a
# part of the volume of at most so many voxels: the means over made volumes of `benchmarks.volumes`.
# Neither is timed here, because that would take longer than the run.
_VOLUME_SEARCH = 0.4
_VOLUME_SEARCH_ITERATIONS = 2
_TRIAL_ITERATIONS, _TRIAL_VOXELS = 330, 350_000
# A stage of a volume takes this share of the iterations that it may take, and Richardson-Lucy on
# its own, which stops at the noise, this number: the means over the made volumes of
# `benchmarks.volumes`. Bright volumes need more, and noisy ones fewer.
_SHARE_OF_LIMIT = 0.6
_RICHARDSON_LUCY = 15


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
        self, settings: Settings, *, planes: int, pixels: int, kernels: int
    ) -> tuple[float, float]:
        """Return the minimum and the maximum number of seconds for a stack.

        The minimum holds if every run ends as early as the noise allows, the maximum if every run
        reaches its iteration limit.

        Parameters
        ----------
        settings : Settings
        planes : int
            Number of planes.
        pixels : int
            Number of pixels per plane.
        kernels : int
            Number of kernels to find: one per channel, one per stack, one per plane, or none.
        """
        limit = settings.max_iterations
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


@dataclass(frozen=True)
class VolumeRuntimeModel:
    """Run time of the parts of a run on volumes, with one solver.

    Attributes
    ----------
    iteration : mapping of Stage to float
        Seconds per voxel of the canvas for one iteration of each stage.
    rest : float
        Seconds per voxel of the canvas for all else: to inspect, prepare and judge.
    """

    iteration: Mapping[Stage, float]
    rest: float

    def seconds(
        self, settings: Settings, *, planes: int, pixels: int, kernels: int
    ) -> tuple[float, float]:
        """Return the usual and the maximum number of seconds for one or more volumes.

        The maximum holds if every stage reaches its limit, and previews take their largest share.

        Parameters
        ----------
        settings : Settings
        planes : int
            Number of volumes.
        pixels : int
            Number of voxels per volume, with those beyond its border.
        kernels : int
            Number of kernels to find.
        """
        searched = _VOLUME_SEARCH_ITERATIONS * pixels
        searched += _TRIAL_ITERATIONS * min(pixels, _TRIAL_VOXELS)
        searches = kernels * (_VOLUME_SEARCH + searched * max(self.iteration.values()))
        usual, longest = self.rest, self.rest
        for stage, seconds in self.iteration.items():
            limit = _limit(stage, settings)
            usual += seconds * _usual(limit, settings)
            longest += seconds * limit
        voxels = planes * pixels
        return searches + voxels * usual, searches + voxels * longest / (1 - MAX_PREVIEW_SHARE)


def _limit(stage: Stage, settings: Settings) -> int:
    """Return how many iterations a stage of a volume may take."""
    if stage is not Stage.RICHARDSON_LUCY:
        return Converging.limit
    is_alone = settings.solver is SolverName.RICHARDSON_LUCY
    return settings.max_iterations if is_alone else START_ITERATIONS


def _usual(limit: int, settings: Settings) -> float:
    """Return how many of the iterations that a stage of a volume may take it usually needs."""
    if settings.solver is not SolverName.RICHARDSON_LUCY:
        return _SHARE_OF_LIMIT * limit
    return min(_RICHARDSON_LUCY, limit) if settings.stop_at_noise else limit


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


def measure_volume_runtime(settings: Settings) -> VolumeRuntimeModel:
    """Deconvolve a small synthetic volume with a known kernel, for a few iterations of each stage.

    A volume is measured on its own: its stages take much longer per iteration than those of planes
    for many voxels, but spend less on small operations, which are slow while other threads compute.
    """
    # The first run also loads and compiles code. The shortest times are those that other threads
    # disturbed least, such as that of a viewer that is drawn for the first time.
    runs = [_volume_times(settings) for _ in range(_RUNS)]
    voxels = math.prod(canvas_shape(_VOLUME_SIDES, _VOLUME_KERNEL))
    return VolumeRuntimeModel(
        iteration={
            stage: min(float(np.median(run.steps[stage])) for run in runs) / voxels
            for stage in runs[0].steps
        },
        rest=min(run.rest for run in runs) / voxels,
    )


class _VolumeTimes(NamedTuple):
    """Seconds of each iteration but the first, by stage, and of all else."""

    steps: dict[Stage, list[float]]
    rest: float


def _volume_times(settings: Settings) -> _VolumeTimes:
    noise = np.random.default_rng(0).normal(size=_VOLUME_SIDES)
    volume = ndimage.gaussian_filter(noise, 2.0).clip(0) + 0.01 * noise
    image = Image(volume, "ZYX", dict.fromkeys("ZYX", 1.0), space="ZYX")
    # With the log-gaussian estimate, which is left out of 'auto' if the noise was processed.
    is_auto = settings.solver is SolverName.AUTO
    solver = SolverName.LOG_GAUSSIAN if is_auto else settings.solver
    short = settings.with_changes(solver=solver, max_iterations=_ITERATIONS, stop_at_noise=False)
    ends: dict[Stage, list[float]] = defaultdict(list)
    started = time.perf_counter()
    run = iterate(
        image,
        short,
        kernel=gaussian_kernel(_VOLUME_KERNEL, 1.5),
        should_stop=lambda: any(
            len(each) > _ITERATIONS
            for stage, each in ends.items()
            if stage is not Stage.RICHARDSON_LUCY
        ),
        preview_seconds=math.inf,
    )
    for snapshot in run:
        if snapshot.iteration:
            ends[snapshot.stage].append(time.perf_counter())
    elapsed = time.perf_counter() - started
    steps = {stage: np.diff(each).tolist() for stage, each in ends.items()}
    return _VolumeTimes(steps, elapsed - sum(map(sum, steps.values())))
