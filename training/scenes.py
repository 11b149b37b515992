"""Made scenes with the statistics of micrographs: spots, filaments, cells, discs and textures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

__all__ = ["HELD_OUT", "SORTS", "log_uniform", "scene"]

Scene = NDArray[np.float64]
Random = np.random.Generator

_MAX_COMPONENTS = 3


def scene(random: Random, side: int, sorts: tuple[str, ...] | None = None) -> Scene:
    """Draw a scene ``(side, side)`` in [0, 1]: a weighted sum of one to three sorts.

    Parameters
    ----------
    random : numpy.random.Generator
    side : int
        Side in pixels.
    sorts : tuple of str, optional
        Names in `SORTS` or `HELD_OUT` to draw from. Default: all in `SORTS`.
    """
    names = sorts or tuple(SORTS)
    total = np.zeros((side, side))
    for _ in range(random.integers(1, _MAX_COMPONENTS + 1)):
        part = _ALL[names[random.integers(len(names))]](random, side)
        total += _normalised(part) * log_uniform(random, 0.2, 1.0)
    if random.random() < 0.4:  # haze
        haze = ndimage.gaussian_filter(random.standard_normal((side, side)), random.uniform(10, 40))
        total += random.uniform(0, 1) * _normalised(haze)
    if random.random() < 0.35:  # objects that are soft by themselves
        total = ndimage.gaussian_filter(total, log_uniform(random, 0.4, 3.0))
    if random.random() < 0.5:  # detail finer than anything else, such as unbound dye
        total += random.uniform(0, 0.02) * total.mean() * random.standard_normal((side, side))
    return _normalised(total)


def _spots(random: Random, side: int) -> Scene:
    count = int(log_uniform(random, 15, 1500))
    image = np.zeros((side, side))
    where = tuple(random.integers(0, side, (2, count)))
    np.add.at(image, where, random.gamma(random.uniform(0.5, 3), 1, count))
    return ndimage.gaussian_filter(image, log_uniform(random, 0.35, 4))


def _filaments(random: Random, side: int) -> Scene:
    count, steps = int(log_uniform(random, 5, 150)), int(random.uniform(100, 600))
    bend = np.cumsum(random.normal(0, random.uniform(0.002, 0.05), (steps, count)), axis=0)
    start = random.uniform(0, 2 * math.pi, count)
    if random.random() < 0.3:  # a bundle
        start = random.normal(random.uniform(0, 2 * math.pi), 0.3, count)
    angle = start + np.cumsum(bend, axis=0) * random.uniform(0, 0.1) + bend
    path = 0.7 * np.cumsum(np.stack([np.sin(angle), np.cos(angle)]), axis=1)
    places = (path + random.uniform(0, side, (2, 1, count))).reshape(2, -1) % side
    brightness = np.tile(random.gamma(2, 1, count), steps)
    whole = np.floor(places).astype(int)
    part = places - whole
    image = np.zeros((side, side))
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - part[0]) * np.abs(1 - right - part[1])
            at = ((whole[0] + down) % side, (whole[1] + right) % side)
            np.add.at(image, at, brightness * weight)
    return ndimage.gaussian_filter(image, log_uniform(random, 0.3, 2.5))


def _cells(random: Random, side: int) -> Scene:
    image = np.zeros((side, side))
    typical = random.uniform(6, 70)
    for _ in range(int(random.integers(2, 30))):
        long = typical * random.uniform(0.6, 1.4)
        rows, columns, distance = _ellipse(random, side, long, long * random.uniform(0.6, 1.0))
        inside = distance < 1
        if random.random() < 0.4:  # a membrane
            inside &= distance > 1 - 2.5 / long
        part = image[rows, columns]
        np.maximum(part, inside * random.uniform(0.3, 1), out=part)
    image = ndimage.gaussian_filter(image, log_uniform(random, 0.3, 2.5))
    texture = _random_field(random, side, random.uniform(1.5, 5), log_uniform(random, 0.02, 0.5))
    return image * (1 + random.uniform(0, 0.8) * np.clip(texture, -1, 3))


def _discs(random: Random, side: int) -> Scene:
    """Draw opaque discs with a power law of sizes, which occlude each other ("dead leaves")."""
    count, smallest = int(random.uniform(300, 1500)), random.uniform(1, 5)
    power = random.uniform(2, 3.5)
    radii = np.clip(smallest * (1 - random.random(count)) ** (-1 / (power - 1)), smallest, side / 2)
    image = np.zeros((side, side))
    for radius in np.sort(radii)[::-1] if random.random() < 0.5 else radii:
        rows, columns, distance = _ellipse(random, side, radius, radius)
        image[rows, columns][distance < 1] = random.random()
    image = ndimage.gaussian_filter(image, random.uniform(0.3, 1))
    return image + random.uniform(0, 0.1) * _random_field(
        random, side, random.uniform(1.5, 4), 0.05
    )


def _textures(random: Random, side: int) -> Scene:
    field = _random_field(random, side, random.uniform(1.2, 5), log_uniform(random, 0.01, 0.8))
    kind = random.random()
    if kind < 0.3:
        return np.exp(random.uniform(0.3, 1.5) * field)
    if kind < 0.5:
        islands = (field > random.uniform(-0.5, 1.5)).astype(float)
        return ndimage.gaussian_filter(islands, random.uniform(0.3, 1.2))
    return np.abs(field) if kind < 0.6 else field


def _sections(random: Random, side: int) -> Scene:
    """Draw a stained section in transmitted light: fibrous tissue with nuclei and gaps."""
    field = _random_field(random, 2 * side, random.uniform(2, 4), log_uniform(random, 0.03, 0.3))
    stretched = ndimage.zoom(field, (1, random.uniform(1.5, 4)), order=1)[:, : 2 * side]
    turned = ndimage.rotate(stretched, random.uniform(0, 180), reshape=False, order=1)
    start = side // 2
    fibres = turned[start : start + side, start : start + side]
    density = np.exp(random.uniform(0.2, 0.8) * fibres)
    density[_random_field(random, side, 4, 0.05) > random.uniform(0.8, 2)] = 0.05  # gaps
    typical = random.uniform(3, 14)
    for _ in range(int(random.integers(20, 300))):  # nuclei
        long = typical * random.uniform(0.7, 1.5)
        rows, columns, distance = _ellipse(random, side, long, long * random.uniform(0.4, 1.0))
        density[rows, columns][distance < 1] += random.uniform(0.5, 2)
    density = ndimage.gaussian_filter(density, log_uniform(random, 0.3, 1.5))
    return np.asarray(np.exp(-random.uniform(0.3, 1.2) * density))


SORTS: dict[str, Callable[[Random, int], Scene]] = {
    "spots": _spots,
    "filaments": _filaments,
    "cells": _cells,
    "discs": _discs,
    "textures": _textures,
}
HELD_OUT: dict[str, Callable[[Random, int], Scene]] = {"sections": _sections}  # never trained on
_ALL = SORTS | HELD_OUT


def _random_field(random: Random, side: int, exponent: float, corner: float) -> Scene:
    """Draw a Gaussian field whose power falls like ``frequency ** -exponent`` above `corner`."""
    down = 2 * np.pi * fft.fftfreq(side)[:, None]
    right = 2 * np.pi * fft.rfftfreq(side)
    amplitude = (down**2 + right**2 + corner**2) ** (-exponent / 4)
    amplitude[0, 0] = 0
    field = fft.irfft2(fft.rfft2(random.standard_normal((side, side))) * amplitude, (side, side))
    return np.asarray(field / field.std())


def _ellipse(random: Random, side: int, long: float, short: float) -> tuple[slice, slice, Any]:
    """Return the bounding box of a random ellipse, and the distance from its centre inside it."""
    row, column = random.uniform(0, side, 2)
    reach = math.ceil(max(long, short))
    rows = slice(max(int(row) - reach, 0), min(int(row) + reach + 1, side))
    columns = slice(max(int(column) - reach, 0), min(int(column) + reach + 1, side))
    down, right = np.ogrid[rows, columns]
    down, right = down - row, right - column
    angle = random.uniform(0, math.pi)
    along = down * math.cos(angle) + right * math.sin(angle)
    across = right * math.cos(angle) - down * math.sin(angle)
    return rows, columns, np.hypot(along / long, across / short)


def _normalised(image: Scene) -> Scene:
    low, high = np.percentile(image, [0.5, 99.9])
    return np.clip((image - low) / max(high - low, 1e-9), 0, 1)


def log_uniform(random: Random, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of `low` and `high`."""
    return float(math.exp(random.uniform(math.log(low), math.log(high))))
