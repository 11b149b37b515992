"""Before and after: one button shows the input again, a line shows both along it."""

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
    """Compare the plane of a result layer that is on the screen with what it was made from.

    Parameters
    ----------
    viewer : Viewer
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._run: ViewerRun | None = None
        self._line: Shapes | None = None
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
        """Compare before and after of a run from now on; nothing, if there is none."""
        self.input_button.setChecked(False)
        self._run = run
        for button, help_text in (
            (self.input_button, "Hide the result, so that the input under it is seen."),
            (self.line_button, "Draw the brightness of input and result along a line."),
        ):
            button.setEnabled(run is not None)
            button.setToolTip(help_text if run is not None else "There is no result yet.")
        if run is None:
            self.plot.setVisible(False)
        else:
            self.refresh()

    def add_line(self) -> None:
        """Lay a line across the plane, to be moved about, unless there is one."""
        if self._run is None:
            return
        if self._line is None:
            place = self._run.place
            rows, columns = self._run.task.image.block_shape
            ends = np.array([[rows / 2, columns / 4], [rows / 2, 3 * columns / 4]])
            points = place.embed_points(ends)
            index = self._run.index_shown()
            points[:, : len(index)] = index  # else it would be seen on the first plane only
            self._line = self._viewer.add_shapes(
                [points],
                shape_type="line",
                name=_LINE_NAME,
                edge_color=_INPUT,
                edge_width=max(1.0, columns / 200),
                **place.placement(),
            )
            self._line.mode = "direct"
            self._line.events.data.connect(self.refresh)
        self.plot.setVisible(True)
        self.refresh()

    def refresh(self, _event: Any = None) -> None:
        """Draw both profiles anew."""
        if self._line is None or self._run is None:
            return
        if not len(self._line.data):
            self.plot.draw([])
            return
        place, layer = self._run.place, self._run.layer
        world = [self._line.data_to_world(end) for end in self._line.data[-1][:2]]
        ends = np.array([layer.world_to_data(point)[list(place.axes)] for point in world])
        try:
            before, after = self._run.planes_shown()
        except ValueError:  # it cannot be read
            self.plot.draw([])
            return
        curves = []
        for name, color, plane in (
            ("input", _INPUT, before.array / place.white),
            ("result", _RESULT, after),
        ):
            distance, values = line_profile(before.with_pixels(plane).luminance(), ends)
            curves.append(Curve(name, color, distance, values))
        self.plot.draw(curves)

    def _show_input(self, shown: bool) -> None:
        if self._run is not None and self._run.layer in self._viewer.layers:
            self._run.layer.visible = not shown

    def _on_removed(self, event: Any) -> None:
        if self._line is not None and event.value == self._line:
            self._line = None
            self.plot.setVisible(False)
        if self._run is not None and event.value == self._run.layer:
            self.compare(None)


def line_profile(
    plane: NDArray[Any], ends: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance in pixels and brightness of a plane ``(rows, columns)`` from end to end, by pixels.

    Parameters
    ----------
    plane : ndarray
    ends : ndarray
        ``[[row, column], [row, column]]``; what lies outside of the plane is NaN.
    """
    # Not skimage's profile_line, whose rounding makes NaN of what lies exactly on the border.
    length = float(np.hypot(*(ends[1] - ends[0])))
    steps = max(2, round(length) + 1)
    share = np.linspace(0, 1, steps)
    points = ends[0] + share[:, np.newaxis] * (ends[1] - ends[0])
    values = ndimage.map_coordinates(
        plane.astype(np.float64), points.T, order=1, mode="constant", cval=np.nan
    )
    return share * length, values
