"""The form of a run: input, kernel and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, Label
from napari.layers import Image, Layer
from psygnal import Signal
from qtpy.compat import isalive
from qtpy.QtWidgets import QWidget

from napari_blind_deconv.engine.inputs import fitted_kernel, kernel_window
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.kernel import KernelScope
from napari_blind_deconv.plugin.axes import stack_axes
from napari_blind_deconv.plugin.expected_time import ExpectedTime, Extent
from napari_blind_deconv.plugin.geometry import LayerGeometry
from napari_blind_deconv.plugin.input_form import DRAWN, InputForm
from napari_blind_deconv.plugin.kernel_form import GAUSSIAN, LAYER, MICROSCOPE, KernelForm
from napari_blind_deconv.plugin.kernel_selection import KernelSelection
from napari_blind_deconv.plugin.kernel_window import KernelWindow
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_file import tiff_of
from napari_blind_deconv.plugin.layouts import in_column, wrap
from napari_blind_deconv.plugin.preferences import Preferences
from napari_blind_deconv.plugin.run_on import ONE
from napari_blind_deconv.plugin.settings_form import form_rows, set_tooltip, show_row
from napari_blind_deconv.plugin.settings_section import SettingsSection
from napari_blind_deconv.plugin.snippets import Script
from napari_blind_deconv.plugin.viewing import pixel_size, plane_shape, shown_index
from napari_blind_deconv.settings import PRESET_HELP, Settings
from napari_blind_deconv.task import Task
from napari_blind_deconv.verdict import NextStep

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["RunForm"]


class RunForm(QWidget):
    """All choices for a run: rows that are always visible, and two sections that can be folded.

    Parameters
    ----------
    viewer : Viewer
        Viewer with the layers.

    Attributes
    ----------
    input : InputForm
        Layer, and the part of it to process.
    kernel : KernelForm
        Origin of the kernel.
    kernel_window : KernelWindow
        Side of the kernel window.
    kernel_section, settings_section : QWidget
        The owner adds these sections to its layout.

    Signals
    -------
    failed : str
        Something that the user entered cannot be used, for the reason given.
    checked : str
        The choices have changed; why they cannot be run, or an empty text if they can.
    """

    failed = Signal(str)
    checked = Signal(str)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.input = InputForm(viewer, self._on_input_changed, self.failed.emit)
        self.kernel = KernelForm(viewer)
        self.kernel_window = KernelWindow()
        self._make_rows()
        self.kernel_section = self._make_kernel_section()
        self.settings_section = self._make_settings_section()
        self.show_preferences(Preferences.load())
        self.input.follow_viewer()
        self._connect_widgets()

    # Construction

    def _make_rows(self) -> None:
        self.stack_kernel = ComboBox(
            label="Stack's kernel",
            choices=[scope.value for scope in KernelScope],
            tooltip="Number of kernels. per-channel: estimate the kernel on the plane of each "
            "channel with the most contrast, and hold it fixed for the others. shared: use one "
            "kernel for all planes. per-slice: estimate a kernel for each plane, which is slower. "
            "The same holds for volumes.",
        )
        self.preset = ComboBox(label="Preset", choices=list(PRESET_HELP))
        self.expected_time = ExpectedTime(self._check)
        self.kernel_summary = Label(
            label="Kernel", tooltip="The choice in the section Kernel below."
        )
        wrap(self.kernel_summary.native)
        form = self.input
        rows = [form.layer, form.run_on, form.scope, form.span, *form.line.widgets, form.mask]
        rows += [self.stack_kernel, self.preset, self.kernel_summary, self.expected_time]
        in_column(self, form_rows(rows))
        show_row(self.kernel_summary, False)

    def _make_kernel_section(self) -> QWidget:
        window = self.kernel_window
        rows = form_rows([window.choice, window.pixels, window.size])
        return in_column(QWidget(), self.kernel, rows)

    def _make_settings_section(self) -> SettingsSection:
        section = SettingsSection()
        self.fields, self.device, self.seed = section.fields, section.device, section.seed
        self.reset_button = section.reset_button
        self.reset_button.clicked.connect(self.reset)
        return section

    def _connect_widgets(self) -> None:
        self.preset.changed.connect(self._show_preset)
        self.kernel.source.changed.connect(self._show_kernel)
        self.kernel.source.changed.connect(self._fill_microscope)
        self._viewer.dims.events.current_step.connect(self._fill_microscope)
        self.kernel.held.changed.connect(self._show_kernel)
        self.fields.widgets["strength"].changed.connect(self._show_kernel)
        for choice in (self.stack_kernel, self.device, *self.fields.widgets.values()):
            choice.changed.connect(self._check)
        self.kernel.changed.connect(self._check)
        limit = self.fields.widgets["kernel_size_limit"]
        for choice in (limit, self.kernel_window.choice, self.kernel_window.pixels):
            choice.changed.connect(self._show_kernel_size)

    # Contents of the form

    def settings(self) -> Settings:
        """Return the settings in the form; raise `ValueError` if they are not valid."""
        texts = [*self.kernel_window.texts(), *self.fields.texts()]
        device, seed = self.device.value, self.seed.value
        settings = Settings.preset(self.preset.value).with_texts(texts)
        return settings.with_changes(device=device, seed=seed)

    def preferences(self) -> Preferences:
        """Return the choices that are stored for the next session."""
        return Preferences.of(self.preset.value, self.settings())

    def task(self, layer: Image | None = None) -> tuple[LayerGeometry, Task]:
        """Return the geometry of the input, and the task of the run.

        Parameters
        ----------
        layer : Image, optional
            The layer to run on; default: the chosen one.

        Raises
        ------
        ValueError, TypeError, OSError
            If there is no input, if it cannot be deconvolved, or if a choice is not valid.
        """
        layer = self.input.chosen_layer() if layer is None else layer
        choice = self.kernel_selection(layer).choice
        geometry, image = self.input.read(layer)
        if choice.kernel is not None:
            fitted_kernel(choice.kernel, image)
        return geometry, Task(image, self.settings(), choice)

    def other_files(self) -> list[str]:
        """Return the files of the mask and of the PSF, if they are from files."""
        mask = self.input.mask.value
        files = (None if mask is None else mask.source.path, self.kernel.stored_in)
        return [file for file in files if file is not None]

    def layers_in_use(self) -> list[Layer]:
        """Return the layers that are chosen as input, mask and PSF."""
        boxes = [self.input.layer, self.input.mask]
        if self.kernel.source.value == LAYER:
            boxes.append(self.kernel.layer)
        return [box.value for box in boxes if box.value is not None]

    def script(self, layer: Image | None = None) -> Script:
        """Return the run as a script; parameters and errors are those of :meth:`task`."""
        layer = self.input.chosen_layer() if layer is None else layer
        part, settings = self.input.part(layer), self.settings()
        kernel = self.kernel_selection(layer)
        is_searched = part.block is BlockKind.VOLUME and kernel.choice.is_found
        kind = settings.microscope_with(part.optics) if is_searched else None
        if kind is not None:  # neither an array nor a TIFF of napari states it
            settings = settings.with_changes(microscope=kind)
        return Script(
            name=layer.name,
            path=tiff_of(layer),
            index=part.index(),
            axes=part.axes,
            preset=self.preset.value,
            changes=settings.changes_from(Settings.preset(self.preset.value)),
            kernel=kernel,
            layer_axes=stack_axes(layer) if not part.is_plane else "",
            block=part.block,
            pixel_size=part.sides_in_micrometres,
            mask=self.input.mask_file(layer),
            # A TIFF that napari saves does not state what the layer does.
            optics=part.optics if tiff_of(layer) is None else part.stated_optics,
            known_optics=part.optics,
        )

    def kernel_selection(self, layer: Image | None = None) -> KernelSelection:
        """Return the kernel for a layer, or how to estimate it.

        Parameters and errors are those of :meth:`task`.
        """
        chosen = self.input.chosen_layer()
        layer = chosen if layer is None else layer
        part = self.input.part(layer)
        other = None if layer == chosen else (layer, shown_index(layer, self._viewer.dims))
        if not part.is_stack:
            return self.kernel.selection(part.pixels, other)
        channels = part.extent().channels
        if channels > 1 and self.kernel.is_held and self.kernel.source.value == MICROSCOPE:
            raise ValueError(
                "Expected one channel for the microscope's PSF, which depends on the wavelength, "
                f"got {channels}; split the layer into its channels, or process one at a time."
            )
        selection = self.kernel.selection(part.pixels, other)
        return selection.with_scope(KernelScope(self.stack_kernel.value))

    def describe_image(self) -> str:
        """Return shape and type of the layer's pixels as text."""
        layer: Image | None = self.input.layer.value
        if layer is None:
            return "none"
        data = full_data(layer)
        return f"{tuple(data.shape)} {data.dtype}{' colour' if layer.rgb else ''}"

    def apply_kernel_to_all(self, block: BlockKind) -> None:
        """Choose all planes or volumes, with the kernel of the last result, one of them, held."""
        self.kernel.hold_last()
        self.input.choose_all(block)

    def set_strength(self, strength: float) -> None:
        """Choose, for one layer, how many times as wide as the one found or given the kernel is."""
        self.input.run_on.value = ONE
        self.fields.widgets["strength"].value = f"{strength:g}"

    def prepare(self, step: NextStep) -> None:
        """Make the choices of a next step that the verdict on a layer offers."""
        self.input.run_on.value = ONE
        if step is NextStep.GAUSSIAN:
            self.kernel.source.value = GAUSSIAN
        elif step is NextStep.MICROSCOPE:
            self.kernel.source.value = MICROSCOPE
        else:
            self.input.scope.value = DRAWN

    def reset(self) -> None:
        """Reset everything but the input to the defaults."""
        self.kernel.reset()
        self.kernel_window.reset()
        self.seed.value = 0
        self.show_preferences(Preferences())

    # Updates of the form

    def _fill_microscope(self) -> None:
        """Fill the model of the microscope with what is known about the plane that is shown."""
        layer: Image | None = self.input.layer.value
        # The viewer and its sliders outlive the dock and the layer.
        if isalive(self) and layer is not None and layer in self._viewer.layers:
            self.kernel.fill_from(layer, lambda: shown_index(layer, self._viewer.dims))

    def _on_input_changed(self) -> None:
        self._fill_microscope()
        self.kernel.choose_block(self.input.block)
        self._show_kernel_size()
        self._check()

    def _check(self) -> None:
        """Show how long a run takes, or why there can be none."""
        if not isalive(self):  # the measurement of this machine may end after the dock was closed
            return
        is_volume = self.input.block is BlockKind.VOLUME
        one_kernel = is_volume and self.kernel.is_held
        show_row(self.stack_kernel, self.input.is_stack and not one_kernel)
        why_not = self._why_not_volumes() if is_volume else ""
        self.expected_time.value = why_not
        if not why_not:
            self._show_expected_time()
        self.checked.emit(why_not)

    def _why_not_volumes(self) -> str:
        """Return why no chosen layer has volumes that can be deconvolved; empty if one has."""
        reasons = [self._why_not_volume(layer) for layer in self.input.run_on.chosen]
        return "" if "" in reasons or not reasons else reasons[0]

    def _why_not_volume(self, layer: Image) -> str:
        try:
            self._beyond_volume(layer)
        except Exception as error:  # a PSF may be read from lazy data, which may raise any error
            return str(error) or type(error).__name__
        return ""

    def _beyond_volume(self, layer: Image) -> int:
        choice = self.kernel_selection(layer).choice
        return self.input.part(layer).voxels_beyond(self.settings(), choice)

    def _extent(self, layer: Image) -> Extent:
        extent = self.input.part(layer).extent()
        is_volume = self.input.block is BlockKind.VOLUME
        return extent._replace(beyond=self._beyond_volume(layer)) if is_volume else extent

    def _show_expected_time(self) -> None:
        """Show how long a run takes; this starts a measurement if there is none yet."""
        layers = self.input.run_on.chosen
        if not layers:
            self.expected_time.value = ""
            return
        try:
            settings = self.settings()
            extents = [self._extent(layer) for layer in layers]
        except (ValueError, TypeError) as error:
            self.expected_time.value = str(error)
            return
        scope = None if self.kernel.is_held else KernelScope(self.stack_kernel.value)
        self.expected_time.show_time(
            settings, extents, scope, self.input.block, with_memory=self.input.is_stack
        )

    def show_preferences(self, preferences: Preferences) -> None:
        """Show preset, settings and device."""
        with self.preset.changed.blocked(), self.device.changed.blocked():
            self.preset.value = preferences.preset
            settings = preferences.settings()
            self.settings_section.show_device(settings.device)
        self.kernel_window.show_settings(settings)
        self._show_settings(settings)

    def _show_preset(self) -> None:
        self._show_settings(Settings.preset(self.preset.value))

    def _show_settings(self, settings: Settings) -> None:
        set_tooltip(self.preset, PRESET_HELP[self.preset.value])
        self.fields.show_settings(settings)
        self._show_kernel()
        self._show_kernel_size()
        self._check()

    def _show_kernel(self) -> None:
        """Show a line on the kernel unless it is estimated: the kernel section may be folded."""
        summary = self.kernel.summary
        strength = str(self.fields.widgets["strength"].value)
        if strength not in ("1", "1.0"):
            summary = f"{summary or self.kernel.source.value}; {strength} times as wide"
        self.kernel_summary.value = summary
        show_row(self.kernel_summary, bool(summary))

    def _show_kernel_size(self) -> None:
        """Show the size of the kernel window, or why the settings are not valid."""
        layer: Image | None = self.input.layer.value
        if layer is None:
            self.kernel_window.show_message("")
            return
        try:
            shape = plane_shape(layer, self._viewer.dims)
            rows, columns = kernel_window(self.settings(), shape)
        except ValueError as error:
            self.kernel_window.show_message(str(error))
            return
        self.kernel_window.show_size(rows, columns, pixel_size(layer, self._viewer.dims))
