"""Stacks: one intensity range and one kernel a channel, then every plane on its own.

A plane depends on its pixels and on the `Plan` alone. So planes may be computed in any order, on
any machine, or be left out because they are there already: the result is the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import check_kernel
from napari_blind_deconv.engine.planes import Recipe, find_kernel, sharpen
from napari_blind_deconv.engine.survey import (
    ArrayLike,
    Survey,
    check_axes,
    check_position,
    leading,
    plane_shape,
    read_slice,
    survey_channels,
)
from napari_blind_deconv.engine.tiles import largest_tile
from napari_blind_deconv.plan import Index, KernelMode, Plan
from napari_blind_deconv.results import (
    DeconvolutionError,
    SliceResult,
    Snapshot,
    StackResult,
)
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.steps import mapped

__all__ = [
    "WARM_SHARE",
    "deconvolve_slice",
    "deconvolve_stack",
    "failed_slice",
    "make_plan",
]

_Outcome = TypeVar("_Outcome")

# With its kernel known a plane starts this much nearer to its end.
WARM_SHARE = 5


def deconvolve_stack(
    data: ArrayLike,
    settings: Settings | None = None,
    *,
    axes: str,
    kernel: str | NDArray[np.floating[Any]] = KernelMode.PER_CHANNEL,
    reference: Index | None = None,
    warm_start: bool = True,
    plan: Plan | None = None,
    finished: Collection[Index] = (),
    on_slice: Callable[[SliceResult], None] | None = None,
    device: str = "auto",
    seed: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> Generator[tuple[Index, Snapshot], None, StackResult]:
    """Sharpen every plane of a stack; yields ``(index, snapshot)``, *returns* a `StackResult`.

    Snapshots carry no pictures.

    Parameters
    ----------
    data : array_like
        Of numpy, dask or zarr; read plane by plane, never as a whole.
    settings : Settings, optional
        Default: the preset ``"fast"``.
    axes : str
        What the axes of `data` are, such as ``"TCZYX"``: letters T, C and Z, each once at most,
        then Y and X, then S if the last axis is colour (3 or 4 samples).
    kernel : {"per-channel", "shared", "per-slice"} or ndarray
        Where the kernel comes from. ``"per-channel"``: found on the sharpest plane of every
        channel, then held; ``"shared"``: on the sharpest of all; ``"per-slice"``: each plane's own,
        which is slower and follows a blur that changes with depth; an array: a known PSF.
    reference : tuple of int, optional
        The plane the kernel is found on, as a position along the axes before Y (its place along C
        is ignored for ``"per-channel"``), in place of the sharpest.
    warm_start : bool
        Planes whose kernel is known already get a fifth of the iterations.
    plan : Plan, optional
        That of an earlier run on the same data; replaces all choices above and `device`, `seed`.
    finished : collection of tuple
        Planes to leave out.
    on_slice : callable, optional
        Called with the `SliceResult` of each plane before the next is begun. With it the result
        holds no image, so that memory stays flat.
    device, seed, should_stop
        As in `deconvolve`. Stopping leaves out the plane in hand and those that follow.

    Raises
    ------
    ValueError, TypeError
        For axes, kernel or settings that cannot be; a *plane* that cannot be sharpened is reported
        in `StackResult.failures`, filled with its input, and the others go on.
    DeconvolutionError
        If the search for the kernels fails.
    """
    check_axes(axes, data.shape)
    stop = should_stop or (lambda: False)
    if plan is None:
        plan = yield from make_plan(
            data,
            settings or Settings(),
            axes=axes,
            kernel=kernel,
            reference=reference,
            warm_start=warm_start,
            device=device,
            seed=seed,
            should_stop=stop,
        )
    image = np.zeros(data.shape, np.float32) if on_slice is None else None
    failures: dict[Index, str] = {}
    done = 0
    for index in plan.indices():
        if index in finished:
            continue
        result = yield from _outcome(data, plan, index, stop)
        if stop():  # a plane half done would not be the one of an uninterrupted run
            break
        if image is not None:
            image[index] = result.image
        if on_slice is not None:
            on_slice(result)
        if result.failure is not None:
            failures[index] = result.failure
        done += 1
    missing = math.prod(plan.shape) - done - len(finished)
    return StackResult(image=image, plan=plan, failures=failures, done=done, missing=missing)


def deconvolve_slice(
    plane: NDArray[Any], plan: Plan, index: Index, should_stop: Callable[[], bool]
) -> Generator[tuple[Index, Snapshot], None, SliceResult]:
    """Sharpen one plane of a stack by its plan; what is wrong with it is in the result."""
    started = time.monotonic()
    try:
        run = sharpen(plane, _recipe(plan, index), should_stop)
        result = yield from _indexed(index, run)
    except (ValueError, TypeError, DeconvolutionError) as error:
        return failed_slice(plan, index, plane, error)
    return SliceResult(
        index, result.image, result.kernel, result.provenance(), None, time.monotonic() - started
    )


def failed_slice(
    plan: Plan, index: Index, plane: NDArray[Any] | None, error: Exception
) -> SliceResult:
    """The result of a plane that cannot be sharpened: its input, or zeros if there is none."""
    if plane is None:
        plane = np.zeros((*plan.plane_shape, *plan.colours))
    return SliceResult(index, plane.astype(np.float32), None, {}, str(error), 0.0)


def _outcome(
    data: ArrayLike, plan: Plan, index: Index, should_stop: Callable[[], bool]
) -> Generator[tuple[Index, Snapshot], None, SliceResult]:
    try:
        plane = read_slice(data, index)
    except ValueError as error:
        return failed_slice(plan, index, None, error)
    return (yield from deconvolve_slice(plane, plan, index, should_stop))


def make_plan(
    data: ArrayLike,
    settings: Settings,
    *,
    axes: str,
    kernel: str | NDArray[np.floating[Any]],
    reference: Index | None,
    warm_start: bool,
    device: str,
    seed: int,
    should_stop: Callable[[], bool],
) -> Generator[tuple[Index, Snapshot], None, Plan]:
    """Read the stack once for its intensities and sharpest planes, and find the kernels there."""
    if isinstance(kernel, str):
        known, mode = None, KernelMode.named(kernel)
    else:
        known, mode = check_kernel(kernel, plane_shape(axes, data.shape)), KernelMode.GIVEN
    tile_side = largest_tile(choose_device(device))
    one = math.prod(data.shape[: leading(axes)]) == 1
    if one and known is None and math.prod(plane_shape(axes, data.shape)) <= tile_side**2:
        mode = KernelMode.PER_SLICE  # neither neighbours nor tiles to hold a kernel for
    surveys = survey_channels(data, axes)
    if all(seen.sharpest is None for seen in surveys):
        read_slice(data, (0,) * leading(axes))  # says why, if it cannot be read
        raise ValueError(
            "No plane of the stack can be sharpened; accepted are planes with some contrast and "
            "finite pixels only."
        )
    plan = Plan(
        axes=axes,
        shape=data.shape[: leading(axes)],
        plane_shape=plane_shape(axes, data.shape),
        colours=data.shape[len(axes) - 1 :] if axes.endswith("S") else (),
        settings=settings,
        kernel_mode=mode,
        warm_start=warm_start,
        device=device,
        seed=seed,
        tile_side=tile_side,
        intensity_ranges=tuple(seen.intensity_range for seen in surveys),
        kernels=(known,) * len(surveys),
    )
    if mode in (KernelMode.GIVEN, KernelMode.PER_SLICE):
        return plan
    kernels = yield from _find_kernels(data, plan, surveys, reference, should_stop)
    return replace(plan, kernels=kernels)


def _find_kernels(
    data: ArrayLike,
    plan: Plan,
    surveys: Sequence[Survey],
    reference: Index | None,
    should_stop: Callable[[], bool],
) -> Generator[tuple[Index, Snapshot], None, tuple[NDArray[np.float32] | None, ...]]:
    if reference is not None:
        check_position(reference, plan.axes, plan.shape)
    if plan.kernel_mode is KernelMode.SHARED:
        best = max(surveys, key=lambda seen: seen.contrast)
        kernel = yield from _kernel_on(data, plan, reference or best.sharpest, should_stop)
        return (kernel,) * len(surveys)
    kernels = []
    for channel, seen in enumerate(surveys):
        place = None if should_stop() else seen.sharpest
        if reference is not None and place is not None:
            place = tuple(
                channel if letter == "C" else at
                for letter, at in zip(plan.axes, reference, strict=False)
            )
        kernels.append((yield from _kernel_on(data, plan, place, should_stop)))
    return tuple(kernels)


def _kernel_on(
    data: ArrayLike, plan: Plan, index: Index | None, should_stop: Callable[[], bool]
) -> Generator[tuple[Index, Snapshot], None, NDArray[np.float32] | None]:
    """None without a plane to find it on: those of its channel will say why, or are left out."""
    if index is None:
        return None
    run = find_kernel(read_slice(data, index), _recipe(plan, index), should_stop)
    return (yield from _indexed(index, run)).kernel


def _recipe(plan: Plan, index: Index) -> Recipe:
    channel = plan.channel_of(index)
    kernel, settings = plan.kernels[channel], plan.settings
    if kernel is not None and plan.warm_start and plan.kernel_mode is not KernelMode.GIVEN:
        fewer = math.ceil(settings.max_iterations / WARM_SHARE)
        settings = settings.with_changes(max_iterations=fewer)
    return Recipe(
        settings=settings,
        device=plan.device,
        seed=plan.seed,
        rgb=bool(plan.colours),
        tile_side=plan.tile_side,
        kernel=kernel,
        intensity_range=plan.intensity_ranges[channel],
    )


def _indexed(
    index: Index, run: Generator[Snapshot, None, _Outcome]
) -> Generator[tuple[Index, Snapshot], None, _Outcome]:
    return mapped(run, lambda snapshot: (index, snapshot))
