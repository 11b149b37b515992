"""Algorithm 1: fit image and kernel to one blurred image, and stop before the noise comes in."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from napari_blind_deconv.engine.devices import choose_device, computes_bfloat16
from napari_blind_deconv.engine.inputs import (
    IntensityMap,
    check_image,
    check_kernel,
    kernel_window,
    to_channels,
)
from napari_blind_deconv.numerics.blur import blur, crop_to_field_of_view, field_of_view_offset
from napari_blind_deconv.numerics.blur_width import gaussian_width, white_noise
from napari_blind_deconv.numerics.image_prior import ImagePrior
from napari_blind_deconv.numerics.kernel_prior import FixedKernel, Siren, gaussian_kernel
from napari_blind_deconv.numerics.location import recentre
from napari_blind_deconv.numerics.objective import gradient_sparsity, mean_huber
from napari_blind_deconv.numerics.stopping import EarlyStopping, WindowedVariance
from napari_blind_deconv.results import (
    TRACE_DTYPE,
    DeconvolutionError,
    Result,
    Snapshot,
    StopReason,
)
from napari_blind_deconv.settings import Precision, Settings, SparsityScale

__all__ = ["deconvolve", "iterate"]

# Pixels the windowed variance is taken over: a fixed random sample keeps its memory flat.
_MONITORED_PIXELS = 65_536
# The coarsest scale of the image network keeps at least this many pixels a side.
_COARSEST_SIDE = 4


def deconvolve(
    image: ArrayLike,
    settings: Settings | None = None,
    *,
    psf: ArrayLike | None = None,
    device: str = "auto",
    seed: int = 0,
    rgb: bool = False,
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
        and only the image is estimated (non-blind deconvolution).
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    seed : int
        Seed of the networks' random start. Same input, settings, seed and machine on the CPU: the
        same bits. Another seed gives another, equally valid, estimate.
    rgb : bool
        The last axis is colour: one kernel is estimated for all three channels; noise, sparsity,
        stopping and location are judged on luminance; alpha is passed through.
    should_stop : callable, optional
        Asked after every iteration; True ends the run with the best estimate so far.
    on_snapshot : callable, optional
        Called with a `Snapshot` after every iteration.

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
        image, settings, psf=psf, device=device, seed=seed, rgb=rgb, should_stop=should_stop
    )
    while True:
        try:
            snapshot = next(run)
        except StopIteration as finished:
            result: Result = finished.value
            return result
        if on_snapshot is not None:
            on_snapshot(snapshot)


def iterate(
    image: ArrayLike,
    settings: Settings | None = None,
    *,
    psf: ArrayLike | None = None,
    device: str = "auto",
    seed: int = 0,
    rgb: bool = False,
    should_stop: Callable[[], bool] | None = None,
    preview_seconds: float = 0.5,
) -> Generator[Snapshot, None, Result]:
    """Run :func:`deconvolve` step by step: yields snapshots and *returns* the result.

    Parameters are those of :func:`deconvolve`, and

    preview_seconds : float
        Least time between snapshots that carry pictures; 0 puts them into each.

    Input is checked by the call itself, before the first step.
    """
    problem = _Problem.of(image, settings or Settings(), psf=psf, rgb=rgb)
    place = choose_device(device)
    return _run(problem, place, seed, should_stop or (lambda: False), preview_seconds)


@dataclass(frozen=True)
class _Problem:
    """A checked input: what to fit, and how its answer goes back to the user's units."""

    settings: Settings
    image: NDArray[Any]
    rgb: bool
    unit: NDArray[np.float32]  # (C, H, W), the image mapped to [0, 1]
    intensity: IntensityMap
    noise: float  # in the fit's units
    psf: NDArray[np.float32] | None
    window: tuple[int, int]

    @classmethod
    def of(
        cls, image: ArrayLike, settings: Settings, *, psf: ArrayLike | None, rgb: bool
    ) -> Self:
        array = check_image(image, rgb=rgb)
        shape = (array.shape[0], array.shape[1])
        known = None if psf is None else check_kernel(psf, shape)
        window = kernel_window(settings, shape) if known is None else known.shape
        channels = to_channels(array, rgb=rgb)
        intensity = IntensityMap.of(channels)
        unit = intensity.to_unit(channels)
        noise = white_noise(unit.mean(axis=0))
        return cls(settings, array, rgb, unit, intensity, noise, known, window)

    @property
    def canvas_shape(self) -> tuple[int, int]:
        """Eq. 16: wide enough for all light the field of view received."""
        rows, columns = self.unit.shape[-2:]
        return rows + self.window[0] - 1, columns + self.window[1] - 1

    @property
    def sparsity_weight(self) -> float:
        if self.settings.sparsity_scale is SparsityScale.NOISE:
            return self.settings.sparsity * self.noise
        return self.settings.sparsity

    def to_user(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """Channels ``(C, H, W)`` of the fit to the shape and units of the input."""
        values = self.intensity.from_unit(unit)
        if not self.rgb:
            return values[0]
        return np.concatenate([np.moveaxis(values, 0, -1), self.image[..., 3:]], axis=-1).astype(
            np.float32
        )


class _Fit:
    """The two networks, their optimiser and the objective; `step` is one line of Algorithm 1."""

    def __init__(self, problem: _Problem, device: torch.device, seed: int) -> None:
        settings = problem.settings
        self.problem = problem
        self.device = device
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
            torch.manual_seed(seed)
            self.image_prior = _image_prior(problem).to(device, memory_format=torch.channels_last)
            self.kernel_prior = _kernel_prior(problem).to(device)
        self.observed = torch.from_numpy(problem.unit).to(device)
        self.optimiser = torch.optim.Adam(
            [
                {"params": self.image_prior.parameters(), "lr": settings.image_learning_rate},
                {"params": self.kernel_prior.parameters(), "lr": settings.kernel_learning_rate},
            ]
            if problem.psf is None
            else [{"params": self.image_prior.parameters(), "lr": settings.image_learning_rate}]
        )
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(
            self.optimiser, settings.learning_rate_milestones, gamma=0.5
        )
        self.half = settings.precision is Precision.AUTO and computes_bfloat16(device)

    def step(self) -> tuple[Tensor, Tensor, float, float, float]:
        """One step on Eq. 21; the canvas and kernel it started from, loss, data, regulariser."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            canvas = self.image_prior()
        kernel = self.kernel_prior()
        data = mean_huber(blur(canvas, kernel) - self.observed, self.problem.settings.huber_delta)
        regulariser = gradient_sparsity(
            canvas.mean(0),
            per_pixel=self.problem.settings.sparsity_scale is not SparsityScale.PUBLISHED,
        )
        loss = data + self.problem.sparsity_weight * regulariser
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return canvas.detach(), kernel.detach(), loss.item(), data.item(), regulariser.item()


def _image_prior(problem: _Problem) -> ImagePrior:
    settings = problem.settings
    scales = max(1, int(math.log2(min(problem.canvas_shape) / _COARSEST_SIDE)))
    return ImagePrior(
        problem.canvas_shape,
        outputs=problem.unit.shape[0],
        channels=settings.channels[:scales],
        skip_channels=settings.skip_channels,
        input_channels=settings.input_channels,
        ceiling=1.0 + settings.headroom,
        guide=_on_canvas(problem) if settings.guided else None,
    )


def _on_canvas(problem: _Problem) -> Tensor:
    """The blurred image, continued to the canvas by its border pixels."""
    top, left = field_of_view_offset(problem.window)
    bottom, right = problem.window[0] - 1 - top, problem.window[1] - 1 - left
    pads = [(0, 0), (top, bottom), (left, right)]
    return torch.from_numpy(np.pad(problem.unit, pads, mode="edge"))


def _kernel_prior(problem: _Problem) -> nn.Module:
    settings = problem.settings
    if problem.psf is not None:
        return FixedKernel(torch.from_numpy(problem.psf))
    siren = Siren(
        problem.window,
        features=settings.kernel_features,
        layers=settings.kernel_layers,
        frequency=settings.kernel_frequency,
    )
    start = settings.kernel_start
    if start != "flat":
        sigma = gaussian_width(problem.unit.mean(axis=0)) if start == "auto" else start
        siren.fit(gaussian_kernel(problem.window, sigma))
    return siren


@dataclass
class _Best:
    """The estimate that would be kept if the run ended now."""

    iteration: int
    canvas: Tensor
    kernel: Tensor


def _run(
    problem: _Problem,
    device: torch.device,
    seed: int,
    should_stop: Callable[[], bool],
    preview_seconds: float,
) -> Generator[Snapshot, None, Result]:
    started = time.monotonic()
    try:
        best, trace, reason = yield from _optimise(
            problem, device, seed, should_stop, preview_seconds
        )
        image, kernel = _finish(problem, best)
    except (RuntimeError, MemoryError) as error:  # torch's out-of-memory is a RuntimeError
        raise DeconvolutionError(_explain(error, problem, device)) from error
    return Result(
        image=image,
        kernel=kernel,
        trace=trace,
        stop_reason=reason,
        stop_iteration=best.iteration,
        settings=problem.settings,
        seed=seed,
        device=str(device),
        noise=problem.noise * (problem.intensity.high - problem.intensity.low),
        intensity_range=(problem.intensity.low, problem.intensity.high),
        versions=_versions(),
        seconds=time.monotonic() - started,
    )


def _optimise(
    problem: _Problem,
    device: torch.device,
    seed: int,
    should_stop: Callable[[], bool],
    preview_seconds: float,
) -> Generator[Snapshot, None, tuple[_Best, NDArray[np.void], StopReason]]:
    """Lines 1 to 14 of Algorithm 1."""
    settings = problem.settings
    fit = _Fit(problem, device, seed)
    monitored = _monitored_pixels(problem.canvas_shape, seed).to(device)
    variance = WindowedVariance(settings.window, len(monitored))
    stopping = EarlyStopping(settings.patience)
    trace = np.zeros(settings.max_iterations, dtype=TRACE_DTYPE)
    reason = StopReason.ITERATION_LIMIT
    preview_due = -math.inf
    for iteration in range(1, settings.max_iterations + 1):
        canvas, kernel, loss, data, regulariser = fit.step()
        if not math.isfinite(loss):
            raise RuntimeError(f"the objective became {loss} at iteration {iteration}")
        spread = variance.update(canvas.mean(0).flatten()[monitored].cpu().numpy())
        average = canvas if iteration == 1 else torch.lerp(canvas, average, settings.averaging)
        if stopping.update(iteration, spread) or stopping.best_iteration is None:
            best = _Best(iteration, average, kernel)
        trace[iteration - 1] = (iteration, loss, data, regulariser, spread)
        previews: dict[str, NDArray[np.float32]] = {}
        if time.monotonic() >= preview_due:
            previews = {"image": _preview(problem, average, kernel), "kernel": kernel.cpu().numpy()}
            preview_due = time.monotonic() + preview_seconds
        yield Snapshot(
            iteration,
            settings.max_iterations,
            loss,
            data,
            regulariser,
            spread,
            stopping.best_iteration,
            **previews,
        )
        if should_stop():
            reason = StopReason.STOPPED
            break
        if stopping.exhausted:
            reason = StopReason.EARLY_STOPPING
            break
    return best, trace[:iteration].copy(), reason


def _monitored_pixels(canvas_shape: tuple[int, int], seed: int) -> Tensor:
    count = canvas_shape[0] * canvas_shape[1]
    if count <= _MONITORED_PIXELS:
        return torch.arange(count)
    chosen = np.random.default_rng(seed).choice(count, _MONITORED_PIXELS, replace=False)
    return torch.from_numpy(np.sort(chosen))


def _preview(problem: _Problem, canvas: Tensor, kernel: Tensor) -> NDArray[np.float32]:
    cut = crop_to_field_of_view(canvas, (kernel.shape[0], kernel.shape[1]))
    return problem.to_user(cut.cpu().numpy())


def _finish(
    problem: _Problem, best: _Best
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Line 15: locate the picture, and give it the flux of the input."""
    observed = torch.from_numpy(problem.unit)
    canvas, kernel = best.canvas.cpu(), best.kernel.cpu()
    # Huber and an early stop leave the mean a little off; one gain makes the blurred estimate carry
    # exactly the input's flux above its offset.
    explained = blur(canvas, kernel).mean(dim=(-2, -1), keepdim=True)
    canvas = canvas * (observed.mean(dim=(-2, -1), keepdim=True) / explained)
    image, centred = recentre(canvas, kernel, observed)
    return problem.to_user(image), centred


def _versions() -> dict[str, str]:
    packages = ("napari-blind-deconv", "torch", "numpy")
    return {**{name: version(name) for name in packages}, "python": platform.python_version()}


def _explain(error: BaseException, problem: _Problem, device: torch.device) -> str:
    rows, columns = problem.canvas_shape
    text = str(error)
    if "memory" in text.lower() or isinstance(error, MemoryError):
        return (
            f"There is not enough memory on {device} for a canvas of {rows} × {columns} pixels; "
            "try a smaller region, a smaller kernel window or device 'cpu'."
        )
    return f"The computation on {device} failed: {text.splitlines()[0] if text else error!r}."
