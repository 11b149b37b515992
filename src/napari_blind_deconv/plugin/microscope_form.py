"""The form for the PSF of the microscope: of a plane in focus, or of a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any
from weakref import WeakKeyDictionary

from magicgui.widgets import ComboBox, FloatSpinBox
from napari.layers import Image

from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.numerics.optics import widefield_psf
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.plugin.kernel_selection import NamedKernel, PixelGrid, format_sides
from napari_blind_deconv.plugin.layer_optics import LayerOptics
from napari_blind_deconv.plugin.settings_form import show_row
from napari_blind_deconv.plugin.stated import Stated
from napari_blind_deconv.psf import MicroscopeKind, microscope_psf

__all__ = ["MicroscopeForm", "modelled_side"]

# Side of a modelled kernel in widths at half maximum, beyond which its weights are negligible.
_SIDE_IN_FWHM = 3.0
_MAX_SIDE = 255  # pixels
# Pixels whose sides differ by more than this fraction are not square.
_SQUARE_TOLERANCE = 0.02
_LIGHT = ((200.0, 2000.0), 5.0)  # limits and step of wavelengths in nm
# What each kind of microscope needs besides the objective.
_NEEDS = {
    MicroscopeKind.WIDEFIELD: (),
    MicroscopeKind.CONFOCAL: ("excitation", "pinhole"),
    MicroscopeKind.TWO_PHOTON: ("excitation",),
    MicroscopeKind.LIGHT_SHEET: ("sheet",),
}


class MicroscopeForm:
    """Widgets for the optics; :meth:`model` makes the PSF.

    Attributes
    ----------
    rows : dict of str to Widget
        The widgets by name. The owner adds them to its layout.
    """

    def __init__(self) -> None:
        self.rows = _rows()
        self._layer: Image | None = None
        self._optics: WeakKeyDictionary[Image, tuple[Stated, LayerOptics]] = WeakKeyDictionary()
        # What the user entered for each layer, by name of the widget.
        self._entered: WeakKeyDictionary[Image, dict[str, float]] = WeakKeyDictionary()
        for name in ("aperture", "wavelength", "index"):
            self.rows[name].changed.connect(partial(self._remember, name))

    def show_rows(self, *, is_chosen: bool, is_volume: bool) -> None:
        """Show what the PSF of a plane or of a volume needs, if this form is chosen."""
        needed = {"aperture", "wavelength"}
        if is_volume:
            kind = MicroscopeKind(self.rows["kind"].value)
            needed |= {"index", "kind", *_NEEDS[kind]}
            if kind is MicroscopeKind.TWO_PHOTON:
                needed -= {"wavelength"}
        for name, row in self.rows.items():
            show_row(row, is_chosen and name in needed)

    # What is known about a layer

    def fill_from(self, layer: Image, index: Sequence[int]) -> None:
        """Fill in what is known about a layer; see `KernelForm.fill_from`."""
        self._layer = layer
        for name, value in self._known_of(layer, index).items():
            with self.rows[name].changed.blocked():
                self.rows[name].value = value

    def _known_of(self, layer: Image, index: Sequence[int]) -> dict[str, float]:
        """Return what is known about a layer, by name of the widget."""
        corrections = Stated.of(layer)
        if layer not in self._optics or self._optics[layer][0] != corrections:
            if layer in self._optics:
                self._entered.pop(layer, None)
            self._optics[layer] = corrections, LayerOptics.of(layer)
        known = self._optics[layer][1]
        wavelength = known.wavelength_at(index)
        values = {
            "aperture": known.optics.numerical_aperture,
            "wavelength": wavelength and 1000 * wavelength,
            "index": known.optics.refractive_index,
            **self._entered.get(layer, {}),
        }
        return {
            name: value
            for name, value in values.items()
            if value is not None and self.rows[name].min <= value <= self.rows[name].max
        }

    def _remember(self, name: str, value: float) -> None:
        if self._layer is not None:
            self._entered.setdefault(self._layer, {})[name] = value

    # The PSF

    def model(
        self, pixels: PixelGrid, other: tuple[Image, Sequence[int]] | None = None
    ) -> NamedKernel:
        """Return the PSF for an image: for a plane in focus, or for a volume.

        Parameters
        ----------
        pixels : PixelGrid
        other : tuple of Image and index, optional
            As in `KernelForm.selection`.

        Raises
        ------
        ValueError
            If the pixel size is not known, or if the optics are impossible.
        """
        shown = {name: row.value for name, row in self.rows.items()}
        values = shown | ({} if other is None else self._known_of(*other))
        return _of_volume(pixels, values) if pixels.is_volume else _of_plane(pixels, values)


def modelled_side(fwhm: float) -> int:
    """Return the odd side in pixels of a modelled kernel with a width of `fwhm` pixels."""
    return min(int(2 * math.ceil(_SIDE_IN_FWHM * fwhm / 2) + 3) | 1, _MAX_SIDE)


def _of_plane(pixels: PixelGrid, values: dict[str, Any]) -> NamedKernel:
    height, width = pixels.sides
    sides = pixels.micrometres
    if not sides or not math.isclose(height, width, rel_tol=_SQUARE_TOLERANCE):
        raise ValueError(
            "Expected square pixels in µm or nm for the microscope's PSF, got "
            f"{height:.3g} × {width:.3g} {pixels.unit}; state the pixel size under “Read as”."
        )
    size = float(f"{sides[-1]:.6g}")  # µm, with the digits of the Python expression
    aperture, wavelength = values["aperture"], values["wavelength"] / 1000
    # The FWHM of an Airy pattern is 0.51 wavelengths over the numerical aperture.
    side = modelled_side(0.51 * wavelength / aperture / size)
    options = {
        "numerical_aperture": round(aperture, 4),
        "wavelength": round(wavelength, 6),
        "pixel_size": size,
    }
    arguments = ", ".join(f"{name}={value:g}" for name, value in options.items())
    psf = widefield_psf(side, **options)
    kernel = Kernel(psf, pixel_size=pixels.sides, unit=pixels.unit)
    return NamedKernel(kernel, f"widefield_psf({side}, {arguments})", "kernel.tif")


def _of_volume(pixels: PixelGrid, values: dict[str, Any]) -> NamedKernel:
    sides = pixels.micrometres
    if not sides:
        raise ValueError(
            "Expected the voxel size of a volume in µm or nm, got no unit of length or no step "
            "along Z; state it under “Read as”."
        )
    size = tuple(float(f"{side:.6g}") for side in sides)
    kind = MicroscopeKind(values["kind"])
    is_two_photon = kind is MicroscopeKind.TWO_PHOTON
    waves = () if is_two_photon else (round(values["wavelength"] / 1000, 6),)
    optics = Optics(round(values["aperture"], 4), round(values["index"], 4), waves)
    options: dict[str, float] = {}
    if "excitation" in _NEEDS[kind]:
        options["excitation_wavelength"] = round(values["excitation"] / 1000, 6)
    if "pinhole" in _NEEDS[kind]:
        options["pinhole"] = round(values["pinhole"], 4)
    if "sheet" in _NEEDS[kind]:
        options["sheet_thickness"] = round(values["sheet"], 4)
    kernel = _computed(optics, size, kind, tuple(options.items()))
    arguments = [
        f"Optics({optics.numerical_aperture:g}, {optics.refractive_index:g}, {waves})",
        format_sides(size),
        *([] if kind is MicroscopeKind.WIDEFIELD else [f"microscope={kind.value!r}"]),
        *(f"{name}={value:g}" for name, value in options.items()),
    ]
    return NamedKernel(kernel, f"microscope_psf({', '.join(arguments)})", "kernel.tif")


@lru_cache(maxsize=8)  # the panel asks for the PSF whenever something is chosen
def _computed(
    optics: Optics,
    sides: tuple[float, ...],
    kind: MicroscopeKind,
    options: tuple[tuple[str, Any], ...],
) -> Kernel:
    return microscope_psf(optics, sides, microscope=kind, **dict(options))


def _rows() -> dict[str, Any]:
    """Return the widgets of the form by name, with the values of a water objective."""
    kinds = ComboBox(
        label="Microscope",
        choices=[kind.value for kind in MicroscopeKind],
        tooltip="Kind of microscope. widefield: a camera, and light on all of the sample. "
        "confocal: a scanned focus and a pinhole; a spinning disk comes close. two-photon: "
        "a scanned focus that excites by two photons. light-sheet: a camera, and light on "
        "a sheet only.",
    )
    return {
        "aperture": _number("NA", 1.2, (0.05, 1.7), 0.05, "Numerical aperture of the objective."),
        "wavelength": _number("Emission (nm)", 520, *_LIGHT, "Wavelength of the emitted light."),
        "index": _number(
            "Immersion index",
            1.33,
            (1.0, 2.0),
            0.005,
            "Refractive index of what is between objective and cover glass: 1 for air, 1.33 water, "
            "1.4 silicone, 1.47 glycerol, 1.515 oil. A higher one makes the PSF longer.",
        ),
        "kind": kinds,
        "excitation": _number(
            "Excitation (nm)", 488, *_LIGHT, "Wavelength of the laser that excites."
        ),
        "pinhole": _number(
            "Pinhole (Airy units)",
            1.0,
            (0.0, 20.0),
            0.1,
            "Diameter of the pinhole. A larger one lets in light from other planes.",
        ),
        "sheet": _number(
            "Sheet (µm)",
            2.0,
            (0.1, 100.0),
            0.1,
            "Thickness of the light sheet, at half of its maximum.",
        ),
    }


def _number(
    label: str, value: float, limits: tuple[float, float], step: float, help_text: str
) -> FloatSpinBox:
    low, high = limits
    return FloatSpinBox(label=label, value=value, min=low, max=high, step=step, tooltip=help_text)
