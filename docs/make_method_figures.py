"""Make the figures of the pages on the method, and the summary of a run (`make figures`).

All are computed, from pictures that come with the packages; some minutes on two cores.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image as Picture
from skimage import data

from napari_blind_deconv import (
    Image,
    Kernel,
    Result,
    Settings,
    Snapshot,
    Stage,
    deconvolve,
    iterate,
)
from napari_blind_deconv.engine.kernel_stage import find_kernel_start
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.wiener import wiener_canvases
from napari_blind_deconv.kernel import KernelWidths
from napari_blind_deconv.numerics.convolution import Convolution, crop_to_field_of_view
from napari_blind_deconv.numerics.degrade import add_gaussian_noise
from napari_blind_deconv.numerics.image_prior import ImagePrior
from napari_blind_deconv.numerics.location import crop_or_pad
from napari_blind_deconv.numerics.metrics import psnr_up_to_shift
from napari_blind_deconv.numerics.optics import gaussian_kernel, line_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum, scene_power
from napari_blind_deconv.numerics.stopping import EarlyStopping
from napari_blind_deconv.steps import mapped, run_to_end
from napari_blind_deconv.synthetic import Scene, fluorescence_scene
from napari_blind_deconv.task import Task

IMAGES = Path(__file__).parent / "images"
SIDE = 256
EXPONENT = 3.0
WINDOW = (31, 31)  # the kernels are shown in
RINGS = np.linspace(0.05, np.pi, 80)
ENLARGED = np.s_[120:184, 60:124]  # of the scene
SMALL = (96, 96)  # scenes of the figures for which long runs are made
WITHOUT_END = {"stop_at_noise": False, "early_stopping": False}


def save(figure: Figure, name: str, dpi: int = 110) -> None:
    """Write a figure with a palette of 256 colours, which is a third of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    picture = Picture.open(drawn).convert("RGB").quantize(256, dither=Picture.Dither.NONE)
    picture.save(IMAGES / f"{name}.png", optimize=True)


def show(
    axes: Axes, picture: NDArray[np.floating], title: str, span: tuple[float, float] | None = None
) -> None:
    """A grey picture without ticks."""
    low, high = span or (picture.min(), picture.max())
    axes.imshow(picture, cmap="gray", vmin=low, vmax=high)
    axes.set(title=title, xticks=[], yticks=[])


def show_kernel(axes: Axes, kernel: NDArray[np.float32], title: str) -> None:
    """A kernel in the middle of the window all kernels are shown in."""
    axes.imshow(crop_or_pad(kernel, WINDOW), cmap="inferno")
    axes.set(title=title, xticks=[], yticks=[])


@dataclass(frozen=True)
class Watched:
    """A run whose truth is known: PSNR and variance of every iteration, and its end."""

    decibel: NDArray[np.float64]
    variance: NDArray[np.float64]
    pictures: list[NDArray[np.float32]]
    result: Result


def watched(scene: Scene, settings: Settings) -> Watched:
    """Run to the end and look at the truth on the way, which no user can."""
    run = iterate(scene.observed, settings, preview_seconds=0)
    decibel, variance, pictures = [], [], []

    def look(snapshot: Snapshot) -> None:
        assert snapshot.image is not None
        decibel.append(scene.psnr(snapshot.image))
        variance.append(snapshot.variance)
        pictures.append(snapshot.image)

    result = run_to_end(mapped(run, look))
    return Watched(np.array(decibel), np.array(variance), pictures, result)


def shaken() -> NDArray[np.float32]:
    """A kernel no formula has: a hook, as a hand draws it."""
    way = np.linspace(0, 1, 2000)
    rows, columns = 10 + 7 * np.sin(4 * way), 4 + 12 * way**2
    kernel = np.histogram2d(rows, columns, bins=21, range=((0, 21), (0, 21)))[0]
    return (kernel / kernel.sum()).astype(np.float32)


