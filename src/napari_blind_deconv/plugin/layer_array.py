"""The array of a layer."""

from __future__ import annotations

from typing import Any

from napari.layers import Image, Labels

__all__ = ["full_data"]


def full_data(layer: Image | Labels) -> Any:
    """Return the array of a layer; for a multiscale layer, the level of full resolution."""
    return layer.data[0] if layer.multiscale else layer.data
