"""The form that measures the PSF on an image of beads, and the thread that does it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NoReturn

from magicgui.widgets import FloatSpinBox, PushButton
from magicgui.widgets.bases import Widget
from napari.layers import Image, Layer, Points
from napari.qt.threading import create_worker
from psygnal import Signal
from qtpy.compat import isalive

from napari_blind_deconv.bead_psf import BeadPsf
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.plugin.bead_recording import BeadRecording
from napari_blind_deconv.plugin.layer_box import LayerBox
from napari_blind_deconv.plugin.settings_form import show_row
from napari_blind_deconv.plugin.viewing import show_point
from napari_blind_deconv.plugin.worker import Failure, catch_errors

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["BeadForm"]

_HELP = (
    "Measure the PSF on the beads, in the background. It becomes a layer, which is then chosen as "
    "the kernel. Another layer shows which beads were used, and why others were not."
)


class BeadForm:
    """Widgets for an image of beads; :meth:`measure` adds the PSF measured on it as a layer.

    Parameters
    ----------
    viewer : Viewer
        Viewer with the layers.

    Attributes
    ----------
    layer : LayerBox
        Layer with the beads.
    picked : LayerBox
        Points on the beads to use; none for all that fit.
    diameter : FloatSpinBox
        Diameter of the beads in µm; 0 if it is not corrected.
    button : PushButton
        Starts the measurement.

    Signals
    -------
    measured : Image
        The viewer has a new layer with a PSF.
    done : str
        A PSF was measured, as the sentence states.
    failed : str, Exception
        None was measured, for the reason given.
    """

    measured = Signal(Image)
    done = Signal(str)
    failed = Signal(str, Exception)

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._block = BlockKind.PLANE
        self._is_measuring = False
        self.layer = LayerBox(
            viewer.layers,
            label="Beads",
            tooltip="Layer with fluorescent beads, recorded like the specimen: one plane, or for a "
            "volume one volume. Its pixel size may be another one.",
        )
        self.picked = LayerBox(
            viewer.layers,
            (Points,),
            nothing="all that fit",
            label="Picked beads",
            tooltip="Points on the beads to use. Without, all beads are used but those that are "
            "cut off, saturated, too near to another one, too dim, or several in one.",
        )
        self.diameter = FloatSpinBox(
            label="Diameter (µm)",
            max=100,
            step=0.05,
            tooltip="Diameter of the beads. It corrects the FWHM that is stated, not the PSF, "
            "which remains blurred by a bead. 0: the FWHM is not corrected.",
        )
        self.button = PushButton()
        self.button.changed.connect(self.measure)
        self._show_state()

    @property
    def rows(self) -> list[Widget]:
        """The widgets in their order. The owner adds them to its layout."""
        return [self.layer, self.picked, self.diameter, self.button]

    def show_rows(self, *, is_chosen: bool, block: BlockKind) -> None:
        """Show the rows if this form is chosen, for the PSF of a plane or of a volume."""
        self._block = block
        for row in self.rows:
            show_row(row, is_chosen)

    def refuse(self) -> NoReturn:
        """Raise `ValueError`: this form has no kernel, but :meth:`measure` makes a layer of one."""
        if self._is_measuring:
            raise ValueError("The PSF is being measured on the beads; wait for it.")
        raise ValueError(
            "No PSF is measured on beads yet; choose their layer under Kernel, and press Measure."
        )

    def measure(self) -> None:
        """Start to measure the PSF; a signal tells how it ended. Does nothing while one is."""
        if self._is_measuring:
            return
        layer: Image | None = self.layer.value
        try:
            if layer is None:
                raise ValueError("No layer of beads is chosen; choose one under Kernel.")
            recording = BeadRecording.of(
                layer, self._block, self._viewer.dims, self.picked.value, self.diameter.value
            )
        except Exception as error:  # lazy data may raise any error when they are read
            self.failed.emit(str(error) or type(error).__name__, error)
            return
        self._is_measuring = True
        self._show_state()
        create_worker(
            catch_errors,
            recording.measure,
            _connect={
                "returned": partial(self._on_end, recording, layer),
                "finished": self._on_finished,
            },
        )

    # Called in the GUI thread, perhaps after the panel was closed

    def _on_end(self, recording: BeadRecording, source: Image, ended: BeadPsf | Failure) -> None:
        if not isalive(self.button.native):
            return
        if isinstance(ended, Failure):
            self.failed.emit(str(ended), ended.error)
            return
        psf, rings = (Layer.create(*data) for data in recording.layers(ended))
        added = self._viewer.add_layer(psf)
        if source in self._viewer.layers:  # else there is nothing to draw rings around
            self._viewer.add_layer(rings)
            show_point(rings, self._viewer.dims, recording.central(ended))
        self.measured.emit(added)
        self.done.emit(ended.described)

    def _on_finished(self) -> None:
        # The last signal of a worker, also of one that is quit. If the state changed before it,
        # with the result, this signal could seem to end the next measurement.
        self._is_measuring = False
        if isalive(self.button.native):
            self._show_state()

    def _show_state(self) -> None:
        self.button.enabled = not self._is_measuring
        self.button.text = "Measuring …" if self._is_measuring else "Measure"
        self.button.tooltip = "The PSF is being measured." if self._is_measuring else _HELP
