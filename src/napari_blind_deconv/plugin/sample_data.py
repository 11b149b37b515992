"""Sample data for napari's File menu."""

from __future__ import annotations

from typing import Any

from napari_blind_deconv import synthetic

__all__ = ["cell", "fluorescence_scene"]

LayerData = tuple[Any, dict[str, Any], str]


def cell() -> list[LayerData]:
    """A real micrograph, cropped; nobody knows its kernel."""
    return [(synthetic.cell_crop(), {"name": "cell"}, "image")]


def fluorescence_scene() -> list[LayerData]:
    """A synthetic recording, with the truth and the kernel it was made with beside it."""
    scene = synthetic.fluorescence_scene()
    size = scene.pixel_size
    calibration = {"scale": (size, size), "units": ("µm", "µm")}
    width = scene.observed.shape[1] * size
    limits = [float(scene.truth.min()), float(scene.observed.max())]
    return [
        (
            scene.kernel,
            {
                "name": "scene kernel",
                "colormap": "inferno",
                "translate": (0, -scene.kernel.shape[1] * size - 0.05 * width),
                **calibration,
            },
            "image",
        ),
        (
            scene.truth,
            {"name": "scene truth", "visible": False, "contrast_limits": limits, **calibration},
            "image",
        ),
        (scene.observed, {"name": "scene", "contrast_limits": limits, **calibration}, "image"),
    ]
