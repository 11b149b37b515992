"""The form: which image, what of it, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import tifffile
from magicgui.widgets import ComboBox, Label, SpinBox
from napari.layers import Image
from qtpy.compat import isalive
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_blind_deconv.engine.inputs import (
    check_block,
    check_kernel,
    check_pixel_size,
    kernel_window,
)
from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.kernel import KernelScope
from napari_blind_deconv.plugin.input_form import Extent, InputForm
from napari_blind_deconv.plugin.kernel_form import KernelForm, KernelSelection
from napari_blind_deconv.plugin.kernel_window import KernelWindow
from napari_blind_deconv.plugin.layers import Place, full_data, pixel_size, plane_shape
from napari_blind_deconv.plugin.planes import stack_axes, stack_of
from napari_blind_deconv.plugin.preferences import Preferences
from napari_blind_deconv.plugin.runtime_estimator import RuntimeEstimator
from napari_blind_deconv.plugin.settings_form import SettingsForm, form_rows, show_row
from napari_blind_deconv.plugin.snippets import Script
from napari_blind_deconv.settings import DEVICE_NAMES, PRESET_HELP, Settings
from napari_blind_deconv.task import Task

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["RunForm"]

_BASIC = ("max_iterations", "sparsity")
_ELSEWHERE = (*_BASIC, "kernel_size", "device", "seed")
_ADVANCED = tuple(name for name in Settings.model_fields if name not in _ELSEWHERE)


class RunForm(QWidget):
    """What a user chooses: the rows that are always seen, and two sections to fold away.

    Parameters
    ----------
    viewer : Viewer

    Attributes
    ----------
    kernel_section, settings_section : QWidget
        To be laid out by the owner.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._paces = RuntimeEstimator(self._show_expected)
        self.input = InputForm(viewer, self._show_target)
        self.kernel = KernelForm(viewer.layers)
        self.kernel_side = KernelWindow()
        self._make_rows()
        self.kernel_section = self._make_kernel_section()
        self.settings_section = self._make_settings_section()
        self._show(Preferences.load())
        self.input.follow_viewer()
        self._follow_choices()

    # Construction

    def _make_rows(self) -> None:
        self.stack_kernel = ComboBox(
            label="Stack's kernel",
            choices=[scope.value for scope in KernelScope],
            tooltip="per-channel: found on the sharpest plane of each channel, then held. shared: "
            "one for all. per-slice: each plane's own, slower.",
        )
        self.preset = ComboBox(label="Preset", choices=list(PRESET_HELP))
        self.expected = Label(label="Will take")
        self.expected.tooltip = (
            "From the shortest, if noise ends every fit at once, to the longest, if none ends "
            "before its limit. Measured on this machine."
        )
        target = self.input
        self.kernel_told = Label(label="Kernel", tooltip="As chosen in the section Kernel below.")
        rows = [target.layer, target.scope, target.span, self.stack_kernel]
        rows += [self.preset, self.kernel_told, self.expected]
        _column(self, form_rows(rows))
        show_row(self.kernel_told, False)

    def _make_kernel_section(self) -> QWidget:
        window = self.kernel_side
        rows = form_rows([window.choice, window.pixels, window.size])
        return _column(QWidget(), self.kernel, rows)

    def _make_settings_section(self) -> QWidget:
        self.basic = SettingsForm(_BASIC)
        self.advanced = SettingsForm(_ADVANCED)
        self.device = ComboBox(
            label="Device",
            choices=DEVICE_NAMES,
            tooltip="auto takes a GPU if there is one, else the processor.",
        )
        self.seed = SpinBox(
            label="Seed",
            max=2**31 - 1,
            tooltip="Start of the random numbers: the same seed gives the same result.",
        )
        self.reset_button = QPushButton("Reset")
        self.reset_button.setToolTip("Back to the default preset, device, seed and kernel.")
        self.reset_button.clicked.connect(self.reset)
        first = [*self.basic.widgets.values(), self.device, self.seed]
        rows = form_rows([*first, *self.advanced.widgets.values()])
        return _column(QWidget(), self.reset_button, rows)

    def _follow_choices(self) -> None:
        self.preset.changed.connect(self._show_preset)
        self.kernel.source.changed.connect(self._show_kernel)
        self.kernel.held.changed.connect(self._show_kernel)
        for choice in (
            self.stack_kernel,
            self.device,
            self.kernel.source,
            self.kernel.held,
            *self.basic.widgets.values(),
            *self.advanced.widgets.values(),
        ):
            choice.changed.connect(self._show_expected)
        limit = self.advanced.widgets["kernel_size_limit"]
        for choice in (limit, self.kernel_side.choice, self.kernel_side.pixels):
            choice.changed.connect(self._show_kernel_size)

    # What the form says

    def settings(self) -> Settings:
        """Settings as they stand in the form; `ValueError` in one sentence if they cannot be."""
        texts = [*self.kernel_side.texts(), *self.basic.texts(), *self.advanced.texts()]
        device, seed = self.device.value, self.seed.value
        chosen = Settings.preset(self.preset.value).with_texts(texts)
        return chosen.with_changes(device=device, seed=seed)

    def preferences(self) -> Preferences:
        """What is worth remembering of the form."""
        return Preferences.of(self.preset.value, self.settings())

    def task(self) -> tuple[Place, Task]:
        """Where what is chosen lies, and what to do with it.

        Raises
        ------
        ValueError, TypeError, OSError
            In one sentence, if there is none or it cannot be sharpened.
        """
        choice = self.kernel_selection().choice
        place, image = self._plane() if not self.input.is_stack else self._stack()
        if choice.kernel is not None:
            check_kernel(choice.kernel, image)
        return place, Task(image, self.settings(), choice)

    def _plane(self) -> tuple[Place, ImageData]:
        source = self.input.source()
        check_block(source.image)
        return source, source.image

    def _stack(self) -> tuple[Place, ImageData]:
        layer = self.input.chosen_layer()
        return stack_of(layer, self._viewer.dims, self.input.planes())

    def script(self) -> Script:
        """The run as text; raises as :meth:`task`."""
        layer = self.input.chosen_layer()
        plane = "YXS" if layer.rgb else "YX"
        settings = self.settings()
        return Script(
            name=layer.name,
            path=_tiff_of(layer),
            index=self.input.index(),
            axes=stack_axes(layer) if self.input.is_stack else plane,
            preset=self.preset.value,
            changes=settings.changes_from(Settings.preset(self.preset.value)),
            kernel=self.kernel_selection(),
        )

    def kernel_selection(self) -> KernelSelection:
        """The kernel that is chosen, or how it is found; raises as :meth:`task`."""
        height, width, unit = pixel_size(self.input.chosen_layer(), self._viewer.dims)
        selection = self.kernel.selection(height, width, unit)
        if selection.choice.kernel is not None:
            check_pixel_size(selection.choice.kernel, (height, width), unit)
        if not self.input.is_stack:
            return selection
        choice = selection.choice
        return replace(
            selection, choice=replace(choice, scope=KernelScope(self.stack_kernel.value))
        )

    def describe_image(self) -> str:
        """Shape and type of the layer's pixels."""
        layer: Image | None = self.input.layer.value
        if layer is None:
            return "none"
        data = full_data(layer)
        return f"{tuple(data.shape)} {data.dtype}{' colour' if layer.rgb else ''}"

    def take_kernel_to_all(self) -> None:
        """Choose the last result's kernel, held, for all of the layer."""
        self.kernel.hold_last()
        self.input.take_all()

    def reset(self) -> None:
        """Back to the defaults, but for what is to be sharpened."""
        self.kernel.reset()
        self.kernel_side.reset()
        self.seed.value = 0
        self._show(Preferences())

    # What the form shows

    def _show_target(self) -> None:
        show_row(self.stack_kernel, self.input.is_stack)
        self._show_kernel_size()
        self._show_expected()

    def _show_expected(self) -> None:
        """Say how long it will take; the first time, that is measured in a thread."""
        if not isalive(self):  # measured for a dock that is gone
            return
        if self.input.layer.value is None:
            self.expected.value = ""
            return
        try:
            settings, extent = self.settings(), self.input.extent()
        except (ValueError, TypeError) as error:
            self.expected.value = str(error)
            return
        planes, pixels, _, samples = extent
        kernels = 0 if self.kernel.is_held else self._kernels_to_find(extent)
        words = self._paces.told(settings, planes=planes, pixels=pixels, kernels=kernels)
        if self.input.is_stack:
            words += f", {4 * planes * pixels * samples / 2**20:.3g} MiB"
        self.expected.value = words

    def _kernels_to_find(self, extent: Extent) -> int:
        return {
            "per-channel": extent.channels,
            "shared": 1,
            "per-slice": extent.planes,
        }[self.stack_kernel.value]

    def _show(self, preferences: Preferences) -> None:
        with self.preset.changed.blocked(), self.device.changed.blocked():
            self.preset.value = preferences.preset
            settings = preferences.settings()
            if settings.device not in self.device.choices:  # such as a second GPU
                self.device.choices = (*DEVICE_NAMES, settings.device)
            self.device.value = settings.device
        self.kernel_side.show_settings(settings)
        self._show_settings(settings)

    def _show_preset(self) -> None:
        self._show_settings(Settings.preset(self.preset.value))

    def _show_settings(self, settings: Settings) -> None:
        self.preset.tooltip = PRESET_HELP[self.preset.value]
        self.basic.show_settings(settings)
        self.advanced.show_settings(settings)
        self._show_kernel_size()
        self._show_expected()

    def _show_kernel(self) -> None:
        """Say at sight when the kernel is not found: the section that says so may be folded."""
        self.kernel_told.value = self.kernel.in_words
        show_row(self.kernel_told, bool(self.kernel.in_words))

    def _show_kernel_size(self) -> None:
        """Say how wide the kernel window is."""
        layer: Image | None = self.input.layer.value
        if layer is None:
            self.kernel_side.say("")
            return
        try:
            shape = plane_shape(layer, self._viewer.dims)
            rows, columns = kernel_window(self.settings(), shape)
        except ValueError as error:
            self.kernel_side.say(str(error))
            return
        self.kernel_side.show_size(rows, columns, pixel_size(layer, self._viewer.dims))


def _column(owner: QWidget, *widgets: QWidget) -> QWidget:
    column = QVBoxLayout(owner)
    column.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        column.addWidget(widget)
    return owner


def _tiff_of(layer: Image) -> str | None:
    """The TIFF file a layer was read from, if it holds the layer's array as it is."""
    path = layer.source.path
    if path is None:
        return None
    data = full_data(layer)
    try:
        with tifffile.TiffFile(path) as tiff:
            return path if tuple(tiff.series[0].shape) == tuple(data.shape) else None
    except Exception:  # of another format
        return None
