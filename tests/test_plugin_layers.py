"""From a layer to a plane and back: geometry, units and names of the output layers."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.plugin.geometry import LayerPlane, pixel_size, plane_shape
from napari_blind_deconv.plugin.layers import (
    displayable,
    image_options,
    is_output,
    layer_metadata,
    outputs_beside,
)

PIXELS = np.random.default_rng(0).random((20, 30))


def source_of(
    *args, position: dict[int, float] | None = None, **kwargs
) -> tuple[LayerPlane, Image]:
    viewer = ViewerModel()
    layer = viewer.add_image(*args, **kwargs)
    for axis, value in (position or {}).items():
        viewer.dims.set_point(axis, value)
    return LayerPlane.of(layer, viewer.dims), layer


def estimate_layer(source, result, metadata) -> Layer:
    data = displayable(source, result.image)
    return Layer.create(data, image_options(source, metadata), "image")


@pytest.fixture(scope="module")
def result():
    settings = Settings(
        stop_at_noise=False, max_iterations=6, window=3, channels=(8,), kernel_size=7
    )
    return deconvolve(PIXELS, settings)


CALIBRATION = {
    "scale": (0.2, 0.1),
    "translate": (5, -3),
    "units": ("um", "um"),
    "axis_labels": ("y", "x"),
    "name": "cells",
}


def test_the_estimate_lies_on_its_image(result):
    source, layer = source_of(PIXELS, **CALIBRATION, colormap="green", contrast_limits=(0.1, 0.7))
    estimate = estimate_layer(source, result, layer_metadata(source, result))
    assert estimate.name == "cells [deblurred]"
    for corner in ((0, 0), (19, 29)):
        np.testing.assert_allclose(estimate.data_to_world(corner), layer.data_to_world(corner))
    assert estimate.units == layer.units
    assert estimate.axis_labels == layer.axis_labels
    assert estimate.colormap.name == "green"
    assert estimate.contrast_limits == [0.1, 0.7]
    assert is_output(estimate)
    assert not is_output(layer)
    record = estimate.metadata["blind_deconvolution"]
    assert record["settings"]["seed"] == 0
    assert record["settings"]["max_iterations"] == 6
    assert record["stop_reason"] == "iteration limit"
    assert "torch" in record["versions"]


def test_kernel_and_trace_lie_beside_the_image_in_its_units(result):
    source, layer = source_of(PIXELS, **CALIBRATION)
    kernel, trace = (Layer.create(*data) for data in outputs_beside(source, result))
    assert (kernel.name, trace.name) == ("cells [kernel]", "cells [ES trace]")
    right_edge = layer.extent.world[1][1]
    for output in (kernel, trace):
        assert output.units == layer.units
        assert output.axis_labels == layer.axis_labels
        np.testing.assert_allclose(output.scale, layer.scale)
        assert output.extent.world[0][1] > right_edge
    assert trace.extent.world[0][0] > kernel.extent.world[1][0] - 0.2
    np.testing.assert_array_equal(kernel.data, result.kernel)


def test_the_trace_layer_contains_the_trace_and_marks_the_kept_iteration(result):
    source, _ = source_of(PIXELS)
    trace = Layer.create(*outputs_beside(source, result)[1])
    for name in ("iteration", "loss", "data", "regulariser", "variance"):
        np.testing.assert_array_equal(trace.features[name], result.trace[name])
    kept = trace.features["kept"].to_numpy()
    assert result.trace["iteration"][kept].tolist() == [result.stop_iteration]
    heights = trace.data[np.isfinite(result.trace["variance"]), 0]
    order = np.argsort(result.trace["variance"][2:])
    assert (np.diff(heights[order]) <= 0).all()  # rows increase downwards


@pytest.mark.parametrize("rotate", [0, 30])
def test_the_result_of_a_plane_of_a_stack_lies_on_that_plane(rotate, result):
    stack = np.random.default_rng(1).random((4, 5, 20, 30))
    affine = np.eye(5)
    affine[3, 4] = 7
    source, layer = source_of(
        stack,
        scale=(1, 2, 0.2, 0.1),
        translate=(0, 10, 1, 1),
        rotate=_rotation_of_the_last_two_axes(rotate),
        affine=affine,
        units=("s", "um", "um", "um"),
        position={0: 2, 1: 10 + 3 * 2},
    )
    np.testing.assert_array_equal(source.pixels, stack[2, 3])
    assert source.position == (2, 3, 0, 0)
    estimate = estimate_layer(source, result, {})
    assert estimate.data.shape == (1, 1, 20, 30)
    np.testing.assert_allclose(
        estimate.data_to_world((0, 0, 7, 9)), layer.data_to_world((2, 3, 7, 9)), atol=1e-9
    )
    assert estimate.units == layer.units


def _rotation_of_the_last_two_axes(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rotation = np.eye(4)
    rotation[2:, 2:] = [[cosine, sine], [-sine, cosine]]
    return rotation


def test_the_source_is_a_copy():
    pixels = PIXELS.copy()
    source, _ = source_of(pixels)
    pixels[:] = 0
    assert source.pixels.any()


def test_the_plane_has_the_displayed_axes():
    viewer = ViewerModel()
    layer = viewer.add_image(np.random.default_rng(1).random((18, 4, 20)))
    viewer.dims.order = (1, 2, 0)
    viewer.dims.set_point(1, 3)
    source = LayerPlane.of(layer, viewer.dims)
    assert source.axes == (0, 2)
    np.testing.assert_array_equal(source.pixels, layer.data[:, 3, :])
    assert source.embed(source.pixels).shape == (18, 1, 20)


def test_a_2d_layer_among_stacks_is_one_plane():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((5, 20, 30)))
    layer = viewer.add_image(PIXELS)
    viewer.dims.set_point(0, 4)
    np.testing.assert_array_equal(LayerPlane.of(layer, viewer.dims).pixels, PIXELS)


def test_multiscale_layers_are_read_at_full_resolution():
    source, _ = source_of([PIXELS, PIXELS[::2, ::2]], multiscale=True)
    np.testing.assert_array_equal(source.pixels, PIXELS)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_colour_is_shown_as_floats_from_zero_to_one(dtype, white):
    colour = (np.random.default_rng(0).random((20, 22, 3)) * white).astype(dtype)
    source, _ = source_of(colour, rgb=True)
    assert source.rgb
    shown = displayable(source, colour.astype(np.float32) * 1.2)
    assert shown.max() == 1
    np.testing.assert_allclose(shown.min(), 1.2 * colour.min() / white, rtol=1e-5)


def test_the_pixel_size_has_a_unit():
    viewer = ViewerModel()
    layer = viewer.add_image(PIXELS, **CALIBRATION)
    assert pixel_size(layer, viewer.dims) == (pytest.approx(0.2), pytest.approx(0.1), "µm")
    assert pixel_size(Image(PIXELS), viewer.dims) == (1.0, 1.0, "px")


def test_the_plane_of_a_colour_image_has_no_colour_axis():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((60, 80, 3), np.uint8), rgb=True)
    assert plane_shape(layer, viewer.dims) == (60, 80)
