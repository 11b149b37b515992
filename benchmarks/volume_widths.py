"""``python -m benchmarks.volume_widths``: widths of the kernels that are found in made volumes.

No volume is deconvolved, so that all cases take a few minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from training.volumes import made_volume

from benchmarks.tables import markdown
from benchmarks.volumes import PIXEL_SIZE, made_cases
from napari_blind_deconv.kernel import KernelSource
from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.numerics.volume_search import PupilShape, search_volume_kernel
from napari_blind_deconv.steps import run_to_end

# Whether the optics and the kind of microscope are stated.
STATED = {
    "nothing stated": (False, False),
    "optics": (True, False),
    "kind": (False, True),
    "kind and optics": (True, True),
}


class _Case(NamedTuple):
    name: str
    volume: NDArray[np.float32]
    sampling: tuple[float, ...]
    psf: NDArray[np.float32]
    kind: KernelSource
    pupil: PupilShape


def main(
    training: Annotated[
        int, typer.Option(help="Use so many volumes of `training` in place of the benchmark's.")
    ] = 0,
    only: Annotated[str, typer.Option("--case", help="Cases with this part of the name.")] = "",
) -> None:
    """Print how far the widths found are from the true ones, and how often the kind is right."""
    rows: list[dict[str, Any]] = []
    for case in _of_training(training) if training else _of_benchmark():
        if only in case.name:
            rows += [_measured(case, name) for name in STATED]
    found = pd.DataFrame(rows)
    typer.echo(markdown(pd.DataFrame(dict(_summaries(found))).T))


def _of_benchmark() -> Iterator[_Case]:
    sampling = tuple(size / min(PIXEL_SIZE) for size in PIXEL_SIZE)
    for scene, microscope, photons, make in made_cases():
        case = make()
        aperture, index = case.optics.numerical_aperture, case.optics.refractive_index
        (wavelength,) = case.optics.emission_wavelengths
        assert aperture is not None
        assert index is not None
        assert wavelength is not None
        pupil = PupilShape(wavelength / (2 * aperture) / min(PIXEL_SIZE), aperture / index)
        kind = KernelSource(microscope.split(",")[0])
        name = f"{microscope} | {scene} | {photons}"
        yield _Case(name, case.observed, sampling, case.psf.weights, kind, pupil)


def _of_training(count: int) -> Iterator[_Case]:
    for seed in range(count):
        made = made_volume(seed)
        if made.pupil is not None:
            kind = KernelSource(made.kind.replace("-", " "))
            name = f"{kind} | {seed} | {made.photons:.0f}"
            yield _Case(name, made.image, made.sampling, made.kernel, kind, made.pupil)


def _measured(case: _Case, name: str) -> dict[str, Any]:
    """Return the logarithms of the widths found over the true ones; NaN if none are found."""
    has_optics, has_kind = STATED[name]
    kernel = run_to_end(
        search_volume_kernel(
            case.volume,
            case.sampling,
            pupil=case.pupil if has_optics else None,
            kind=case.kind if has_kind else None,
        )
    )
    row = {"stated": name, "group": case.name.split(" | ")[0]}
    if kernel is None:
        return {**row, "lateral": math.nan, "axial": math.nan, "deviation": math.nan, "right": 0}
    (depth, *_, width), (true_depth, *_, true_width) = (
        widths.along_axes for widths in (kernel.widths, KernelWidths.of(case.psf))
    )
    return {
        **row,
        "lateral": math.log(width / true_width),
        "axial": math.log(depth / true_depth),
        "deviation": kernel.width_deviation or math.nan,
        "right": kernel.source is case.kind,
    }


def _summaries(found: pd.DataFrame) -> Iterator[tuple[str, dict[str, float]]]:
    for name, table in found.groupby("stated", sort=False):
        for group, some in [*table.groupby("group", sort=True), ("all", table)]:
            yield f"{group}: {name}", _summary(some)


def _summary(table: pd.DataFrame) -> dict[str, float]:
    row: dict[str, float] = {}
    for axis in ("lateral", "axial"):
        errors = table[axis].dropna()
        told = table.loc[errors.index, "deviation"]
        row |= {
            f"{axis}, off by %": 100 * errors.abs().median(),
            f"{axis}, bias %": 100 * errors.median(),
            f"{axis}, rms %": 100 * math.sqrt(errors.pow(2).mean()),
            f"{axis}, within one deviation %": 100 * (errors.abs() < told)[told.notna()].mean(),
        }
    missed = 100 * table["lateral"].isna().mean()
    return {**row, "kind right %": 100 * table["right"].mean(), "none found %": missed}


if __name__ == "__main__":
    typer.run(main)
