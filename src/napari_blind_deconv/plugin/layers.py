"""The layers of a run: estimate, kernel, early-stopping trace, and residual."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_blind_deconv.image import Image
from napari_blind_deconv.io.provenance import is_result
from napari_blind_deconv.plugin.colours import BLUE, ORANGE
from napari_blind_deconv.plugin.geometry import GAP, LayerGeometry
from napari_blind_deconv.results import RESIDUAL_RANGE, Result, StackResult
from napari_blind_deconv.task import Task

__all__ = [
    "LayerData",
    "displayable",
    "file_name",
    "image_options",
    "is_output",
    "kernel_layer",
    "kernel_of_each_plane",
    "layer_metadata",
    "outputs_beside",
    "psf_layer",
    "residual_layer",
    "stack_record",
    "trace_layer",
]

LayerData = tuple[Any, dict[str, Any], str]
"""Data, arguments and type of a layer, as napari's readers and sample data return them."""

_METADATA_KEY = "blind_deconvolution"
_CURVE_COLOR, _KEPT_COLOR = BLUE, ORANGE


def image_options(geometry: LayerGeometry, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an estimate's layer, which lies on top of its image."""
    return {
        "name": f"{geometry.name} [deblurred]",
        "rgb": geometry.rgb,
        "metadata": metadata,
        **geometry.layer_arguments(),
        **geometry.display,
    }


def displayable(geometry: LayerGeometry, image: NDArray[Any]) -> NDArray[Any]:
    """Return an estimate as napari displays it.

    Grey values are left as they are. Colours are divided by `LayerGeometry.white` and clipped to
    [0, 1], because napari expects floating-point colours in that range.
    """
    if not geometry.rgb:
        return geometry.embed(image)
    return geometry.embed(np.clip(image / geometry.white, 0, 1).astype(np.float32))


def kernel_layer(
    geometry: LayerGeometry, kernel: NDArray[Any], metadata: dict[str, Any]
) -> LayerData:
    """Return the layer of a result's kernel, which lies as that of :func:`psf_layer` does.

    `ResultLayers` hides it, and moves it onto the image as long as it is hidden. It is without the
    planes beyond those of a volume, which would add planes to the viewer's slider, and the name
    says so.

    Parameters
    ----------
    geometry : LayerGeometry
        Position of the result.
    kernel : ndarray
        Weights of the kernel, or of the kernels of a stack, ``(*stack, *kernel)``.
    metadata : dict
        Metadata of the layer.
    """
    is_cut = False
    if geometry.depth is not None:
        is_cut = kernel.shape[-3] > geometry.planes
        first = max(0, kernel.shape[-3] - geometry.planes) // 2
        kernel = kernel[..., first : first + geometry.planes, :, :]
    name = f"{geometry.name} [kernel{', central planes' if is_cut else ''}]"
    return psf_layer(geometry, kernel, name, metadata)


def psf_layer(
    geometry: LayerGeometry, kernel: NDArray[Any], name: str, metadata: dict[str, Any]
) -> LayerData:
    """Return the layer of a PSF, to the right of an image at its top, at the image's scale.

    The PSF of a volume lies at the middle of its planes. If the image is mirrored, the PSF is too,
    because that is the blur which the viewer shows.

    Parameters
    ----------
    geometry : LayerGeometry
        Position of the image.
    kernel : ndarray
        Weights of the PSF, or of those of a stack, ``(*stack, *kernel)``.
    name : str
        Name of the layer.
    metadata : dict
        Metadata of the layer.
    """
    beside = geometry.right_of_plane(0, kernel.shape[-2:])
    if geometry.depth is not None:
        above = (geometry.planes - kernel.shape[-3]) // 2
        beside = beside.shifted(above, [geometry.depth])
    arguments = {
        "name": name,
        "colormap": "inferno",
        "interpolation2d": "nearest",
        "metadata": metadata,
        **beside.layer_arguments(),
    }
    pixels = geometry.in_layer(kernel) if geometry.stack_axes else geometry.embed(kernel)
    return pixels, arguments, "image"


def kernel_of_each_plane(image: Image, axes: str, kernels: NDArray[Any]) -> NDArray[Any]:
    """Return an array with the kernel of each block; kernels that blocks share use memory once.

    Parameters
    ----------
    image : Image
        A stack.
    axes, kernels
        As `all_kernels` returns them.
    """
    if axes.removesuffix(image.space) == "C":
        shape = [image.channels if axis == "C" else 1 for axis in image.stack_axes]
        # One kernel per channel: broadcast it over all other axes of the stack.
        kernels = kernels[: image.channels].reshape(*shape, *kernels.shape[1:])
    window = kernels.shape[len(image.stack_shape) :]
    return np.broadcast_to(kernels, (*image.stack_shape, *window))


def trace_layer(geometry: LayerGeometry, result: Result, metadata: dict[str, Any]) -> LayerData:
    """Return the variance curve as points beside the image, with the stopping point marked.

    There is one point per iteration of the run. Its height is the logarithm of the variance, and
    the numbers of the trace are the layer's features. The last point of each stage is larger and
    has the name of the stage beside it. The variance of a stage is not known before its first
    complete window; the points of those iterations are as high as the first one that is known.

    Parameters
    ----------
    geometry : LayerGeometry
        The plane beside which the curve is drawn, below the kernel.
    result : Result
        Result of that plane.
    metadata : dict
        Metadata of the layer.
    """
    trace, kept, top = result.trace, result.stop_iteration, result.kernel.shape[0]
    rows, columns = result.image.shape[:2]
    gap = GAP * columns
    width = columns / 2
    height = max(rows / 3, rows - top - 2 * gap)
    beside = geometry.right_of_plane(top + gap, (height, width))
    is_kept = trace["iteration"] == kept
    ends = np.append(trace["stage"][1:] != trace["stage"][:-1], True)
    iterations, variances = _drawable(trace)
    # Rows count downwards, so the largest variance is at row 0.
    points = np.stack([1 - _normalised(np.log(variances)), _normalised(iterations)], axis=1)
    upright = np.where(geometry.mirrored, 1 - points, points)  # iterations from left to right
    features = {name: trace[name] for name in trace.dtype.names or ()}
    features["kept"] = is_kept
    names = np.where(ends, trace["stage"], "")
    features["label"] = np.where(is_kept, f"kept: {kept}", names)
    dot = width / 60
    colors = np.where(is_kept, _KEPT_COLOR, _CURVE_COLOR)
    arguments = {
        "name": f"{geometry.name} [ES trace]",
        "features": features,
        "size": np.select([is_kept, ends], [3 * dot, 2 * dot], dot),
        "face_color": colors,
        "border_color": colors,  # the border of small points is visible even at width 0
        "border_width": 0,
        "text": {
            "string": "{label}",
            "color": _KEPT_COLOR,
            "size": 10,
            "anchor": "lower_right" if points[is_kept, 1].max() > 0.5 else "lower_left",
        },
        "metadata": metadata,
        **beside.layer_arguments(),
    }
    return beside.embed_points(upright * (height, width)), arguments, "points"


def _drawable(trace: NDArray[np.void]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return iterations and positive variances; one that is unknown is the next that is known."""
    variances = trace["variance"].astype(np.float64)
    known = np.flatnonzero(np.isfinite(variances))
    if len(known):
        following = np.searchsorted(known, np.arange(len(variances)))
        variances = variances[known[np.minimum(following, len(known) - 1)]]
    # The logarithm follows, so zeros become the smallest positive number.
    positive = np.maximum(np.nan_to_num(variances, nan=1.0), np.finfo(np.float64).tiny)
    return trace["iteration"].astype(np.float64), positive


def _normalised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values mapped to [0, 1]; all 0 if they are equal."""
    span = np.ptp(values)
    return (values - values.min()) / span if span else np.zeros(len(values))


def outputs_beside(geometry: LayerGeometry, result: Result) -> list[LayerData]:
    """Return the kernel layer of a result, and the trace layer, which is one of a plane."""
    metadata = layer_metadata(geometry, result)
    kernel = kernel_layer(geometry, result.kernel.weights, metadata)
    if geometry.depth is not None:
        return [kernel]
    return [kernel, trace_layer(geometry, result, metadata)]


def residual_layer(geometry: LayerGeometry, result: Result) -> LayerData:
    """Return the layer of the residual, which lies on the result: red where the input is brighter.

    It is transparent near the border, where the residual is unknown.
    """
    arguments = {
        "name": f"{geometry.name} [residual]",
        "colormap": "RdBu_r",
        "contrast_limits": (-RESIDUAL_RANGE, RESIDUAL_RANGE),
        "interpolation2d": "nearest",
        "metadata": layer_metadata(geometry, result),
        **geometry.layer_arguments(),
    }
    return geometry.embed(result.trust.residual), arguments, "image"


def layer_metadata(
    geometry: LayerGeometry, result: Result | None = None, *, record: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the metadata that state how a layer was made.

    They contain `record` if it is given, else the provenance of `result`. If both are None, they
    state that a run is in progress.
    """
    if record is None:
        record = {"running": True} if result is None else result.provenance()
    if geometry.rgb:
        record["white"] = geometry.white  # lets users undo the division made for display
    return {_METADATA_KEY: record, **geometry.stated.as_metadata()}


def stack_record(task: Task, result: StackResult) -> dict[str, Any]:
    """Return how a stack was made, for the metadata of its layer."""
    choice, kind = task.kernel, task.image.block_kind
    record: dict[str, Any] = {
        "axes": task.image.axes,
        "settings": task.settings.model_dump(mode="json"),
        "kernel": "held" if choice.is_held else choice.scope.value,
        "failures": {str(index): reason for index, reason in result.failures.items()},
        "warnings": {flag.sentence_of(kind): count for flag, count in result.flags.items()},
        "findings": {finding.value: vars(n) for finding, n in result.findings.items()},
    }
    if result.plan is not None:
        record["intensity_ranges"] = [span and list(span) for span in result.plan.intensity_ranges]
    return record


def is_output(layer: Layer) -> bool:
    """Return whether a run made the layer or its file, so that it is not the next input."""
    return _METADATA_KEY in layer.metadata or _is_of_result(layer.source.path)


def _is_of_result(path: str | None) -> bool:
    """Whether a run wrote the file of a layer; of a file that has not changed, this is cached."""
    if path is None:
        return False
    try:
        changed = Path(path).stat().st_mtime_ns
    except (OSError, ValueError):  # no file, such as an address, or a name with a null character
        return False
    return _is_result_at(path, changed)


@lru_cache(maxsize=256)
def _is_result_at(path: str, _changed: int) -> bool:
    return is_result(Path(path))


def file_name(layer: str) -> str:
    """Return the name of a TIFF file for a layer of this name.

    Readers give names such as ``"Image:0 :: a/b.czi"``, whose characters a file name cannot have.
    """
    return re.sub(r'^-|[\\/:*?"<>|\x00-\x1f]+', "_", layer) + ".tif"
