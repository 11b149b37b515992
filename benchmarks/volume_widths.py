"""``python -m benchmarks.volume_widths``: widths of the kernels that are found in made volumes.

Only a part of each volume is deconvolved, with the kernels between which the search chooses.
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
from napari_blind_deconv import Image, KernelChoice, Optics, Settings
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.volumes import find_volume_kernel
from napari_blind_deconv.errors import UntoldKernelError
from napari_blind_deconv.kernel import KernelSource
from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.task import Task

# Whether the optics and the kind of microscope are stated.
STATED = {
    "nothing stated": (False, False),
    "optics": (True, False),
    "kind": (False, True),
    "kind and optics": (True, True),
}


# Of the made volumes of `training`, whose optics are known up to a scale of all lengths.
_INDEX, _WAVELENGTH = 1.33, 0.525


class _Case(NamedTuple):
    name: str
    volume: NDArray[np.float32]
    voxel: tuple[float, ...]  # µm
    psf: NDArray[np.float32]
    kind: KernelSource
    optics: Optics


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
    for scene, microscope, photons, make in made_cases():
        case = make()
        kind = KernelSource(microscope.split(",")[0])
        name = f"{microscope} | {scene} | {photons}"
        yield _Case(name, case.observed, PIXEL_SIZE, case.psf.weights, kind, case.optics)


def _of_training(count: int) -> Iterator[_Case]:
    for seed in range(count):
        made = made_volume(seed)
        if made.pupil is not None:
            kind = KernelSource(made.kind.replace("-", " "))
            name = f"{kind} | {seed} | {made.photons:.0f}"
            optics = Optics(_INDEX * made.pupil.ratio, _INDEX, (_WAVELENGTH,))
            assert optics.finest_period is not None
            side = optics.finest_period / made.pupil.period
            voxel = tuple(side * step for step in made.sampling)
            yield _Case(name, made.image, voxel, made.kernel, kind, optics)


def _measured(case: _Case, name: str) -> dict[str, Any]:
    """Return the logarithms of the widths found over the true ones; NaN if none are found."""
    has_optics, has_kind = STATED[name]
    spacing = dict(zip("ZYX", case.voxel, strict=True))
    optics = case.optics if has_optics else Optics()
    image = Image(case.volume, "ZYX", spacing, "µm", optics=optics, space="ZYX")
    settings = Settings(microscope=case.kind.replace(" ", "-") if has_kind else "auto")
    row = {"stated": name, "group": case.name.split(" | ")[0]}
    try:
        kernel = run_to_end(
            find_volume_kernel(Task(image, settings, KernelChoice.find()), RunControl())
        )
    except UntoldKernelError:
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
