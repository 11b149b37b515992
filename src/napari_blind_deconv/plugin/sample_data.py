"""Sample data for napari's File menu."""

from __future__ import annotations

from napari_blind_deconv.plugin.layers import LayerData

__all__ = ["cell", "scene"]


def cell() -> list[LayerData]:
    """A real micrograph, cropped; nobody knows its kernel."""
    from napari_blind_deconv.synthetic import cell_crop

    return [(cell_crop(), {"name": "cell"}, "image")]


def scene() -> list[LayerData]:
    """A synthetic recording, with the truth and the kernel it was made with beside it."""
    from napari_blind_deconv.synthetic import fluorescence_scene

    made = fluorescence_scene()
    size = made.pixel_size
    calibration = {"scale": (size, size), "units": ("µm", "µm")}
    width = made.observed.shape[1] * size
    limits = [float(made.truth.min()), float(made.observed.max())]
    return [
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
        (
            made.truth,
            {"name": "scene truth", "visible": False, "contrast_limits": limits, **calibration},
            "image",
        ),
        (made.observed, {"name": "scene", "contrast_limits": limits, **calibration}, "image"),
    ]
