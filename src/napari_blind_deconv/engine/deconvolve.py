"""The public functions for one image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from napari_blind_deconv.engine.sampling import on_sampled_grid
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stages import run_task
from napari_blind_deconv.engine.volumes import deconvolve_volume
from napari_blind_deconv.image import BlockKind, Image
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.results import Result, Snapshot
from napari_blind_deconv.settings import Settings
from napari_blind_deconv.steps import Run, mapped, run_to_end
from napari_blind_deconv.task import Task

__all__ = ["deconvolve", "iterate"]

_PREVIEW_SECONDS = 0.5


def deconvolve(
    image: Image | ArrayLike,
    settings: Settings | None = None,
    *,
    kernel: KernelChoice | Kernel | ArrayLike | None = None,
    axes: str | None = None,
    pixel_size: Sequence[float] | None = None,
    unit: str = "µm",
    intensity_range: tuple[float, float] | None = None,
    mask: ArrayLike | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_snapshot: Callable[[Snapshot], None] | None = None,
    **changes: Any,
) -> Result:
    """Deconvolve an image whose point spread function is not known.

    Parameters
    ----------
    image : Image or array_like
        One plane ``(rows, columns)`` of any integer or floating-point type, with at least 16 pixels
        per side, in any unit of intensity; ``(rows, columns, 3 or 4)`` with the axes ``"YXS"``; or
        a volume ``(planes, rows, columns)`` with the axes ``"ZYX"``, of at least 8 planes. A volume
        that is too large for free memory is deconvolved in overlapping tiles.
    settings : Settings, optional
        Settings of the run, including device and seed. Default: the preset ``"fast"``.
    kernel : KernelChoice, Kernel or array_like, optional
        Default: the kernel is found in the image. A kernel or an array is held, so that only the
        image is estimated (non-blind deconvolution). It must be non-negative and have as many axes
        as the image. An array has the pixel size of the image; a kernel that states another one is
        resampled. It is padded with zeros until its centroid lies within half a pixel of its
        centre, and the rest of the offset is removed from the estimate, so that the image does not
        move. ``KernelChoice.start_from(kernel)`` gives a guess that the fit corrects; it is not for
        volumes.
    axes : str, optional
        Axes of an array: ``"YX"``, ``"ZYX"`` for a volume, or with S at the end for colour. For a
        colour image, one kernel is applied to all three channels, and alpha is passed through. The
        kernel, the noise, the regulariser, early stopping and the location use the luminance, which
        is the mean of the channels.
    pixel_size : sequence of float, optional
        Height and width of a pixel in `unit`, or depth, height and width of a voxel, if the image
        does not know them. A volume needs them; if only their ratio is known, the ratio will do.
    unit : str
        Unit of `pixel_size`.
    intensity_range : tuple of float, optional
        Intensities that become 0 and 1 in the fit, in the units of the image. Default: the range of
        the image without hot pixels. Use one range for planes that are to be compared.
    mask : array_like, optional
        Pixels to leave out, because they are not part of the image: booleans or whole numbers of
        the shape of the image, without a colour axis; not 0 where a pixel is left out. These pixels
        have no influence on the result, and keep the values of the input.
    should_stop : callable, optional
        Called several times per second, also during the search for the kernel. If it returns True,
        the run ends with the best estimate so far.
    on_snapshot : callable, optional
        Called with a `Snapshot` after every iteration, and several times per second while a stage
        has no estimate yet.
    **changes
        Changed settings by name, such as ``device="cpu"`` or ``seed=3``.

    Returns
    -------
    Result
        Image, kernel, trace and reason of the stop.

    Raises
    ------
    ValueError, TypeError
        If the image, the kernel, the mask or a setting is not valid.
    DeconvolutionError
        If the computation fails, for example because it runs out of memory.

    Notes
    -----
    Minimises Eq. 21 of Zhuang, Li, Wang and Sun, *Blind Image Deblurring with Unknown Kernel Size
    and Substantial Noise*, with their Algorithm 1.

    Examples
    --------
    >>> from skimage.data import cell
    >>> result = deconvolve(cell()[:64, :64], Settings(max_iterations=2))
    >>> result.image.shape, result.kernel.source.value
    ((64, 64), 'Gaussian')
    """
    steps = iterate(
        image,
        settings,
        kernel=kernel,
        axes=axes,
        pixel_size=pixel_size,
        unit=unit,
        intensity_range=intensity_range,
        mask=mask,
        should_stop=should_stop,
        preview_seconds=math.inf if on_snapshot is None else _PREVIEW_SECONDS,
        **changes,
    )
    return steps.result() if on_snapshot is None else run_to_end(mapped(steps, on_snapshot))


def iterate(
    image: Image | ArrayLike,
    settings: Settings | None = None,
    *,
    kernel: KernelChoice | Kernel | ArrayLike | None = None,
    axes: str | None = None,
    pixel_size: Sequence[float] | None = None,
    unit: str = "µm",
    intensity_range: tuple[float, float] | None = None,
    mask: ArrayLike | None = None,
    should_stop: Callable[[], bool] | None = None,
    preview_seconds: float = _PREVIEW_SECONDS,
    preview_iterations: int = 1,
    **changes: Any,
) -> Run[Snapshot, Result]:
    """Deconvolve an image as :func:`deconvolve`, one iteration at a time.

    Parameters are those of :func:`deconvolve`, except ``on_snapshot``, and

    preview_seconds : float
        Minimum time between snapshots that carry the estimates. 0 adds the estimates to every
        snapshot, infinity to none.
    preview_iterations : int
        Only iterations that are multiples of this number carry the estimates, which take longer to
        hand over than an iteration of the networks takes on a GPU.

    The input is checked by this call, before the first iteration.

    Returns
    -------
    Run
        An iterator of `Snapshot`; its ``result()`` is the `Result`.
    """
    task = Task.of(
        Image.of(image, axes).as_one_block(),
        settings,
        changes,
        axes=None,
        kernel=kernel,
        pixel_size=pixel_size,
        unit=unit,
        intensity_range=intensity_range,
        mask=mask,
    )
    control = RunControl(should_stop or (lambda: False), preview_seconds, preview_iterations)
    run = deconvolve_volume if task.image.block_kind is BlockKind.VOLUME else run_task
    return Run(on_sampled_grid(run, task, control))
