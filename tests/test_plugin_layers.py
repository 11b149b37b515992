"""From a layer to a plane and back: geometry, units and names of the output layers."""

from dataclasses import replace

import numpy as np
import ome_types
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer
from ome_types.model import OME, Pixels

from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.plugin.geometry import LayerPlane
from napari_blind_deconv.plugin.layers import (
    displayable,
    image_options,
    is_output,
    layer_metadata,
    outputs_beside,
)
from napari_blind_deconv.plugin.regions import drawn_region
from napari_blind_deconv.plugin.viewing import pixel_size, plane_shape
from napari_blind_deconv.results import TRACE_DTYPE
from napari_blind_deconv.units import in_unit

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
    for name in TRACE_DTYPE.names:
        np.testing.assert_array_equal(trace.features[name], result.trace[name])
    kept = trace.features["kept"].to_numpy()
    assert result.trace["iteration"][kept].tolist() == [result.stop_iteration]
    known = np.isfinite(result.trace["variance"])
    order = np.argsort(result.trace["variance"][known])
    assert (np.diff(trace.data[known, 0][order]) <= 0).all()  # rows increase downwards
    assert {"wiener", f"kept: {result.stop_iteration}"} <= set(trace.features["label"])


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


def size_of(pixels=PIXELS, **options) -> tuple[float, float, str]:
    viewer = ViewerModel()
    return pixel_size(viewer.add_image(pixels, **options), viewer.dims)


def turn(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, -sine, 7], [sine, cosine, -4], [0, 0, 1]])


MICRONS = {"units": ("um", "um")}
TRUE_SIZES = {  # the arguments of a layer, and the true height and width of its pixels in µm
    "scale": ({"scale": (0.2, 0.1), **MICRONS}, (0.2, 0.1)),
    "negative scale": ({"scale": (-0.2, 0.1), **MICRONS}, (0.2, 0.1)),
    "affine": ({"affine": np.diag([0.2, 0.1, 1]), **MICRONS}, (0.2, 0.1)),
    "mirroring affine": ({"affine": np.diag([0.2, -0.1, 1]), **MICRONS}, (0.2, 0.1)),
    "scale and affine": (
        {"scale": (2, 1), "affine": np.diag([0.1, 0.1, 1]), **MICRONS},
        (0.2, 0.1),
    ),
    "rotate": ({"scale": (0.2, 0.1), "rotate": 30, **MICRONS}, (0.2, 0.1)),
    "turned by affine": ({"scale": (-0.2, 0.1), "affine": turn(75), **MICRONS}, (0.2, 0.1)),
    "shear": (  # a step along the columns also goes down by half of itself
        {"scale": (0.2, 0.1), "shear": [0.5], **MICRONS},
        (0.2, 0.1 * np.hypot(1, 0.5)),
    ),
    "far away": ({"scale": (0.2, 0.1), "translate": (1e6, -1e6), **MICRONS}, (0.2, 0.1)),
    "nm and µm": ({"scale": (200, 0.1), "units": ("nm", "um")}, (0.2, 0.1)),
    "inches": ({"scale": (2e-5, 1e-5), "units": ("inch", "inch")}, (0.508, 0.254)),
}


@pytest.mark.parametrize("case", TRUE_SIZES)
def test_the_pixel_size_is_the_length_of_a_pixel_in_the_world(case):
    arguments, sides = TRUE_SIZES[case]
    *size, unit = size_of(**arguments)
    np.testing.assert_allclose(size, sides)
    assert unit == "µm"
    source, _ = source_of(PIXELS, **arguments)
    assert source.pixel_size == (*size, unit)
    assert source.image.pixel_size == tuple(size)


