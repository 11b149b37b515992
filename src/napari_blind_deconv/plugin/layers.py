"""Between napari's layers and arrays: what to take from a layer, and what to lay beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from napari.components import Dims
from napari.layers import Image, Layer
from napari.utils.transforms import Affine
from numpy.typing import NDArray

from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.plugin.colours import BLUE, ORANGE
from napari_blind_deconv.results import Result

__all__ = [
    "LayerData",
    "Place",
    "Region",
    "Source",
    "displayable",
    "full_data",
    "image_options",
    "is_output",
    "is_shown_flat",
    "kernel_layer",
    "layer_metadata",
    "outputs_beside",
    "pixel_size",
    "plane_axes",
    "plane_shape",
    "unit_in_short",
]

LayerData = tuple[Any, dict[str, Any], str]
Region = tuple[slice, slice]
"""Rows and columns of a plane."""

# Free space between the image and what is laid beside it, as a share of the image's width.
_GAP = 0.05
_OUR_KEY = "blind_deconvolution"
_CURVE_COLOR, _KEPT_COLOR = BLUE, ORANGE


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a plane or a part of it lies, and how it looks; no pixel of it is read.

    Attributes
    ----------
    name : str
        The layer's name.
    white : float
        Intensity that napari shows as 1: of a colour image its type's, else 1.
    axes : tuple of int
        The two axes of the layer that rows and columns are.
    position : tuple of int
        Index of the plane's first pixel in the layer.
    transform : dict
        The layer's scale, rotate, shear, affine, units and axis labels.
    translate : ndarray
        Where the plane's first pixel lies, for a layer with this transform.
    display : dict
        The layer's colormap and contrast limits.
    columns : int
        Of the layer's plane.
    corner : tuple of int
        Row and column of the first pixel in the layer's plane: 0 unless it is a part.
    """

    name: str
    rgb: bool
    white: float
    axes: tuple[int, int]
    position: tuple[int, ...]
    transform: dict[str, Any]
    translate: NDArray[np.float64]
    display: dict[str, Any]
    columns: int
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, layer: Image, dims: Dims, region: Region | None = None) -> Place:
        """The plane of `layer` that the viewer shows now, or a part of it."""
        axes = plane_axes(layer, dims)
        data = full_data(layer)
        corner = (0, 0) if region is None else (region[0].start, region[1].start)
        centre = np.round(layer.world_to_data(np.asarray(dims.point)[-layer.ndim :]))
        inside = np.clip(centre, 0, np.array(data.shape[: layer.ndim]) - 1)
        inside[list(axes)] = corner
        position = tuple(map(int, inside))
        display = {} if layer.rgb else {"contrast_limits": list(layer.contrast_limits)}
        return Place(
            name=layer.name,
            rgb=layer.rgb,
            white=_white(data.dtype) if layer.rgb else 1.0,
            axes=axes,
            position=position,
            transform={
                "scale": layer.scale,
                "rotate": layer.rotate,
                "shear": layer.shear,
                "affine": layer.affine.affine_matrix,
                "units": layer.units,
                "axis_labels": layer.axis_labels,
            },
            translate=layer.affine.inverse(layer.data_to_world(position)),
            display=display if layer.rgb else {**display, "colormap": layer.colormap.name},
            columns=data.shape[axes[1]],
            corner=corner,
        )

    @property
    def pixel_size(self) -> tuple[float, float, str]:
        """Height and width of a pixel, and their unit in short."""
        rows, columns = self.axes
        scale, unit = self.transform["scale"], self.transform["units"][columns]
        return float(scale[rows]), float(scale[columns]), unit_in_short(unit)

    @property
    def calibration(self) -> dict[str, Any]:
        """Spacing and unit as `Image` has them, without those if nobody has set a unit."""
        height, width, unit = self.pixel_size
        return {} if unit == "px" else {"spacing": {"Y": height, "X": width}, "unit": unit}

    def beside(self, rows: float, columns: float) -> Self:
        """A copy that lies some rows and columns of pixels further on."""
        linear = self._linear_part()
        offset = np.zeros(len(self.position))
        offset[list(self.axes)] = rows, columns
        return replace(self, translate=self.translate + linear @ offset)

    def right_of_plane(self, rows: float) -> Self:
        """A copy that lies to the right of the layer's plane, some rows down from its own top."""
        return self.beside(rows, self.columns * (1 + _GAP) - self.corner[1])

    def placement(self) -> dict[str, Any]:
        """Arguments that put a layer where this plane is."""
        return {**self.transform, "translate": self.translate}

    def embed(self, plane: NDArray[Any]) -> NDArray[Any]:
        """A plane with singleton axes where the layer has more than two."""
        return np.expand_dims(
            plane, [axis for axis in range(len(self.position)) if axis not in self.axes]
        )

    def embed_points(self, points: NDArray[Any]) -> NDArray[Any]:
        """Points ``(N, 2)`` of the plane as points of the layer."""
        embedded = np.zeros((len(points), len(self.position)))
        embedded[:, list(self.axes)] = points
        return embedded

    def _linear_part(self) -> NDArray[np.float64]:
        parts = {key: self.transform[key] for key in ("scale", "rotate", "shear")}
        return np.asarray(Affine(**parts, ndim=len(self.position)).linear_matrix)


