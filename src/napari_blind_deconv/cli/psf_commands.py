"""The commands that make a PSF: computed from the optics, or measured on beads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_blind_deconv.cli.commands import app
from napari_blind_deconv.cli.options import (
    ApertureOption,
    ImmersionOption,
    OverwriteOption,
    PixelSizeOption,
    SeriesOption,
    given_optics,
    parse_pixel_size,
    parse_position,
    parse_sides,
)
from napari_blind_deconv.cli.output import errors, one_sentence_errors

if TYPE_CHECKING:
    from napari_blind_deconv.kernel import Kernel

__all__ = ["psf", "psf_beads"]

_Out = Annotated[Path, typer.Argument(metavar="OUT", help="TIFF for the PSF, as --psf reads it.")]
_ShapeOption = Annotated[
    str | None,
    typer.Option(metavar="Z,Y,X", help="Sides of the PSF in pixels; default: as large as it is."),
]


@app.command()
def psf(
    out: _Out,
    na: ApertureOption = None,
    wavelength: Annotated[
        float | None, typer.Option(help="Emission wavelength in nm, such as 525.")
    ] = None,
    refractive_index: ImmersionOption = None,
    pixel_size: Annotated[
        str | None,
        typer.Option(
            metavar="Z,Y,X",
            help="Pixel size in µm: Z,Y,X for a volume, Y,X or one number for the focal plane.",
        ),
    ] = None,
    confocal: Annotated[
        bool, typer.Option("--confocal", help="Of a confocal microscope; needs --excitation.")
    ] = False,
    two_photon: Annotated[
        bool, typer.Option("--two-photon", help="Of a two-photon microscope; needs --excitation.")
    ] = False,
    light_sheet: Annotated[
        float | None,
        typer.Option(help="Of a light-sheet microscope: thickness of the sheet (FWHM) in µm."),
    ] = None,
    excitation: Annotated[
        float | None, typer.Option(help="Excitation wavelength in nm, such as 488.")
    ] = None,
    pinhole: Annotated[
        float, typer.Option(help="Diameter of the pinhole in Airy units; 0 is a closed one.")
    ] = 1.0,
    sample_index: Annotated[
        float | None,
        typer.Option(
            help="Refractive index of the sample, such as 1.33; default: of the immersion."
        ),
    ] = None,
    depth: Annotated[
        float, typer.Option(help="Depth of what is imaged below the cover glass, in µm.")
    ] = 0.0,
    shape: _ShapeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Compute the PSF of a microscope, for `blind-deconv run --psf`."""
    with one_sentence_errors():
        from napari_blind_deconv.io.images import check_output
        from napari_blind_deconv.psf import MicroscopeKind, microscope_psf

        check_output(out, overwrite=overwrite)
        sides = parse_pixel_size(pixel_size)
        if sides is None:
            raise ValueError("Expected the pixel size of the PSF, --pixel-size, got none.")
        kinds = {
            MicroscopeKind.CONFOCAL: confocal,
            MicroscopeKind.TWO_PHOTON: two_photon,
            MicroscopeKind.LIGHT_SHEET: light_sheet is not None,
        }
        chosen = [kind for kind, is_chosen in kinds.items() if is_chosen]
        if len(chosen) > 1:
            raise ValueError(f"Expected one kind of microscope, got {' and '.join(chosen)}.")
        kernel = microscope_psf(
            given_optics(na, refractive_index, None if wavelength is None else str(wavelength)),
            sides * 2 if len(sides) == 1 else sides,
            microscope=(*chosen, MicroscopeKind.WIDEFIELD)[0],
            excitation_wavelength=None if excitation is None else excitation / 1000,
            pinhole=pinhole,
            sheet_thickness=light_sheet,
            sample_index=sample_index,
            depth=depth,
            shape=parse_sides(shape),
        )
        _write(out, kernel)


@app.command()
def psf_beads(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image of beads, 2D or 3D.")],
    out: _Out,
    pixel_size: PixelSizeOption = None,
    bead_diameter: Annotated[
        float | None, typer.Option(help="Diameter of the beads in µm, to correct the FWHM.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="Z,Y,X", help="Pixel of a bead to use; can be repeated. Default: all that fit."
        ),
    ] = None,
    series: SeriesOption = None,
    shape: _ShapeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure the PSF on an image of beads, and print its widths and which beads were left out."""
    with one_sentence_errors():
        from napari_blind_deconv.bead_psf import diameter_in_unit, psf_from_beads
        from napari_blind_deconv.io.images import check_output
        from napari_blind_deconv.io.stacks import open_image

        check_output(out, overwrite=overwrite, inputs=[image])
        given = parse_pixel_size(pixel_size)
        with open_image(image, series=series, pixel_size=given) as opened:
            beads = opened.image
            measured = psf_from_beads(
                beads,
                positions=None if at is None else [parse_position(text) for text in at],
                bead_diameter=diameter_in_unit(beads, bead_diameter),
                shape=parse_sides(shape),
            )
        errors.print(measured.described, soft_wrap=True)
        _write(out, measured.kernel)


def _write(out: Path, kernel: Kernel) -> None:
    """Write a PSF with its pixel size."""
    from napari_blind_deconv.image import BlockKind, Image
    from napari_blind_deconv.io.images import write_plane

    axes = "ZYX"[-kernel.weights.ndim :]
    spacing = dict(zip(axes, kernel.pixel_size or (), strict=False))
    plane = Image(kernel.weights, axes, spacing, kernel.unit, space=axes)
    write_plane(out, plane, {"kernel_source": kernel.source.value})
    size = " × ".join(map(str, kernel.shape))
    element = BlockKind.with_axes(kernel.weights.ndim).element
    errors.print(f"{out}: PSF of {size} {element}s.", soft_wrap=True)
