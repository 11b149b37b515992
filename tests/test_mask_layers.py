"""Labels and shapes of the viewer as masks: in the pixels of the image, wherever it lies."""

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from tests.test_snippets import run_command, run_python

from napari_blind_deconv import Settings, deconvolve, deconvolve_stack
from napari_blind_deconv.plugin.input_form import DRAWN, SPAN, STACK, VISIBLE
from napari_blind_deconv.plugin.preferences import Preferences
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.reasons import Finding
from napari_blind_deconv.synthetic import fluorescence_scene

STACK_PIXELS = np.stack([fluorescence_scene((40, 48), seed=seed).observed for seed in range(3)])
PLANE = STACK_PIXELS[0]
MASK = np.zeros(PLANE.shape, np.uint8)
MASK[4:12, 30:44] = 7
BOX = np.array([[3.5, 29.5], [3.5, 43.5], [11.5, 43.5], [11.5, 29.5]])  # around these pixels
MOVED = {"scale": (0.2, 0.1), "translate": (5, -3), "units": ("um", "um")}


@pytest.fixture
def form(qtbot, fresh_panel) -> RunForm:
    Preferences.of("fast", Settings(solver="wiener", kernel_start=1.5)).save()
    widget = RunForm(ViewerModel())
    qtbot.addWidget(widget)
    return widget


def viewer_of(form: RunForm) -> ViewerModel:
    return form._viewer


def show(form: RunForm, pixels: np.ndarray, **options) -> Image:
    return viewer_of(form).add_image(pixels, name="cells", **options)


def masked(form: RunForm) -> np.ndarray:
    return form.task()[1].image.masked


class TestChoice:
    def test_nothing_is_left_out_unless_a_layer_is_chosen(self, form):
        show(form, PLANE)
        viewer_of(form).add_labels(MASK)
        assert form.input.mask.value is None
        assert masked(form) is None

    def test_it_offers_labels_and_shapes(self, form):
        show(form, PLANE)
        layers = [viewer_of(form).add_labels(MASK), viewer_of(form).add_shapes([BOX])]
        viewer_of(form).add_points([[3, 4]])
        assert [layer for layer in form.input.mask.choices if layer is not None] == layers
        assert "cells" not in [layer.name for layer in layers]

    def test_a_layer_that_is_removed_is_no_longer_the_mask(self, form):
        show(form, PLANE)
        form.input.mask.value = viewer_of(form).add_labels(MASK)
        viewer_of(form).layers.remove(form.input.mask.value)
        assert masked(form) is None

    def test_an_empty_layer_is_refused_in_one_sentence(self, form):
        show(form, PLANE)
        labels = viewer_of(form).add_labels(0 * MASK, name="debris")
        lines = viewer_of(form).add_shapes([BOX[:2]], shape_type="line", name="lines")
        for layer in (labels, lines):
            form.input.mask.value = layer
            with pytest.raises(ValueError, match=f"in {layer.name} .* or choose no layer"):
                form.task()

    def test_a_run_leaves_its_pixels_out(self, form):
        show(form, PLANE)
        form.input.mask.value = viewer_of(form).add_labels(MASK)
        task = form.task()[1]
        result = deconvolve(task.image, task.settings)
        expected = deconvolve(PLANE, task.settings, mask=MASK)
        np.testing.assert_array_equal(result.image, expected.image)
        assert result.findings[Finding.MASKED] == (MASK > 0).sum()