@dataclass(frozen=True, kw_only=True)
class Source(Place):
    """A snapshot of what to work on, taken from a layer; it needs the layer no more.

    Attributes
    ----------
    pixels : ndarray
        A copy of it, ``(rows, columns)`` or ``(rows, columns, 3 or 4)`` if `rgb`.
    """

    pixels: NDArray[Any]

    @classmethod
    def of(cls, layer: Image, dims: Dims, region: Region | None = None) -> Source:
        """The plane of `layer` that the viewer shows now, or a part, of which no more is read."""
        place = Place.of(layer, dims, region)
        index: list[int | slice] = list(place.position)
        for axis, part in zip(place.axes, region or (slice(None), slice(None)), strict=True):
            index[axis] = part
        return cls(**vars(place), pixels=np.array(full_data(layer)[tuple(index)]))

    @property
    def image(self) -> ImageData:
        """It as the engine takes it, with its pixel size."""
        axes = "YXS" if self.rgb else "YX"
        return ImageData(self.pixels, axes, **self.calibration)


def _white(kind: np.dtype[Any]) -> float:
    return float(np.iinfo(kind).max) if kind.kind in "ui" else 1.0


def full_data(layer: Image) -> Any:
    """A layer's array; of a pyramid its finest level."""
    return layer.data[0] if layer.multiscale else layer.data


def plane_axes(layer: Image, dims: Dims) -> tuple[int, int]:
    """The layer's axes that are on the screen, in their order in the array; else the last two."""
    shown = sorted(axis - (dims.ndim - layer.ndim) for axis in dims.displayed)
    if len(shown) != 2 or shown[0] < 0 or layer.rgb:
        return layer.ndim - 2, layer.ndim - 1
    return shown[0], shown[1]


def is_shown_flat(layer: Image, dims: Dims) -> bool:
    """Whether the screen shows the layer's last two axes, as planes in memory are."""
    last = layer.ndim - 1
    return plane_axes(layer, dims) == (last - 1, last)


def plane_shape(layer: Image, dims: Dims) -> tuple[int, int]:
    """Rows and columns of the plane that `Source.of` would take, without reading it."""
    shape = full_data(layer).shape
    rows, columns = plane_axes(layer, dims)
    return shape[rows], shape[columns]


def pixel_size(layer: Image, dims: Dims) -> tuple[float, float, str]:
    """Height and width of a pixel of that plane, and their unit in short."""
    rows, columns = plane_axes(layer, dims)
    return (
        float(layer.scale[rows]),
        float(layer.scale[columns]),
        unit_in_short(layer.units[columns]),
    )


def unit_in_short(unit: Any) -> str:
    """A unit of pint, whose versions differ in which of Unicode's two signs stands for micro."""
    return f"{unit:~P}".replace("μ", "µ").replace("pixel", "px")


