"""The plan of a stack: one pass over its planes, then the search for the kernels they share."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from napari_blind_deconv.engine.blur_agreement import disagreement
from napari_blind_deconv.engine.channel_statistics import ChannelStatistics, channel_statistics
from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.inputs import check_solver, check_voxel_size, fitted_kernel
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.planes import find_kernel
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.tiles import largest_tile
from napari_blind_deconv.engine.volumes import find_volume_kernel, volume_tile_side
from napari_blind_deconv.errors import UntoldKernelError
from napari_blind_deconv.image import BlockKind, Image, Index
from napari_blind_deconv.kernel import Kernel, KernelScope
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.results import Notice, Snapshot
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.steps import mapped
from napari_blind_deconv.task import Task

__all__ = ["make_plan"]


def make_plan(
    task: Task, control: RunControl, *, reference: Index | None = None, warm_start: bool = True
) -> Generator[Snapshot | Notice, None, StackPlan]:
    """Make the plan of a stack.

    All planes are read once for the intensity range of each channel and its plane that tells most
    about the kernel. The kernels are then found on these planes.

    Parameters
    ----------
    task : Task
    control : RunControl
    reference : tuple of int, optional
        As in `deconvolve_stack`.
    warm_start : bool
        As in `deconvolve_stack`.

    Yields
    ------
    Snapshot or Notice
        Snapshots of the search for the kernels; notices if the PSF has other pixels than the image,
        and if planes are not blurred alike.

    Returns
    -------
    StackPlan

    Raises
    ------
    ValueError, TypeError
        If the solver, the kernel or the reference does not fit, or if no plane can be deconvolved.
    DeconvolutionError
        If the search for a kernel fails.
    """
    image, choice = task.image, task.kernel
    check_solver(task.settings, choice, image.space)
    check_voxel_size(image)
    if choice.kernel is not None:
        fitted = fitted_kernel(choice.kernel, image)
        if fitted.pixel_size != choice.kernel.pixel_size:  # not if it was only cut
            yield _resampled(choice.kernel, fitted)
        choice = replace(choice, kernel=fitted)
    if reference is not None:
        image.check_index(reference)
    tile_side = task.tile_side or _tile_side(image, [choice.kernel], task.settings)
    if image.blocks == 1:
        # No other plane shares the kernel, so the plane finds it during its own run.
        choice = replace(choice, scope=KernelScope.PLANE)
    statistics = channel_statistics(image)
    if not any(channel.planes for channel in statistics):
        _raise_no_usable_plane(image)
    plan = StackPlan(
        settings=task.settings,
        choice=choice,
        warm_start=warm_start,
        tile_side=tile_side,
        intensity_ranges=tuple(
            task.intensity_range or channel.intensity_range for channel in statistics
        ),
        kernels=(choice.kernel if choice.is_held else None,) * len(statistics),
    )
    if choice.is_held or choice.scope is KernelScope.PLANE:
        return plan
    kernels = yield from _find_kernels(image, plan, statistics, reference, control)
    if image.block_kind is BlockKind.PLANE and not control.should_stop():
        yield from _notices(image, choice.scope, statistics)
    # All volumes are cut alike, on whatever machine and whenever they are computed.
    tile_side = tile_side or _tile_side(image, kernels, task.settings)
    return replace(plan, kernels=kernels, tile_side=tile_side)


def _tile_side(image: Image, kernels: Sequence[Kernel | None], settings: Settings) -> int | None:
    """Return the largest side of a tile for the free memory of this machine.

    None for volumes whose kernels, which determine the memory, are not known.
    """
    if image.block_kind is BlockKind.PLANE:
        return largest_tile(choose_device(settings.device))
    known = (kernel for kernel in kernels if kernel is not None)
    return min((volume_tile_side(image, kernel, settings) for kernel in known), default=None)


def _resampled(given: Kernel, fitted: Kernel) -> Notice:
    """Tell that a PSF has other pixels than the image."""
    old, new = (
        f"{' × '.join(f'{side:.3g}' for side in kernel.pixel_size or ())} {kernel.unit}"
        for kernel in (given, fitted)
    )
    return Notice(f"The PSF has pixels of {old} and was resampled to those of the image, {new}.")


def _notices(
    image: Image, scope: KernelScope, statistics: Sequence[ChannelStatistics]
) -> Iterator[Notice]:
    """Tell if planes that share a kernel are not blurred alike."""
    compared = [of_channel.ends for of_channel in statistics]
    groups = compared if scope is KernelScope.CHANNEL else [sum(compared, ())]
    notices = (disagreement(image, indices) for indices in groups)
    yield from (notice for notice in notices if notice is not None)


def _raise_no_usable_plane(image: Image) -> None:
    """Raise `ValueError` for a stack without a plane that can be deconvolved."""
    first = image.read((0,) * len(image.stack_shape))  # raises if the plane cannot be read
    if image.blocks == 1:
        Inspection.of(first)  # raises the exact reason
    raise ValueError(
        f"Expected at least one {image.block_kind} with some contrast in its valid pixels, got "
        "none in the stack."
    )


def _find_kernels(
    image: Image,
    plan: StackPlan,
    statistics: Sequence[ChannelStatistics],
    reference: Index | None,
    control: RunControl,
) -> Generator[Snapshot | Notice, None, tuple[Kernel | None, ...]]:
    """Find the kernel of each channel, or one kernel for all channels.

    A channel whose volume tells too little gets none, unless no other channel has one.
    """
    if plan.choice.scope is KernelScope.STACK:
        whole = ChannelStatistics(sum((channel.planes for channel in statistics), ()))
        indices = whole.sharpest if reference is None else (reference,)
        kernel = yield from _find_kernel(image, plan, indices, control)
        return (kernel,) * len(statistics)
    kernels: list[Kernel | None] = []
    untold: UntoldKernelError | None = None
    for channel, of_channel in enumerate(statistics):
        indices = () if control.should_stop() else of_channel.sharpest
        if reference is not None and indices:
            # The plane at the reference, but in this channel.
            in_channel = (
                channel if axis == "C" else position
                for axis, position in zip(image.stack_axes, reference, strict=True)
            )
            indices = (tuple(in_channel),)
        try:
            kernels.append((yield from _find_kernel(image, plan, indices, control)))
        except UntoldKernelError as error:
            if image.channels == 1:
                raise
            kernels.append(None)
            untold = error
            yield _untold(image, channel)
    if untold is not None and not any(kernels):
        raise untold
    return tuple(kernels)


def _untold(image: Image, channel: int) -> Notice:
    """Tell that a channel has no kernel to share."""
    name = f"{channel + 1} ({image.channel_names[channel]})" if image.channel_names else channel + 1
    return Notice(
        f"No kernel was found in channel {name}, whose volume shows too little detail above the "
        "noise: each of its volumes is tried on its own. If they fail, state the optics or give a "
        "PSF for this channel."
    )


def _find_kernel(
    image: Image, plan: StackPlan, indices: Sequence[Index], control: RunControl
) -> Generator[Snapshot, None, Kernel | None]:
    """Find the kernel on the first of some planes, or in all of some volumes; None without any.

    A channel gets no plane if none of its planes can be deconvolved, which the planes then report,
    or if the run is stopped.
    """
    if not indices:
        return None
    index, *others = indices
    task = plan.task_of(image.read(index), image.channel_of(index))
    stop = RunControl(control.should_stop)
    if image.block_kind is BlockKind.PLANE:
        search = find_kernel(task, stop)
    else:
        search = find_volume_kernel(task, stop, map(image.read, others))
    return (yield from mapped(search, lambda snapshot: replace(snapshot, index=index)))
