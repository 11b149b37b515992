"""Sample data for napari's File menu."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_blind_deconv.plugin.layers import LayerData

__all__ = ["cell", "channels", "scene", "stack"]

_STACK_SHAPE = (128, 128)
_STEP = 0.3  # µm between planes


def cell() -> list[LayerData]:
    """A real micrograph, cropped; nobody knows its kernel."""
    from napari_blind_deconv.synthetic import cell_crop

    return [(cell_crop(), {"name": "cell"}, "image")]


def scene() -> list[LayerData]:
    """A synthetic recording, with the truth and the kernel it was made with beside it."""
    from napari_blind_deconv.synthetic import fluorescence_scene

    made = fluorescence_scene()
    size = made.pixel_size
    calibration = _calibration(size, size)
    width = made.observed.shape[1] * size
    limits = [float(made.truth.min()), float(made.observed.max())]
    return [  # napari's camera goes to the first, its selection to the last
        (
            made.truth,
            {"name": "scene truth", "visible": False, "contrast_limits": limits, **calibration},
            "image",
        ),
        (
            made.kernel,
            {
                "name": "scene kernel",
                "colormap": "inferno",
                "translate": (0, -made.kernel.shape[1] * size - 0.05 * width),
                **calibration,
            },
            "image",
        ),
        (made.observed, {"name": "scene", "contrast_limits": limits, **calibration}, "image"),
    ]


def stack() -> list[LayerData]:
    """A synthetic z-stack: other planes of one specimen, one blur."""
    from napari_blind_deconv.synthetic import fluorescence_scene

    scenes = [fluorescence_scene(_STACK_SHAPE, seed=seed) for seed in range(6)]
    planes = np.stack([made.observed for made in scenes])
    size = scenes[0].pixel_size
    named = {"name": "z-stack", "axis_labels": ("z", "y", "x")}
    return [(planes, {**named, **_calibration(_STEP, size, size)}, "image")]


def channels() -> list[LayerData]:
    """A synthetic recording in two colours, each blurred by its own wavelength."""
    from napari_blind_deconv.numerics.optics import widefield_psf
    from napari_blind_deconv.synthetic import fluorescence_scene

    size = 0.1
    planes = []
    for seed, wavelength in ((10, 0.52), (11, 0.67)):
        psf = widefield_psf(31, numerical_aperture=0.7, wavelength=wavelength, pixel_size=size)
        planes.append(fluorescence_scene(_STACK_SHAPE, kernel=psf, seed=seed).observed)
    named = {"name": "two channels", "axis_labels": ("c", "y", "x")}
    return [(np.stack(planes), {**named, **_calibration(1.0, size, size)}, "image")]


def _calibration(*sizes: float) -> dict[str, Any]:
    """Scale and units; an axis that is no length has them too, or napari drops all units."""
    return {"scale": sizes, "units": ("µm",) * len(sizes)}
