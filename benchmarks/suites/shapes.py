"""Measure how well the sparsity ratio separates camera shakes from all other images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage import data as skimage_data

from benchmarks.cases import Case, camera_shakes, fluorescence_cases, natural_cases
from benchmarks.plots import plot_ratios
from benchmarks.real_images import real_planes
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from napari_blind_deconv import Settings, task
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.image import Image
from napari_blind_deconv.numerics.anisotropy import Anisotropy
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.metrics import kernel_similarity
from napari_blind_deconv.numerics.parametric_kernel import search_parametric
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.numerics.shape_search import search_shape
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.synthetic import cell_crop, fluorescence_scene

__all__ = ["SUITE"]

# The sides, in pixels, of the region and of the largest kernel that the default searches.
REGION, LARGEST = 384, 81
SCENE_SIDES = (96, 128, 160, 192, 256, 320, 512)
PHOTOGRAPHS = ("astronaut", "brick", "camera", "coins", "grass", "gravel", "moon", "page")
SHAKES = ("camera shakes", "photographs, shaken")
NOISY = "both with noise"
NOISE = 0.01  # standard deviation, relative to the full scale

# Group, name, image and true kernel.
ShapeCase = tuple[str, str, NDArray[Any], NDArray[np.float32] | None]


@dataclass(frozen=True)
class Shapes:
    """All images, with the ratio at the end of their first look or their search."""

    name: str = "shapes"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """Yield one task per image."""
        options.refuse_methods(self.name)
        for group, case, image, kernel in _cases(options.data):
            yield Task(group, case, "search", _Search(image, kernel))

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """Return, by group, the number of camera shakes found and the range of the ratios."""
        table = records[records["failure"].isna()].copy()
        rows = {group: _summary(part) for group, part in table.groupby("group", sort=False)}
        shown = pd.DataFrame(rows).T.astype({"pictures": int, "searched": int, "found": int})
        figure = plot_ratios(table, figures / "shapes_ratios.png")
        return f"{markdown(shown.rename_axis('group'), DIGITS)}\n\n{_left_out(table)}\n\n{figure}"


DIGITS = {
    **dict.fromkeys(("least ratio", "median ratio", "highest ratio"), 3),
    **dict.fromkeys(("least dispersion", "highest dispersion"), 1),
}


@dataclass(frozen=True)
class _Search:
    image: NDArray[Any]
    kernel: NDArray[np.float32] | None

    def __call__(self) -> dict[str, Any]:
        """Search for a kernel of any shape, and return its sparsity ratios."""
        luminance = Problem.of(task.Task(Image(self.image), Settings())).luminance
        region = luminance[region_with_contrast(luminance, REGION)]
        region = IntensityMap.of(region[np.newaxis]).to_unit(region)
        spectrum = Spectrum.of(region)
        anisotropy = Anisotropy.of(spectrum)
        parametric = run_to_end(search_parametric(spectrum, anisotropy, LARGEST))
        search = run_to_end(search_shape(region, parametric.weights, LARGEST))
        ratios = sorted(search.ratios)
        figures: dict[str, Any] = {
            "look": min((look.ratio for look in search.looks), default=None),
            "look_scale": max((look.scale for look in search.looks), default=None),
            "ratio": ratios[1] if len(ratios) > 1 else None,
            "dispersion": anisotropy.dispersion,
            "found": search.kernel is not None and not anisotropy.is_ellipse,
            "otherwise": parametric.source.value,
        }
        if search.kernel is not None and self.kernel is not None:
            figures["kernel_similarity"] = kernel_similarity(self.kernel, search.kernel)
        return figures


def _cases(data: Path) -> Iterator[ShapeCase]:
    groups: dict[str, Iterator[Case]] = {
        SHAKES[0]: camera_shakes(data),
        SHAKES[1]: natural_cases(data),
        "fluorescence": fluorescence_cases(data),
    }
    for group, cases in groups.items():
        for case in cases:
            yield group, case.name, case.observed, case.kernel
    for case in (*camera_shakes(data), *natural_cases(data)):
        noise = NOISE * np.random.default_rng(0).standard_normal(case.observed.shape)
        yield NOISY, case.name, case.observed + noise, case.kernel
    for side in SCENE_SIDES:
        for seed in (0, 1):
            scene = fluorescence_scene((side, side), seed=seed)
            yield "made scenes", f"{side}², seed {seed}", scene.observed, None
    for plane in real_planes(data, "micro-real", "io", "real-pairs", "volumes"):
        yield "real images", plane.name, plane.pixels, None
    yield "real images", "cell", cell_crop(), None
    for name in PHOTOGRAPHS:
        photograph = getattr(skimage_data, name)()
        yield (
            "photographs, sharp",
            name,
            photograph.mean(axis=-1) if photograph.ndim > 2 else photograph,
            None,
        )


def _deciding_ratio(records: pd.DataFrame) -> pd.Series[float]:
    """Return the deciding ratio: the second smallest of the search, or that of the first look."""
    return records["ratio"].fillna(records["look"]).replace(np.inf, np.nan).astype(float)


def _left_out(records: pd.DataFrame) -> str:
    """Return the errors of leave-one-out validation of the bound on the ratio."""
    table = pd.DataFrame(
        {"ratio": _deciding_ratio(records), "shaken": records["group"].isin(SHAKES)}
    )
    table = table.assign(case=records["case"])[records["group"] != NOISY].dropna()
    wrong = []
    for row in table.index:
        others, case = table.drop(index=row), table.loc[row]
        if (case["ratio"] < _best_bound(others)) != case["shaken"]:
            wrong.append(case["case"])
    return (
        f"With the bound that is best for all other images, {len(wrong)} of {len(table)} images "
        f"are misjudged ({', '.join(wrong) or 'none'})."
    )


def _best_bound(table: pd.DataFrame) -> float:
    """Return the bound with the fewest errors, in the middle of the widest gap of the ratios."""
    values = np.sort(table["ratio"].to_numpy())
    bounds = (values[1:] + values[:-1]) / 2
    errors = [((table["ratio"] < bound) != table["shaken"]).sum() for bound in bounds]
    best = max(range(len(bounds)), key=lambda at: (-errors[at], values[at + 1] - values[at]))
    return float(bounds[best])


def _summary(records: pd.DataFrame) -> dict[str, Any]:
    decided = _deciding_ratio(records).dropna()
    similarity = records.get("kernel_similarity", pd.Series(dtype=float))
    return {
        "pictures": len(records),
        "searched": int(records["ratio"].notna().sum()),
        "found": int(records["found"].sum()),
        "least ratio": decided.min(),
        "median ratio": decided.median(),
        "highest ratio": decided.max(),
        "kernel likeness, least": similarity.min(),
        "least dispersion": records["dispersion"].min(),
        "highest dispersion": records["dispersion"].max(),
    }


SUITE = Shapes()
