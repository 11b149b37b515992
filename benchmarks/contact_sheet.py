"""``python -m benchmarks.contact_sheet``: real images and their results, on pages to be looked at.

Most real images have no ground truth, so that no number says whether a result is better than its
input. The pages show both at the same contrast, with the kernel and what the user is told.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from skimage.io import imread

from benchmarks.__main__ import DATA
from benchmarks.real_images import real_planes
from benchmarks.runner import HERE
from napari_blind_deconv import DeconvolutionError, Result, Settings, deconvolve
from napari_blind_deconv.numerics.regions import region_with_contrast

__all__ = ["Entry", "entry_of", "page_of", "write_pages"]

# Git ignores this folder: images without a licence must not become part of the repository.
PAGES = HERE.parent / "bench" / "contact_sheet"
PER_PAGE = 4
FIELD = 512  # pixels per side of the part that is deconvolved, in the centre
SHOWN = 256  # pixels per side of the part that is shown
SHARP = 1  # the number of the sharp image of a pair, which is not deconvolved
# Sizes on a page in pixels. A panel is twice as wide as the part of the image that it shows.
DPI = 100
PANEL, KERNEL_PANEL, GAP, LINE = 2 * SHOWN, 160, 16, 18
LINES, COLUMNS = 7, 140  # of the text beneath an image
WIDTH = 2 * PANEL + KERNEL_PANEL + 4 * GAP
HEIGHT = PANEL + 2 * GAP + LINES * LINE
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Entry:
    """An image, and its result or the sentence of the error."""

    name: str
    image: NDArray[Any]
    outcome: Result | str

    @property
    def verdict(self) -> str:
        """What was found and what the user is told, in a line for each."""
        if isinstance(self.outcome, str):
            return f"{self.name}: {self.outcome}"
        result = self.outcome
        widths = " × ".join(f"{width:.1f}" for width in result.kernel.widths.principal)
        rows, columns = self.image.shape
        found = (
            f"{self.name}, {rows} × {columns}: kernel {result.kernel.source.value}, {widths} px; "
            f"signal to noise {result.trust.signal_to_noise:.3g}; "
            f"{result.stop_reason.value} at iteration {result.stop_iteration}"
        )
        told = [flag.sentence for flag in result.flags] or ["No warning."]
        notes = [finding.text(count) for finding, count in result.findings.items()]
        return "\n".join([found, *told, *notes])


def main(
    only: Annotated[
        str, typer.Option("--case", help="Only images with this part of the name.")
    ] = "",
    data: Annotated[Path, typer.Option(help="Folder of the benchmark images.")] = DATA,
    pages: Annotated[Path, typer.Option(help="Folder of the pages.")] = PAGES,
) -> None:
    """Deconvolve every real image with the default, and write pages as PNG files."""
    images = [(name, image) for name, image in _images(data) if only in name]
    if not images:
        console.print(f"Expected real images with {only!r} in their name in {data}, found none.")
        raise typer.Exit(1)
    entries = (entry_of(name, image) for name, image in images)
    for path in write_pages(entries, pages):
        console.print(str(path))


def _images(data: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the names and pixels of all real images, without the sharp images of pairs."""
    for plane in real_planes(data, "micro-real", "io", "real-pairs"):
        if plane.file.parent.name != "real-pairs" or plane.number != SHARP:
            yield plane.name, plane.pixels
    for file in sorted((data / "known-psf").glob("*_blurred.png")):
        yield file.stem, imread(file)


def entry_of(name: str, image: NDArray[Any], settings: Settings | None = None) -> Entry:
    """Deconvolve the centre of an image; an error becomes a part of the entry."""
    centre = image[tuple(slice(max(0, (n - FIELD) // 2), (n + FIELD) // 2) for n in image.shape)]
    try:
        outcome: Result | str = deconvolve(centre, settings or Settings.preset("fast"))
    except (DeconvolutionError, ValueError, TypeError) as error:
        outcome = str(error)
    return Entry(name, centre, outcome)


def write_pages(entries: Iterator[Entry], folder: Path) -> Iterator[Path]:
    """Write a page as soon as its entries are complete, and yield its path.

    Pages of an earlier run are deleted first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob("page_*.png"):
        earlier.unlink()
    number = 0
    collected: list[Entry] = []
    for entry in entries:
        console.print(entry.verdict)
        collected.append(entry)
        if len(collected) == PER_PAGE:
            number += 1
            yield _save(collected, folder, number)
            collected = []
    if collected:
        yield _save(collected, folder, number + 1)


def _save(entries: list[Entry], folder: Path, number: int) -> Path:
    path = folder / f"page_{number:02}.png"
    page_of(entries).savefig(path, dpi=DPI)
    return path


def page_of(entries: list[Entry]) -> Figure:
    """Draw entries below one another: input, result and kernel, with the verdict beneath."""
    height = HEIGHT * len(entries)
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI)
    for row, entry in enumerate(entries):
        _draw(figure, entry, height - row * HEIGHT - GAP)
    return figure


def _draw(figure: Figure, entry: Entry, top: int) -> None:
    """Draw an entry; `top` is its upper edge in pixels above the bottom of the page."""
    part = region_with_contrast(entry.image.astype(np.float64), SHOWN)
    shown = entry.image[part]
    limits = np.percentile(shown[np.isfinite(shown)], (0.1, 99.9))  # not those of a few pixels
    _show(_panel(figure, GAP, top, PANEL), shown, limits)
    if isinstance(entry.outcome, Result):
        _show(_panel(figure, 2 * GAP + PANEL, top, PANEL), entry.outcome.image[part], limits)
        kernel = entry.outcome.kernel.weights
        axes = _panel(figure, 3 * GAP + 2 * PANEL, top, KERNEL_PANEL)
        axes.imshow(kernel, cmap="inferno")
        axes.set_xlabel(f"kernel, {kernel.shape[0]} × {kernel.shape[1]} px", fontsize=8)
    lines = [line for text in entry.verdict.splitlines() for line in textwrap.wrap(text, COLUMNS)]
    text = "\n".join(lines[:LINES])
    place = GAP / WIDTH, (top - PANEL - 4) / figure.bbox.height
    figure.text(*place, text, fontsize=11, va="top", linespacing=1.1)


def _panel(figure: Figure, left: int, top: int, side: int) -> Axes:
    """Add axes of a size in pixels, so that pixels of images become squares of equal size."""
    width, height = figure.bbox.width, figure.bbox.height
    axes = figure.add_axes((left / width, (top - side) / height, side / width, side / height))
    axes.set(xticks=[], yticks=[], anchor="N")
    return axes


def _show(axes: Axes, image: NDArray[Any], limits: NDArray[np.float64]) -> None:
    low, high = limits
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")


if __name__ == "__main__":
    typer.run(main)
