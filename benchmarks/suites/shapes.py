"""How far the sparsity ratio keeps camera shakes apart from everything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from skimage import data as pictures

from benchmarks.cases import Case, camera_shakes, fluorescence_cases, natural_cases
from benchmarks.plots import plot_ratios
from benchmarks.suites import Options, Task
from benchmarks.tables import markdown
from napari_blind_deconv import Settings, task
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.image import Image
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.metrics import kernel_similarity
from napari_blind_deconv.numerics.parametric_kernel import search_parametric
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.numerics.shape_search import search_shape
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.synthetic import cell_crop, fluorescence_scene

__all__ = ["SUITE"]

# The default's: pixels a side of the region that is looked at, and of the largest kernel.
REGION, LARGEST = 384, 81
SCENE_SIDES = (96, 128, 160, 192, 256, 320, 512)
PHOTOGRAPHS = ("astronaut", "brick", "camera", "coins", "grass", "gravel", "moon", "page")
SHAKES = ("camera shakes", "photographs, shaken")
# A file has pictures along its first axis, of more than so many the middle one is taken.
FEW = 3

Picture = tuple[str, str, NDArray[Any], NDArray[np.float32] | None]


@dataclass(frozen=True)
class Shapes:
    """Every picture there is, with the ratio that its first look or its search ended with."""

    name: str = "shapes"
    alone: bool = False

    def tasks(self, options: Options) -> Iterator[Task]:
        """One task a picture."""
        options.refuse_methods(self.name)
        for group, case, picture, kernel in _pictures(options.data):
            yield Task(group, case, "search", _Searched(picture, kernel))

    def report(self, records: pd.DataFrame, figures: Path) -> str:
        """By group, how many are taken for shaken, and how near the ratios come to the bounds."""
        table = records[records["failure"].isna()].copy()
        rows = {group: _summary(part) for group, part in table.groupby("group", sort=False)}
        shown = pd.DataFrame(rows).T.astype({"pictures": int, "searched": int, "found": int})
        figure = plot_ratios(table, figures / "shapes_ratios.png")
        return f"{markdown(shown.rename_axis('group'), DIGITS)}\n\n{_left_out(table)}\n\n{figure}"


DIGITS = dict.fromkeys(("least ratio", "median ratio", "highest ratio"), 3)


@dataclass(frozen=True)
class _Searched:
    picture: NDArray[Any]
    kernel: NDArray[np.float32] | None

    def __call__(self) -> dict[str, Any]:
        luminance = Problem.of(task.Task(Image(self.picture), Settings())).luminance
        region = luminance[region_with_contrast(luminance, REGION)]
        region = IntensityMap.of(region[np.newaxis]).to_unit(region)
        parametric = run_to_end(search_parametric(Spectrum.of(region), LARGEST))
        search = run_to_end(search_shape(region, parametric.weights, LARGEST))
        least = sorted(search.ratios)
        figures: dict[str, Any] = {
            "look": min((look.ratio for look in search.looks), default=None),
            "look_scale": max((look.scale for look in search.looks), default=None),
            "ratio": least[1] if len(least) > 1 else None,
            "found": search.kernel is not None,
            "otherwise": parametric.source.value,
        }
        if search.kernel is not None and self.kernel is not None:
            figures["kernel_similarity"] = kernel_similarity(self.kernel, search.kernel)
        return figures


def _pictures(data: Path) -> Iterator[Picture]:
    groups: dict[str, Iterator[Case]] = {
        SHAKES[0]: camera_shakes(data),
        SHAKES[1]: natural_cases(data),
        "fluorescence": fluorescence_cases(data),
    }
    for group, cases in groups.items():
        for case in cases:
            yield group, case.name, case.observed, case.kernel
    for side in SCENE_SIDES:
        for seed in (0, 1):
            scene = fluorescence_scene((side, side), seed=seed)
            yield "made scenes", f"{side}², seed {seed}", scene.observed, None
    for folder in ("micro-real", "io", "real-pairs", "volumes"):
        for file in sorted((data / folder).glob("*.tif")):
            for number, plane in enumerate(_planes(tifffile.imread(file))):
                yield "real images", f"{file.stem} {number}", plane, None
    yield "real images", "cell", cell_crop(), None
    for name in PHOTOGRAPHS:
        picture = getattr(pictures, name)()
        yield (
            "photographs, sharp",
            name,
            picture.mean(axis=-1) if picture.ndim > 2 else picture,
            None,
        )


def _planes(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Channels of a file, whichever axis they are on, or the middle plane of a stack."""
    if image.ndim == 2:
        yield image
    elif image.shape[-1] == FEW:
        yield from np.moveaxis(image, -1, 0)
    elif len(image) <= FEW:
        yield from image
    else:
        yield from _planes(image[len(image) // 2])


def _decided(records: pd.DataFrame) -> pd.Series[float]:
    """The ratio each picture was judged by: the second witness of its search, or its first look."""
    return records["ratio"].fillna(records["look"]).replace(np.inf, np.nan).astype(float)


def _left_out(records: pd.DataFrame) -> str:
    """How a bound chosen on all pictures but one judges that one."""
    table = pd.DataFrame({"ratio": _decided(records), "shaken": records["group"].isin(SHAKES)})
    table = table.assign(case=records["case"]).dropna()
    wrong = []
    for row in table.index:
        rest, one = table.drop(index=row), table.loc[row]
        if (one["ratio"] < _best_bound(rest)) != one["shaken"]:
            wrong.append(one["case"])
    return (
        f"Each picture judged by the bound that suits all the others best: {len(wrong)} of "
        f"{len(table)} misjudged ({', '.join(wrong) or 'none'})."
    )


def _best_bound(table: pd.DataFrame) -> float:
    """The ratio that misjudges fewest, in the middle of the widest gap where it does."""
    values = np.sort(table["ratio"].to_numpy())
    bounds = (values[1:] + values[:-1]) / 2
    errors = [((table["ratio"] < bound) != table["shaken"]).sum() for bound in bounds]
    best = max(range(len(bounds)), key=lambda at: (-errors[at], values[at + 1] - values[at]))
    return float(bounds[best])


def _summary(records: pd.DataFrame) -> dict[str, Any]:
    decided = _decided(records).dropna()
    similarity = records.get("kernel_similarity", pd.Series(dtype=float))
    return {
        "pictures": len(records),
        "searched": int(records["ratio"].notna().sum()),
        "found": int(records["found"].sum()),
        "least ratio": decided.min(),
        "median ratio": decided.median(),
        "highest ratio": decided.max(),
        "kernel likeness, least": similarity.min(),
    }


SUITE = Shapes()
