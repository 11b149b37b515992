"""The public functions for one image, and the pipeline behind them."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Generator
from importlib.metadata import version

import torch
from numpy.typing import ArrayLike

from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.double_dip import DoubleDip
from napari_blind_deconv.engine.inputs import luminance
from napari_blind_deconv.engine.kernel_stage import find_kernel_start, kernel_start
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.quality import assess, doubts
from napari_blind_deconv.engine.richardson_lucy import RichardsonLucy
from napari_blind_deconv.engine.solver import Ending, Watch, run_solver
from napari_blind_deconv.engine.wiener import Wiener
from napari_blind_deconv.numerics.kernel_shape import KernelShape
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import (
    DeconvolutionError,
    OutOfMemoryError,
    Result,
    Snapshot,
    first_line,
)
from napari_blind_deconv.settings import ImageStart, Settings, SolverName
from napari_blind_deconv.steps import mapped, run_to_end

__all__ = ["deconvolve", "iterate"]

_PREVIEW_SECONDS = 0.5
# What libraries say when memory runs out. Access to *illegal* memory, say, is another matter.
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "alloc_failed")


def deconvolve(
    image: ArrayLike,
    settings: Settings | None = None,
    *,
    psf: ArrayLike | None = None,
    psf_guess: ArrayLike | None = None,
    device: str = "auto",
    seed: int = 0,
    rgb: bool = False,
    intensity_range: tuple[float, float] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_snapshot: Callable[[Snapshot], None] | None = None,
) -> Result:
    """Sharpen an image whose point spread function nobody knows.

    Parameters
    ----------
    image : array_like
        One plane ``(rows, columns)`` of any integer or floating type, at least 16 pixels a side,
        in any intensity units; ``(rows, columns, 3 or 4)`` with `rgb`.
    settings : Settings, optional
        Default: the preset ``"fast"``.
    psf : array_like, optional
        A known PSF, 2D and non-negative, at the image's pixel size. With it the kernel is fixed
        and only the image is estimated (non-blind deconvolution). If its centroid is not its
        central pixel, zeros are put around it until it is, and what is left of a pixel is taken out
        of the estimate, so that the image does not move.
    psf_guess : array_like, optional
        A PSF the kernel is to start from, in place of the one found in the image; the fit corrects
        it. Of the form of `psf`, which it cannot be given with.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    seed : int
        Seed of the networks' random start, from 0 up. Same input, settings, seed and machine on the
        CPU: the same bits. Another seed gives another, equally valid, estimate.
    rgb : bool
        The last axis is colour: one kernel is applied to all three channels; noise, width of blur,
        sparsity, stopping and location are judged on luminance, the mean of the channels; alpha is
        passed through.
    intensity_range : tuple of float, optional
        Intensities that are 0 and 1 in the fit; default: the image's own, hot pixels left out.
        Planes that are to be compared want the same.
    should_stop : callable, optional
        Asked several times a second, while the kernel is searched for too; True ends the run with
        the best estimate so far.
    on_snapshot : callable, optional
        Called with a `Snapshot` as often: after every iteration, and while a stage has none yet.

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
    >>> result.image.shape, float(result.kernel.sum().round(3))
    ((64, 64), 1.0)
    """
    run = iterate(
        image,
        settings,
        psf=psf,
        psf_guess=psf_guess,
        device=device,
        seed=seed,
        rgb=rgb,
        intensity_range=intensity_range,
        should_stop=should_stop,
        preview_seconds=math.inf if on_snapshot is None else _PREVIEW_SECONDS,
    )
    return run_to_end(run if on_snapshot is None else mapped(run, on_snapshot))


def iterate(
    image: ArrayLike,
    settings: Settings | None = None,
    *,
    psf: ArrayLike | None = None,
    psf_guess: ArrayLike | None = None,
    device: str = "auto",
    seed: int = 0,
    rgb: bool = False,
    intensity_range: tuple[float, float] | None = None,
    should_stop: Callable[[], bool] | None = None,
    preview_seconds: float = _PREVIEW_SECONDS,
) -> Generator[Snapshot, None, Result]:
    """Run :func:`deconvolve` step by step: yields snapshots and *returns* the result.

    Parameters are those of :func:`deconvolve`, and

    preview_seconds : float
        Least time between snapshots that carry pictures; 0 puts them into each, infinity
        into none.

    Input is checked by the call itself, before the first step.
    """
    if not 0 <= seed < 2**63:
        raise ValueError(f"The seed is {seed}; accepted are whole numbers from 0 to 2^63 - 1.")
    if psf is not None and psf_guess is not None:
        raise ValueError("Got a PSF and a guess of it; accepted is one of them.")
    settings = settings or Settings()
    _check_solver(settings, psf, psf_guess)
    problem = Problem.of(
        image,
        settings,
        psf=psf,
        psf_guess=psf_guess,
        rgb=rgb,
        intensity_range=intensity_range,
    )
    place = choose_device(device)
    watch = Watch(should_stop or (lambda: False), preview_seconds)
    return _run(problem, place, seed, watch)


def _check_solver(settings: Settings, psf: ArrayLike | None, psf_guess: ArrayLike | None) -> None:
    if settings.solver is SolverName.RICHARDSON_LUCY and psf is None:
        raise ValueError("Richardson-Lucy got no PSF; expected one, or another solver.")
    untold = psf is None and psf_guess is None
    if settings.solver is SolverName.WIENER and untold and settings.kernel_start == "flat":
        raise ValueError(
            "The linear estimate got a flat kernel; expected kernel_start 'auto' or a width in "
            "pixels, a PSF or a guess of it."
        )


def _run(
    problem: Problem,
    device: torch.device,
    seed: int,
    watch: Watch,
) -> Generator[Snapshot, None, Result]:
    started = time.monotonic()
    try:
        problem, end = yield from _stages(problem, device, seed, watch)
        image, kernel = problem.answer(end.best.canvas, end.best.kernel)
        before, after = (luminance(pixels, problem.rgb) for pixels in (problem.image, image))
        trust, shape = assess(before, after, kernel), KernelShape.of(kernel)
    # torch's out-of-memory is a RuntimeError.
    except (RuntimeError, MemoryError, FloatingPointError) as error:
        raise _explained(error, problem, device) from error
    return Result(
        image=image,
        kernel=kernel,
        trace=end.trace,
        stop_reason=end.reason,
        stop_iteration=end.best.iteration,
        settings=problem.settings,
        seed=seed,
        device=str(device),
        noise=problem.noise * (problem.intensity.high - problem.intensity.low),
        intensity_range=(problem.intensity.low, problem.intensity.high),
        versions=_versions(),
        seconds=time.monotonic() - started,
        blur=problem.start,
        kernel_fwhm=(shape.rows, shape.columns),
        trust=trust,
        slowed_at=end.slowed_at,
        flags=doubts(trust, blur_found=problem.start, reason=end.reason, slowed_at=end.slowed_at),
    )


def _stages(
    problem: Problem, device: torch.device, seed: int, watch: Watch
) -> Generator[Snapshot, None, tuple[Problem, Ending]]:
    """The pipeline: the kernel, its linear estimate, and double-DIP where that leaves more."""
    if problem.settings.solver is SolverName.RICHARDSON_LUCY:
        iterations = RichardsonLucy(problem, device)
        return problem, (yield from run_solver(problem, iterations, device, watch, seed))
    problem = yield from find_kernel_start(problem, watch)
    settings, kernel = problem.settings, kernel_start(problem)
    linear, start = None, None
    ends_here = settings.solver is SolverName.WIENER
    if kernel is not None and (ends_here or settings.image_start is ImageStart.WIENER):
        wiener = Wiener(problem, kernel, device)
        linear = yield from run_solver(problem, wiener, device, watch, seed)
        if ends_here or linear.reason is not StopReason.COMPLETED:
            return problem, linear
        start = wiener.canvas
    network = DoubleDip(problem, device, seed, start)
    return problem, (yield from run_solver(problem, network, device, watch, seed, linear))


def _versions() -> dict[str, str]:
    packages = ("napari-blind-deconv", "torch", "numpy")
    return {**{name: version(name) for name in packages}, "python": platform.python_version()}


def _explained(error: BaseException, problem: Problem, device: torch.device) -> DeconvolutionError:
    rows, columns = problem.canvas_shape
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(phrase in text for phrase in _OUT_OF_MEMORY):
        return OutOfMemoryError(
            f"There is not enough memory on {device} for a canvas of {rows} × {columns} pixels; "
            "try a smaller region, a smaller kernel window or device 'cpu'."
        )
    return DeconvolutionError(f"The computation on {device} failed: {first_line(error)}.")
