"""The form: which image, what of it, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from magicgui.widgets import ComboBox, Label, RangeSlider, SpinBox
from napari.layers import Image, Layer, Shapes
from qtpy.compat import isalive
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_blind_deconv.engine.inputs import check_image, kernel_window
from napari_blind_deconv.plugin.kernel_source import KernelChoice, KernelSource
from napari_blind_deconv.plugin.layers import Source, full_data, is_output, pixel_size, plane_shape
from napari_blind_deconv.plugin.paces import Paces
from napari_blind_deconv.plugin.preferences import DEVICES, Preferences
from napari_blind_deconv.plugin.regions import Region, drawn_region, is_for_regions, visible_region
from napari_blind_deconv.plugin.settings_form import SettingsForm, form_rows, show_row
from napari_blind_deconv.plugin.snippets import Recipe
from napari_blind_deconv.plugin.stack_run import StackJob, stack_axes
from napari_blind_deconv.plugin.worker import Job
from napari_blind_deconv.settings import PRESET_HELP, Settings

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["DRAWN", "PLANE", "SPAN", "STACK", "VISIBLE", "Choices"]

_BASIC = ("max_iterations", "sparsity")
_KERNEL = "kernel_size"
_ADVANCED = tuple(name for name in Settings.model_fields if name not in (*_BASIC, _KERNEL))
_AUTOMATIC, _CHOSEN = "automatic", "chosen"
PLANE, DRAWN, VISIBLE = "this plane", "drawn rectangle", "visible part"
SPAN, STACK = "some planes", "whole stack"
_OF_A_PLANE, _OF_A_STACK = (PLANE, DRAWN, VISIBLE), (SPAN, STACK)
_KERNEL_MODES = ("per-channel", "shared", "per-slice")


class Choices(QWidget):
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
        self._watched: Image | None = None
        self._paces = Paces(self._show_expected)
        self._make_rows()
        self.kernel_section = self._make_kernel_section()
        self.settings_section = self._make_settings_section()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.rows)
        self._show(Preferences.load())
        self._follow_viewer()
        self._follow_choices()
        self._follow_selection()
        self._watch_layer()

    # Construction

    def _make_rows(self) -> None:
        self.layer = ComboBox(
            label="Layer", choices=self._image_layers, nullable=True, tooltip="Image to sharpen."
        )
        self.scope = ComboBox(
            label="Process",
            choices=_OF_A_PLANE,
            tooltip="What of the layer is sharpened. Try a rectangle of a shapes layer, or what "
            "the screen shows, before a large image.",
        )
        self.span = RangeSlider(
            label="Planes", tooltip="First and last plane, along the layer's first axis."
        )
        self.stack_kernel = ComboBox(
            label="Stack's kernel",
            choices=_KERNEL_MODES,
            tooltip="per-channel: found on the sharpest plane of each channel, then held. shared: "
            "one for all. per-slice: each plane's own, slower.",
        )
        self.preset = ComboBox(label="Preset", choices=list(PRESET_HELP))
        self.expected = Label(label="Will take")
        self.expected.tooltip = (
            "From the shortest, if noise ends every fit at once, to the longest, if none ends "
            "before its limit. Measured on this machine."
        )
        self.rows = form_rows(
            [self.layer, self.scope, self.span, self.stack_kernel, self.preset, self.expected]
        )

    def _make_kernel_section(self) -> QWidget:
        kernel = Settings.model_fields[_KERNEL]
        help_text = " ".join((kernel.description or "").split())
        self.kernel = KernelSource(self._image_layers)
        self.kernel_choice = ComboBox(
            label="Window", choices=(_AUTOMATIC, _CHOSEN), tooltip=help_text
        )
        self.kernel_pixels = SpinBox(
            label="Side (px)", value=31, min=3, max=4095, step=2, tooltip=help_text
        )
        self.kernel_size_text = Label(label="At most")
        section = QWidget()
        column = QVBoxLayout(section)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.kernel)
        column.addWidget(form_rows([self.kernel_choice, self.kernel_pixels, self.kernel_size_text]))
        return section

    def _make_settings_section(self) -> QWidget:
        self.basic = SettingsForm(_BASIC)
        self.advanced = SettingsForm(_ADVANCED)
        self.device = ComboBox(
            label="Device",
            choices=DEVICES,
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
        section = QWidget()
        column = QVBoxLayout(section)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.reset_button)
        first = [*self.basic.widgets.values(), self.device, self.seed]
        column.addWidget(form_rows([*first, *self.advanced.widgets.values()]))
        return section

    def _follow_viewer(self) -> None:
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self._refresh_layers)
        events.inserted.connect(self._watch_shapes)
        for layer in self._viewer.layers:
            self._watch_drawing(layer)
        self._viewer.layers.selection.events.active.connect(self._follow_selection)
        self._viewer.dims.events.order.connect(self._show_kernel_size)

    def _follow_choices(self) -> None:
        self.preset.changed.connect(self._show_preset)
        self.layer.changed.connect(self._watch_layer)
        self.scope.changed.connect(self._show_scope)
        for choice in (
            self.span,
            self.stack_kernel,
            self.device,
            self.kernel.source,
            self.kernel.held,
            *self.basic.widgets.values(),
            *self.advanced.widgets.values(),
        ):
            choice.changed.connect(self._show_expected)
        for choice in (
            self.advanced.widgets["kernel_size_limit"],
            self.kernel_choice,
            self.kernel_pixels,
        ):
            choice.changed.connect(self._show_kernel_size)

    # What the form says

    @property
    def is_stack(self) -> bool:
        """Whether planes are to be sharpened one by one."""
        return self.scope.value in _OF_A_STACK

    def settings(self) -> Settings:
        """Settings as they stand in the form; `ValueError` in one sentence if they cannot be."""
        kernel = self.kernel_pixels.value if self.kernel_choice.value == _CHOSEN else "None"
        texts = [f"{_KERNEL}={kernel}", *self.basic.texts(), *self.advanced.texts()]
        return Settings.preset(self.preset.value).with_texts(texts)

    def preferences(self) -> Preferences:
        """What is worth remembering of the form."""
        return Preferences.of(self.preset.value, self.settings(), self.device.value)

    def plane(self) -> tuple[Source, Job]:
        """The plane or region that is chosen, and what to do with it.

        Raises
        ------
        ValueError, TypeError, OSError
            In one sentence, if there is none or it cannot be sharpened.
        """
        layer = self._chosen_layer()
        kernel = self.kernel_given()
        source = Source.of(layer, self._viewer.dims)
        region = self._region(layer)
        if region is not None:
            source = source.cropped(*region)
        check_image(source.pixels, rgb=source.rgb)
        given = {"psf" if kernel.held else "psf_guess": kernel.kernel}
        settings, device, seed = self.settings(), self.device.value, self.seed.value
        return source, Job(source.pixels, source.rgb, settings, device, seed, **given)

    def stack(self) -> StackJob:
        """The planes that are chosen; raises as :meth:`plane`."""
        kernel = self.kernel_given()
        if kernel.kernel is not None and not kernel.held:
            raise ValueError(
                "The kernel is a guess to start from; a stack accepts one that is held, or none."
            )
        return StackJob.of(
            self._chosen_layer(),
            self._viewer.dims,
            self._chosen_span(),
            settings=self.settings(),
            kernel=self.stack_kernel.value if kernel.kernel is None else kernel.kernel,
            device=self.device.value,
            seed=self.seed.value,
        )

    def recipe(self) -> Recipe:
        """The run as text; raises as :meth:`plane`."""
        layer = self._chosen_layer()
        changes = self.preferences().changes or {}
        return Recipe(
            name=layer.name,
            path=_tiff_of(layer),
            index=self._index(layer),
            axes=stack_axes(layer) if self.is_stack else "",
            rgb=layer.rgb,
            preset=self.preset.value,
            changes=changes,
            kernel=self.kernel_given(),
            stack_kernel=self.stack_kernel.value,
            device=self.device.value,
            seed=self.seed.value,
        )

    def kernel_given(self) -> KernelChoice:
        """The kernel that is chosen, if one is; raises as :meth:`plane`."""
        return self.kernel.choice(*pixel_size(self._chosen_layer(), self._viewer.dims))

    def describe_image(self) -> str:
        """Shape and type of the layer's pixels."""
        layer: Image | None = self.layer.value
        if layer is None:
            return "none"
        data = full_data(layer)
        return f"{tuple(data.shape)} {data.dtype}{' colour' if layer.rgb else ''}"

    def take_kernel_to_all(self) -> None:
        """Choose the last result's kernel, held, for all of the layer."""
        self.kernel.hold_last()
        self.scope.value = STACK if STACK in self.scope.choices else PLANE

    def reset(self) -> None:
        """Back to the defaults, but for what is to be sharpened."""
        self.kernel.reset()
        self.kernel_choice.value = _AUTOMATIC
        self.seed.value = 0
        self._show(Preferences())

    def _chosen_layer(self) -> Image:
        layer: Image | None = self.layer.value
        if layer is None:
            raise ValueError("No image layer is selected; open an image and select its layer.")
        return layer

    def _region(self, layer: Image) -> Region | None:
        if self.scope.value == DRAWN:
            return drawn_region(layer, self._viewer.layers, self._viewer.dims)
        if self.scope.value == VISIBLE:
            return visible_region(layer, self._viewer.dims)
        return None

    def _chosen_span(self) -> tuple[int, int] | None:
        if self.scope.value != SPAN:
            return None
        first, last = self.span.value
        return int(first), int(last)

    def _index(self, layer: Image) -> tuple[str, ...]:
        """What of the layer's array is chosen, an item an axis."""
        if self.is_stack:
            span = self._chosen_span()
            first = ":" if span is None else f"{span[0]}:{span[1] + 1}"
            return (first, *[":"] * (layer.ndim - 1))
        source = Source.of(layer, self._viewer.dims)
        items = [str(at) for at in source.position]
        for axis, part in zip(source.axes, self._region(layer) or (None, None), strict=True):
            items[axis] = ":" if part is None else f"{part.start}:{part.stop}"
        return tuple(items)

    # What the form shows

    def _image_layers(self, _widget: Any) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _refresh_layers(self) -> None:
        for box in (self.layer, self.kernel.layer):
            chosen = box.value
            box.reset_choices()  # which knows layers by their names, and loses a renamed one
            if chosen in box.choices:
                box.value = chosen

    def _follow_selection(self) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Image) and not is_output(active):
            self._refresh_layers()
            self.layer.value = active

    def _watch_shapes(self, event: Any) -> None:
        self._watch_drawing(event.value)

    def _watch_drawing(self, layer: Layer) -> None:
        """A rectangle that is drawn or moved changes what a run takes."""
        if isinstance(layer, Shapes):
            layer.events.data.connect(self._show_expected)

    def _watch_layer(self) -> None:
        """Keep sizes in micrometres true when the layer is calibrated anew."""
        if self._watched is not None:
            self._watched.events.scale.disconnect(self._show_kernel_size)
            self._watched.events.units.disconnect(self._show_kernel_size)
        self._watched = self.layer.value
        if self._watched is not None:
            self._watched.events.scale.connect(self._show_kernel_size)
            self._watched.events.units.connect(self._show_kernel_size)
        self._offer_scopes()
        self._show_kernel_size()

    def _offer_scopes(self) -> None:
        """Offer what the layer has: planes to choose from, if it is a stack."""
        layer: Image | None = self.layer.value
        is_stack = layer is not None and layer.ndim > 2
        self.scope.choices = (*_OF_A_PLANE, *_OF_A_STACK) if is_stack else _OF_A_PLANE
        if layer is not None and is_stack:
            data = full_data(layer)
            last = data.shape[0] - 1
            if self.span.max != last:
                self.span.max = last
                self.span.value = (0, last)
        self._show_scope()

    def _show_scope(self) -> None:
        if self.scope.value == DRAWN:
            self._offer_drawing()
        show_row(self.rows, self.span, self.scope.value == SPAN)
        show_row(self.rows, self.stack_kernel, self.is_stack)
        self._show_expected()

    def _offer_drawing(self) -> None:
        """Something to draw the rectangle with, if there is nothing yet."""
        layer: Image | None = self.layer.value
        if layer is None or any(map(is_for_regions, self._viewer.layers)):
            return
        place = Source.of(layer, self._viewer.dims).placement()
        drawing = self._viewer.add_shapes(
            ndim=layer.ndim,
            name="region",
            edge_color="#ff9f1c",
            face_color="transparent",
            edge_width=max(1.0, min(plane_shape(layer, self._viewer.dims)) / 200),
            **place,
        )
        drawing.mode = "add_rectangle"

    def _show_expected(self) -> None:
        """Say how long it will take; the first time, that is measured in a thread."""
        if not isalive(self):  # measured for a dock that is gone
            return
        if self.layer.value is None:
            self.expected.value = ""
            return
        try:
            settings, counts = self.settings(), self._counts()
        except (ValueError, TypeError) as error:
            self.expected.value = str(error)
            return
        words = self._paces.told(settings, self.device.value, **counts)
        if self.is_stack:
            words += f", {4 * counts['planes'] * counts['pixels'] / 2**20:.3g} MiB"
        self.expected.value = words

    def _counts(self) -> dict[str, int]:
        """Planes, pixels in each, and kernels to be found; without reading a pixel."""
        layer = self._chosen_layer()
        rows, columns = plane_shape(layer, self._viewer.dims)
        held = self.kernel.is_held
        if not self.is_stack:
            region = self._region(layer)
            if region is not None:
                rows, columns = (part.stop - part.start for part in region)
            return {"planes": 1, "pixels": rows * columns, "kernels": 0 if held else 1}
        data = full_data(layer)
        span = self._chosen_span() or (0, data.shape[0] - 1)
        leading = (span[1] - span[0] + 1, *data.shape[1 : layer.ndim - 2])
        axes, planes = stack_axes(layer), int(np.prod(leading))
        channels = leading[axes.index("C")] if "C" in axes else 1
        kernels = {"per-channel": channels, "shared": 1}.get(self.stack_kernel.value, planes)
        return {"planes": planes, "pixels": rows * columns, "kernels": 0 if held else kernels}

    def _show(self, preferences: Preferences) -> None:
        self.preset.value = preferences.preset
        self.device.value = preferences.device
        self._show_preset()
        settings = preferences.settings()
        self.basic.show_settings(settings)
        self.advanced.show_settings(settings)
        if isinstance(settings.kernel_size, int):
            self.kernel_choice.value = _CHOSEN
            self.kernel_pixels.value = settings.kernel_size
        self._show_kernel_size()

    def _show_preset(self) -> None:
        settings = Settings.preset(self.preset.value)
        self.preset.tooltip = PRESET_HELP[self.preset.value]
        self.basic.show_settings(settings)
        self.advanced.show_settings(settings)
        self._show_kernel_size()
        self._show_expected()

    def _show_kernel_size(self) -> None:
        """Say how wide the kernel window is, in pixels and in the layer's units."""
        chosen = self.kernel_choice.value == _CHOSEN
        self.kernel_pixels.enabled = chosen
        self.kernel_pixels.native.setToolTip(
            self.kernel_pixels.tooltip or "" if chosen else "The window is chosen automatically."
        )
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
        if not chosen:
            with self.kernel_pixels.changed.blocked():
                self.kernel_pixels.value = min(max(rows, columns), int(self.kernel_pixels.max))
        height, width, unit = pixel_size(layer, self._viewer.dims)
        self.kernel_size_text.value = f"{rows} × {columns} px"
        if unit != "px":
            self.kernel_size_text.value += f" = {rows * height:.3g} × {columns * width:.3g} {unit}"


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