def image_options(source: Place, metadata: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the layer of an estimate, over what it was made from, besides its pixels."""
    return {
        "name": f"{source.name} [deblurred]",
        "rgb": source.rgb,
        "metadata": metadata,
        **source.placement(),
        **source.display,
    }


def displayable(source: Place, image: NDArray[Any]) -> NDArray[Any]:
    """The estimate as napari shows it: as it is, but colour as floats from 0 to 1."""
    if not source.rgb:
        return source.embed(image)
    return source.embed(np.clip(image / source.white, 0, 1).astype(np.float32))


def kernel_layer(source: Place, kernel: NDArray[Any], metadata: dict[str, Any]) -> LayerData:
    """The kernel, beside the image at its top, at the image's own scale."""
    place = source.right_of_plane(0)
    arguments = {
        "name": f"{source.name} [kernel]",
        "colormap": "inferno",
        "interpolation2d": "nearest",
        "metadata": metadata,
        **place.placement(),
    }
    return place.embed(kernel), arguments, "image"


def trace_layer(source: Place, result: Result, metadata: dict[str, Any]) -> LayerData:
    """The variance curve beside the image, one point an iteration, its stopping point marked.

    The height of a point is the logarithm of the variance; the numbers are the layer's features.
    Iterations before the first full window have no variance; their points lie under the first one
    that has.

    Parameters
    ----------
    source : Place
        The plane beside which to draw, below the kernel.
    result : Result
        Of that plane.
    metadata : dict
        For the layer.
    """
    trace, kept, top = result.trace, result.stop_iteration, result.kernel.shape[0]
    rows, columns = result.image.shape[:2]
    gap = _GAP * columns
    width = columns / 2
    height = max(rows / 3, rows - top - 2 * gap)
    place = source.right_of_plane(top + gap)
    is_kept = trace["iteration"] == kept
    iterations, variances = _drawable(trace)
    points = np.stack([1 - _normalised(np.log(variances)), _normalised(iterations)], axis=1)
    features = {name: trace[name] for name in trace.dtype.names or ()}
    features["kept"] = is_kept
    features["label"] = np.where(is_kept, f"kept: {kept}", "")
    dot = width / 60
    colors = np.where(is_kept, _KEPT_COLOR, _CURVE_COLOR)
    arguments = {
        "name": f"{source.name} [ES trace]",
        "features": features,
        "size": np.where(is_kept, 3 * dot, dot),
        "face_color": colors,
        "border_color": colors,  # of small points the border is seen, be it of no width
        "border_width": 0,
        "text": {
            "string": "{label}",
            "color": _KEPT_COLOR,
            "size": 10,
            "anchor": "lower_right" if points[is_kept, 1].max() > 0.5 else "lower_left",
        },
        "metadata": metadata,
        **place.placement(),
    }
    return place.embed_points(points * (height, width)), arguments, "points"


def _drawable(trace: NDArray[np.void]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Iterations and variances above 0; the first full window stands for those before it."""
    variances = trace["variance"].astype(np.float64)
    known = np.flatnonzero(np.isfinite(variances))
    first = known[0] if len(known) else 0
    iterations = np.maximum(trace["iteration"], trace["iteration"][first]).astype(np.float64)
    variances[:first] = variances[first]
    return iterations, np.maximum(np.nan_to_num(variances, nan=1.0), np.finfo(np.float64).tiny)


def _normalised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values mapped to [0, 1]; all 0 if they are equal."""
    span = np.ptp(values)
    return (values - values.min()) / span if span else np.zeros(len(values))


def outputs_beside(source: Place, result: Result) -> list[LayerData]:
    """Kernel and trace layers of a result."""
    metadata = layer_metadata(source, result)
    return [
        kernel_layer(source, result.kernel.weights, metadata),
        trace_layer(source, result, metadata),
    ]


def layer_metadata(
    source: Place, result: Result | None = None, *, record: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a layer says about where it came from; with nothing, that a run makes it now."""
    if record is None:
        record = {"running": True} if result is None else result.provenance()
    if source.rgb:
        record["white"] = source.white  # what the colours were divided by for display
    return {_OUR_KEY: record}


def is_output(layer: Layer) -> bool:
    """Whether a layer is one of ours: it is not what the user wants to sharpen next."""
    return _OUR_KEY in layer.metadata
