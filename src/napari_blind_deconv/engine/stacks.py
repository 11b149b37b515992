"""Stacks: one intensity range and one kernel a channel, then every plane on its own.

A plane depends on its pixels and on the `Plan` alone. So planes may be computed in any order, on
any machine, or be left out because they are there already: the result is the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy import ndimage

from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import IntensityMap, check_kernel, local_median, to_channels
from napari_blind_deconv.engine.planes import Recipe, find_kernel, sharpen
from napari_blind_deconv.engine.tiles import largest_tile
from napari_blind_deconv.plan import Index, KernelMode, Plan
from napari_blind_deconv.results import DeconvolutionError, SliceResult, Snapshot, StackResult
from napari_blind_deconv.settings import Settings

__all__ = [
    "WARM_SHARE",
    "ArrayLike",
    "check_axes",
    "deconvolve_slice",
    "deconvolve_stack",
    "failed_slice",
    "make_plan",
    "read_slice",
]

# With its kernel known a plane starts this much nearer to its end.
WARM_SHARE = 5
# A plane is looked at in float64, with its median, gradient and result beside it.
_BYTES_PER_PIXEL = 64


class ArrayLike(Protocol):
    """Anything that gives planes when indexed: numpy, dask, zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of its axes."""

    def __getitem__(self, index: Any, /) -> Any: ...


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


def check_axes(axes: str, shape: tuple[int, ...]) -> None:
    """Refuse axes that are not those of an array of this shape; `ValueError` in one sentence."""
    accepted = "letters of TCZ, each once at most, then YX, then S for colour"
    lead = axes.removesuffix("S").removesuffix("YX")
    if (
        not axes.removesuffix("S").endswith("YX")
        or not set(lead) <= set("TCZ")
        or len(set(lead)) != len(lead)
    ):
        raise ValueError(f"The axes are {axes!r}; accepted are {accepted}.")
    if len(axes) != len(shape):
        raise ValueError(
            f"The axes {axes!r} are {len(axes)} and the array has shape {shape}; "
            "accepted is one letter an axis."
        )
    if axes.endswith("S") and shape[-1] not in (3, 4):
        raise ValueError(
            f"The axes {axes!r} say that the last axis is colour, and it has length {shape[-1]}; "
            "accepted are 3 and 4."
        )


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


def read_slice(data: ArrayLike, index: Index) -> NDArray[Any]:
    """One plane of a stack, in memory; `ValueError` if it cannot be read or is too large."""
    pixels = math.prod(data.shape[len(index) :])
    free = psutil.virtual_memory().available
    needed = pixels * _BYTES_PER_PIXEL
    if needed > free:
        raise ValueError(
            f"A plane has {pixels:.3g} pixels and would take {needed / 2**30:.0f} GiB, of which "
            f"{free / 2**30:.0f} are free; try a part of it (--select)."
        )
    try:
        return np.asarray(data[index])
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        which = f"The plane {index}" if index else "The image"
        raise ValueError(f"{which} cannot be read ({reason}).") from error


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
    known = (
        None if isinstance(kernel, str) else check_kernel(kernel, _plane_shape(axes, data.shape))
    )
    mode = KernelMode.GIVEN if known is not None else _mode(kernel)
    tile_side = largest_tile(choose_device(device))
    one = math.prod(data.shape[: _leading(axes)]) == 1
    if one and known is None and math.prod(_plane_shape(axes, data.shape)) <= tile_side**2:
        mode = KernelMode.PER_SLICE  # neither neighbours nor tiles to hold a kernel for
    surveys = list(_survey(data, axes))
    if all(survey.sharpest is None for survey in surveys):
        read_slice(data, (0,) * _leading(axes))  # says why, if it cannot be read
        raise ValueError(
            "No plane of the stack can be sharpened; accepted are planes with some contrast and "
            "finite pixels only."
        )
    plan = Plan(
        axes=axes,
        shape=data.shape[: _leading(axes)],
        plane_shape=_plane_shape(axes, data.shape),
        colours=data.shape[len(axes) - 1 :] if axes.endswith("S") else (),
        settings=settings,
        kernel_mode=mode,
        warm_start=warm_start,
        device=device,
        seed=seed,
        tile_side=tile_side,
        intensity_ranges=tuple(survey.intensity_range for survey in surveys),
        kernels=(known,) * len(surveys),
    )
    if mode in (KernelMode.GIVEN, KernelMode.PER_SLICE):
        return plan
    kernels = yield from _find_kernels(data, plan, surveys, reference, should_stop)
    return replace(plan, kernels=kernels)


def _mode(kernel: Any) -> KernelMode:
    modes = [mode for mode in KernelMode if mode is not KernelMode.GIVEN]
    if kernel not in modes:
        names = ", ".join(repr(str(mode)) for mode in modes)
        raise ValueError(f"The kernel is {kernel!r}; accepted are {names} and an array.")
    return KernelMode(kernel)


def _find_kernels(
    data: ArrayLike,
    plan: Plan,
    surveys: Sequence[_Survey],
    reference: Index | None,
    should_stop: Callable[[], bool],
) -> Generator[tuple[Index, Snapshot], None, tuple[NDArray[np.float32] | None, ...]]:
    if reference is not None:
        _check_reference(reference, plan)
    if plan.kernel_mode is KernelMode.SHARED:
        best = max(surveys, key=lambda survey: survey.contrast)
        kernel = yield from _kernel_on(data, plan, reference or best.sharpest, should_stop)
        return (kernel,) * len(surveys)
    kernels = []
    for channel, survey in enumerate(surveys):
        place = survey.sharpest
        if reference is not None:
            place = tuple(
                channel if letter == "C" else at
                for letter, at in zip(plan.axes, reference, strict=False)
            )
        kernels.append((yield from _kernel_on(data, plan, place, should_stop)))
    return tuple(kernels)


def _kernel_on(
    data: ArrayLike, plan: Plan, index: Index | None, should_stop: Callable[[], bool]
) -> Generator[tuple[Index, Snapshot], None, NDArray[np.float32] | None]:
    """None for a channel without a single plane to find it on: its planes will say why."""
    if index is None:
        return None
    run = find_kernel(read_slice(data, index), _recipe(plan, index), should_stop)
    return (yield from _indexed(index, run)).kernel


def _check_reference(reference: Index, plan: Plan) -> None:
    if len(reference) != len(plan.shape) or not all(
        0 <= at < length for at, length in zip(reference, plan.shape, strict=True)
    ):
        raise ValueError(
            f"The reference plane is {reference}; accepted is a position along the axes "
            f"{plan.axes[: len(plan.shape)]!r} of lengths {plan.shape}."
        )


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


@dataclass(frozen=True)
class _Survey:
    """What one look at all planes of a channel tells."""

    intensity_range: tuple[float, float] | None = None
    sharpest: Index | None = None
    contrast: float = -1.0

    def with_plane(self, index: Index, plane: NDArray[Any], rgb: bool) -> _Survey:
        if not np.isfinite(plane).all() or np.ptp(plane) == 0:
            return self
        channels = to_channels(plane, rgb=rgb)
        seen = IntensityMap.of(channels, local_median(channels))
        low, high = self.intensity_range or (seen.low, seen.high)
        steps = ndimage.gaussian_gradient_magnitude(channels.mean(axis=0), 1.0)
        contrast = float(np.square(steps).mean())
        better = contrast > self.contrast
        return _Survey(
            (min(low, seen.low), max(high, seen.high)),
            index if better else self.sharpest,
            contrast if better else self.contrast,
        )


def _survey(data: ArrayLike, axes: str) -> Iterator[_Survey]:
    lead = axes[: _leading(axes)]
    place = lead.find("C")
    surveys = [_Survey() for _ in range(data.shape[place] if place >= 0 else 1)]
    for index in np.ndindex(data.shape[: len(lead)]):
        try:
            plane = read_slice(data, index)
        except ValueError:
            continue  # it will be told of when its turn comes
        channel = index[place] if place >= 0 else 0
        surveys[channel] = surveys[channel].with_plane(index, plane, axes.endswith("S"))
    return iter(surveys)


def _indexed(
    index: Index, run: Generator[Snapshot, None, Any]
) -> Generator[tuple[Index, Snapshot], None, Any]:
    while True:
        try:
            yield index, next(run)
        except StopIteration as finished:
            return finished.value


def _leading(axes: str) -> int:
    return len(axes.removesuffix("S")) - 2


def _plane_shape(axes: str, shape: tuple[int, ...]) -> tuple[int, int]:
    lead = _leading(axes)
    return shape[lead], shape[lead + 1]