class TestPlace:
    @pytest.mark.parametrize("kind", ["labels", "shapes"])
    @pytest.mark.parametrize(
        "geometry",
        [
            {},
            MOVED,
            {**MOVED, "rotate": 30},
            {"scale": (-1, 1)},
            {"affine": [[0, 2, 1], [1, 0, 3], [0, 0, 1]]},
        ],
        ids=["none", "moved", "rotated", "mirrored", "transposed"],
    )
    def test_a_layer_with_the_geometry_of_the_image(self, form, geometry, kind):
        show(form, PLANE, **geometry)
        viewer = viewer_of(form)
        layer = (
            viewer.add_labels(MASK, **geometry)
            if kind == "labels"
            else viewer.add_shapes([BOX], **geometry)
        )
        form.input.mask.value = layer
        np.testing.assert_array_equal(masked(form), MASK > 0)

    def test_labels_at_another_scale_and_place(self, form):
        show(form, PLANE, scale=(0.1, 0.1))
        # Pixels twice as large, whose corners lie on those of the image; the first is to the left.
        coarse = np.zeros((20, 25), np.uint8)
        coarse[2:6, 16:23] = 1
        form.input.mask.value = viewer_of(form).add_labels(
            coarse, scale=(0.2, 0.2), translate=(0.05, -0.15)
        )
        np.testing.assert_array_equal(masked(form), MASK > 0)

    def test_units_are_converted(self, form):
        show(form, PLANE, scale=(100, 100), units=("nm", "nm"))
        viewer = viewer_of(form)
        form.input.mask.value = viewer.add_labels(MASK, scale=(0.1, 0.1), units=("um", "um"))
        np.testing.assert_array_equal(masked(form), MASK > 0)
        form.input.mask.value = viewer.add_shapes([BOX / 10], units=("um", "um"))
        np.testing.assert_array_equal(masked(form), MASK > 0)

    def test_shapes_in_the_world_are_as_fine_as_the_image(self, form):
        show(form, PLANE, scale=(0.1, 0.1))
        form.input.mask.value = viewer_of(form).add_shapes([BOX * 0.1])
        np.testing.assert_array_equal(masked(form), MASK > 0)

    def test_an_ellipse_covers_its_pixels_only(self, form):
        show(form, PLANE)
        box = np.array([[10, 10], [10, 30], [22, 30], [22, 10]])
        form.input.mask.value = viewer_of(form).add_shapes([box], shape_type="ellipse")
        rows, columns = np.mgrid[:40, :48]
        inside = ((rows - 16) / 6) ** 2 + ((columns - 20) / 10) ** 2 <= 1
        assert (masked(form) != inside).sum() <= 8  # on its border

    def test_what_lies_beside_the_image_is_ignored(self, form):
        show(form, PLANE)
        viewer = viewer_of(form)
        form.input.mask.value = viewer.add_labels(np.ones((20, 20), int), translate=(-10, 40))
        expected = np.zeros(PLANE.shape, bool)
        expected[:10, 40:] = True
        np.testing.assert_array_equal(masked(form), expected)
        form.input.mask.value = viewer.add_shapes(
            [[[-10, 39.5], [9.5, 39.5], [9.5, 90], [-10, 90]]]
        )
        np.testing.assert_array_equal(masked(form), expected)

    def test_a_colour_image(self, form):
        colour = np.stack([PLANE] * 3, -1).astype(np.float32) / PLANE.max()
        show(form, colour, rgb=True)
        form.input.mask.value = viewer_of(form).add_labels(MASK)
        np.testing.assert_array_equal(masked(form), MASK > 0)

    @pytest.mark.parametrize("kind", ["labels", "shapes"])
    def test_a_region_has_its_part_of_the_mask(self, form, kind):
        layer = show(form, PLANE)
        viewer = viewer_of(form)
        mask = viewer.add_labels(MASK) if kind == "labels" else viewer.add_shapes([BOX])
        form.input.mask.value = mask
        region = viewer.add_shapes([[[7.5, 19.5], [7.5, 47.5], [31.5, 47.5], [31.5, 19.5]]])
        form.input.scope.value = DRAWN
        viewer.layers.move(viewer.layers.index(region), -1)
        np.testing.assert_array_equal(masked(form), MASK[8:32, 20:48] > 0)
        layer.corner_pixels = np.array([[2, 10], [33, 40]])
        form.input.scope.value = VISIBLE
        np.testing.assert_array_equal(masked(form), MASK[2:34, 10:41] > 0)


