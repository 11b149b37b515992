"""What was found in the input of a run besides the scene: as text, and as a layer on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton, QWidget

from napari_blind_deconv.findings import FoundInPlanes, finding_lines
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.numerics.pixel_faults import PixelFault
from napari_blind_deconv.plugin.layers import layer_metadata
from napari_blind_deconv.plugin.layouts import in_column
from napari_blind_deconv.reasons import Finding

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["LeftOut"]

_KIND = "left out"
# Colours that the colour-blind can tell apart, on a grey image.
_COLOURS = {
    PixelFault.NOT_FINITE: "#009e73",
    PixelFault.MASKED: "#56b4e9",
    PixelFault.FLAT: "#cc79a7",
    PixelFault.HOT: "#d55e00",
    PixelFault.SATURATED: "#f0e442",
}
_LEGEND = {fault: Finding[fault.name].value for fault in _COLOURS}
_LABELS = ", ".join(f"{int(fault)} {name}" for fault, name in _LEGEND.items())
_HELP = f"Add a labels layer with these pixels: {_LABELS}."


class LeftOut(QWidget):
    """A button that shows the pixels that a run left out, and a text on what was found.

    Parameters
    ----------
    viewer : Viewer
        Viewer that the layer is added to.

    Attributes
    ----------
    notes : QLabel
        What was found in the input besides the scene. The panel puts it below its warnings.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._run: ViewerRun | None = None
        self.notes = QLabel()
        self.notes.setWordWrap(True)
        self.notes.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.button = QPushButton()
        self.button.clicked.connect(self.show_layer)
        in_column(self, self.button)
        self.show_run(None)

    def show_run(self, run: ViewerRun | None) -> None:
        """State what was found in all planes of a run; None for no run."""
        self._run = run
        found = {} if run is None else run.planes.findings
        has_pixels = any(finding.unit == "pixel" for finding in found)
        self.button.setEnabled(has_pixels)
        why_not = "There is no result yet." if run is None else "No pixel was left out."
        self.button.setText(self._kind.worded("Show pixels left out"))
        self.button.setToolTip(self._kind.worded(_HELP if has_pixels else why_not))
        self._show(found, 1 if run is None else run.task.image.blocks)

    def show_plane(self) -> None:
        """State what was found in the plane on the screen."""
        result = None if self._run is None else self._run.result_shown()
        found = {} if result is None else result.findings
        self._show({finding: FoundInPlanes(1, count) for finding, count in found.items()}, 1)

    def show_layer(self) -> None:
        """Show the layer of the pixels that were left out; it is made unless there is one."""
        if self._run is None:
            return
        layer = self._run.layers.on_request(_KIND)
        if layer is None:
            data, arguments = _layer_of(self._run)
            layer = self._viewer.add_labels(data, **arguments)
            self._run.layers.add(_KIND, layer)
        layer.visible = True
        # The status bar of napari states why a pixel of the selected layer was left out.
        self._viewer.layers.selection.active = layer

    @property
    def _kind(self) -> BlockKind:
        return BlockKind.PLANE if self._run is None else self._run.task.image.block_kind

    def _show(self, found: dict[Finding, FoundInPlanes], planes: int) -> None:
        self.notes.setText("\n".join(finding_lines(found, planes, self._kind)))
        self.notes.setVisible(bool(found))


def _layer_of(run: ViewerRun) -> tuple[Any, dict[str, Any]]:
    """Return data and arguments of the layer with the `PixelFault` of each pixel of the input.

    The planes of a stack are read and examined when the viewer shows them.
    """
    image, geometry = run.task.image, run.geometry
    data = (
        geometry.in_layer(_lazy_faults(run))
        if run.is_stack
        else geometry.embed(_faults_at(run, ()))
    )
    colors: dict[int | None, str] = {None: "transparent"}
    colors |= {int(fault): color for fault, color in _COLOURS.items()}
    return data, {
        "name": f"{geometry.name} [left out]",
        "features": {
            "index": [0, *map(int, _LEGEND)],
            "left out": ["no", *_LEGEND.values()],
        },
        "colormap": DirectLabelColormap(color_dict=colors),
        "metadata": layer_metadata(
            geometry,
            record={"axes": image.axes, "left_out": {int(f): n for f, n in _LEGEND.items()}},
        ),
        **geometry.layer_arguments(),
    }


def _lazy_faults(run: ViewerRun) -> da.Array:
    image = run.task.image
    one_by_one = tuple((1,) * length for length in image.stack_shape)
    chunks = (*one_by_one, *((length,) for length in image.block_shape))

    def faults(block_id: tuple[int, ...]) -> NDArray[np.uint8]:
        index = block_id[: len(one_by_one)]
        return np.expand_dims(_faults_at(run, index), tuple(range(len(one_by_one))))

    return da.map_blocks(faults, chunks=chunks, dtype=np.uint8, meta=np.empty(0, np.uint8))


def _faults_at(run: ViewerRun, index: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the faults of a plane; none if it cannot be read, which the run has reported."""
    # It imports torch, which the run has loaded.
    from napari_blind_deconv.engine.sampling import faults_of

    image = run.task.image
    try:
        return faults_of(image.read(index), run.task.kernel.kernel)
    except Exception:  # lazy data may raise any error, and napari reads this layer to draw it
        return np.zeros(image.block_shape, np.uint8)
