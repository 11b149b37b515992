"""The public functions for one image, and the pipeline behind them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import Any

from numpy.typing import ArrayLike

from napari_blind_deconv.engine.double_dip import DoubleDip
from napari_blind_deconv.engine.kernel_stage import find_kernel_start
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.quality import judge
from napari_blind_deconv.engine.richardson_lucy import RichardsonLucy
from napari_blind_deconv.engine.solver import RunControl, SolverOutcome, run_solver
from napari_blind_deconv.engine.wiener import Wiener
from napari_blind_deconv.errors import DeconvolutionError, OutOfMemoryError, first_line
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import Result, Snapshot, versions
from napari_blind_deconv.settings import ImageStart, Settings, SolverName
from napari_blind_deconv.steps import Run, mapped, run_to_end
from napari_blind_deconv.task import Task

__all__ = ["deconvolve", "iterate", "run_task"]

_PREVIEW_SECONDS = 0.5
# What libraries say when memory runs out. Access to *illegal* memory, say, is another matter.
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "alloc_failed")


def deconvolve(
    image: Image | ArrayLike,
    settings: Settings | None = None,
    *,
    kernel: KernelChoice | Kernel | ArrayLike | None = None,
    axes: str | None = None,
    intensity_range: tuple[float, float] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_snapshot: Callable[[Snapshot], None] | None = None,
    **changes: Any,
) -> Result:
    """Sharpen an image whose point spread function nobody knows.

    Parameters
    ----------
    image : Image or array_like
        One plane ``(rows, columns)`` of any integer or floating type, at least 16 pixels a side,
        in any intensity units; ``(rows, columns, 3 or 4)`` with the axes ``"YXS"``.
    settings : Settings, optional
        Default: the preset ``"fast"``. Device and seed are among them.
    kernel : KernelChoice, Kernel or array_like, optional
        Default: it is found in the image. A kernel or an array, 2D and non-negative, at the image's
        pixel size, is held: only the image is estimated (non-blind deconvolution). If its centroid
        is not its central pixel, zeros are put around it until it is, and what is left of a pixel
        is taken out of the estimate, so that the image does not move.
        ``KernelChoice.start_from(kernel)`` is a guess that the fit corrects.
    axes : str, optional
        Of an array: ``"YX"``, or ``"YXS"`` for colour. Of colour, one kernel is applied to all
        three channels; noise, width of blur, sparsity, stopping and location are judged on
        luminance, the mean of the channels; alpha is passed through.
    intensity_range : tuple of float, optional
        Intensities that are 0 and 1 in the fit; default: the image's own, hot pixels left out.
        Planes that are to be compared want the same.
    should_stop : callable, optional
        Asked several times a second, while the kernel is searched for too; True ends the run with
        the best estimate so far.
    on_snapshot : callable, optional
        Called with a `Snapshot` as often: after every iteration, and while a stage has none yet.
    **changes
        Settings that are to differ, by their names, such as ``device="cpu"`` or ``seed=3``.

    Returns
    -------
    Result
        Image, kernel, trace, and why the run stopped.

    Raises
    ------
    ValueError, TypeError
        For input that cannot be deblurred, in one sentence.
    DeconvolutionError
        If the computation fails, for want of memory for example.

    Notes
    -----
    Minimises Eq. 21 of Zhuang, Li, Wang and Sun, *Blind Image Deblurring with Unknown Kernel Size
    and Substantial Noise*, as in their Algorithm 1.

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
        intensity_range=intensity_range,
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
    intensity_range: tuple[float, float] | None = None,
    should_stop: Callable[[], bool] | None = None,
    preview_seconds: float = _PREVIEW_SECONDS,
    **changes: Any,
) -> Run[Snapshot, Result]:
    """Run :func:`deconvolve` step by step: yields snapshots, and has the result at its end.

    Parameters are those of :func:`deconvolve`, and

    preview_seconds : float
        Least time between snapshots that carry pictures; 0 puts them into each, infinity
        into none.

    Input is checked by the call itself, before the first step.

    Returns
    -------
    Run
        An iterator of `Snapshot`; its ``result()`` is the `Result`.
    """
    task = Task.of(
        image, settings, changes, axes=axes, kernel=kernel, intensity_range=intensity_range
    )
    return Run(run_task(task, RunControl(should_stop or (lambda: False), preview_seconds)))


def run_task(task: Task, control: RunControl) -> Generator[Snapshot, None, Result]:
    """Run a task on one block, at once and untiled; checked by the call itself, as `iterate`."""
    _check_solver(task)
    return _run(Problem.of(task), control)


def _check_solver(task: Task) -> None:
    settings, choice = task.settings, task.kernel
    if settings.solver is SolverName.RICHARDSON_LUCY and not choice.is_held:
        raise ValueError("Richardson-Lucy got no PSF; expected one, or another solver.")
    flat = choice.kernel is None and settings.kernel_start == "flat"
    if settings.solver is SolverName.WIENER and flat:
        raise ValueError(
            "The linear estimate got a flat kernel; expected kernel_start 'auto' or a width in "
            "pixels, a PSF or a guess of it."
        )


def _run(problem: Problem, control: RunControl) -> Generator[Snapshot, None, Result]:
    started = time.monotonic()
    try:
        problem, end = yield from _stages(problem, control)
        image, weights = problem.to_output(end.best.canvas, end.best.kernel)
        kernel = problem.estimated(weights)
        judgement = judge(
            problem.task.image, image, kernel, reason=end.reason, slowed_at=end.slowed_at
        )
    # torch's out-of-memory is a RuntimeError.
    except (RuntimeError, MemoryError, FloatingPointError) as error:
        raise _explained(error, problem) from error
    low, high = problem.intensity.low, problem.intensity.high
    return Result(
        image=image,
        kernel=kernel,
        kernel_is_held=problem.is_held,
        trace=end.trace,
        stop_reason=end.reason,
        stop_iteration=end.best.iteration,
        settings=problem.settings,
        device=str(problem.device),
        noise=problem.noise * (high - low),
        intensity_range=(low, high),
        versions=versions(),
        seconds=time.monotonic() - started,
        slowed_at=end.slowed_at,
        **judgement._asdict(),
    )


def _stages(
    problem: Problem, control: RunControl
) -> Generator[Snapshot, None, tuple[Problem, SolverOutcome]]:
    """The pipeline: the kernel, its linear estimate, and double-DIP where that leaves more."""
    if problem.settings.solver is SolverName.RICHARDSON_LUCY:
        return problem, (yield from run_solver(problem, RichardsonLucy(problem), control))
    problem = yield from find_kernel_start(problem, control)
    settings, kernel = problem.settings, problem.kernel_start
    linear, start = None, None
    ends_here = settings.solver is SolverName.WIENER
    if kernel is not None and (ends_here or settings.image_start is ImageStart.WIENER):
        wiener = Wiener(problem, kernel)
        linear = yield from run_solver(problem, wiener, control)
        if ends_here or linear.reason is not StopReason.COMPLETED:
            return problem, linear
        start = wiener.canvas
    network = DoubleDip(problem, start)
    return problem, (yield from run_solver(problem, network, control, linear))


def _explained(error: BaseException, problem: Problem) -> DeconvolutionError:
    sides, device = " × ".join(map(str, problem.canvas_shape)), problem.device
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(phrase in text for phrase in _OUT_OF_MEMORY):
        return OutOfMemoryError(
            f"There is not enough memory on {device} for a canvas of {sides} pixels; "
            "try a smaller region, a smaller kernel window or device 'cpu'."
        )
    return DeconvolutionError(f"The computation on {device} failed: {first_line(error)}.")
