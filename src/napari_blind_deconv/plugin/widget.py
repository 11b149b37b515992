"""The dock widget: choose, run, watch, stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Label, RangeSlider, SpinBox
from napari.layers import Image
from napari.utils.notifications import show_error
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_blind_deconv.engine.inputs import check_image, kernel_window
from napari_blind_deconv.plugin.layers import Source, is_output, pixel_size, plane_shape
from napari_blind_deconv.plugin.paces import Paces
from napari_blind_deconv.plugin.run import Observer, Run
from napari_blind_deconv.plugin.settings_form import SettingsForm, form_rows, show_row
from napari_blind_deconv.plugin.stack_run import StackJob, StackProgress, StackRun
from napari_blind_deconv.plugin.trace_plot import TracePlot
from napari_blind_deconv.plugin.worker import Job, Progress
from napari_blind_deconv.results import Result, StackResult
from napari_blind_deconv.settings import PRESET_HELP, Settings

if TYPE_CHECKING:
    import napari

__all__ = ["BlindDeconvolutionWidget"]

_BASIC = ("max_iterations", "sparsity")
_KERNEL = "kernel_size"
_ADVANCED = tuple(name for name in Settings.model_fields if name not in (*_BASIC, _KERNEL))
_AUTOMATIC, _CHOSEN = "automatic", "chosen"
_PLANE, _STACK, _SPAN = "this plane", "whole stack", "some planes"
_KERNEL_MODES = ("per-channel", "shared", "per-slice")
_DEVICES = ("auto", "cpu", "cuda", "mps")


class BlindDeconvolutionWidget(QWidget):
    """Sharpen the selected layer's current plane, or its stack, without knowing the PSF.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer; napari passes it by this name.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._run: Run | StackRun | None = None
        self._first: tuple[int, float] | None = None  # iteration and time of the first report
        self._watched: Image | None = None
        self._paces = Paces()
        self._make_inputs()
        self._make_controls()
        self._lay_out()
        self._follow_viewer()
        self._show_preset()
        self._show_kernel_size()

    # Construction

    def _make_inputs(self) -> None:
        self.layer = ComboBox(
            label="Layer", choices=self._image_layers, nullable=True, tooltip="Image to sharpen."
        )
        self.scope = ComboBox(label="Process", choices=(_PLANE, _STACK, _SPAN))
        self.span = RangeSlider(
            label="Planes", tooltip="First and last plane, along the layer's first axis."
        )
        self.stack_kernel = ComboBox(
            label="Stack's kernel",
            choices=_KERNEL_MODES,
            tooltip="per-channel: found on the sharpest plane of each channel, then held. shared: "
            "one for all. per-slice: each plane's own, slower.",
        )
        self.estimate = Label(label="Will take")
        self.preset = ComboBox(label="Preset", choices=list(PRESET_HELP))
        kernel = Settings.model_fields[_KERNEL]
        kernel_help = " ".join((kernel.description or "").split())
        self.kernel_choice = ComboBox(
            label=kernel.title, choices=(_AUTOMATIC, _CHOSEN), tooltip=kernel_help
        )
        self.kernel_pixels = SpinBox(
            label="Kernel side", value=31, min=3, max=4095, step=2, tooltip=kernel_help
        )
        self.kernel_size_text = Label(label="Kernel window")
        self.basic = SettingsForm(_BASIC)
        self.advanced = SettingsForm(_ADVANCED)
        self.device = ComboBox(
            label="Device",
            choices=_DEVICES,
            tooltip="auto takes a GPU if there is one, else the processor.",
        )
        self.seed = SpinBox(
            label="Seed",
            max=2**31 - 1,
            tooltip="Start of the random numbers: the same seed gives the same result.",
        )

    def _make_controls(self) -> None:
        self.run_button = QPushButton("Run")
        self.run_button.clicked.connect(self.start)
        self.stop_button = QPushButton("Stop and keep")
        self.stop_button.clicked.connect(self._stop)
        self.progress = QProgressBar()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.trace_plot = TracePlot()
        self._show_running(False)

    def _lay_out(self) -> None:
        folded = QCollapsible("Advanced settings")
        folded.addWidget(form_rows(self.advanced.widgets.values()))
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button)
        buttons.addWidget(self.stop_button)
        column = QVBoxLayout()
        self.rows = form_rows(
            [
                self.layer,
                self.scope,
                self.span,
                self.stack_kernel,
                self.estimate,
                self.preset,
                self.kernel_choice,
                self.kernel_pixels,
                self.kernel_size_text,
                *self.basic.widgets.values(),
                self.device,
                self.seed,
            ]
        )
        column.addWidget(self.rows)
        column.addWidget(folded)
        column.addLayout(buttons)
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addWidget(self.trace_plot)
        column.addStretch()
        content = QWidget()
        content.setLayout(column)
        scroll = QScrollArea()  # the unfolded settings are taller than a laptop's screen
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def _follow_viewer(self) -> None:
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self._refresh_layers)
        self._viewer.layers.selection.events.active.connect(self._follow_selection)
        self.preset.changed.connect(self._show_preset)
        self.layer.changed.connect(self._watch_layer)
        self.scope.changed.connect(self._show_scope)
        for choice in (self.span, self.stack_kernel, self.device, *self.basic.widgets.values()):
            choice.changed.connect(self._show_estimate)
        self._viewer.dims.events.order.connect(self._show_kernel_size)
        self.advanced.widgets["kernel_size_limit"].changed.connect(self._show_kernel_size)
        self.kernel_choice.changed.connect(self._show_kernel_size)
        self.kernel_pixels.changed.connect(self._show_kernel_size)
        self._follow_selection()

    # What the form says

    def settings(self) -> Settings:
        """Settings as they stand in the form; `ValueError` in one sentence if they cannot be."""
        kernel = self.kernel_pixels.value if self.kernel_choice.value == _CHOSEN else "None"
        texts = [f"{_KERNEL}={kernel}", *self.basic.texts(), *self.advanced.texts()]
        return Settings.preset(self.preset.value).with_texts(texts)

    def _image_layers(self, _widget: Any) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _refresh_layers(self) -> None:
        self.layer.reset_choices()

    def _follow_selection(self) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Image) and not is_output(active):
            self.layer.reset_choices()
            self.layer.value = active

    def _watch_layer(self) -> None:
        """Keep the kernel's size in micrometres true when the layer is calibrated anew."""
        if self._watched is not None:
            self._watched.events.scale.disconnect(self._show_kernel_size)
            self._watched.events.units.disconnect(self._show_kernel_size)
        self._watched = self.layer.value
        if self._watched is not None:
            self._watched.events.scale.connect(self._show_kernel_size)
            self._watched.events.units.connect(self._show_kernel_size)
        self._show_kernel_size()
        self._show_scope()

    def _show_scope(self) -> None:
        """Offer what the layer has: planes to choose from, if it is a stack."""
        layer: Image | None = self.layer.value
        is_stack = layer is not None and layer.ndim > 2
        self.scope.enabled = is_stack
        self.scope.tooltip = (
            "What of the layer is sharpened." if is_stack else "The layer is one plane."
        )
        if not is_stack and self.scope.value != _PLANE:
            self.scope.value = _PLANE
        if layer is not None and is_stack:
            last = layer.data.shape[0] - 1 if not layer.multiscale else layer.data[0].shape[0] - 1
            if self.span.max != last:
                self.span.max = last
                self.span.value = (0, last)
        show_row(self.rows, self.span, self.scope.value == _SPAN)
        show_row(self.rows, self.stack_kernel, self.scope.value != _PLANE)
        show_row(self.rows, self.estimate, self.scope.value != _PLANE)
        self._show_estimate()

    def _show_estimate(self) -> None:
        """Say how long the stack will take; the first time, that is measured in a thread."""
        if not isalive(self):  # measured for a dock that is gone
            return
        layer: Image | None = self.layer.value
        if layer is None or self.scope.value == _PLANE or self._run is not None:
            return
        try:
            job = self._stack_job(layer, self.settings())
        except ValueError as error:
            self.estimate.value = str(error)
            return
        self.estimate.value = self._paces.told(job, self._show_estimate)

    def _show_preset(self) -> None:
        settings = Settings.preset(self.preset.value)
        self.preset.tooltip = PRESET_HELP[self.preset.value]
        self.basic.show_settings(settings)
        self.advanced.show_settings(settings)
        self._show_kernel_size()

    def _show_kernel_size(self) -> None:
        """Say how wide the kernel window is, in pixels and in the layer's units."""
        self.kernel_pixels.enabled = self.kernel_choice.value == _CHOSEN
        layer: Image | None = self.layer.value
        if layer is None:
            self.kernel_size_text.value = ""
            return
        try:
            shape = plane_shape(layer, self._viewer.dims)
            rows, columns = kernel_window(self.settings(), shape)
        except ValueError as error:
            self.kernel_size_text.value = str(error)
            return
        if not self.kernel_pixels.enabled:
            with self.kernel_pixels.changed.blocked():
                self.kernel_pixels.value = max(rows, columns)
        height, width, unit = pixel_size(layer, self._viewer.dims)
        self.kernel_size_text.value = f"{rows} × {columns} px"
        if unit != "px":
            self.kernel_size_text.value += f" = {rows * height:.3g} × {columns * width:.3g} {unit}"

    # Running

    def start(self) -> None:
        """Deblur the selected layer's current plane; refuses a second run while one is on."""
        if self._run is not None:
            return
        try:
            self._run = self._make_run()
        except Exception as error:  # a reader of lazy data can raise anything
            self._on_failure(str(error) or type(error).__name__)
            return
        self._first = None
        self.trace_plot.clear()
        self.status.setText("Loading PyTorch …")
        self.progress.setRange(0, 0)
        self._show_running(True)
        self.destroyed.connect(self._run.detach)  # the viewer may close and take the widget along
        self._run.start()

    def _make_stack_run(self, layer: Image, settings: Settings) -> StackRun:
        job = self._stack_job(layer, settings)
        observer = Observer(self._on_plane, self._on_stack_end, self._on_failure)
        return StackRun(self._viewer, job, observer)

    def _stack_job(self, layer: Image, settings: Settings) -> StackJob:
        return StackJob.of(
            layer,
            self._viewer.dims,
            self._chosen_span(),
            settings=settings,
            kernel=self.stack_kernel.value,
            device=self.device.value,
            seed=self.seed.value,
        )

    def _chosen_span(self) -> tuple[int, int] | None:
        if self.scope.value != _SPAN:
            return None
        first, last = self.span.value
        return int(first), int(last)

    def _make_run(self) -> Run | StackRun:
        layer: Image | None = self.layer.value
        if layer is None:
            raise ValueError("No image layer is selected; open an image and select its layer.")
        settings = self.settings()
        if self.scope.value != _PLANE:
            return self._make_stack_run(layer, settings)
        source = Source.of(layer, self._viewer.dims)
        check_image(source.pixels, rgb=source.rgb)
        job = Job(source.pixels, source.rgb, settings, self.device.value, self.seed.value)
        observer = Observer(self._on_progress, self._on_end, self._on_failure)
        return Run(self._viewer, source, job, observer)

    def _stop(self) -> None:
        if self._run is not None:
            self.status.setText("Stopping after this step …")
            self.stop_button.setEnabled(False)
            self._run.stop_and_keep()

    def _on_progress(self, progress: Progress) -> None:
        self.progress.setRange(0, progress.max_iterations)
        self.progress.setValue(progress.iteration)
        self.progress.setFormat(f"%v of %m · {self._time_left(progress)}")
        if self.stop_button.isEnabled():
            self.status.setText("Sharpening …")
        self.trace_plot.extend(progress.trace, progress.best_iteration)

    def _on_plane(self, progress: StackProgress) -> None:
        self.progress.setRange(0, progress.planes)
        self.progress.setValue(progress.done)
        self.progress.setFormat(f"%v of %m planes · {self._stack_time_left(progress)}")
        if self.stop_button.isEnabled():
            self.status.setText(f"Sharpening plane {', '.join(map(str, progress.index))} …")

    def _stack_time_left(self, progress: StackProgress) -> str:
        """From the pace since the first plane was done: the kernel's search does not count."""
        now = time.monotonic()
        if self._first is None and progress.done > 0:
            self._first = progress.done, now
        if self._first is None or progress.done == self._first[0]:
            return "estimating time"
        pace = (now - self._first[1]) / (progress.done - self._first[0])
        left = round(pace * (progress.planes - progress.done))
        return f"about {left // 60}:{left % 60:02} left"

    def _on_stack_end(self, result: StackResult) -> None:
        sentence = f"{result.done} planes done."
        if result.missing:
            sentence = f"Stopped; {result.done} planes are done, {result.missing} are left empty."
        for index, why in list(result.failures.items())[:1]:
            sentence += f" {len(result.failures)} could not be sharpened; plane {index}: {why}"
        self._finish(sentence)

    def _time_left(self, progress: Progress) -> str:
        """From the pace since the first report, so that loading PyTorch does not count."""
        now = time.monotonic()
        if self._first is None:
            self._first = progress.iteration, now
        iteration, started = self._first
        if progress.iteration == iteration:
            return "estimating time"
        pace = (now - started) / (progress.iteration - iteration)
        left = round(pace * (progress.max_iterations - progress.iteration))
        return f"at most {left // 60}:{left % 60:02} left"

    def _on_end(self, result: Result) -> None:
        self.trace_plot.clear()
        self.trace_plot.extend(result.trace, result.stop_iteration)
        self._finish(
            f"{result.stop_reason.sentence} Picture of iteration {result.stop_iteration} kept of "
            f"{len(result.trace)}, in {result.seconds:.0f} s on {result.device}. "
            "Kernel and trace lie to the right of the image."
        )

    def _on_failure(self, sentence: str) -> None:
        show_error(sentence)
        self._finish(sentence)

    def _finish(self, sentence: str) -> None:
        if self._run is not None:
            self.destroyed.disconnect(self._run.detach)
            self._run = None
        self.progress.setRange(0, 1)
        self.progress.reset()
        self.status.setText(sentence)
        self._show_running(False)

    def _show_running(self, running: bool) -> None:
        self.run_button.setEnabled(not running)
        self.run_button.setToolTip(
            "A run is under way: wait or stop it." if running else "Sharpen the current plane."
        )
        self.stop_button.setEnabled(running)
        self.stop_button.setToolTip(
            "End now with the best picture so far." if running else "Nothing is running."
        )
        self.progress.setVisible(running)

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802 (Qt's name)
        """A closed dock keeps the best so far: napari takes the parent of its widget away."""
        super().changeEvent(event)
        undocked = event is not None and event.type() == QEvent.Type.ParentChange
        if undocked and self.parent() is None and self._run is not None:
            self._run.detach()
            self._run = None
