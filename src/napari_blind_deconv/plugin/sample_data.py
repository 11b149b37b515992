"""Sample data for napari's File menu."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blind_deconv.plugin.layers import LayerData
from napari_blind_deconv.plugin.stated import Stated

if TYPE_CHECKING:
    from napari_blind_deconv.synthetic import Scene

__all__ = ["cell", "channels", "microtubules", "scene", "stack", "volume"]

_STACK_SHAPE = (128, 128)
_PLANE_DISTANCE = 0.3  # µm


def cell() -> list[LayerData]:
    """Return a crop of a real micrograph, whose kernel is not known."""
    from napari_blind_deconv.synthetic import cell_crop

    return [(cell_crop(), {"name": "cell"}, "image")]


def microtubules() -> list[LayerData]:
    """Return a micrograph that is blurred here, with its sharp original and its kernel."""
    from napari_blind_deconv.synthetic import microtubules

    return _with_truth(microtubules(), "microtubules")


def scene() -> list[LayerData]:
    """Return a synthetic recording, with its true scene and its kernel as further layers."""
    from napari_blind_deconv.synthetic import fluorescence_scene

    return _with_truth(fluorescence_scene(), "scene")


def _with_truth(sample: Scene, name: str) -> list[LayerData]:
    size = sample.pixel_size
    calibration = _calibration(size, size)
    width = sample.observed.shape[1] * size
    limits = [float(sample.truth.min()), float(sample.observed.max())]
    return [  # napari fits its view to the first layer and selects the last one
        (
            sample.truth,
            {"name": f"{name} truth", "visible": False, "contrast_limits": limits, **calibration},
            "image",
        ),
        (
            sample.kernel,
            {
                "name": f"{name} kernel",
                "colormap": "inferno",
                "translate": (0, -sample.kernel.shape[1] * size - 0.05 * width),
                **calibration,
            },
            "image",
        ),
        (sample.observed, {"name": name, "contrast_limits": limits, **calibration}, "image"),
    ]


def stack() -> list[LayerData]:
    """Return a synthetic z-stack: six different planes with the same kernel."""
    from napari_blind_deconv.synthetic import fluorescence_scene

    scenes = [fluorescence_scene(_STACK_SHAPE, seed=seed) for seed in range(6)]
    planes = np.stack([scene.observed for scene in scenes])
    size = scenes[0].pixel_size
    options = {"name": "z-stack", "axis_labels": ("z", "y", "x")}
    return [(planes, {**options, **_calibration(_PLANE_DISTANCE, size, size)}, "image")]


def volume() -> list[LayerData]:
    """Return a synthetic widefield recording of a volume, whose optics are known."""
    from napari_blind_deconv.synthetic import VOLUME_OPTICS, VOLUME_STEP, fluorescence_volume

    sample = fluorescence_volume()
    options = {
        "name": "volume",
        "axis_labels": ("z", "y", "x"),
        "metadata": Stated(optics=VOLUME_OPTICS).as_metadata(),
        **_calibration(VOLUME_STEP, sample.pixel_size, sample.pixel_size),
    }
    return [(sample.observed, options, "image")]


def channels() -> list[LayerData]:
    """Return a synthetic recording of two channels, each with the kernel of its wavelength."""
    from napari_blind_deconv.numerics.optics import widefield_psf
    from napari_blind_deconv.synthetic import fluorescence_scene

    size = 0.1  # µm
    planes = []
    for seed, wavelength in ((10, 0.52), (11, 0.67)):  # µm
        psf = widefield_psf(31, numerical_aperture=0.7, wavelength=wavelength, pixel_size=size)
        planes.append(fluorescence_scene(_STACK_SHAPE, kernel=psf, seed=seed).observed)
    options = {"name": "two channels", "axis_labels": ("c", "y", "x")}
    return [(np.stack(planes), {**options, **_calibration(1.0, size, size)}, "image")]


def _calibration(*sizes: float) -> dict[str, Any]:
    """Return scale and units in µm.

    An axis that is no length, such as the channel, gets them too: otherwise napari drops all units.
    """
    return {"scale": sizes, "units": ("µm",) * len(sizes)}
