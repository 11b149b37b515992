"""One plane of any size: at once if it is small, else its kernel first and then its tiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.inputs import IntensityMap, check_image, local_median, to_channels
from napari_blind_deconv.engine.optimise import iterate
from napari_blind_deconv.engine.tiles import blend_weights, tiles
from napari_blind_deconv.numerics.blurs import region_with_contrast
from napari_blind_deconv.results import OutOfMemoryError, Result, Snapshot, mapped
from napari_blind_deconv.settings import Settings

__all__ = ["Recipe", "find_kernel", "sharpen"]

# The kernel of a large plane is fitted on the region of most contrast, this many pixels a side.
_KERNEL_REGION = 512
_SMALLEST_TILE = 64
# Tiles overlap by so many kernels: what a border does wrong must not be seen.
_OVERLAP = 1.5
_LEAST_OVERLAP = 32


@dataclass(frozen=True)
class Recipe:
    """All that a plane is sharpened with, besides its pixels. Small, and the same anywhere.

    Attributes
    ----------
    settings : Settings
    device : str
        As in `deconvolve`.
    seed : int
    rgb : bool
    kernel : ndarray or None
        Held; None: the plane's own is found.
    intensity_range : tuple of float or None
        As in `deconvolve`.
    tile_side : int
        Planes of more than its square are cut into tiles.
    """

    settings: Settings
    device: str
    seed: int
    rgb: bool
    tile_side: int
    kernel: NDArray[np.float32] | None = None
    intensity_range: tuple[float, float] | None = None


def find_kernel(
    plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    """Fit the region of most contrast; its result has the kernel."""
    seen = plane[..., :3].mean(axis=-1) if recipe.rgb else plane
    region = region_with_contrast(seen.astype(np.float64), _KERNEL_REGION)
    return (yield from _fit(plane[region], recipe, should_stop))


def sharpen(
    plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    """Sharpen a plane ``(H, W)``, or ``(H, W, 3 or 4)``, within the memory there is.

    Where it does not suffice, smaller tiles are tried.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        As `deconvolve`.
    """
    check_image(plane, rgb=recipe.rgb)
    while True:
        try:
            if plane.shape[0] * plane.shape[1] <= recipe.tile_side**2:
                return (yield from _fit(plane, recipe, should_stop))
            return (yield from _sharpen_tiles(plane, recipe, should_stop))
        except OutOfMemoryError:
            side = min(recipe.tile_side, max(plane.shape[:2])) // 2
            if side < _SMALLEST_TILE:
                raise
            recipe = replace(recipe, tile_side=side)


def _fit(
    plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    return (
        yield from iterate(
            plane,
            recipe.settings,
            psf=recipe.kernel,
            device=recipe.device,
            seed=recipe.seed,
            rgb=recipe.rgb,
            intensity_range=recipe.intensity_range,
            should_stop=should_stop,
        )
    )


def _sharpen_tiles(
    plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    started = time.monotonic()
    if recipe.intensity_range is None:
        recipe = replace(recipe, intensity_range=_range_of(plane, recipe.rgb))
    if recipe.kernel is None:
        found = yield from find_kernel(plane, recipe, should_stop)
        recipe = replace(recipe, kernel=found.kernel)
    assert recipe.kernel is not None
    overlap = max(_LEAST_OVERLAP, int(_OVERLAP * max(recipe.kernel.shape)))
    side = max(recipe.tile_side, 2 * overlap)
    shape = (plane.shape[0], plane.shape[1])
    image = np.zeros(plane.shape, np.float32)
    weights = np.zeros(shape, np.float32)
    results: list[Result] = []
    for tile in tiles(shape, side, overlap):
        piece = plane[tile.rows, tile.columns]
        sharp = piece
        if np.ptp(piece) > 0:  # else there is nothing to sharpen
            results.append((yield from _fit_tile(piece, recipe, should_stop)))
            sharp = results[-1].image
        weight = blend_weights(tile, shape, overlap)
        image[tile.rows, tile.columns] += sharp * _spread(weight, recipe.rgb)
        weights[tile.rows, tile.columns] += weight
    longest = max(results, key=lambda result: len(result.trace))
    return replace(
        longest,
        image=image / _spread(weights, recipe.rgb),
        tiles=len(results),
        seconds=time.monotonic() - started,
    )


def _fit_tile(
    piece: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    """Previews are of the whole plane, so a tile's own are left out."""
    run = _fit(piece, recipe, should_stop)
    return (yield from mapped(run, lambda snapshot: replace(snapshot, image=None)))


def _range_of(plane: NDArray[Any], rgb: bool) -> tuple[float, float]:
    channels = to_channels(plane, rgb=rgb)
    found = IntensityMap.of(channels, local_median(channels))
    return found.low, found.high


def _spread(weights: NDArray[np.float32], rgb: bool) -> NDArray[np.float32]:
    return weights[..., np.newaxis] if rgb else weights
