"""The form for the kernel: estimated from the image, given, or modelled from the microscope."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSpinBox
from magicgui.widgets.bases import Widget
from napari.components import LayerList
from napari.layers import Image
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_blind_deconv.io.images import read_psf
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.numerics.optics import gaussian_kernel, widefield_psf
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layer_box import LayerBox
from napari_blind_deconv.plugin.layer_optics import LayerOptics
from napari_blind_deconv.plugin.layers import file_name
from napari_blind_deconv.plugin.pixel_size import read_pixel_size
from napari_blind_deconv.plugin.settings_form import form_rows, show_row
from napari_blind_deconv.plugin.stated import Stated
from napari_blind_deconv.psf import at_pixel_size, prepare_psf
from napari_blind_deconv.units import in_unit

__all__ = [
    "FOUND",
    "GAUSSIAN",
    "LAST",
    "LAYER",
    "MICROSCOPE",
    "PSF_FILE",
    "KernelForm",
    "KernelSelection",
]

FOUND = "found in the image"
LAST = "the last result's"
LAYER = "from a layer"
PSF_FILE = "from a file"
GAUSSIAN = "a Gaussian"
MICROSCOPE = "the microscope's"
_GIVEN = (LAST, LAYER, PSF_FILE)
_MODELLED = (GAUSSIAN, MICROSCOPE)
# The source comes first: its widget sets whether the kernel is held.
_CHOICES = ("source", "layer", "file", "sigma", "aperture", "wavelength", "held")
# Side of a modelled kernel in widths at half maximum, beyond which its weights are negligible.
_SIDE_IN_FWHM = 3.0
_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
_MAX_SIDE = 255  # pixels
# Pixels whose sides differ by more than this fraction are not square.
_SQUARE_TOLERANCE = 0.02


@dataclass(frozen=True)
class KernelSelection:
    """The chosen kernel, for a run and for scripts.

    Attributes
    ----------
    choice : KernelChoice
        The kernel for the run, or that it is estimated from the image.
    code : str
        Python expression for the kernel, which may use `read_psf`, `prepare_psf`, `gaussian_kernel`
        or `widefield_psf`; empty if the kernel is estimated from the image.
    file : str
        File that contains the kernel for the command line; empty if it is estimated.
    """

    choice: KernelChoice = field(default_factory=KernelChoice)
    code: str = ""
    file: str = ""


class KernelForm(QWidget):
    """Widgets to choose the origin of the kernel; :meth:`selection` makes the kernel.

    Parameters
    ----------
    layers : LayerList
        Layers of the viewer, from which the user can choose a PSF.
    """

    def __init__(self, layers: LayerList) -> None:
        super().__init__()
        self._last: Kernel | None = None
        self.source = ComboBox(
            label="Kernel",
            choices=[FOUND, *_GIVEN, *_MODELLED],
            tooltip="Origin of the kernel (PSF). By default it is estimated from the image.",
        )
        self.layer = LayerBox(layers, label="PSF layer", tooltip="Layer with one plane, the PSF.")
        self.file = FileEdit(
            label="PSF file",
            filter="*.tif *.tiff",
            tooltip="TIFF file with one plane. A PSF of another pixel size is resampled to that of "
            "the image, and a flat background is taken off.",
        )
        self.sigma = FloatSpinBox(
            label="σ (px)",
            value=2.0,
            min=0.3,
            max=40,
            step=0.1,
            tooltip="Standard deviation of the Gaussian, in pixels.",
        )
        self.aperture = FloatSpinBox(
            label="NA",
            value=1.2,
            min=0.05,
            max=1.7,
            step=0.05,
            tooltip="Numerical aperture of the objective.",
        )
        self.wavelength = FloatSpinBox(
            label="Emission (nm)",
            value=520,
            min=200,
            max=2000,
            step=5,
            tooltip="Wavelength of the emitted light.",
        )
        self._layer: Image | None = None
        self._optics: WeakKeyDictionary[Image, tuple[Stated, LayerOptics]] = WeakKeyDictionary()
        # What the user entered for each layer, by widget.
        self._entered: WeakKeyDictionary[Image, dict[FloatSpinBox, float]] = WeakKeyDictionary()
        for widget in (self.aperture, self.wavelength):
            widget.changed.connect(partial(self._remember, widget))
        self.held = CheckBox(
            label="Hold it fixed",
            tooltip="On: the kernel stays as it is, and only the image is estimated. Off: the fit "
            "starts from this kernel and corrects it.",
        )
        self._rows: dict[Widget, tuple[str, ...]] = {
            self.layer: (LAYER,),
            self.file: (PSF_FILE,),
            self.sigma: (GAUSSIAN,),
            self.aperture: (MICROSCOPE,),
            self.wavelength: (MICROSCOPE,),
            self.held: (*_GIVEN, *_MODELLED),
        }
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(form_rows([self.source, *self._rows]))
        self.source.changed.connect(self._show_source)
        self._show_source()

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

    def hold_last(self) -> None:
        """Choose the kernel of the last result, held fixed."""
        self.source.value = LAST
        self.held.value = True

    def choices(self) -> dict[str, Any]:
        """Return what is chosen, by the names of the widgets, and the kernel of the last result."""
        return {name: getattr(self, name).value for name in _CHOICES} | {"last": self._last}

    def show_choices(self, choices: dict[str, Any]) -> None:
        """Choose what :meth:`choices` has returned; a PSF layer that was deleted is left out."""
        self._last = choices["last"]
        is_there = choices["layer"] in self.layer.choices
        for name, value in {**choices, "layer": choices["layer"] if is_there else None}.items():
            if name != "last":
                getattr(self, name).value = value

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
        if self.source.value != MICROSCOPE:
            return
        self._layer = layer
        for widget, value in self._known_of(layer, index()).items():
            with widget.changed.blocked():
                widget.value = value

    def _known_of(self, layer: Image, index: Sequence[int]) -> dict[FloatSpinBox, float]:
        """Return what is known about a layer for the model of the microscope, by widget."""
        corrections = Stated.of(layer)
        if layer not in self._optics or self._optics[layer][0] != corrections:
            if layer in self._optics:
                self._entered.pop(layer, None)
            self._optics[layer] = corrections, LayerOptics.of(layer)
        known = self._optics[layer][1]
        wavelength = known.wavelength_at(index)
        values = {
            self.aperture: known.optics.numerical_aperture,
            self.wavelength: wavelength and 1000 * wavelength,
            **self._entered.get(layer, {}),
        }
        return {
            widget: value
            for widget, value in values.items()
            if value is not None and widget.min <= value <= widget.max
        }

    def _remember(self, widget: FloatSpinBox, value: float) -> None:
        if self._layer is not None:
            self._entered.setdefault(self._layer, {})[widget] = value

    def selection(
        self,
        height: float,
        width: float,
        unit: str,
        other: tuple[Image, Sequence[int]] | None = None,
    ) -> KernelSelection:
        """Return the chosen kernel.

        Parameters
        ----------
        height, width : float
            Size of the image's pixels in `unit`, for the model of the microscope.
        unit : str
            The pixel size of the kernel is converted to this unit, so that both can be compared.
        other : tuple of Image and index, optional
            Another layer than the one of :meth:`fill_from`, and the index of its plane: what is
            known about it counts in the model of the microscope in place of what the form shows.

        Raises
        ------
        ValueError, OSError
            If there is no such kernel, or it cannot be read or modelled.
        """
        make: dict[str, Callable[[], tuple[Kernel, str, str]]] = {
            LAST: self._last_kernel,
            LAYER: self._kernel_of_layer,
            PSF_FILE: self._kernel_of_file,
            GAUSSIAN: self._gaussian,
            MICROSCOPE: lambda: self._microscope_model(height, width, unit, other),
        }
        if self.source.value == FOUND:
            return KernelSelection()
        kernel, code, file = make[self.source.value]()
        kernel = _with_unit(kernel, unit)
        fitted = at_pixel_size(kernel, (height, width), unit)
        if fitted is not kernel and code.startswith("read_psf"):
            code = f"prepare_psf({code}, ({height:.6g}, {width:.6g}), {unit!r})"
        choose = KernelChoice.hold if self.held.value else KernelChoice.start_from
        return KernelSelection(choose(fitted), code, file)

    @property
    def stored_in(self) -> str | None:
        """The file that the chosen kernel was read from; None if it is from no file."""
        if self.source.value == LAYER and self.layer.value is not None:
            path: str | None = self.layer.value.source.path
            return path
        return str(self.file.value) if self.source.value == PSF_FILE else None

    def _show_source(self) -> None:
        for widget, sources in self._rows.items():
            show_row(widget, self.source.value in sources)
        if self.source.value != FOUND:  # a model is only a guess, so the fit may correct it
            self.held.value = self.source.value in _GIVEN

    # Each of these returns the kernel, a Python expression for it, and a file that contains it.

    def _last_kernel(self) -> tuple[Kernel, str, str]:
        if self._last is None:
            raise ValueError("There is no last result whose kernel could be used; run once first.")
        return self._last, 'read_psf("kernel.tif")', "kernel.tif"

    def _kernel_of_layer(self) -> tuple[Kernel, str, str]:
        layer: Image | None = self.layer.value
        if layer is None:
            raise ValueError("No layer is chosen as the PSF; choose a 2D layer.")
        pixels = np.squeeze(np.asarray(full_data(layer)))
        if layer.rgb or pixels.ndim != 2:
            raise ValueError(
                "Expected a PSF layer with a single grey plane (rows, columns), got "
                f"{layer.name} of shape {pixels.shape}."
            )
        height, width, unit = read_pixel_size(layer, (layer.ndim - 2, layer.ndim - 1)).size
        size = None if unit == "px" else (height, width)
        kernel = prepare_psf(pixels, psf_pixel_size=size, unit="pixel" if size is None else unit)
        name = file_name(layer.name)
        return kernel, f"read_psf({name!r})", name

    def _kernel_of_file(self) -> tuple[Kernel, str, str]:
        path = Path(str(self.file.value))
        if path == Path():
            raise ValueError("No PSF file is chosen; choose a TIFF file.")
        if not path.is_file():
            raise ValueError(f"The PSF file {path} does not exist; choose a TIFF file.")
        return read_psf(path), f"read_psf({str(path)!r})", str(path)

    def _gaussian(self) -> tuple[Kernel, str, str]:
        sigma = self.sigma.value
        side = _side(sigma * _FWHM_PER_SIGMA)
        kernel = Kernel(gaussian_kernel((side, side), sigma))
        return kernel, f"gaussian_kernel(({side}, {side}), {sigma:g})", "kernel.tif"

    def _microscope_model(
        self, height: float, width: float, unit: str, other: tuple[Image, Sequence[int]] | None
    ) -> tuple[Kernel, str, str]:
        pixel = in_unit(width, unit, "µm")
        if pixel is None or not math.isclose(height, width, rel_tol=_SQUARE_TOLERANCE):
            raise ValueError(
                "Expected square pixels in µm or nm for the microscope's PSF, got "
                f"{height:.3g} × {width:.3g} {unit}; state the pixel size under “Read as”."
            )
        size = float(f"{pixel:.6g}")  # µm, with the digits of the Python expression
        known = {} if other is None else self._known_of(*other)
        aperture = known.get(self.aperture, self.aperture.value)
        wavelength = known.get(self.wavelength, self.wavelength.value) / 1000  # µm
        # The FWHM of an Airy pattern is 0.51 wavelengths over the numerical aperture.
        side = _side(0.51 * wavelength / aperture / size)
        options = {
            "numerical_aperture": round(aperture, 4),
            "wavelength": round(wavelength, 6),
            "pixel_size": size,
        }
        arguments = ", ".join(f"{name}={value:g}" for name, value in options.items())
        kernel = Kernel(widefield_psf(side, **options), pixel_size=(height, width), unit=unit)
        return kernel, f"widefield_psf({side}, {arguments})", "kernel.tif"


def _with_unit(kernel: Kernel, unit: str) -> Kernel:
    """Return a kernel with its pixel size in a unit, if both are known."""
    size = [in_unit(side, kernel.unit, unit) for side in kernel.pixel_size or ()]
    known = tuple(side for side in size if side is not None)
    if not known or len(known) < len(size):
        return kernel
    return replace(kernel, pixel_size=known, unit=unit)


def _side(fwhm: float) -> int:
    """Return the odd side in pixels of a modelled kernel with a width of `fwhm` pixels."""
    return min(int(2 * math.ceil(_SIDE_IN_FWHM * fwhm / 2) + 3) | 1, _MAX_SIDE)
