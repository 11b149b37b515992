"""Where the kernel comes from: found in the image, known, or guessed from the microscope."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSpinBox
from magicgui.widgets.bases import Widget
from napari.components import LayerList
from napari.layers import Image
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_blind_deconv.io.images import read_psf
from napari_blind_deconv.kernel import Kernel, KernelChoice
from napari_blind_deconv.numerics.optics import gaussian_kernel, widefield_psf
from napari_blind_deconv.plugin.layer_box import LayerBox
from napari_blind_deconv.plugin.layers import full_data, unit_in_short
from napari_blind_deconv.plugin.settings_form import form_rows, show_row

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
_KNOWN = (LAST, LAYER, PSF_FILE)
_MODELLED = (GAUSSIAN, MICROSCOPE)
# A modelled kernel ends where it has fallen to nothing: so many widths at half maximum a side.
_WIDTHS_A_SIDE = 3.0
_FWHM_OF_SIGMA = 2 * math.sqrt(2 * math.log(2))
_LARGEST = 255
# Pixels whose sides differ by more than this share are not square.
_SAME_SIZE = 0.02


@dataclass(frozen=True)
class KernelSelection:
    """What a run is told about the kernel, for the run and for scripts.

    Attributes
    ----------
    choice : KernelChoice
    code : str
        A Python expression for the kernel, given ``tifffile`` and the function it calls, if any;
        empty if it is found.
    file : str
        The file to have it in for the command line.
    """

    choice: KernelChoice = field(default_factory=KernelChoice)
    code: str = ""
    file: str = ""


class KernelForm(QWidget):
    """Choose where the kernel comes from; :meth:`selection` makes it.

    Parameters
    ----------
    layers : LayerList
        Of the viewer, to choose a PSF from.
    """

    def __init__(self, layers: LayerList) -> None:
        super().__init__()
        self._last: Kernel | None = None
        self.source = ComboBox(
            label="Kernel",
            choices=[FOUND, *_KNOWN, *_MODELLED],
            tooltip="Where the kernel (PSF) comes from. Nothing needs to be known.",
        )
        self.layer = LayerBox(layers, label="PSF layer", tooltip="A 2D layer: the PSF.")
        self.file = FileEdit(
            label="PSF file", filter="*.tif *.tiff", tooltip="One plane, at the image's pixel size."
        )
        self.sigma = FloatSpinBox(
            label="σ (px)", value=2.0, min=0.3, max=40, step=0.1, tooltip="Of the Gaussian."
        )
        self.aperture = FloatSpinBox(
            label="NA", value=1.2, min=0.05, max=1.7, step=0.05, tooltip="Of the objective."
        )
        self.wavelength = FloatSpinBox(
            label="Emission (nm)", value=520, min=200, max=2000, step=5, tooltip="Wavelength."
        )
        self.held = CheckBox(
            label="Hold it as it is",
            tooltip="On: the kernel is known, only the picture is estimated. Off: it is what the "
            "fit starts from.",
        )
        self._rows: dict[Widget, tuple[str, ...]] = {
            self.layer: (LAYER,),
            self.file: (PSF_FILE,),
            self.sigma: (GAUSSIAN,),
            self.aperture: (MICROSCOPE,),
            self.wavelength: (MICROSCOPE,),
            self.held: (*_KNOWN, *_MODELLED),
        }
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(form_rows([self.source, *self._rows]))
        self.source.changed.connect(self._show_source)
        self._show_source()

    @property
    def is_held(self) -> bool:
        """Whether the kernel is known and stays as it is."""
        return self.source.value != FOUND and bool(self.held.value)

    @property
    def in_words(self) -> str:
        """Which kernel is taken, and how; empty if it is found in the image."""
        if self.source.value == FOUND:
            return ""
        return f"{self.source.value}, {'held' if self.held.value else 'a start'}"

    def remember(self, kernel: Kernel | None) -> None:
        """What "the last result's" stands for."""
        self._last = kernel

    def hold_last(self) -> None:
        """Choose the last result's kernel, to be held."""
        self.source.value = LAST
        self.held.value = True

    def reset(self) -> None:
        """Back to finding it."""
        self.source.value = FOUND

    def selection(self, height: float, width: float, unit: str) -> KernelSelection:
        """The kernel that is chosen, for pixels of some height and width.

        Raises
        ------
        ValueError, OSError
            In one sentence, if it is not there or cannot be.
        """
        make: dict[str, Callable[[], tuple[Kernel, str, str]]] = {
            LAST: self._of_last,
            LAYER: self._of_layer,
            PSF_FILE: self._of_file,
            GAUSSIAN: self._of_gaussian,
            MICROSCOPE: lambda: self._of_microscope(height, width, unit),
        }
        if self.source.value == FOUND:
            return KernelSelection()
        kernel, code, file = make[self.source.value]()
        told = KernelChoice.hold if self.held.value else KernelChoice.start_from
        return KernelSelection(told(kernel), code, file)

    def _show_source(self) -> None:
        for widget, sources in self._rows.items():
            show_row(widget, self.source.value in sources)
        if self.source.value != FOUND:
            self.held.value = self.source.value in _KNOWN

    # Each: the kernel, a Python expression for it, and the file to have it in.

    def _of_last(self) -> tuple[Kernel, str, str]:
        if self._last is None:
            raise ValueError("There is no last result to take the kernel of; run once before.")
        return self._last, 'tifffile.imread("kernel.tif")', "kernel.tif"

    def _of_layer(self) -> tuple[Kernel, str, str]:
        layer: Image | None = self.layer.value
        if layer is None:
            raise ValueError("No layer is chosen as the PSF; choose one.")
        pixels = np.squeeze(np.asarray(full_data(layer)))
        if layer.rgb or pixels.ndim != 2:
            raise ValueError(
                f"The PSF layer {layer.name} has shape {pixels.shape}; accepted is one grey plane."
            )
        unit = unit_in_short(layer.units[-1])
        size = None if unit == "px" else (float(layer.scale[-2]), float(layer.scale[-1]))
        name = f"{layer.name}.tif"
        kernel = Kernel.of(pixels, pixel_size=size, unit=unit)
        return kernel, f"tifffile.imread({name!r})", name

    def _of_file(self) -> tuple[Kernel, str, str]:
        path = Path(str(self.file.value))
        if not path.is_file():
            raise ValueError(f"The PSF file {path} does not exist; choose a TIFF.")
        return read_psf(path), f"tifffile.imread({str(path)!r})", str(path)

    def _of_gaussian(self) -> tuple[Kernel, str, str]:
        sigma = self.sigma.value
        side = _side(sigma * _FWHM_OF_SIGMA)
        kernel = Kernel(gaussian_kernel((side, side), sigma))
        return kernel, f"gaussian_kernel(({side}, {side}), {sigma:g})", "kernel.tif"

    def _of_microscope(self, height: float, width: float, unit: str) -> tuple[Kernel, str, str]:
        if unit not in ("µm", "nm") or not math.isclose(height, width, rel_tol=_SAME_SIZE):
            raise ValueError(
                f"The image's pixels are {height:.3g} × {width:.3g} {unit}; the microscope's PSF "
                "wants square ones in µm or nm: set the layer's scale and units."
            )
        size = width if unit == "µm" else width / 1000
        wavelength = self.wavelength.value / 1000
        side = _side(0.51 * wavelength / self.aperture.value / size)
        options = {
            "numerical_aperture": round(self.aperture.value, 4),
            "wavelength": round(wavelength, 6),
            "pixel_size": size,
        }
        told = ", ".join(f"{name}={value:g}" for name, value in options.items())
        kernel = Kernel(widefield_psf(side, **options))
        return kernel, f"widefield_psf({side}, {told})", "kernel.tif"


def _side(fwhm: float) -> int:
    return min(int(2 * math.ceil(_WIDTHS_A_SIDE * fwhm / 2) + 3) | 1, _LARGEST)
