"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from napari_blind_deconv.io.scaling import PixelType
    from napari_blind_deconv.kernel import KernelScope
    from napari_blind_deconv.optics import Optics

__all__ = [
    "ApertureOption",
    "AxesOption",
    "DeviceOption",
    "DtypeOption",
    "ImmersionOption",
    "KernelOption",
    "MaskOption",
    "OverwriteOption",
    "PixelSizeOption",
    "PresetOption",
    "ResumeOption",
    "SeedOption",
    "SeriesOption",
    "SetOption",
    "VolumeOption",
    "WavelengthOption",
    "given_optics",
    "kernel_scope",
    "parse_index",
    "parse_pixel_size",
    "parse_position",
    "parse_sides",
    "pixel_type",
]

# Options that are passed on

DeviceOption = Annotated[
    str | None, typer.Option(help="Device to compute on: auto, cpu, cuda or mps.")
]
PresetOption = Annotated[
    str, typer.Option(help="Name of a preset; `blind-deconv presets` lists them.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; can be repeated."),
]
AxesOption = Annotated[
    str | None,
    typer.Option(help="Axes of the file, such as TCZYX, if it states none or wrong ones."),
]
KernelOption = Annotated[
    str, typer.Option(help="Kernels of a stack: per-channel, shared (one for all) or per-slice.")
]
VolumeOption = Annotated[
    bool, typer.Option("--volume", help="Deconvolve each volume along Z, Y and X with a 3D PSF.")
]
SeriesOption = Annotated[
    str | None,
    typer.Option(help="Number (from 0) or name of the image in a file that contains several."),
]
MaskOption = Annotated[
    Path | None,
    typer.Option(help="TIFF or OME-Zarr of a mask: pixels where it is not 0 are left out."),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        help="Pixels of the result: float32, or uint16, integers with a recorded scaling."
    ),
]
ResumeOption = Annotated[bool, typer.Option(help="Continue an interrupted run.")]
OverwriteOption = Annotated[bool, typer.Option(help="Replace outputs that already exist.")]
SeedOption = Annotated[
    int | None, typer.Option(help="Seed of the random numbers that the networks start from.")
]


def kernel_scope(name: str) -> KernelScope:
    """Return which planes share a kernel; raise `ValueError` for an unknown name."""
    from napari_blind_deconv.kernel import KernelChoice

    return KernelChoice.find(name).scope


def pixel_type(name: str) -> PixelType:
    """Return a type of pixels by its name; raise `ValueError` for an unknown one."""
    from napari_blind_deconv.io.scaling import PixelType

    return PixelType.named(name)


def parse_index(text: str | None) -> tuple[int, ...] | None:
    """Return the index of a plane; raise `ValueError` unless the text is one."""
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"Expected the index of a plane, such as 0,1,5, got {text!r}.") from None


def parse_sides(text: str | None) -> tuple[int, ...] | None:
    """Return the sides of a window; raise `ValueError` unless the text states them."""
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"Expected sides in pixels, such as 31,63,63, got {text!r}.") from None


# Corrections of what a file states. Lengths have the units that microscopists use for them: pixels
# are in µm, wavelengths in nm.

PixelSizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="Z,Y,X",
        help="Pixel size in µm, in place of the one in the file: Z,Y,X or Y,X, or one number for "
        "both Y and X.",
    ),
]
ApertureOption = Annotated[
    float | None, typer.Option("--na", help="Numerical aperture of the objective, such as 1.4.")
]
ImmersionOption = Annotated[
    str | None,
    typer.Option(
        "--refractive-index",
        "--immersion",
        metavar="INDEX",
        help="Refractive index of the immersion, or its name: air, water, silicone, glycerol, oil.",
    ),
]
WavelengthOption = Annotated[
    str | None,
    typer.Option(
        metavar="525,607",
        help="Emission wavelengths in nm, one for each channel of the input, or ? if unknown.",
    ),
]


def parse_pixel_size(text: str | None) -> tuple[float, ...] | None:
    """Return a pixel size in µm from its text; raise `ValueError` unless it is one."""
    from napari_blind_deconv.io.stored_array import check_sides

    if text is None:
        return None
    sides = _numbers(text, "the pixel size in µm, such as 0.065 or 0.3,0.065,0.065")
    check_sides(sides)
    return sides


def parse_position(text: str) -> tuple[float, ...]:
    """Return a position in pixels from its text; raise `ValueError` unless it is one."""
    return _numbers(text, "a position in pixels, such as 20,131,96")


def given_optics(na: float | None, immersion: str | None, wavelength: str | None) -> Optics:
    """Return the optics that the options give; raise `ValueError` for impossible values."""
    from napari_blind_deconv.optics import Optics, parse_wavelengths

    return Optics(na, _index(immersion), parse_wavelengths(wavelength or ""))


def _index(immersion: str | None) -> float | None:
    from napari_blind_deconv.io.optics_metadata import REFRACTIVE_INDICES, refractive_index_of

    if immersion is None:
        return None
    try:
        return refractive_index_of(immersion) or float(immersion)
    except ValueError:
        raise ValueError(
            "Expected the refractive index of the immersion, such as 1.515, or one of "
            f"{', '.join(REFRACTIVE_INDICES)}, got {immersion!r}."
        ) from None


def _numbers(text: str, expected: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"Expected {expected}, got {text!r}.") from None
