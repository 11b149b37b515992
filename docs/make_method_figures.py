"""Make the figures of `method.md` from pictures that come with the packages (`make figures`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage import data

from napari_blind_deconv import Settings, iterate
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.start import first_kernel, first_picture
from napari_blind_deconv.numerics.blur import blur, crop_to_field_of_view
from napari_blind_deconv.numerics.blurs import placed
from napari_blind_deconv.numerics.degrade import add_gaussian_noise
from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel
from napari_blind_deconv.numerics.metrics import psnr_up_to_shift
from napari_blind_deconv.numerics.optics import line_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum, scene_power
from napari_blind_deconv.synthetic import fluorescence_scene

IMAGES = Path(__file__).parent / "images"
SIDE = 256
EXPONENT = 3.0
WINDOW = (31, 31)  # the kernels are shown in
RINGS = np.linspace(0.05, np.pi, 80)


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
    blurred = blur(torch.from_numpy(scene), torch.from_numpy(kernel))
    return add_gaussian_noise(
        blurred, sigma=1e-3, generator=torch.Generator().manual_seed(0)
    ).numpy()


def prepared(image: NDArray[np.number]) -> Problem:
    """An image with its blur found, as the default does."""
    return Problem.of(image, Settings(), psf=None, rgb=False).with_blur_found()


def rings(spectrum: Spectrum, power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power by distance from frequency 0."""
    which = np.digitize(spectrum.radius, RINGS)
    sums = np.bincount(which, power, len(RINGS) + 1)
    return (sums / np.maximum(np.bincount(which, minlength=len(RINGS) + 1), 1))[1:-1]


def draw_spectrum() -> None:
    """Idea 1: what each blur predicts for the spectrum that is found."""
    image = fluorescence_scene((SIDE, SIDE), kernel=gaussian_kernel((21, 21), 2.0).numpy()).observed
    problem = prepared(image)
    spectrum = Spectrum.of(problem.luminance)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(RINGS[1:], rings(spectrum, spectrum.power), "k.", label="found")
    found = problem.blur
    assert found is not None
    for name, transfer in (
        ("no blur", np.ones_like(spectrum.power)),
        ("drift, 9 px", spectrum.transfer_of(line_kernel(9, 30))),
        (f"{found.kind}, as found", spectrum.transfer_of(found.kernel)),
    ):
        predicted = spectrum.explained_by(transfer, EXPONENT)
        model = predicted.strength * transfer * scene_power(spectrum.radius, EXPONENT)
        line = rings(spectrum, model + spectrum.noise_variance)
        axes.semilogy(RINGS[1:], line, label=f"{name}: misfit {predicted.misfit:.3f} nats")
    axes.set(xlabel="frequency, radians a pixel", ylabel="power", title="Gaussian blur of σ 2 px")
    axes.legend()
    figure.savefig(IMAGES / "method_spectrum.png", dpi=110)


def draw_kernels() -> None:
    """Idea 1: a blur of each kind, and what was found."""
    gauss, drift = gaussian_kernel((21, 21), 2.0).numpy(), line_kernel(9, 30)
    exposures = (
        (gauss, fluorescence_scene((SIDE, SIDE), kernel=gauss).observed),
        (drift, fluorescence_scene((SIDE, SIDE), kernel=drift).observed),
        (shaken(), photograph(shaken())),
    )
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for column, (true, image) in enumerate(exposures):
        problem = prepared(image)
        assert problem.blur is not None
        pair = ((true, "true"), (problem.blur.kernel, f"found: {problem.blur.kind}"))
        for row, (kernel, title) in enumerate(pair):
            axes = figure.add_subplot(2, 3, 3 * row + column + 1)
            axes.imshow(placed(kernel, WINDOW), cmap="inferno")
            axes.set(title=title, xticks=[], yticks=[])
    figure.savefig(IMAGES / "method_kernels.png", dpi=110)


def draw_stages() -> None:
    """Ideas 2 and 3: the image, the linear estimate, and the fit, with its gain by iteration."""
    scene = photograph(shaken())
    margin = len(shaken()) - 1
    truth = data.camera()[: SIDE + margin, 60 : 60 + SIDE + margin] / np.float32(255)
    truth = crop_to_field_of_view(torch.from_numpy(truth), shaken().shape).numpy()
    problem = prepared(scene)
    kernel = first_kernel(problem)
    assert kernel is not None
    canvas = torch.from_numpy(first_picture(problem, kernel))
    start = problem.to_user(crop_to_field_of_view(canvas, problem.window).numpy())
    run = iterate(scene, preview_seconds=0)
    curve = []
    while True:
        try:
            picture = next(run).image
        except StopIteration as finished:
            result = finished.value
            break
        assert picture is not None
        curve.append(psnr_up_to_shift(truth, picture, peak=1.0))
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    *pictures, axes = figure.subplots(1, 4)
    for place, (image, name) in zip(
        pictures, ((scene, "image"), (start, "2: linear"), (result.image, "3: fitted")), strict=True
    ):
        decibel = psnr_up_to_shift(truth, image, peak=1.0)
        place.imshow(image[64:192, 64:192], cmap="gray", vmin=0, vmax=1)
        place.set(title=f"{name}, {decibel:.1f} dB", xticks=[], yticks=[])
    axes.plot(range(1, len(curve) + 1), curve)
    axes.axvline(result.stop_iteration, color="tab:orange", label="kept")
    axes.set(xlabel="iteration", ylabel="PSNR of the running picture, dB")
    axes.legend()
    figure.savefig(IMAGES / "method_stages.png", dpi=110)


if __name__ == "__main__":
    draw_spectrum()
    draw_kernels()
    draw_stages()
