"""Make the figures of the pages on the method, and the summary of a run (`make figures`).

All figures are computed from images that come with the packages. This takes some minutes on two
cores.
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
from PIL import Image as PillowImage
from skimage import data

from napari_blind_deconv import (
    Image,
    Kernel,
    Result,
    Settings,
    Snapshot,
    deconvolve,
    iterate,
)
from napari_blind_deconv.engine.expected_error import expected_error
from napari_blind_deconv.engine.kernel_stage import find_kernel_start
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.wiener import Wiener, noise_to_signal_of
from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.degrade import add_gaussian_noise
from napari_blind_deconv.numerics.field_of_view import crop_to_field_of_view
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
EXPONENT = 3.0  # of the power of a scene by frequency
WINDOW = (31, 31)  # in which kernels are shown
RINGS = np.linspace(0.05, np.pi, 80)  # frequencies in radians per pixel
ENLARGED = np.s_[120:184, 60:124]  # part of the scene
SMALL = (96, 96)  # scenes of the figures that need long runs
WITHOUT_END = {"stop_at_noise": False, "early_stopping": False}


def save(figure: Figure, name: str, dpi: int = 110) -> None:
    """Write a figure with a palette of 256 colours, which makes the file a third of the size."""
    rendered = io.BytesIO()
    figure.savefig(rendered, format="png", dpi=dpi)
    palette = (
        PillowImage.open(rendered).convert("RGB").quantize(256, dither=PillowImage.Dither.NONE)
    )
    palette.save(IMAGES / f"{name}.png", optimize=True)


def show(
    axes: Axes, image: NDArray[np.floating], title: str, limits: tuple[float, float] | None = None
) -> None:
    """Show a grey image without ticks."""
    low, high = limits or (image.min(), image.max())
    axes.imshow(image, cmap="gray", vmin=low, vmax=high)
    axes.set(title=title, xticks=[], yticks=[])


def show_kernel(axes: Axes, kernel: NDArray[np.float32], title: str) -> None:
    """Show a kernel in the centre of a window that is the same for all kernels."""
    axes.imshow(crop_or_pad(kernel, WINDOW), cmap="inferno")
    axes.set(title=title, xticks=[], yticks=[])


@dataclass(frozen=True)
class RecordedRun:
    """A run with known ground truth: PSNR, variance and estimate of each iteration, and result."""

    decibel: NDArray[np.float64]
    variance: NDArray[np.float64]
    estimates: list[NDArray[np.float32]]
    result: Result


def recorded_run(scene: Scene, settings: Settings) -> RecordedRun:
    """Run to the end, and compare each estimate with the ground truth."""
    run = iterate(scene.observed, settings, preview_seconds=0)
    decibel, variance, estimates = [], [], []

    def record(snapshot: Snapshot) -> None:
        if snapshot.image is None:  # while the kernel network is brought to its start
            return
        decibel.append(scene.psnr(snapshot.image))
        variance.append(snapshot.variance)
        estimates.append(snapshot.image)

    result = run_to_end(mapped(run, record))
    return RecordedRun(np.array(decibel), np.array(variance), estimates, result)


def shake_kernel() -> NDArray[np.float32]:
    """Return a kernel without a formula: a hook, like that of a camera shake."""
    time = np.linspace(0, 1, 2000)
    rows, columns = 10 + 7 * np.sin(4 * time), 4 + 12 * time**2
    kernel = np.histogram2d(rows, columns, bins=21, range=((0, 21), (0, 21)))[0]
    return (kernel / kernel.sum()).astype(np.float32)


def photograph(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a photograph that is blurred with a kernel and has a little noise."""
    margin = len(kernel) - 1
    scene = data.camera()[: SIDE + margin, 60 : 60 + SIDE + margin] / np.float32(255)
    blurred = Convolution(torch.from_numpy(kernel)).forward(torch.from_numpy(scene))
    return add_gaussian_noise(
        blurred, sigma=1e-3, generator=torch.Generator().manual_seed(0)
    ).numpy()


def with_kernel(image: NDArray[np.number]) -> tuple[Problem, Kernel]:
    """Return the problem of an image, and the kernel that the default estimates."""
    problem = Problem.of(Task(Image(image), Settings()))
    problem = run_to_end(find_kernel_start(problem, RunControl()))
    assert problem.kernel is not None
    return problem, problem.kernel


