"""Conversion of rectangles on the screen to rows and columns of a plane."""

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_blind_deconv.plugin.geometry import LayerGeometry, LayerPlane
from napari_blind_deconv.plugin.layers import kernel_layer
from napari_blind_deconv.plugin.regions import drawn_region, visible_region

PIXELS = np.arange(60.0 * 80).reshape(60, 80)


def box(top: float, left: float, bottom: float, right: float) -> np.ndarray:
    return np.array([[top, left], [top, right], [bottom, right], [bottom, left]])


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def test_a_rectangle_selects_the_pixels_in_it(viewer):
    layer = viewer.add_image(PIXELS)
    viewer.add_shapes([box(9.6, 19.5, 29.4, 49.5)])
    rows, columns = drawn_region(layer, viewer.layers, viewer.dims)
    assert (rows, columns) == (slice(10, 30), slice(20, 50))


def test_scale_and_translation_are_considered(viewer):
    layer = viewer.add_image(PIXELS, scale=(0.5, 0.25), translate=(100, 200))
    corners = box(10, 20, 30, 50) * (0.5, 0.25) + (100, 200)
    viewer.add_shapes([corners])
    rows, columns = drawn_region(layer, viewer.layers, viewer.dims)
    assert (rows.start, rows.stop) in [(10, 30), (11, 31)]
    assert columns.stop - columns.start == 30


def test_a_rectangle_of_a_plane_is_used_for_a_stack(viewer):
    layer = viewer.add_image(np.zeros((4, 60, 80)))
    viewer.add_shapes([box(10, 20, 30, 50)])
    rows, _ = drawn_region(layer, viewer.layers, viewer.dims)
    assert rows.stop - rows.start == 20


def test_the_selected_shape_is_used_or_else_the_last(viewer):
    layer = viewer.add_image(PIXELS)
    shapes = viewer.add_shapes([box(0, 0, 20, 20), box(30, 30, 50, 60)])
    shapes.selected_data = set()
    assert drawn_region(layer, viewer.layers, viewer.dims)[1].start >= 30
    shapes.selected_data = {0}
    assert drawn_region(layer, viewer.layers, viewer.dims)[1].start == 0


def test_a_rectangle_is_cropped_to_the_image(viewer):
    layer = viewer.add_image(PIXELS)
    viewer.add_shapes([box(-20, 40, 20, 500)])
    assert drawn_region(layer, viewer.layers, viewer.dims) == (slice(0, 20), slice(40, 80))


@pytest.mark.parametrize("shapes", [[], [box(500, 500, 600, 600)]])
def test_a_missing_region_is_an_error(viewer, shapes):
    layer = viewer.add_image(PIXELS)
    if shapes:
        viewer.add_shapes(shapes)
    with pytest.raises(ValueError, match="draw"):
        drawn_region(layer, viewer.layers, viewer.dims)


def test_the_visible_part_is_the_region(viewer):
    layer = viewer.add_image(PIXELS)
    layer.corner_pixels = np.array([[5, 10], [24, 39]])
    assert visible_region(layer, viewer.dims) == (slice(5, 25), slice(10, 40))


def test_the_visible_part_of_a_pyramid_has_full_pixels_of_its_level(viewer):
    layer = viewer.add_image([PIXELS, PIXELS[::4, ::4]], multiscale=True)
    layer._data_level = 1
    layer.corner_pixels = np.array([[1, 2], [4, 9]])
    assert visible_region(layer, viewer.dims) == (slice(4, 20), slice(8, 40))


def test_only_the_region_of_a_lazy_image_is_read(viewer):
    read = []

    def chunk(block_info):
        read.append(block_info[None]["chunk-location"])
        return np.ones((20, 20))

    lazy = da.map_blocks(chunk, chunks=((20,) * 3, (20,) * 4), dtype=float, meta=np.zeros((0, 0)))
    layer = viewer.add_image(lazy, contrast_limits=(0, 1))
    read.clear()
    part = LayerPlane.of(layer, viewer.dims, (slice(20, 40), slice(20, 50)))
    assert part.pixels.shape == (20, 30)
    assert set(read) == {(1, 1), (1, 2)}
    read.clear()
    LayerGeometry.of(layer, viewer.dims)
    assert not read


def test_a_region_keeps_its_position_and_its_kernel_lies_beside_the_image(viewer):
    layer = viewer.add_image(PIXELS, scale=(2, 3), translate=(5, 7))
    complete = LayerPlane.of(layer, viewer.dims)
    part = LayerPlane.of(layer, viewer.dims, (slice(10, 30), slice(20, 50)))
    np.testing.assert_array_equal(part.pixels, PIXELS[10:30, 20:50])
    np.testing.assert_allclose(part.translate, layer.data_to_world((10, 20)))
    kernel = np.ones((3, 3), np.float32)
    _, of_part, _ = kernel_layer(part, kernel, {})
    _, of_complete, _ = kernel_layer(complete, kernel, {})
    assert of_part["translate"][1] == pytest.approx(of_complete["translate"][1])
