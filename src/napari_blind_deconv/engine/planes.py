"""One plane of any size: at once if it is small, else its kernel first and then its tiles."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.engine.deconvolve import iterate
from napari_blind_deconv.engine.inputs import (
    IntensityMap,
    check_image,
    has_contrast,
    local_median,
    luminance,
    to_channels,
)
from napari_blind_deconv.engine.quality import assess, doubts
from napari_blind_deconv.engine.tiles import blend_weights, tiles
from napari_blind_deconv.numerics.regions import region_with_contrast
from napari_blind_deconv.results import (
    DeconvolutionError,
    OutOfMemoryError,
    Result,
    Snapshot,
    first_line,
)
from napari_blind_deconv.settings import Settings

__all__ = ["Recipe", "find_kernel", "sharpen"]

# The kernel of a large plane is fitted on the region of most contrast, this many pixels a side.
_KERNEL_REGION = 512
_SMALLEST_TILE = 64
# Tiles overlap by so many kernels: what a border does wrong must not be seen.
_OVERLAP = 1.5
_LEAST_OVERLAP = 32


_Run: TypeAlias = Callable[..., Generator[Snapshot, None, Result]]


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
    """Fit the region of most contrast; its result has the kernel.

    Where memory does not suffice, smaller regions are tried. Raises as `sharpen`.
    """
    return (yield from _within_memory(_fit_region, plane, recipe, should_stop))


def sharpen(
    plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    """Sharpen a plane ``(H, W)``, or ``(H, W, 3 or 4)``, within the memory there is.

    Where it does not suffice, smaller tiles are tried. Snapshots carry no pictures.

    Raises
    ------
    ValueError, TypeError, DeconvolutionError
        As `deconvolve`.
    """
    check_image(plane, rgb=recipe.rgb)
    return (yield from _within_memory(_sharpen, plane, recipe, should_stop))


def _within_memory(
    run: _Run, plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    """Run, and again with tiles half as long for as long as there is not enough memory."""
    while True:
        try:
            return (yield from run(plane, recipe, should_stop))
        except OutOfMemoryError:
            side = min(recipe.tile_side, max(plane.shape[:2])) // 2
            if side < _SMALLEST_TILE:
                raise
            recipe = replace(recipe, tile_side=side)


def _sharpen(
    plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    small = plane.shape[0] * plane.shape[1] <= recipe.tile_side**2
    return (yield from (_fit if small else _sharpen_tiles)(plane, recipe, should_stop))


def _fit_region(
    plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    # A window that was set must fit in.
    least = int(np.max(recipe.settings.kernel_size or 0))
    side = max(min(_KERNEL_REGION, recipe.tile_side), least)
    region = region_with_contrast(luminance(plane, recipe.rgb), side)
    return (yield from _fit(plane[region], recipe, should_stop))


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
            preview_seconds=math.inf,
        )
    )


def _sharpen_tiles(
    plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, Result]:
    started = time.monotonic()
    if recipe.intensity_range is None:
        recipe = replace(recipe, intensity_range=_range_of(plane, recipe.rgb))
    blur = "given"
    if recipe.kernel is None:
        found = yield from _fit_region(plane, recipe, should_stop)
        recipe, blur = replace(recipe, kernel=found.kernel), found.blur
    image, results = yield from _blended_tiles(plane, recipe, should_stop)
    whole = _of_the_whole(plane, image, results, blur, recipe.rgb)
    return replace(whole, seconds=time.monotonic() - started)


def _blended_tiles(
    plane: NDArray[Any], recipe: Recipe, should_stop: Callable[[], bool]
) -> Generator[Snapshot, None, tuple[NDArray[np.float32], list[Result]]]:
    """The plane from its tiles, and the results of those in which there is something."""
    assert recipe.kernel is not None
    overlap = max(_LEAST_OVERLAP, int(_OVERLAP * max(recipe.kernel.shape)))
    side = max(recipe.tile_side, 2 * overlap)
    shape = (plane.shape[0], plane.shape[1])
    image = np.zeros(plane.shape, np.float32)
    weights = np.zeros(shape, np.float32)
    results: list[Result] = []
    for tile in tiles(shape, side, overlap):
        sharp = plane[tile]
        if has_contrast(sharp, rgb=recipe.rgb):  # else there is nothing to sharpen
            results.append((yield from _fit(sharp, recipe, should_stop)))
            sharp = results[-1].image
        weight = blend_weights(tile, shape, overlap)
        image[tile] += sharp * _spread(weight, recipe.rgb)
        weights[tile] += weight
    return image / _spread(weights, recipe.rgb), results


def _of_the_whole(
    plane: NDArray[Any], image: NDArray[np.float32], results: list[Result], blur: str, rgb: bool
) -> Result:
    """One result of many tiles: the run of the longest, judged by the plane as a whole."""
    longest = max(results, key=lambda result: len(result.trace))
    slowed_at = next((each.slowed_at for each in results if each.slowed_at is not None), None)
    try:
        trust = assess(luminance(plane, rgb), luminance(image, rgb), longest.kernel)
    except (RuntimeError, MemoryError) as error:  # smaller tiles would be no help
        raise DeconvolutionError(
            f"The plane of {plane.shape[0]} × {plane.shape[1]} pixels is too large to be judged "
            f"({first_line(error)}); try a part of it."
        ) from error
    return replace(
        longest,
        image=image,
        blur=blur,
        trust=trust,
        slowed_at=slowed_at,
        flags=doubts(trust, blur_found=blur, reason=longest.stop_reason, slowed_at=slowed_at),
        tiles=len(results),
    )


def _range_of(plane: NDArray[Any], rgb: bool) -> tuple[float, float]:
    channels = to_channels(plane, rgb=rgb)
    found = IntensityMap.of(channels, local_median(channels))
    return found.low, found.high


def _spread(weights: NDArray[np.float32], rgb: bool) -> NDArray[np.float32]:
    return weights[..., np.newaxis] if rgb else weights
