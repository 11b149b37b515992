"""Comparison of input and result: ways of seeing both, their residual, profiles along a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QSlider, QVBoxLayout, QWidget
from scipy import ndimage
from superqt.utils import signals_blocked

from napari_blind_deconv.plugin.colours import BLUE, ORANGE
from napari_blind_deconv.plugin.curves import Curve, CurvePlot
from napari_blind_deconv.plugin.layouts import in_row
from napari_blind_deconv.plugin.residual import ResidualButton
from napari_blind_deconv.plugin.swipe import Swipe, shows_planes
from napari_blind_deconv.plugin.views import Blink, SideBySide, View

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["Comparison", "line_profile"]

_INPUT, _RESULT = ORANGE, BLUE
_LINE_NAME = "line profile"
_HOLD_KEY = "H"  # napari uses it nowhere


class Comparison(QWidget):
    """Compares the plane shown of a result layer with the same plane of its input.

    Input and result are seen in turn, on both sides of a divider, or side by side, in one of these
    ways at a time; see `View`. While a key is held, the input is shown.

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
        self._view: View | None = None
        self._holds_key = False
        self._make_buttons()
        self.divider = QSlider(Qt.Orientation.Horizontal)
        self.divider.valueChanged.connect(self._move_divider)
        self.line_button = QPushButton("Line profile")
        self.line_button.clicked.connect(self.add_line)
        self.residual_button = ResidualButton(viewer)
        self.plot = CurvePlot("", shared=True)
        self.plot.setVisible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(in_row(*self._buttons.values()))
        column.addWidget(self.divider)
        column.addLayout(in_row(self.line_button, self.residual_button))
        column.addWidget(self.plot)
        # The runs that follow hear of a deleted layer after this: an input that a run has hidden is
        # then shown.
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.ndisplay.connect(self._on_dims)
        viewer.dims.events.order.connect(self._on_dims)
        self.compare(None)

    def _make_buttons(self) -> None:
        self.input_button = QPushButton("Show input")
        self.swipe_button = QPushButton("Swipe")
        self.side_button = QPushButton("Side by side")
        self._buttons: dict[type[View], QPushButton] = {
            Blink: self.input_button,
            Swipe: self.swipe_button,
            SideBySide: self.side_button,
        }
        for way, button in self._buttons.items():
            button.setCheckable(True)
            button.toggled.connect(partial(self._on_toggled, way))

    def compare(self, run: ViewerRun | None) -> None:
        """Compare input and result of a run; None to compare nothing."""
        self.show_as(None)
        self._run = run
        self._bind_key(run is not None)
        self._update_buttons()
        self.residual_button.show_run(run)
        self.line_button.setEnabled(run is not None)
        self.line_button.setToolTip(
            "There is no result yet."
            if run is None
            else "Plot the intensity of input and result along a line."
        )
        if run is None:
            self.plot.setVisible(False)
        else:
            self.refresh()

    # Ways of seeing input and result

    def show_as(self, way: type[View] | None) -> None:
        """Show input and result in one way, and end the way before; None: the result alone."""
        if self._view is not None:
            self._view.end()
            self._view = None
        if way is not None and self._run is not None and not self._why_not(way):
            self._view = way(self._viewer, self._run)
            self._view.interrupted.connect(self._on_interrupted)
        for other, button in self._buttons.items():
            with signals_blocked(button):
                button.setChecked(type(self._view) is other)
        self.divider.setEnabled(isinstance(self._view, Swipe))
        self.divider.setToolTip(
            "Move the divider; it can also be dragged in the image."
            if isinstance(self._view, Swipe)
            else "This moves the divider of Swipe."
        )
        if isinstance(self._view, Swipe):
            with signals_blocked(self.divider):
                self.divider.setRange(1, self._view.length - 1)
                self.divider.setValue(self._view.divider)
            self._view.moved.connect(self._follow_divider)

    def _on_toggled(self, way: type[View], checked: bool) -> None:
        self.show_as(way if checked else None)

    def _on_interrupted(self) -> None:
        self.show_as(None)

    def _follow_divider(self, position: int) -> None:
        self.divider.setValue(position)

    def _move_divider(self, position: int) -> None:
        if isinstance(self._view, Swipe):
            self._view.move_to(position)

    def _why_not(self, way: type[View]) -> str:
        """Return why input and result cannot be shown in a way; empty if they can."""
        if self._run is None:
            return "There is no result yet."
        if self._run.source not in self._viewer.layers:
            return "The input layer was deleted."
        if way is Swipe and not shows_planes(self._run, self._viewer.dims):
            return "The viewer does not show the rows and columns of the result in 2D."
        return ""

    def _on_dims(self) -> None:
        if self._run is not None:  # without a run, the panel may be closed
            self._update_buttons()

    def _update_buttons(self) -> None:
        for way, help_text in (
            (Blink, f"Show the input in place of the result{self._hint()}."),
            (Swipe, "Show the input on the left of a divider and the result on its right."),
            (SideBySide, "Show input and result beside each other; both views move together."),
        ):
            why_not = self._why_not(way)
            self._buttons[way].setEnabled(not why_not)
            self._buttons[way].setToolTip(why_not or help_text)

    # Key

    def _bind_key(self, bound: bool) -> None:
        if bound == self._holds_key:
            return
        if bound:
            with suppress(ValueError):  # the key has another use in this viewer
                self._viewer.bind_key(_HOLD_KEY, self._hold)
                self._holds_key = True
        else:
            unbound = self._viewer.bind_key(_HOLD_KEY, None)
            if unbound not in (None, self._hold):  # others have given the key another use since
                self._viewer.bind_key(_HOLD_KEY, unbound)
            self._holds_key = False

    def _hint(self) -> str:
        return f", or hold the key {_HOLD_KEY}" if self._holds_key else ""

    def _hold(self, _viewer: Any) -> Iterator[None]:
        """Show the input while the key is down, then what was shown before."""
        way = None if self._view is None else type(self._view)
        divider = self.divider.value()
        self.show_as(Blink)
        yield
        if self._run is not None:
            self.show_as(way)
            self._move_divider(divider)

    # Profile along a line

    def add_line(self) -> None:
        """Add a line to the plane that the user can move, unless there is one."""
        if self._run is None:
            return
        if self._line is None:
            geometry = self._run.geometry
            rows, columns = self._run.task.image.block_shape[-2:]
            ends = np.array([[rows / 2, columns / 4], [rows / 2, 3 * columns / 4]])
            points = geometry.embed_points(ends)
            # At index 0 only the first plane would show the line.
            points[:, list(geometry.sliced_axes)] = self._run.plane_index_shown()
            self._line = self._viewer.add_shapes(
                [points],
                shape_type="line",
                name=_LINE_NAME,
                edge_color=_INPUT,
                edge_width=max(1.0, columns / 200),
                **geometry.layer_arguments(),
            )
            self._line.mode = "direct"
            self._line.events.data.connect(self._draw_profiles)
        self.plot.setVisible(True)
        self._draw_profiles()

    def refresh(self) -> None:
        """Show the pixels that the plane on the screen has now."""
        if self._view is not None:
            self._view.refresh()
        self.residual_button.refresh()
        self._draw_profiles()

    def _draw_profiles(self, _event: Any = None) -> None:
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

    def _on_removed(self, event: Any) -> None:
        if self._line is not None and event.value == self._line:
            self._line = None
            self.plot.setVisible(False)
        if self._run is None:
            return
        if event.value == self._run.layer:
            self.compare(None)
        elif event.value == self._run.source:
            self.show_as(None)
            self._update_buttons()


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