def test_the_pixel_size_keeps_the_unit_of_the_columns():
    assert size_of(scale=(0.2, 100), units=("um", "nm")) == pytest.approx((200, 100, "nm"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": (0.2, 0.1)},
        {"scale": (0.2, 0.1), "units": ("s", "um")},
        {"scale": (0.2, 0.1), "units": ("pixel", "um")},
        {"scale": (0.2, 0.1), "units": ("s", "s")},
    ],
)
def test_without_units_of_length_sizes_are_in_pixels(options):
    source, layer = source_of(PIXELS, **options)
    assert source.pixel_size == (1, 1, "px")
    assert source.image.pixel_size is None
    np.testing.assert_array_equal(source.layer_arguments()["scale"], layer.scale)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_a_turn_of_a_stack_in_space_does_not_change_its_pixels():
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = axes
    size = size_of(np.zeros((4, 20, 30)), scale=(1, 0.2, 0.1), affine=affine, units=("um",) * 3)
    assert size == pytest.approx((0.2, 0.1, "µm"))


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("ndim", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_transform_a_part_lies_on_its_place(ndim, seed, result):
    rng = np.random.default_rng(seed)
    affine = np.eye(ndim + 1)
    affine[:-1] += rng.normal(scale=0.3, size=(ndim, ndim + 1))
    viewer = ViewerModel()
    layer = viewer.add_image(
        rng.random((*[3] * (ndim - 2), 20, 30)),
        scale=rng.uniform(0.1, 2, ndim) * rng.choice([-1, 1], ndim),
        rotate=np.linalg.qr(rng.normal(size=(ndim, ndim)))[0],
        shear=rng.normal(size=ndim * (ndim - 1) // 2),
        translate=rng.normal(size=ndim) * 100,
        affine=affine,
        units=("um",) * ndim,
    )
    for region, corner in ((None, (0, 0)), ((slice(4, 18), slice(7, 25)), (4, 7))):
        source = LayerPlane.of(layer, viewer.dims, region)
        estimate = Layer.create(
            source.embed(source.pixels), image_options(source, layer_metadata(source)), "image"
        )
        for row, column in ((0, 0), (13, 0), (0, 17), (13, 17)):
            there = (*source.position[:-2], corner[0] + row, corner[1] + column)
            np.testing.assert_allclose(
                estimate.data_to_world((*[0] * (ndim - 2), row, column)),
                layer.data_to_world(there),
                rtol=1e-9,
                atol=1e-9,
            )


MIRRORS = {
    "upright": {"scale": (0.2, 0.1)},
    "rows": {"scale": (-0.2, 0.1)},
    "columns": {"scale": (0.2, -0.1)},
    "both": {"scale": (-0.2, -0.1)},
    "affine": {"scale": (0.2, 0.1), "affine": np.diag([1, -1, 1])},
    "half turn": {"scale": (0.2, 0.1), "rotate": 180},
}


@pytest.mark.parametrize("region", [None, (slice(4, 18), slice(7, 25))])
@pytest.mark.parametrize("mirror", MIRRORS)
def test_kernel_and_trace_lie_to_the_right_even_of_a_mirrored_image(mirror, region, result):
    viewer = ViewerModel()
    layer = viewer.add_image(PIXELS, translate=(5, -3), **MICRONS, **MIRRORS[mirror])
    source = LayerPlane.of(layer, viewer.dims, region)
    rows, columns = region or (slice(0, 20), slice(0, 30))
    part = replace(result, image=result.image[rows, columns])
    kernel, trace = (Layer.create(*data) for data in outputs_beside(source, part))
    right = layer.extent.world[1][1]
    for output in (kernel, trace):
        assert right < output.extent.world[0][1] < right + 0.3  # with a gap, but not far away
    # The top of the kernel is the top of the part, and the trace is below it.
    corners = [layer.data_to_world((row, 0))[0] for row in (rows.start, rows.stop - 1)]
    assert kernel.extent.world[0][0] == pytest.approx(min(corners))
    assert trace.extent.world[0][0] > kernel.extent.world[1][0] - 0.2
    # The kernel is the blur that is seen; the curve is read from left to right and upwards.
    np.testing.assert_allclose(
        kernel.data_to_world((1, 1)) - np.array(kernel.data_to_world((0, 0))),
        layer.data_to_world((1, 1)) - np.array(layer.data_to_world((0, 0))),
    )
    world = np.array([trace.data_to_world(point) for point in trace.data])
    assert (np.diff(world[:, 1]) > 0).all()
    known = np.isfinite(result.trace["variance"])
    order = np.argsort(result.trace["variance"][known])
    assert (np.diff(world[known, 0][order]) <= 1e-12).all()


def test_the_plane_shown_is_taken_if_layers_have_different_units():
    viewer = ViewerModel()
    stack = np.random.default_rng(1).random((5, 20, 30))
    fine = viewer.add_image(stack, scale=(1000, 100, 100), units=("nm",) * 3)
    coarse = viewer.add_image(stack, scale=(1, 0.1, 0.1), units=("um",) * 3)
    viewer.dims.set_current_step(0, 3)
    for layer in (fine, coarse):
        assert LayerPlane.of(layer, viewer.dims).position[0] == 3


def test_a_rectangle_is_found_in_other_units():
    viewer = ViewerModel()
    layer = viewer.add_image(PIXELS, scale=(0.1, 0.1), units=("um", "um"))
    corners = np.array([[4, 7], [4, 25], [18, 25], [18, 7]]) - 0.5
    viewer.add_shapes([100 * corners], units=("nm", "nm"))
    region = drawn_region(layer, viewer.layers, viewer.dims)
    assert region == (slice(4, 18), slice(7, 25))


OME_PIXELS = {
    "SizeX": 30,
    "SizeY": 20,
    "PhysicalSizeX": 100,
    "PhysicalSizeXUnit": "nm",
    "PhysicalSizeY": "0.2",
}


def ome_model(**options) -> OME:
    pixels = Pixels(
        id="Pixels:0",
        size_x=30,
        size_y=20,
        size_z=1,
        size_c=1,
        size_t=1,
        type="uint8",
        dimension_order="XYZCT",
        metadata_only=True,
        **{"physical_size_x": 0.1, "physical_size_y": 0.2, **options},
    )
    return OME(images=[ome_types.model.Image(id="Image:0", pixels=pixels)])


METADATA = {
    "flat": OME_PIXELS,
    "nested": {"OME": {"Image": [{"Pixels": OME_PIXELS}]}},
    "model": {"ome_types": ome_model()},
    "xml": {"description": ome_model().to_xml()},
    "two alike": {"images": [OME_PIXELS, dict(OME_PIXELS)]},
    "a label image besides": {
        "images": [OME_PIXELS, {**OME_PIXELS, "SizeX": 3, "PhysicalSizeX": 5}]
    },
}


@pytest.mark.parametrize("case", METADATA)
@pytest.mark.parametrize("multiscale", [False, True])
def test_ome_metadata_give_the_pixel_size_of_a_layer_without_one(case, multiscale):
    pixels = [PIXELS, PIXELS[::2, ::2]] if multiscale else PIXELS
    source, _ = source_of(pixels, metadata=METADATA[case], multiscale=multiscale)
    height, width, unit = source.pixel_size
    assert (in_unit(height, unit, "µm"), in_unit(width, unit, "µm")) == pytest.approx((0.2, 0.1))
    # The layer is left as it is, and its result lies on it.
    np.testing.assert_array_equal(source.layer_arguments()["scale"], (1, 1))


def test_a_scale_without_a_unit_gets_that_of_metadata_that_agree_with_it():
    options = {"metadata": METADATA["model"]}
    assert size_of(scale=(0.2, 0.1), **options) == pytest.approx((0.2, 0.1, "µm"))
    assert size_of(scale=(0.4, 0.2), **options) == (1, 1, "px"), "the user has changed it"
    assert size_of(scale=(3, 3), **MICRONS, **options) == pytest.approx((3, 3, "µm"))


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"PhysicalSizeX": 0.1},
        {**OME_PIXELS, "SizeX": 60},  # the layer is binned or another image
        {**OME_PIXELS, "PhysicalSizeXUnit": "pixel", "PhysicalSizeYUnit": "pixel"},
        {**OME_PIXELS, "PhysicalSizeXUnit": "s"},
        {**OME_PIXELS, "PhysicalSizeX": "wide"},
        {**OME_PIXELS, "PhysicalSizeX": [0.1]},
        {**OME_PIXELS, "PhysicalSizeX": 0},
        {**OME_PIXELS, "PhysicalSizeX": float("nan")},
        {"images": [OME_PIXELS, {**OME_PIXELS, "PhysicalSizeX": 90}]},  # which one is it?
        {"description": "<OME PhysicalSizeX="},
        {1: {"text": "PhysicalSizeX is missing"}},
        {"ome": ome_model(physical_size_y=None)},
    ],
)
def test_metadata_that_do_not_state_the_size_are_ignored(metadata):
    assert size_of(metadata=metadata) == (1, 1, "px")


def test_metadata_that_contain_themselves_are_read_to_an_end():
    metadata: dict = {"PhysicalSize": "none"}
    metadata["self"] = [metadata]
    assert size_of(metadata=metadata) == (1, 1, "px")


def test_metadata_give_the_depth_of_a_stack_seen_from_the_side():
    viewer = ViewerModel()
    metadata = {**OME_PIXELS, "SizeZ": 18, "PhysicalSizeZ": 0.5}
    stack = np.zeros((18, 20, 30))
    for labels, size in ((("z", "y", "x"), (500, 100, "nm")), (("t", "y", "x"), (1, 1, "px"))):
        layer = viewer.add_image(stack, axis_labels=labels, metadata=metadata)
        viewer.dims.order = (1, 0, 2)
        assert pixel_size(layer, viewer.dims) == pytest.approx(size)


def test_the_plane_of_a_colour_image_has_no_colour_axis():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((60, 80, 3), np.uint8), rgb=True)
    assert plane_shape(layer, viewer.dims) == (60, 80)