class TestStack:
    STACK_MASK = np.stack([np.roll(MASK, (8 * plane, -9 * plane), (0, 1)) for plane in range(3)])

    def boxes(self) -> list[np.ndarray]:
        """Return the mask of the stack as shapes."""
        shifts = [np.array([8, -9]) * plane for plane in range(3)]
        return [np.insert(BOX + shift, 0, plane, axis=1) for plane, shift in enumerate(shifts)]

    def add(self, form, kind):
        viewer = viewer_of(form)
        if kind == "labels":
            return viewer.add_labels(self.STACK_MASK)
        return viewer.add_shapes(self.boxes())

    @pytest.mark.parametrize("kind", ["labels", "shapes"])
    def test_a_layer_with_planes_is_used_plane_by_plane(self, form, kind):
        show(form, STACK_PIXELS, axis_labels=("z", "y", "x"))
        form.input.mask.value = self.add(form, kind)
        viewer_of(form).dims.set_point(0, 2)
        np.testing.assert_array_equal(masked(form), self.STACK_MASK[2] > 0)
        form.input.scope.value = STACK
        np.testing.assert_array_equal(masked(form), self.STACK_MASK > 0)
        form.input.scope.value = SPAN
        form.input.span.value = (1, 2)
        np.testing.assert_array_equal(masked(form), self.STACK_MASK[1:] > 0)

    @pytest.mark.parametrize("kind", ["labels", "shapes"])
    def test_a_layer_without_planes_holds_for_all(self, form, kind):
        show(form, STACK_PIXELS, axis_labels=("z", "y", "x"), scale=(2, 1, 1))
        viewer = viewer_of(form)
        mask = viewer.add_labels(MASK) if kind == "labels" else viewer.add_shapes([BOX])
        form.input.mask.value = mask
        for scope in (STACK, SPAN):
            form.input.scope.value = scope
            np.testing.assert_array_equal(masked(form), MASK > 0)

    @pytest.mark.parametrize("kind", ["labels", "shapes"])
    def test_a_layer_of_volumes_holds_for_all_channels(self, form, kind):
        pixels = np.stack([STACK_PIXELS, STACK_PIXELS])
        show(form, pixels, axis_labels=("c", "z", "y", "x"))
        form.input.mask.value = self.add(form, kind)
        form.input.scope.value = STACK
        np.testing.assert_array_equal(
            np.broadcast_to(masked(form), pixels.shape), [self.STACK_MASK > 0] * 2
        )

    def test_a_plane_across_the_stack(self, form):
        pixels = np.random.default_rng(0).random((20, 40, 48))
        show(form, pixels)
        mask = np.zeros(pixels.shape, int)
        mask[3:6, 10, 20:30] = 1
        form.input.mask.value = viewer_of(form).add_labels(mask)
        viewer_of(form).dims.order = (1, 0, 2)
        viewer_of(form).dims.set_point(1, 10)
        np.testing.assert_array_equal(masked(form), mask[:, 10] > 0)


class TestScripts:
    """Copied scripts leave out the same pixels as the panel."""

    @pytest.fixture
    def form(self, form, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        show(form, STACK_PIXELS, axis_labels=("z", "y", "x"))
        tifffile.imwrite("cells.tif", STACK_PIXELS, imagej=True, metadata={"axes": "ZYX"})
        return form

    @pytest.mark.parametrize("planes", ["plane", "stack"])
    @pytest.mark.parametrize("scope", ["this plane", DRAWN, STACK])
    def test_labels_over_the_image(self, form, scope, planes):
        viewer = viewer_of(form)
        mask = MASK if planes == "plane" else TestStack.STACK_MASK
        form.input.mask.value = viewer.add_labels(mask, name="debris")
        viewer.dims.set_point(0, 1)
        viewer.add_shapes([[[3.5, 9.5], [3.5, 47.5], [39.5, 47.5], [39.5, 9.5]]])
        form.input.scope.value = scope
        tifffile.imwrite("debris.tif", mask, photometric="minisblack")
        script = form.script()
        assert "# Save the layer 'debris' as 'debris.tif' first." in script.as_python()
        task = form.task()[1]
        run = deconvolve_stack if form.input.is_stack else deconvolve
        outcome = run(task.image, task.settings, kernel=task.kernel)
        expected = (outcome.result() if form.input.is_stack else outcome).image
        np.testing.assert_array_equal(run_python(script.as_python()), expected)
        np.testing.assert_array_equal(run_command(script.as_command()), expected)

    def test_what_has_no_pixels_of_the_image_must_be_converted_first(self, form):
        viewer = viewer_of(form)
        for layer in (
            viewer.add_shapes([BOX], name="debris"),
            viewer.add_labels(MASK, name="debris", scale=(2, 2)),
            viewer.add_labels(MASK, name="debris", translate=(1, 0)),
        ):
            form.input.mask.value = layer
            for text in (form.script().as_python(), form.script().as_command()):
                note = f"# First save a mask in the pixels of 'cells', not 0 where {layer.name!r}"
                assert note in text
