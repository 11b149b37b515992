"""What the panel says a layer is, where that comes from, and how it is corrected."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source

from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.io.images import write_plane
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.plugin import input_form
from napari_blind_deconv.plugin.axes import FROM_FILE, read_axes
from napari_blind_deconv.plugin.layer_file import LayerFile
from napari_blind_deconv.plugin.pixel_size import read_pixel_size, read_steps
from napari_blind_deconv.plugin.run_form import RunForm
from napari_blind_deconv.plugin.stated import Stated

KNOWN = Optics(1.25, 1.515, (0.525, 0.607))


@pytest.fixture
def run_form(qtbot, fresh_panel) -> RunForm:
    viewer = ViewerModel()
    pixels = np.random.default_rng(0).random((3, 24, 24))
    cells = viewer.add_image(pixels, name="cells", scale=(1, 0.2, 0.2))
    form = RunForm(viewer)
    qtbot.addWidget(form)
    form.input.layer.value = cells
    return form


def opened(path, pixels=None, name="image") -> Image:
    """Return a layer as a reader of napari adds it: without labels, scale and units."""
    with layer_source(path=str(path)):
        return Image(tifffile.imread(path) if pixels is None else pixels, name=name)


def stack(tmp_path, axes, shape, **options):
    """Write a stack, and return its path and the pixels in the order of the file."""
    pixels = np.random.default_rng(0).random(shape, np.float32)
    path = tmp_path / "stack.ome.tif"
    write_plane(path, ImageData(pixels, axes, **options), {})
    return path


class TestFile:
    """Readers of napari drop the names of the axes, and the pixel size; the file has them."""

    def test_channels_are_channels(self, tmp_path):
        layer = opened(stack(tmp_path, "CYX", (2, 20, 24)))
        assert read_axes(layer) == ("CYX", FROM_FILE)

    @pytest.mark.parametrize(("axes", "shape"), [("TCZYX", (2, 3, 4, 20, 24)), ("TZYX", (3,) * 4)])
    def test_many_axes_are_in_the_order_of_the_file(self, tmp_path, axes, shape):
        assert read_axes(opened(stack(tmp_path, axes, shape))).letters == axes

    def test_axes_of_length_one_may_be_missing(self, tmp_path):
        path = stack(tmp_path, "TCYX", (1, 2, 20, 24))
        for shape in ((2, 20, 24), (1, 2, 20, 24)):
            layer = opened(path, np.zeros(shape))
            assert read_axes(layer).letters.endswith("CYX")

    def test_a_layer_may_be_one_channel(self, tmp_path):
        path = stack(tmp_path, "CZYX", (2, 5, 20, 24), spacing={"Y": 0.2, "X": 0.1}, unit="µm")
        layer = opened(path, np.zeros((5, 20, 24)))
        assert read_axes(layer).letters == "ZYX"
        assert read_pixel_size(layer, (1, 2)).size == (0.2, 0.1, "µm")

    def test_what_is_ambiguous_is_not_taken_from_the_file(self, tmp_path):
        layer = opened(stack(tmp_path, "CZYX", (3, 3, 20, 24)), np.zeros((3, 20, 24)))
        assert not LayerFile.of(layer).letters
        assert "assumed" in read_axes(layer).note

    def test_another_image_than_that_of_the_file(self, tmp_path):
        path = stack(tmp_path, "CYX", (2, 20, 24), spacing={"Y": 0.2, "X": 0.2}, unit="µm")
        layer = opened(path, np.zeros((2, 10, 12)))
        assert read_axes(layer).letters == "ZYX"
        assert read_pixel_size(layer, (1, 2)).size == (1, 1, "px")

    def test_labels_go_before_the_file(self, tmp_path):
        layer = opened(stack(tmp_path, "CYX", (2, 20, 24)))
        layer.axis_labels = ("time", "y", "x")
        assert read_axes(layer) == ("TYX", "")

    def test_pixel_size_and_steps(self, tmp_path):
        spacing = {"T": 5.0, "Z": 0.5, "Y": 0.2, "X": 0.2}
        path = stack(tmp_path, "TZYX", (2, 3, 20, 24), spacing=spacing, unit="µm")
        layer = opened(path)
        assert read_pixel_size(layer, (2, 3)) == ((0.2, 0.2, "µm"), FROM_FILE)
        assert read_steps(layer, "TZYX", "µm") == {"Z": 0.5, "T": 5.0}
        layer.scale = (1, 1, 3, 3)  # the user has scaled it to something else
        assert read_pixel_size(layer, (2, 3)).size == (1, 1, "px")

    def test_units_of_the_layer_go_before_the_file(self, tmp_path):
        path = stack(tmp_path, "YX", (20, 24), spacing={"Y": 0.2, "X": 0.2}, unit="µm")
        layer = opened(path)
        layer.scale, layer.units = (0.5, 0.5), ("um", "um")
        assert read_pixel_size(layer, (0, 1)).size == (0.5, 0.5, "µm")


def line(run_form) -> str:
    """What the panel says the layer is."""
    shown = run_form.input.line.reading.native.isVisibleTo(run_form)
    assert shown == bool(run_form.input.line.text)
    return run_form.input.line.text


class TestLine:
    def test_it_says_how_the_axes_are_read(self, run_form):
        cells = run_form._viewer.layers["cells"]
        cells.units = ("pixel", "um", "um")
        planes = "Y 24 × X 24"
        note = "Z assumed, because the axis has no clear label"
        assert line(run_form) == f"Z 3 × {planes} ({note}), 0.2 µm"
        cells.axis_labels = ("Time", "y", "x")
        assert line(run_form) == f"T 3 × {planes}, 0.2 µm"
        cells.axis_labels = ("position", "y", "x")
        assert line(run_form) == f"T 3 × {planes} (position is read as T), 0.2 µm"
        cells.axis_labels = ("y", "z", "x")
        assert line(run_form) == "3 × 24 × 24, 0.2 µm"
        run_form.input.scope.value = input_form.STACK
        assert "Expected rows and columns as the last two axes" in run_form.expected_time.value

    def test_it_says_where_the_pixel_size_comes_from(self, run_form):
        cells = run_form._viewer.layers["cells"]
        cells.axis_labels = ("z", "y", "x")
        cells.units = ("pixel",) * 3
        without = "scale of 0.2 × 0.2 without a unit of length, so sizes are in pixels"
        assert line(run_form) == f"Z 3 × Y 24 × X 24, pixel size unknown ({without})"
        assert run_form.kernel_window.size.value.endswith("px")
        cells.metadata = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}
        assert line(run_form).endswith("0.2 µm (from the metadata)")
        assert run_form.kernel_window.size.value.endswith("µm")
        cells.affine = np.diag([1, 2, 2, 1])
        assert line(run_form).endswith("so sizes are in pixels)")

    def test_it_says_what_the_file_states(self, run_form, tmp_path):
        spacing = {"Y": 0.1, "X": 0.1}
        path = stack(tmp_path, "CYX", (2, 20, 24), spacing=spacing, unit="µm", optics=KNOWN)
        run_form.input.layer.value = run_form._viewer.add_layer(opened(path))
        text = line(run_form)
        optics = "NA 1.25, refractive index 1.515, emission 525, 607 nm"
        assert text == f"C 2 × Y 20 × X 24, 0.1 µm, {optics} (from the file)"
        rows = run_form.input.line.rows.items()
        hints = {name: row.native.placeholderText() for name, row in rows}
        assert hints == {
            "axes": "CYX",
            "pixel_size": "0.1, 0.1",
            "aperture": "1.25",
            "index": "1.515",
            "emission": "525, 607",
        }

    def test_without_a_layer_there_is_no_line(self, run_form):
        run_form._viewer.layers.clear()
        assert line(run_form) == ""


class TestCorrections:
    @staticmethod
    def correct(run_form, **texts):
        for name, text in texts.items():
            row = run_form.input.line.rows[name]
            row.value = text
            row.native.editingFinished.emit()

    def test_the_rows_appear_on_request(self, run_form):
        rows = [row.native for row in run_form.input.line.rows.values()]
        assert not any(row.isVisibleTo(run_form) for row in rows)
        run_form.input.line.reading.native.linkActivated.emit("#")
        assert all(row.isVisibleTo(run_form) for row in rows)
        run_form.input.line.reading.native.linkActivated.emit("#")
        assert not any(row.isVisibleTo(run_form) for row in rows)

    def test_axes_and_pixel_size_go_to_the_run_and_the_script(self, run_form):
        self.correct(run_form, axes="c y x", pixel_size="0.25")
        assert line(run_form) == "C 3 × Y 24 × X 24, 0.25 µm (as stated)"
        run_form.input.scope.value = input_form.STACK
        _, task = run_form.task()
        assert (task.image.axes, task.image.pixel_size) == ("CYX", (0.25, 0.25))
        self.correct(run_form, aperture="1.1", emission="460, 520, 600")
        command = run_form.script().as_command()
        assert "--axes CYX" in command
        assert "--na 1.1 --wavelength 460,520,600" in command
        assert "--pixel-size 0.25,0.25" in command

    def test_optics_fill_the_microscope(self, run_form):
        self.correct(run_form, axes="CYX", aperture="1.1", emission="460, 520, 600")
        run_form.kernel.source.value = "the microscope's"
        for channel, wavelength in enumerate((460, 520, 600)):
            run_form._viewer.dims.set_current_step(0, channel)
            assert run_form.kernel.microscope.rows["aperture"].value == pytest.approx(1.1)
            assert run_form.kernel.microscope.rows["wavelength"].value == pytest.approx(wavelength)

    def test_optics_go_to_the_run(self, run_form):
        self.correct(run_form, axes="CYX", aperture="1.1", emission="460, ?, 600")
        run_form.input.scope.value = input_form.STACK
        _, task = run_form.task()
        assert task.image.optics == Optics(1.1, None, (0.46, None, 0.6))
        run_form.input.scope.value = input_form.PLANE
        run_form._viewer.dims.set_current_step(0, 2)
        _, task = run_form.task()
        assert task.image.optics == Optics(1.1, None, (0.6,))

    def test_a_row_that_was_not_changed_changes_nothing(self, run_form):
        cells = run_form._viewer.layers["cells"]
        stated = Stated("TYX", {"Y": 64.99218123, "X": 64.99218123}, "nm", KNOWN)
        stated.store(cells)  # by a script, after the rows were filled
        assert run_form.input.line.rows["axes"].value == "TYX"
        for row in run_form.input.line.rows.values():
            row.native.editingFinished.emit()
        assert Stated.of(cells) == stated
        self.correct(run_form, axes="CYX")
        assert Stated.of(cells) == replace(stated, axes="CYX")

    def test_a_layer_with_other_axes_inherits_no_axes(self, run_form):
        """napari copies the metadata to projections and to the channels of a split stack."""
        self.correct(run_form, axes="CYX", pixel_size="0.3", emission="460, 520, 600")
        metadata = run_form._viewer.layers["cells"].metadata
        plane = run_form._viewer.add_image(np.eye(24), metadata=metadata)
        run_form.input.layer.value = plane
        assert line(run_form) == "Y 24 × X 24, 0.3 µm (as stated), emission 460, 520, 600 nm"
        assert run_form.task()[1].image.optics == Optics()

    @pytest.mark.parametrize(
        "record", [None, [1], {"spacing": [1]}, {"spacing": {"Y": "x"}, "unit": "furlong"}]
    )
    def test_metadata_of_another_form_state_nothing(self, record):
        layer = Image(np.zeros((4, 4)), metadata={"blind_deconvolution_input": record})
        assert Stated.of(layer) == Stated()

    def test_axes_that_cannot_be_read_leave_the_optics(self, run_form):
        cells = run_form._viewer.layers["cells"]
        cells.axis_labels = ("y", "z", "x")
        self.correct(run_form, emission="500")
        run_form.kernel.source.value = "the microscope's"
        assert run_form.kernel.microscope.rows["wavelength"].value == 500

    def test_they_stay_with_their_layer(self, run_form):
        cells = run_form._viewer.layers["cells"]
        self.correct(run_form, axes="TYX")
        other = run_form._viewer.add_image(np.zeros((4, 24, 24)), name="other")
        run_form.input.layer.value = other
        assert run_form.input.line.rows["axes"].value == ""
        assert line(run_form).startswith("Z 4")
        run_form.input.layer.value = cells
        assert run_form.input.line.rows["axes"].value == "TYX"
        assert line(run_form).startswith("T 3")
        self.correct(run_form, axes="")
        assert line(run_form).startswith("Z 3")
        assert not cells.metadata

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ({"axes": "YX"}, "Expected one letter for each of the 3 axes of cells"),
            ({"axes": "CXY"}, "at the end YX, such as ZYX, got 'CXY'"),
            ({"pixel_size": "small"}, "Expected the pixel size in µm"),
            ({"pixel_size": "-1"}, "positive numbers"),
            ({"aperture": "5"}, "Expected a numerical aperture above 0"),
            ({"aperture": "1, 2"}, "Expected one numerical aperture"),
            ({"index": "oil"}, "Expected the refractive index, such as 1.515"),
            ({"index": "0.5"}, "Expected a refractive index of the immersion from 1"),
            ({"emission": "green"}, "Expected emission wavelengths in nm"),
        ],
    )
    def test_what_cannot_be_read_is_refused_and_changes_nothing(self, run_form, texts, message):
        errors = []
        run_form.failed.connect(errors.append)
        self.correct(run_form, **texts)
        assert message in errors[-1]
        assert Stated.of(run_form._viewer.layers["cells"]) == Stated()

    def test_an_index_that_contradicts_the_aperture_is_refused(self, run_form):
        errors = []
        run_form.failed.connect(errors.append)
        self.correct(run_form, aperture="1.4", index="1.33")
        assert "below the refractive index 1.33" in errors[-1]
        optics = Stated.of(run_form._viewer.layers["cells"]).optics
        assert optics == Optics(numerical_aperture=1.4)
