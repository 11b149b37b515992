"""Comparison of input and result: a button to show the input, and profiles along a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget
from scipy import ndimage

from napari_blind_deconv.plugin.colours import BLUE, ORANGE
from napari_blind_deconv.plugin.curves import Curve, CurvePlot

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["Comparison", "line_profile"]

_INPUT, _RESULT = ORANGE, BLUE
_LINE_NAME = "line profile"


class Comparison(QWidget):
    """Compares the plane shown of a result layer with the same plane of its input.

    Parameters
    ----------
    viewer : Viewer
        Viewer with the result layer; the line of the profile is added to it.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._run: ViewerRun | None = None
        self._line: Shapes | None = None
        self._source_is_visible = True  # except while the button shows it
        self.input_button = QPushButton("Show the input")
        self.input_button.setCheckable(True)
        self.input_button.toggled.connect(self._show_input)
        self.line_button = QPushButton("Line profile")
        self.line_button.clicked.connect(self.add_line)
        self.plot = CurvePlot("", shared=True)
        self.plot.setVisible(False)
        row = QHBoxLayout()
        row.addWidget(self.input_button)
        row.addWidget(self.line_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.plot)
        viewer.layers.events.removed.connect(self._on_removed)
        self.compare(None)

    def compare(self, run: ViewerRun | None) -> None:
        """Compare input and result of a run; None to compare nothing."""
        self.input_button.setChecked(False)
        self._run = run
        for button, help_text in (
            (self.input_button, "Show the input in place of the result."),
            (self.line_button, "Plot the intensity of input and result along a line."),
        ):
            button.setEnabled(run is not None)
            button.setToolTip(help_text if run is not None else "There is no result yet.")
        if run is None:
            self.plot.setVisible(False)
        else:
            self.refresh()

    def add_line(self) -> None:
        """Add a line to the plane that the user can move, unless there is one."""
        if self._run is None:
            return
        if self._line is None:
            geometry = self._run.geometry
            rows, columns = self._run.task.image.block_shape
            ends = np.array([[rows / 2, columns / 4], [rows / 2, 3 * columns / 4]])
            points = geometry.embed_points(ends)
            index = self._run.index_shown()
            points[:, : len(index)] = index  # at index 0 only the first plane would show the line
            self._line = self._viewer.add_shapes(
                [points],
                shape_type="line",
                name=_LINE_NAME,
                edge_color=_INPUT,
                edge_width=max(1.0, columns / 200),
                **geometry.layer_arguments(),
            )
            self._line.mode = "direct"
            self._line.events.data.connect(self.refresh)
        self.plot.setVisible(True)
        self.refresh()

    def refresh(self, _event: Any = None) -> None:
        """Redraw both profiles."""
        if self._line is None or self._run is None:
            return
        if not len(self._line.data):
            self.plot.draw([])
            return
        geometry, layer = self._run.geometry, self._run.layer
        world = [self._line.data_to_world(end) for end in self._line.data[-1][:2]]
        # The line may have another transform than the layer, so it goes through world coordinates.
        ends = np.array([layer.world_to_data(point)[list(geometry.axes)] for point in world])
        try:
            before, after = self._run.planes_shown()
        except ValueError:  # the plane cannot be read
            self.plot.draw([])
            return
        curves = []
        for name, color, plane in (
            ("input", _INPUT, before.array / geometry.white),
            ("result", _RESULT, after),
        ):
            distance, values = line_profile(before.with_pixels(plane).luminance(), ends)
            curves.append(Curve(name, color, distance, values))
        self.plot.draw(curves)

    def _show_input(self, shown: bool) -> None:
        if self._run is None:
            return
        layer, source = self._run.layer, self._run.source
        if layer in self._viewer.layers:
            layer.visible = not shown
        if source in self._viewer.layers:
            if shown:
                self._source_is_visible = source.visible
            source.visible = shown or self._source_is_visible

    def _on_removed(self, event: Any) -> None:
        if self._line is not None and event.value == self._line:
            self._line = None
            self.plot.setVisible(False)
        if self._run is not None and event.value == self._run.layer:
            self.compare(None)


def line_profile(
    plane: NDArray[Any], ends: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the intensity of a plane along a line, in steps of about one pixel.

    Parameters
    ----------
    plane : ndarray
        Pixels ``(rows, columns)``.
    ends : ndarray
        Ends of the line, ``[[row, column], [row, column]]``.

    Returns
    -------
    distance, values : ndarray
        Distance from the first end in pixels, and intensity there; NaN outside of the plane.
    """
    # skimage's profile_line is not used: its rounding gives NaN for points exactly on the border.
    length = float(np.hypot(*(ends[1] - ends[0])))
    steps = max(2, round(length) + 1)
    fraction = np.linspace(0, 1, steps)
    points = ends[0] + fraction[:, np.newaxis] * (ends[1] - ends[0])
    values = ndimage.map_coordinates(
        plane.astype(np.float64), points.T, order=1, mode="constant", cval=np.nan
    )
    return fraction * length, values