def rings(spectrum: Spectrum, power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean power by distance from frequency 0."""
    ring = np.digitize(spectrum.radius, RINGS)
    sums = np.bincount(ring, power, len(RINGS) + 1)
    return (sums / np.maximum(np.bincount(ring, minlength=len(RINGS) + 1), 1))[1:-1]


def draw_spectrum() -> None:
    """Idea 1: compare the spectrum of an image with the prediction for each blur."""
    image = fluorescence_scene((SIDE, SIDE), kernel=gaussian_kernel((21, 21), 2.0)).observed
    problem, kernel = with_kernel(image)
    spectrum = Spectrum.of(problem.luminance)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(RINGS[1:], rings(spectrum, spectrum.power), "k.", label="measured")
    for name, transfer in (
        ("no blur", np.ones_like(spectrum.power)),
        ("linear motion, 9 px", spectrum.transfer_of(line_kernel(9, 30))),
        (f"{kernel.source}, estimated", spectrum.transfer_of(kernel.weights)),
    ):
        predicted = spectrum.explained_by(transfer, EXPONENT)
        model = predicted.strength * transfer * scene_power(spectrum.radius, EXPONENT)
        line = rings(spectrum, model + spectrum.noise_variance)
        axes.semilogy(RINGS[1:], line, label=f"{name}: misfit {predicted.misfit:.3f} nats")
    axes.set(xlabel="frequency, radians per pixel", ylabel="power", title="Gaussian blur of σ 2 px")
    axes.legend()
    save(figure, "method_spectrum")


def draw_kernels() -> None:
    """Idea 1: show a true kernel of each kind and its estimate."""
    gauss, motion = gaussian_kernel((21, 21), 2.0), line_kernel(9, 30)
    exposures = (
        (gauss, fluorescence_scene((SIDE, SIDE), kernel=gauss).observed),
        (motion, fluorescence_scene((SIDE, SIDE), kernel=motion).observed),
        (shake_kernel(), photograph(shake_kernel())),
    )
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for column, (true, image) in enumerate(exposures):
        _, estimate = with_kernel(image)
        pair = ((true, "true"), (estimate.weights, f"estimated: {estimate.source}"))
        for row, (kernel, title) in enumerate(pair):
            show_kernel(figure.add_subplot(2, 3, 3 * row + column + 1), kernel, title)
    save(figure, "method_kernels")


def draw_stages() -> None:
    """Ideas 2 and 3: show the image, the linear estimate, the result and the PSNR by iteration."""
    scene = photograph(shake_kernel())
    margin = len(shake_kernel()) - 1
    truth = data.camera()[: SIDE + margin, 60 : 60 + SIDE + margin] / np.float32(255)
    truth = Convolution(torch.from_numpy(shake_kernel())).field_of_view(truth)
    problem, _ = with_kernel(scene)
    kernel = problem.kernel_start
    assert kernel is not None
    linear = Wiener.solved(problem, kernel, noise_to_signal_of(problem, kernel))
    visible = crop_to_field_of_view(linear.canvas, problem.window)
    start = problem.task.image.with_channels(problem.intensity.from_unit(visible))
    run = iterate(scene, preview_seconds=0)
    curve = []

    def record(snapshot: Snapshot) -> None:
        if snapshot.iteration and snapshot.image is not None:
            curve.append(psnr_up_to_shift(truth, snapshot.image, peak=1.0))

    result = run_to_end(mapped(run, record))
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    *panels, axes = figure.subplots(1, 4)
    for panel, (image, name) in zip(
        panels, ((scene, "image"), (start, "2: linear"), (result.image, "4: fitted")), strict=True
    ):
        decibel = psnr_up_to_shift(truth, image, peak=1.0)
        show(panel, image[64:192, 64:192], f"{name}, {decibel:.1f} dB", (0, 1))
    axes.plot(range(1, len(curve) + 1), curve)
    axes.axvline(result.stop_iteration, color="tab:orange", label="kept")
    axes.set(xlabel="iteration", ylabel="PSNR of the current estimate, dB")
    axes.legend()
    save(figure, "method_stages", dpi=90)


def draw_log_gaussian() -> None:
    """Show the linear and the log-gaussian estimate of an exposure, and the expected error."""
    scene = fluorescence_scene()
    linear, positive = (
        deconvolve(scene.observed, solver=solver, kernel=scene.kernel)
        for solver in ("wiener", "log-gaussian")
    )
    expected = expected_error(scene.observed, positive)
    part, limits = np.s_[40:168, 40:168], display_limits(scene)
    figure = Figure(figsize=(13, 2.7), layout="constrained")
    *panels, errors, map_of_errors = figure.subplots(1, 6)
    for panel, (image, name) in zip(
        panels,
        (
            (scene.observed.astype(float), "image"),
            (linear.image, "2: linear"),
            (positive.image, "3: log-gaussian"),
            (scene.truth, "truth"),
        ),
        strict=True,
    ):
        title = name if name == "truth" else f"{name}, {scene.psnr(image):.1f} dB"
        show(panel, image[part], title, limits)
    span = (0.0, float(np.percentile(expected, 99.5)))
    show(errors, np.abs(positive.image - scene.truth)[part], "error", span)
    show(map_of_errors, expected[part], "expected error", span)
    save(figure, "method_log_gaussian", dpi=90)


def draw_model() -> None:
    """Show the model: the image is the scene convolved with the kernel, plus noise."""
    scene = fluorescence_scene(SMALL)
    margin = scene.kernel.shape[0] // 2
    inner = np.s_[margin:-margin, margin:-margin]
    convolution = Convolution(torch.from_numpy(scene.kernel))
    light = convolution.forward(torch.from_numpy(scene.truth)).numpy()
    limits = display_limits(scene)
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    sharp, kernel, blurred, image = figure.subplots(1, 4)
    show(sharp, scene.truth[inner], "sharp image x", limits)
    show_kernel(kernel, scene.kernel, "kernel k")
    show(blurred, light, "k ∗ x: blurred", limits)
    show(image, scene.observed.astype(float)[inner], "y = k ∗ x + noise", limits)
    save(figure, "model")


def display_limits(scene: Scene) -> tuple[float, float]:
    """Return contrast limits that show filaments; nuclei and spots may saturate."""
    return float(scene.truth.min()), float(np.percentile(scene.truth, 97))


def fitted(
    target: torch.Tensor, truth: torch.Tensor, steps: int = 600
) -> tuple[list[float], list[float], list[NDArray[np.float32]]]:
    """Fit an untrained U-Net to an image.

    Returns the misfit, the mean squared distance to the truth and the output of each step.
    """
    torch.manual_seed(0)
    sides = (target.shape[0], target.shape[1])
    network = ImagePrior(
        sides, outputs=1, channels=(32, 32, 32, 32), skip_channels=4, input_channels=8
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    misfits, errors, outputs = [], [], []
    for _ in range(steps):
        optimiser.zero_grad()
        output = network()[0]
        misfit = (output - target).square().mean()
        misfit.backward()
        optimiser.step()
        misfits.append(misfit.item())
        errors.append((output.detach() - truth).square().mean().item())
        outputs.append(output.detach().numpy())
    return misfits, errors, outputs


def draw_networks() -> None:
    """Show that an untrained U-Net fits an image in fewer steps than its shuffled pixels."""
    photo = torch.from_numpy(data.camera()[70:166, 180:276] / np.float32(255))
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(photo.numel(), generator=draw)
    noisy = photo + 0.1 * torch.randn(photo.shape, generator=draw)
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    axes, *panels = figure.subplots(1, 4, width_ratios=(1.7, 1, 1, 1))
    for target, name in (
        (photo, "a photograph"),
        (photo.flatten()[order].reshape(photo.shape), "its shuffled pixels"),
    ):
        axes.loglog(fitted(target, photo)[0], label=f"misfit to {name}")
    misfits, errors, outputs = fitted(noisy, photo)
    axes.loglog(misfits, label="misfit to the noisy photograph")
    axes.loglog(errors, "k--", label="error of this fit against the noise-free photograph")
    axes.set(xlabel="iteration", ylabel="mean square")
    axes.legend(fontsize=7)
    best = int(np.argmin(errors))
    show(panels[0], noisy.numpy(), "photograph with noise", (0, 1))
    show(panels[1], outputs[best], f"network, iteration {best + 1}", (0, 1))
    show(panels[2], outputs[-1], f"network, iteration {len(outputs)}", (0, 1))
    save(figure, "networks", dpi=90)


def draw_early_stopping() -> None:
    """Show variance and PSNR of a fit without early stopping, and where the rule would stop it."""
    scene = fluorescence_scene(SMALL)
    scratch = Settings(
        image_start="random", kernel_start=2.0, averaging=0.0, max_iterations=600, **WITHOUT_END
    )
    run = recorded_run(scene, scratch)
    rule = EarlyStopping(scratch.patience)
    for iteration, variance in enumerate(run.variance, 1):
        rule.update(iteration, variance)
        if rule.exhausted:
            break
    kept, peak = rule.best_iteration, int(np.argmax(run.decibel)) + 1
    assert kept is not None
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes, *panels = figure.subplots(1, 4, width_ratios=(2, 1, 1, 1))
    steps = np.arange(1, len(run.decibel) + 1)
    axes.plot(steps, run.decibel, color="tab:green", lw=1)
    axes.set(xlabel="iteration", ylim=(24, None))
    axes.set_ylabel("PSNR to the truth, dB", color="tab:green")
    other = axes.twinx()
    other.semilogy(steps, run.variance, color="tab:blue", lw=1)
    other.set_ylabel("windowed variance", color="tab:blue")
    axes.axvline(kept, color="tab:orange")
    axes.axvline(peak, color="k", ls=":")
    axes.set_title(f"kept by the rule: {kept} (orange); highest PSNR: {peak} (dotted)", size=9)
    limits = display_limits(scene)
    show(panels[0], scene.observed.astype(float), "image", limits)
    for panel, iteration in ((panels[1], kept), (panels[2], len(run.estimates))):
        title = f"iteration {iteration}: {run.decibel[iteration - 1]:.1f} dB"
        show(panel, run.estimates[iteration - 1], title, limits)
    save(figure, "early_stopping")


def draw_sparsity() -> None:
    """Show result and kernel for four values of λ, with 150 iterations each."""
    scene = fluorescence_scene(SMALL)
    limits = display_limits(scene)
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    image_panels, kernel_panels = figure.subplots(2, 5)
    show(image_panels[0], scene.truth, "truth", limits)
    show_kernel(kernel_panels[0], scene.kernel, f"true: {widths(scene.kernel)}")
    for panel, kernel_panel, sparsity in zip(
        image_panels[1:], kernel_panels[1:], (0.0, 0.01, 0.1, 1.0), strict=True
    ):
        result = deconvolve(scene.observed, Settings(sparsity=sparsity, **WITHOUT_END))
        decibel = scene.psnr(result.image)
        show(panel, result.image, f"λ = {sparsity:g}: {decibel:.1f} dB", limits)
        show_kernel(kernel_panel, result.kernel.weights, widths(result.kernel.weights))
    save(figure, "sparsity")


def widths(kernel: NDArray[np.float32]) -> str:
    """Return the full widths at half maximum as text."""
    longest, shortest = KernelWidths.of(kernel).principal
    return f"{longest:.1f} × {shortest:.1f} px wide"


def draw_summary() -> None:
    """Show the fluorescence scene, its result and enlarged parts beside the truth, with kernels."""
    scene = fluorescence_scene()
    result = deconvolve(scene.observed)
    limits = (float(np.percentile(scene.observed, 0.1)), float(np.percentile(scene.observed, 99.9)))
    figure = Figure(figsize=(13, 2.9), layout="constrained")
    before, after, *enlarged = figure.subplots(1, 5)
    show(before, scene.observed, "image", limits)
    show(after, result.image, "estimated image", limits)
    inset(after, result.kernel.weights)
    rows, columns = ENLARGED
    corner, size = (
        (columns.start, rows.start),
        (columns.stop - columns.start, rows.stop - rows.start),
    )
    before.add_patch(Rectangle(corner, *size, fill=False, color="tab:orange"))
    names = ("image, enlarged", "estimated", "truth")
    for axes, image, name in zip(
        enlarged, (scene.observed, result.image, scene.truth), names, strict=True
    ):
        show(axes, image[ENLARGED], name, limits)
    inset(enlarged[2], scene.kernel)
    save(figure, "scene_summary")


def inset(axes: Axes, kernel: NDArray[np.float32]) -> None:
    """Show a kernel in the corner of an image."""
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
    draw_log_gaussian()