def photograph(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A photograph through a kernel, with a little noise."""
    margin = len(kernel) - 1
    scene = data.camera()[: SIDE + margin, 60 : 60 + SIDE + margin] / np.float32(255)
    blurred = Convolution(torch.from_numpy(kernel)).forward(torch.from_numpy(scene))
    return add_gaussian_noise(
        blurred, sigma=1e-3, generator=torch.Generator().manual_seed(0)
    ).numpy()


def prepared(image: NDArray[np.number]) -> tuple[Problem, Kernel]:
    """An image with its kernel found, as the default does."""
    problem = Problem.of(Task(Image(image), Settings()))
    problem = run_to_end(find_kernel_start(problem, RunControl()))
    assert problem.kernel is not None
    return problem, problem.kernel


def rings(spectrum: Spectrum, power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power by distance from frequency 0."""
    which = np.digitize(spectrum.radius, RINGS)
    sums = np.bincount(which, power, len(RINGS) + 1)
    return (sums / np.maximum(np.bincount(which, minlength=len(RINGS) + 1), 1))[1:-1]


def draw_spectrum() -> None:
    """Idea 1: what each blur predicts for the spectrum that is found."""
    image = fluorescence_scene((SIDE, SIDE), kernel=gaussian_kernel((21, 21), 2.0)).observed
    problem, found = prepared(image)
    spectrum = Spectrum.of(problem.luminance)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(RINGS[1:], rings(spectrum, spectrum.power), "k.", label="found")
    for name, transfer in (
        ("no blur", np.ones_like(spectrum.power)),
        ("linear motion, 9 px", spectrum.transfer_of(line_kernel(9, 30))),
        (f"{found.source}, as found", spectrum.transfer_of(found.weights)),
    ):
        predicted = spectrum.explained_by(transfer, EXPONENT)
        model = predicted.strength * transfer * scene_power(spectrum.radius, EXPONENT)
        line = rings(spectrum, model + spectrum.noise_variance)
        axes.semilogy(RINGS[1:], line, label=f"{name}: misfit {predicted.misfit:.3f} nats")
    axes.set(xlabel="frequency, radians a pixel", ylabel="power", title="Gaussian blur of σ 2 px")
    axes.legend()
    save(figure, "method_spectrum")


def draw_kernels() -> None:
    """Idea 1: a blur of each kind, and what was found."""
    gauss, motion = gaussian_kernel((21, 21), 2.0), line_kernel(9, 30)
    exposures = (
        (gauss, fluorescence_scene((SIDE, SIDE), kernel=gauss).observed),
        (motion, fluorescence_scene((SIDE, SIDE), kernel=motion).observed),
        (shaken(), photograph(shaken())),
    )
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for column, (true, image) in enumerate(exposures):
        _, found = prepared(image)
        pair = ((true, "true"), (found.weights, f"found: {found.source}"))
        for row, (kernel, title) in enumerate(pair):
            show_kernel(figure.add_subplot(2, 3, 3 * row + column + 1), kernel, title)
    save(figure, "method_kernels")


def draw_stages() -> None:
    """Ideas 2 and 3: the image, the linear estimate, and the fit, with its gain by iteration."""
    scene = photograph(shaken())
    margin = len(shaken()) - 1
    truth = data.camera()[: SIDE + margin, 60 : 60 + SIDE + margin] / np.float32(255)
    truth = Convolution(torch.from_numpy(shaken())).field_of_view(truth)
    problem, _ = prepared(scene)
    kernel = problem.kernel_start
    assert kernel is not None
    *_, linear = wiener_canvases(problem, kernel)
    seen = crop_to_field_of_view(linear, problem.window)
    start = problem.task.image.with_channels(problem.intensity.from_unit(seen))
    run = iterate(scene, preview_seconds=0)
    curve = []

    def look(snapshot: Snapshot) -> None:
        if snapshot.stage is not Stage.DOUBLE_DIP or snapshot.image is None:
            return
        curve.append(psnr_up_to_shift(truth, snapshot.image, peak=1.0))

    result = run_to_end(mapped(run, look))
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    *pictures, axes = figure.subplots(1, 4)
    for place, (image, name) in zip(
        pictures, ((scene, "image"), (start, "2: linear"), (result.image, "3: fitted")), strict=True
    ):
        decibel = psnr_up_to_shift(truth, image, peak=1.0)
        show(place, image[64:192, 64:192], f"{name}, {decibel:.1f} dB", (0, 1))
    axes.plot(range(1, len(curve) + 1), curve)
    axes.axvline(result.stop_iteration, color="tab:orange", label="kept")
    axes.set(xlabel="iteration", ylabel="PSNR of the running picture, dB")
    axes.legend()
    save(figure, "method_stages", dpi=90)


def draw_model() -> None:
    """What the camera has is the specimen through the kernel, with noise."""
    scene = fluorescence_scene(SMALL)
    margin = scene.kernel.shape[0] // 2
    inner = np.s_[margin:-margin, margin:-margin]
    convolution = Convolution(torch.from_numpy(scene.kernel))
    light = convolution.forward(torch.from_numpy(scene.truth)).numpy()
    span = brightness(scene)
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    sharp, kernel, blurred, image = figure.subplots(1, 4)
    show(sharp, scene.truth[inner], "sharp picture x", span)
    show_kernel(kernel, scene.kernel, "kernel k")
    show(blurred, light, "k ∗ x: blurred", span)
    show(image, scene.observed.astype(float)[inner], "y = k ∗ x + noise", span)
    save(figure, "model")


def brightness(scene: Scene) -> tuple[float, float]:
    """Contrast limits that show filaments; nuclei and spots may saturate."""
    return float(scene.truth.min()), float(np.percentile(scene.truth, 97))


def fitted(
    target: torch.Tensor, truth: torch.Tensor, steps: int = 600
) -> tuple[list[float], list[float], list[NDArray[np.float32]]]:
    """An untrained U-Net fitted to a picture: its misfit, its error to the truth, its pictures."""
    torch.manual_seed(0)
    sides = (target.shape[0], target.shape[1])
    network = ImagePrior(
        sides, outputs=1, channels=(32, 32, 32, 32), skip_channels=4, input_channels=8
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    misfits, errors, pictures = [], [], []
    for _ in range(steps):
        optimiser.zero_grad()
        drawn = network()[0]
        misfit = (drawn - target).square().mean()
        misfit.backward()
        optimiser.step()
        misfits.append(misfit.item())
        errors.append((drawn.detach() - truth).square().mean().item())
        pictures.append(drawn.detach().numpy())
    return misfits, errors, pictures


def draw_networks() -> None:
    """An untrained U-Net fits a picture in fewer steps than the same pixels in disorder."""
    picture = torch.from_numpy(data.camera()[70:166, 180:276] / np.float32(255))
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(picture.numel(), generator=draw)
    noisy = picture + 0.1 * torch.randn(picture.shape, generator=draw)
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    axes, *places = figure.subplots(1, 4, width_ratios=(1.7, 1, 1, 1))
    for target, name in (
        (picture, "a photograph"),
        (picture.flatten()[order].reshape(picture.shape), "its pixels in disorder"),
    ):
        axes.loglog(fitted(target, picture)[0], label=f"misfit to {name}")
    misfits, errors, pictures = fitted(noisy, picture)
    axes.loglog(misfits, label="misfit to the photograph with noise, and")
    axes.loglog(errors, "k--", label="the same picture's distance to that without")
    axes.set(xlabel="iteration", ylabel="mean square")
    axes.legend(fontsize=7)
    best = int(np.argmin(errors))
    show(places[0], noisy.numpy(), "photograph with noise", (0, 1))
    show(places[1], pictures[best], f"network, iteration {best + 1}", (0, 1))
    show(places[2], pictures[-1], f"network, iteration {len(pictures)}", (0, 1))
    save(figure, "networks", dpi=90)


def draw_early_stopping() -> None:
    """Variance and true error of a fit that is not stopped, and where the rule would end it."""
    scene = fluorescence_scene(SMALL)
    scratch = Settings(
        image_start="random", kernel_start=2.0, averaging=0.0, max_iterations=600, **WITHOUT_END
    )
    run = watched(scene, scratch)
    rule = EarlyStopping(scratch.patience)
    for iteration, variance in enumerate(run.variance, 1):
        rule.update(iteration, variance)
        if rule.exhausted:
            break
    kept, peak = rule.best_iteration, int(np.argmax(run.decibel)) + 1
    assert kept is not None
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes, *places = figure.subplots(1, 4, width_ratios=(2, 1, 1, 1))
    steps = np.arange(1, len(run.decibel) + 1)
    axes.plot(steps, run.decibel, color="tab:green", lw=1)
    axes.set(xlabel="iteration", ylim=(24, None))
    axes.set_ylabel("PSNR to the truth, dB", color="tab:green")
    other = axes.twinx()
    other.semilogy(steps, run.variance, color="tab:blue", lw=1)
    other.set_ylabel("windowed variance", color="tab:blue")
    axes.axvline(kept, color="tab:orange")
    axes.axvline(peak, color="k", ls=":")
    axes.set_title(f"kept by the rule: {kept} (orange); best by the truth: {peak} (dots)", size=9)
    span = brightness(scene)
    show(places[0], scene.observed.astype(float), "image", span)
    for place, iteration in ((places[1], kept), (places[2], len(run.pictures))):
        title = f"iteration {iteration}: {run.decibel[iteration - 1]:.1f} dB"
        show(place, run.pictures[iteration - 1], title, span)
    save(figure, "early_stopping")


def draw_sparsity() -> None:
    """Estimate and kernel for four λ, everything else alike, 150 iterations each."""
    scene = fluorescence_scene(SMALL)
    span = brightness(scene)
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    pictures, kernels = figure.subplots(2, 5)
    show(pictures[0], scene.truth, "truth", span)
    show_kernel(kernels[0], scene.kernel, f"true: {widths(scene.kernel)}")
    for place, below, sparsity in zip(
        pictures[1:], kernels[1:], (0.0, 0.01, 0.1, 1.0), strict=True
    ):
        result = deconvolve(scene.observed, Settings(sparsity=sparsity, **WITHOUT_END))
        decibel = scene.psnr(result.image)
        show(place, result.image, f"λ = {sparsity:g}: {decibel:.1f} dB", span)
        show_kernel(below, result.kernel.weights, widths(result.kernel.weights))
    save(figure, "sparsity")


def widths(kernel: NDArray[np.float32]) -> str:
    """Full widths at half maximum, in words."""
    longest, shortest = KernelWidths.of(kernel).principal
    return f"{longest:.1f} × {shortest:.1f} px wide"


def draw_summary() -> None:
    """The fluorescence scene before and after, enlarged beside its truth, with both kernels."""
    scene = fluorescence_scene()
    result = deconvolve(scene.observed)
    span = (float(np.percentile(scene.observed, 0.1)), float(np.percentile(scene.observed, 99.9)))
    figure = Figure(figsize=(13, 2.9), layout="constrained")
    before, after, *enlarged = figure.subplots(1, 5)
    show(before, scene.observed, "image", span)
    show(after, result.image, "estimated image", span)
    inset(after, result.kernel.weights)
    rows, columns = ENLARGED
    corner, size = (
        (columns.start, rows.start),
        (columns.stop - columns.start, rows.stop - rows.start),
    )
    before.add_patch(Rectangle(corner, *size, fill=False, color="tab:orange"))
    names = ("image, enlarged", "estimated", "truth")
    for axes, picture, name in zip(
        enlarged, (scene.observed, result.image, scene.truth), names, strict=True
    ):
        show(axes, picture[ENLARGED], name, span)
    inset(enlarged[2], scene.kernel)
    save(figure, "scene_summary")


def inset(axes: Axes, kernel: NDArray[np.float32]) -> None:
    """A kernel in the corner of a picture."""
    corner = axes.inset_axes((0.68, 0.68, 0.3, 0.3))
    corner.imshow(crop_or_pad(kernel, (15, 15)), cmap="inferno")
    corner.set(xticks=[], yticks=[])
    corner.spines[:].set_color("white")


if __name__ == "__main__":
    draw_summary()
    draw_model()
    draw_networks()
    draw_early_stopping()
    draw_sparsity()
    draw_spectrum()
    draw_kernels()
    draw_stages()
