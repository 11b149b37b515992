"""The form for the kernel: estimated from the image, given, measured, or modelled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSpinBox
from magicgui.widgets.bases import Widget
from napari.layers import Image
from psygnal import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.io.images import read_psf
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.plugin.axes import stack_axes
from napari_blind_deconv.plugin.bead_form import BeadForm
from napari_blind_deconv.plugin.kernel_selection import KernelSelection, NamedKernel, PixelGrid
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_box import LayerBox
from napari_blind_deconv.plugin.layers import file_name
from napari_blind_deconv.plugin.microscope_form import MicroscopeForm, modelled_side
from napari_blind_deconv.plugin.pixel_size import read_pixel_size, read_steps
from napari_blind_deconv.plugin.settings_form import form_rows, show_row
from napari_blind_deconv.psf import prepare_psf

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = [
    "BEADS",
    "FOUND",
    "GAUSSIAN",
    "LAST",
    "LAYER",
    "MICROSCOPE",
    "PSF_FILE",
    "KernelForm",
]

FOUND = "found in the image"
LAST = "the last result's"
LAYER = "from a layer"
PSF_FILE = "from a file"
BEADS = "measured on beads"
GAUSSIAN = "a Gaussian"
MICROSCOPE = "the microscope's"
_GIVEN = (LAST, LAYER, PSF_FILE, BEADS)
_MODELLED = (GAUSSIAN, MICROSCOPE)
# The source comes first: its widget sets whether the kernel is held.
_CHOICES = ("source", "layer", "file", "sigma", "sigma_z")
_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


class KernelForm(QWidget):
    """Widgets to choose the origin of the kernel; :meth:`selection` makes the kernel.

    Parameters
    ----------
    viewer : Viewer
        Viewer with the layers, from which the user can choose a PSF.

    Attributes
    ----------
    beads : BeadForm
        Measurement of the PSF on an image of beads.
    microscope : MicroscopeForm
        Optics for the model of the microscope.

    Signals
    -------
    changed : ()
        Another kernel is chosen.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._last: Kernel | None = None
        self._block = BlockKind.PLANE
        self.source = ComboBox(
            label="Kernel",
            choices=[FOUND, *_GIVEN, *_MODELLED],
            tooltip="Origin of the kernel (PSF). By default it is estimated from the image.",
        )
        self.layer = LayerBox(
            viewer.layers,
            label="PSF layer",
            tooltip="Layer with the PSF: one plane, or for a volume one volume.",
        )
        self.file = FileEdit(
            label="PSF file",
            filter="*.tif *.tiff",
            tooltip="TIFF file with one plane, or for a volume with one volume. A PSF of another "
            "pixel size is resampled to that of the image, and a flat background is taken off.",
        )
        self.sigma = _sigma("σ (px)", 2.0, "Standard deviation of the Gaussian, in pixels.")
        self.sigma_z = _sigma("σ along Z (planes)", 2.0, "The same along Z, in planes.")
        self.beads = BeadForm(viewer)
        self.beads.measured.connect(self._on_measured)
        self.microscope = MicroscopeForm()
        self.held = CheckBox(
            label="Hold it fixed",
            tooltip="On: the kernel stays as it is, and only the image is estimated. Off: the fit "
            "starts from this kernel and corrects it.",
        )
        self._rows: dict[Widget, tuple[str, ...]] = {
            self.layer: (LAYER,),
            self.file: (PSF_FILE,),
            self.sigma: (GAUSSIAN,),
        }
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        optics = self.microscope.rows
        own = [self.source, *self._rows, self.sigma_z]
        rows = [*own, *self.beads.rows, *optics.values(), self.held]
        column.addWidget(form_rows(rows))
        self.source.changed.connect(self._choose_held)
        for widget in (self.source, optics["kind"]):
            widget.changed.connect(self._show_rows)
        for widget in rows:
            widget.changed.connect(lambda _value: self.changed.emit())
        self._show_rows()

    @property
    def is_held(self) -> bool:
        """Whether the kernel is given and held fixed."""
        return self.source.value != FOUND and bool(self.held.value)

    @property
    def summary(self) -> str:
        """Which kernel is used, and how; empty if it is estimated from the image."""
        if self.source.value == FOUND:
            return ""
        return f"{self.source.value}, {'held fixed' if self.held.value else 'as a start'}"

    def set_last_kernel(self, kernel: Kernel | None) -> None:
        """Set the kernel that the choice "the last result's" uses."""
        self._last = kernel
        if self.source.value == LAST:
            self.changed.emit()

    def hold_last(self) -> None:
        """Choose the kernel of the last result, held fixed."""
        self.source.value = LAST
        self.held.value = True

    def choices(self) -> dict[str, Any]:
        """Return what is chosen, by the names of the widgets, and the kernel of the last result."""
        return {name: widget.value for name, widget in self._widgets().items()} | {
            "last": self._last
        }

    def show_choices(self, choices: dict[str, Any]) -> None:
        """Choose what :meth:`choices` has returned; a PSF layer that was deleted is left out."""
        self._last = choices["last"]
        is_there = choices["layer"] in self.layer.choices
        values = {**choices, "layer": choices["layer"] if is_there else None}
        for name, widget in self._widgets().items():
            widget.value = values[name]

    def _widgets(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in _CHOICES}
        return {**own, **self.microscope.rows, "held": self.held}

    def choose_block(self, block: BlockKind) -> None:
        """Ask for what the kernel of a plane or of a volume needs."""
        if block is not self._block:
            self._block = block
            self._choose_held()
            self._show_rows()

    def reset(self) -> None:
        """Return to estimating the kernel from the image."""
        self.source.value = FOUND

    def fill_from(self, layer: Image, index: Callable[[], Sequence[int]]) -> None:
        """Fill the model of the microscope with what is known about a layer, as a start.

        Numbers that the user entered here for this layer stay until they are corrected for the
        layer, and nothing changes where nothing is known. The layer is read only if the model is
        chosen, once after each correction.

        Parameters
        ----------
        layer : Image
            The layer to deconvolve.
        index : callable
            Returns the index of a pixel of the plane to deconvolve, which tells the channel.
        """
        if self.source.value == MICROSCOPE:
            self.microscope.fill_from(layer, index())

    def selection(
        self, pixels: PixelGrid, other: tuple[Image, Sequence[int]] | None = None
    ) -> KernelSelection:
        """Return the chosen kernel.

        Parameters
        ----------
        pixels : PixelGrid
            The pixels of the image. A kernel of other pixels is resampled to them, if both are
            known, and the kernel of a volume has three axes.
        other : tuple of Image and index, optional
            Another layer than the one of :meth:`fill_from`, and the index of its plane: what is
            known about it counts in the model of the microscope in place of what the form shows.

        Raises
        ------
        ValueError, OSError
            If there is no such kernel, or it cannot be read or modelled.
        """
        make: dict[str, Callable[[], NamedKernel]] = {
            LAST: self._last_kernel,
            LAYER: lambda: self._kernel_of_layer(pixels),
            PSF_FILE: self._kernel_of_file,
            BEADS: self.beads.refuse,
            GAUSSIAN: lambda: self._gaussian(pixels),
            MICROSCOPE: lambda: self.microscope.model(pixels, other),
        }
        if self.source.value == FOUND:
            return KernelSelection()
        return KernelSelection.of(make[self.source.value](), pixels, held=bool(self.held.value))

    @property
    def stored_in(self) -> str | None:
        """The file that the chosen kernel was read from; None if it is from no file."""
        if self.source.value == LAYER and self.layer.value is not None:
            path: str | None = self.layer.value.source.path
            return path
        return str(self.file.value) if self.source.value == PSF_FILE else None

    def _choose_held(self) -> None:
        if self.source.value != FOUND:
            # A model is only a guess, which the fit may correct, but not in a volume.
            is_volume = self._block is BlockKind.VOLUME
            self.held.value = is_volume or self.source.value in _GIVEN

    def _on_measured(self, psf: Image) -> None:
        """Choose the PSF that was measured, unless the user has chosen another source since."""
        if self.source.value == BEADS:
            self.layer.value = psf
            self.source.value = LAYER

    def _show_rows(self) -> None:
        source, is_volume = self.source.value, self._block is BlockKind.VOLUME
        for widget, sources in self._rows.items():
            show_row(widget, source in sources)
        show_row(self.sigma_z, source == GAUSSIAN and is_volume)
        self.beads.show_rows(is_chosen=source == BEADS, block=self._block)
        self.microscope.show_rows(is_chosen=source == MICROSCOPE, is_volume=is_volume)
        show_row(self.held, source not in (FOUND, BEADS))

    def _last_kernel(self) -> NamedKernel:
        if self._last is None:
            raise ValueError("There is no last result whose kernel could be used; run once first.")
        return NamedKernel(self._last, 'read_psf("kernel.tif")', "kernel.tif")

    def _kernel_of_layer(self, pixels: PixelGrid) -> NamedKernel:
        layer: Image | None = self.layer.value
        axes = len(pixels.sides)
        if layer is None:
            raise ValueError(f"No layer is chosen as the PSF; choose a {axes}D layer.")
        weights = np.squeeze(np.asarray(full_data(layer)))
        if layer.rgb or weights.ndim != axes:
            block = BlockKind.with_axes(axes).with_its_axes
            raise ValueError(
                f"Expected a PSF layer with a single grey {block}, got {layer.name} of shape "
                f"{weights.shape}."
            )
        sides, unit = _pixels_of(layer, axes)
        kernel = prepare_psf(weights, psf_pixel_size=sides, unit=unit)
        name = file_name(layer.name)
        return NamedKernel(kernel, f"read_psf({name!r})", name)

    def _kernel_of_file(self) -> NamedKernel:
        path = Path(str(self.file.value))
        if path == Path():
            raise ValueError("No PSF file is chosen; choose a TIFF file.")
        if not path.is_file():
            raise ValueError(f"The PSF file {path} does not exist; choose a TIFF file.")
        kernel = _psf_in(path, path.stat().st_mtime_ns)
        return NamedKernel(kernel, f"read_psf({str(path)!r})", str(path))

    def _gaussian(self, pixels: PixelGrid) -> NamedKernel:
        sigma, along_z = self.sigma.value, self.sigma_z.value
        widths = (along_z, sigma, sigma) if pixels.is_volume else (sigma, sigma)
        sides = tuple(modelled_side(width * _FWHM_PER_SIGMA) for width in widths)
        text = f"({along_z:g}, {sigma:g}, {sigma:g})" if pixels.is_volume else f"{sigma:g}"
        kernel = Kernel(gaussian_kernel(sides, widths if pixels.is_volume else sigma))
        return NamedKernel(kernel, f"gaussian_kernel({sides}, {text})", "kernel.tif")


@lru_cache(maxsize=2)  # the panel asks whenever something is chosen
def _psf_in(path: Path, _changed: int) -> Kernel:
    return read_psf(path)


def _pixels_of(layer: Image, axes: int) -> tuple[tuple[float, ...] | None, str]:
    """Return the pixel size of a PSF's layer along its last axes, and the unit; None: unknown."""
    height, width, unit = read_pixel_size(layer, (layer.ndim - 2, layer.ndim - 1)).size
    if unit == "px":
        return None, "pixel"
    if axes == 2:
        return (height, width), unit
    step = read_steps(layer, stack_axes(layer), unit).get("Z")
    return (None, "pixel") if step is None else ((step, height, width), unit)


def _sigma(label: str, value: float, help_text: str) -> FloatSpinBox:
    return FloatSpinBox(label=label, value=value, min=0.3, max=40, step=0.1, tooltip=help_text)
