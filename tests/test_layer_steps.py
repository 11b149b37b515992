"""The steps of a layer along Z and T reach the image, its results and the copied command."""

from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.plugin import input_form
from napari_blind_deconv.plugin.geometry import LayerGeometry
from napari_blind_deconv.plugin.layers import image_options, layer_metadata
from napari_blind_deconv.plugin.planes import stack_of
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.synthetic import fluorescence_scene

STACK = np.stack([fluorescence_scene((20, 30), seed=seed).observed for seed in range(3)])
LABELS = {"axis_labels": ("z", "y", "x")}
OME: dict[str, Any] = {
    "Pixels": {"PhysicalSizeX": 100, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.1}
    | {"SizeX": 30, "SizeY": 20}
}
OME_3D = {"Pixels": OME["Pixels"] | {"SizeZ": 3, "PhysicalSizeZ": 0.5}}


def stack_from(**options: Any) -> tuple[LayerGeometry, ImageData, Image]:
    viewer = ViewerModel()
    layer = viewer.add_image(STACK, **LABELS | options)
    return *stack_of(layer, viewer.dims), layer


class TestSteps:
    @pytest.mark.parametrize(
        ("options", "spacing", "unit"),
        [
            ({"scale": (0.3, 0.2, 0.1), "units": ("um",) * 3}, (0.3, 0.2, 0.1), "µm"),
            ({"scale": (-0.3, 0.2, 0.1), "units": ("um",) * 3}, (0.3, 0.2, 0.1), "µm"),
            ({"scale": (300, 0.2, 0.1), "units": ("nm", "um", "um")}, (0.3, 0.2, 0.1), "µm"),
            ({"scale": (0.3, 200, 100), "units": ("um", "nm", "nm")}, (300, 200, 100), "nm"),
            ({"affine": np.diag([0.3, 0.2, 0.1, 1]), "units": ("um",) * 3}, (0.3, 0.2, 0.1), "µm"),
            ({"metadata": OME_3D}, (500, 100, 100), "nm"),
            ({"metadata": OME_3D, "scale": (500, 100, 100)}, (500, 100, 100), "nm"),
        ],
    )
    def test_along_z(self, options, spacing, unit):
        _, image, _ = stack_from(**options)
        assert image.unit == unit
        assert image.spacing == pytest.approx(dict(zip("ZYX", spacing, strict=True)))

    @pytest.mark.parametrize(
        ("options", "spacing", "unit"),
        [
            ({}, {}, "pixel"),
            ({"scale": (3, 1, 1)}, {}, "pixel"),
            ({"scale": (3, 2, 1), "units": ("um", "pixel", "px")}, {"Z": 3}, "µm"),
            ({"scale": (3, 2, 1), "units": ("px", "um", "um")}, {"Y": 2, "X": 1}, "µm"),
            ({"metadata": OME}, {"Y": 100, "X": 100}, "nm"),
            ({"metadata": OME_3D, "scale": (7, 1, 1)}, {"Y": 100, "X": 100}, "nm"),
        ],
    )
    def test_what_is_unknown_is_left_out(self, options, spacing, unit):
        _, image, _ = stack_from(**options)
        assert image.unit == unit
        assert image.spacing == pytest.approx(spacing)

    @pytest.mark.parametrize(("units", "step"), [("ms", 0.25), ("s", 250), ("um", None)])
    def test_along_time(self, units, step):
        options = {"scale": (250, 2, 1), "units": (units, "um", "um")}
        _, image, _ = stack_from(axis_labels=("t", "y", "x"), **options)
        assert image.spacing.get("T") == (None if step is None else pytest.approx(step))
        assert "Z" not in image.spacing

    def test_of_some_planes(self):
        viewer = ViewerModel()
        layer = viewer.add_image(STACK, **LABELS, scale=(0.3, 0.2, 0.1), units=("um",) * 3)
        _, image = stack_of(layer, viewer.dims, (range(1, 3),))
        assert image.spacing["Z"] == pytest.approx(0.3)


class TestResults:
    """The layer of a result is an input like the layer that it was made from."""

    @pytest.mark.parametrize(
        "options",
        [
            {"scale": (0.3, 0.2, 0.1), "units": ("um",) * 3},
            {"axis_labels": ("time", "row", "column"), "units": ("s", "nm", "nm")},
            {"metadata": OME_3D},
            {"metadata": OME},
        ],
    )
    def test_it_is_read_like_its_input(self, options):
        geometry, image, layer = stack_from(**options)
        options = image_options(geometry, layer_metadata(geometry, record={}))
        result = Layer.create(STACK.astype(np.float32), options, "image")
        assert (result.axis_labels, result.units) == (layer.axis_labels, layer.units)
        viewer = ViewerModel()
        viewer.add_layer(result)
        _, again = stack_of(result, viewer.dims)
        assert (again.axes, again.unit) == (image.axes, image.unit)
        assert again.spacing == pytest.approx(image.spacing)

    def test_the_pixel_size_of_a_plane_is_kept(self):
        viewer = ViewerModel()
        layer = viewer.add_image(STACK[0], metadata=OME)
        geometry = LayerGeometry.of(layer, viewer.dims)
        options = image_options(geometry, layer_metadata(geometry))
        result = viewer.add_layer(Layer.create(STACK[0], options, "image"))
        assert LayerGeometry.of(result, viewer.dims).pixel_size == geometry.pixel_size
        assert geometry.pixel_size == pytest.approx((100, 100, "nm"))


class TestCommand:
    @pytest.fixture
    def viewer(self) -> ViewerModel:
        return ViewerModel()

    def command(self, qtbot, viewer: ViewerModel, scope: str) -> str:
        form = RunForm(viewer)
        qtbot.addWidget(form)
        form.input.scope.value = scope
        return form.script().as_command()

    @pytest.mark.parametrize(
        ("scope", "size"), [(input_form.STACK, "0.3,0.2,0.1"), (input_form.PLANE, "0.2,0.1")]
    )
    def test_it_states_the_pixel_size_in_micrometres(self, qtbot, fresh_panel, viewer, scope, size):
        viewer.add_image(STACK, **LABELS, scale=(300, 200, 100), units=("nm",) * 3)
        assert f" --pixel-size {size}" in self.command(qtbot, viewer, scope)

    def test_an_unknown_pixel_size_is_not_stated(self, qtbot, fresh_panel, viewer):
        viewer.add_image(STACK, **LABELS, scale=(3, 2, 1))
        assert "--pixel-size" not in self.command(qtbot, viewer, input_form.STACK)

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_file_of_several_images_is_not_named(
        self, qtbot, fresh_panel, viewer, tmp_path, count
    ):
        """Another image of the file may have the same shape."""
        path = tmp_path / "f.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as file:
            for _ in range(count):
                file.write(STACK, photometric="minisblack", metadata={"axes": "ZYX"})
        layer = viewer.add_image(STACK, **LABELS)
        layer._source = layer.source.model_copy(update={"path": str(path)})
        assert (str(path) in self.command(qtbot, viewer, input_form.STACK)) == (count == 1)
