"""The commands of ``blind-deconv`` and their options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_blind_deconv.cli.options import (
    ApertureOption,
    AxesOption,
    DeviceOption,
    DtypeOption,
    ImmersionOption,
    KernelOption,
    MaskOption,
    OverwriteOption,
    PixelSizeOption,
    PresetOption,
    ResumeOption,
    SeedOption,
    SeriesOption,
    SetOption,
    VolumeOption,
    WavelengthOption,
    given_optics,
    kernel_scope,
    parse_index,
    parse_pixel_size,
    pixel_type,
)
from napari_blind_deconv.cli.output import (
    FAILED,
    INTERRUPTED,
    SOME_FAILED,
    console,
    errors,
    one_sentence_errors,
    print_lines,
    print_result_summary,
    progress_bar,
)
from napari_blind_deconv.cli.running import (
    check_distinct,
    deconvolve_with_progress,
    run_job_with_progress,
)
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.settings import PRESET_HELP, Settings

if TYPE_CHECKING:
    from napari_blind_deconv.results import Result

__all__ = ["app"]

app = typer.Typer(
    help="Deconvolve microscope images without knowing the point spread function.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    image: Annotated[
        Path | None, typer.Argument(metavar="INPUT", help="Image: TIFF, OME-TIFF or OME-Zarr.")
    ] = None,
    output: Annotated[
        Path | None, typer.Argument(help="File for the result: .tif, .ome.tif or .ome.zarr.")
    ] = None,
    preset: PresetOption = "fast",
    assignments: SetOption = None,
    axes: AxesOption = None,
    pixel_size: PixelSizeOption = None,
    na: ApertureOption = None,
    refractive_index: ImmersionOption = None,
    wavelength: WavelengthOption = None,
    select: Annotated[
        str | None,
        typer.Option(
            metavar="3,10:266,20:276", help="Part of the image: an index or a range for each axis."
        ),
    ] = None,
    series: SeriesOption = None,
    volume: VolumeOption = False,
    kernel: KernelOption = "per-channel",
    reference: Annotated[
        str | None,
        typer.Option(metavar="T,C,Z", help="Plane of a stack on which the kernel is estimated."),
    ] = None,
    psf: Annotated[
        Path | None, typer.Option(help="TIFF or OME-Zarr of a known PSF, used as a fixed kernel.")
    ] = None,
    psf_guess: Annotated[
        Path | None, typer.Option(help="TIFF of an approximate PSF, which the fit corrects.")
    ] = None,
    mask: MaskOption = None,
    kernel_out: Annotated[
        Path | None, typer.Option(help="TIFF for the kernels, one page per channel or plane.")
    ] = None,
    trace_out: Annotated[
        Path | None, typer.Option(help="CSV for the early-stopping traces.")
    ] = None,
    from_sidecar: Annotated[
        Path | None, typer.Option(help="Repeat the run of a result, from its .json file.")
    ] = None,
    dtype: DtypeOption = "float32",
    resume: ResumeOption = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT", help="Dask scheduler that distributes the planes of a stack."
        ),
    ] = None,
    device: DeviceOption = None,
    seed: SeedOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Deconvolve an image; a stack is deconvolved plane by plane, or volume by volume.

    Ctrl-C stops the run with exit code 130: a single plane is written with the best estimate so
    far, and the finished planes of a stack are kept. Exit code 3 means that planes of a stack
    failed; in the result they contain their input, or zeros if they could not be read.
    """
    with one_sentence_errors():
        from napari_blind_deconv.jobs import Job

        if from_sidecar is not None:
            job = Job.from_sidecar(from_sidecar)
        elif image is None or output is None:
            raise ValueError("Expected an input and an output, or --from-sidecar.")
        else:
            job = Job(
                input=image,
                output=output,
                settings=_settings(preset, assignments, device, seed),
                axes=axes,
                kernel=kernel_scope(kernel),
                select=select,
                series=series,
                psf=psf,
                psf_guess=psf_guess,
                mask=mask,
                reference=parse_index(reference),
                dtype=pixel_type(dtype),
                block=BlockKind.VOLUME if volume else BlockKind.PLANE,
            )
        given = given_optics(na, refractive_index, wavelength)
        job = job.corrected(parse_pixel_size(pixel_size), given)
        code = run_job_with_progress(
            job, kernel_out, trace_out, resume=resume, overwrite=overwrite, scheduler=scheduler
        )
    if code:
        raise typer.Exit(code)


def _settings(
    preset: str,
    assignments: list[str] | None = None,
    device: str | None = None,
    seed: int | None = None,
) -> Settings:
    """Return the settings of a preset, changed by the other options of the command line."""
    options = {"device": device, "seed": seed}
    changes = {name: value for name, value in options.items() if value is not None}
    return Settings.preset(preset).with_texts(assignments or []).with_changes(**changes)


@app.command()
def batch(
    images: Annotated[
        list[str], typer.Argument(metavar="INPUTS", help='Images, or a pattern such as "in/*.tif".')
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results; it is created.")],
    suffix: Annotated[str, typer.Option(help="Ending of the result names.")] = "_deblurred.ome.tif",
    preset: PresetOption = "fast",
    assignments: SetOption = None,
    axes: AxesOption = None,
    pixel_size: PixelSizeOption = None,
    na: ApertureOption = None,
    refractive_index: ImmersionOption = None,
    wavelength: WavelengthOption = None,
    series: SeriesOption = None,
    volume: VolumeOption = False,
    kernel: KernelOption = "per-channel",
    psf: Annotated[Path | None, typer.Option(help="TIFF of a known PSF, for all images.")] = None,
    psf_guess: Annotated[
        Path | None,
        typer.Option(help="TIFF of an approximate PSF, which the fit corrects for each image."),
    ] = None,
    mask: MaskOption = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Number of files at a time; they share the cores.")
    ] = 1,
    dtype: DtypeOption = "float32",
    resume: ResumeOption = False,
    device: DeviceOption = None,
    seed: SeedOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Deconvolve many images; the images that failed are listed at the end.

    Exit code 3 means that some images, or some of their planes, failed.
    """
    with one_sentence_errors():
        from napari_blind_deconv.batch import plan_batch, run_batch
        from napari_blind_deconv.jobs import Job
        from napari_blind_deconv.verdict import strength_notes

        common: dict[str, Any] = {
            "settings": _settings(preset, assignments, device, seed),
            "axes": axes,
            "pixel_size": parse_pixel_size(pixel_size),
            "optics": given_optics(na, refractive_index, wavelength),
            "series": series,
            "dtype": pixel_type(dtype),
            "kernel": kernel_scope(kernel),
            "psf": psf,
            "psf_guess": psf_guess,
            "mask": mask,
            "block": BlockKind.VOLUME if volume else BlockKind.PLANE,
        }
        pairs = plan_batch(images, out, suffix)
        out.mkdir(parents=True, exist_ok=True)
        all_jobs = [Job(input=source, output=target, **common) for source, target in pairs]
        troubles, reports = {}, {}
        with progress_bar() as progress:
            task = progress.add_task("deconvolving", total=len(all_jobs), unit="files")
            ended = run_batch(all_jobs, at_a_time=jobs, resume=resume, overwrite=overwrite)
            for job, report in ended:
                progress.advance(task)
                if report.trouble:
                    troubles[job.input] = report.trouble
                reports[job.input] = report
        for path, trouble in troubles.items():
            errors.print(f"{path}: {trouble}", soft_wrap=True)
        for path, report in reports.items():
            print_lines("note", report.notes, path)
            print_lines("warning", report.warnings, path)
        print_lines("note", strength_notes(common["settings"].strength))
        errors.print(f"{len(all_jobs) - len(troubles)} of {len(all_jobs)} files done, in {out}.")
    if troubles:
        raise typer.Exit(SOME_FAILED)


@app.command()
def report(
    result: Annotated[Path, typer.Argument(help="A result with its .json file beside it.")],
    out: Annotated[
        Path | None, typer.Option(help="File for the page: .png or .pdf; default: no page.")
    ] = None,
    plane: Annotated[
        str | None,
        typer.Option(
            metavar="T,C,Z",
            help="Plane of a stack, or T,C of a volume; default: the first.",
        ),
    ] = None,
    error_out: Annotated[
        Path | None, typer.Option(help="TIFF for a map of the expected error.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Report how far a result can be trusted: numbers as JSON; with --out, a page with figures."""
    with one_sentence_errors():
        import numpy as np

        from napari_blind_deconv.figures import write_report
        from napari_blind_deconv.io.images import check_output, write_plane
        from napari_blind_deconv.jobs import sidecar_of
        from napari_blind_deconv.report import Report

        check_distinct(result, sidecar_of(result), out, error_out)
        for path, suffixes in ((out, {".png", ".pdf"}), (error_out, None)):
            if path is not None:
                check_output(path, overwrite=overwrite, suffixes=suffixes)
        judged = Report.of(result, parse_index(plane))
        # Output that is redirected on Windows can encode few characters beyond ASCII.
        console.print_json(data=judged.as_record(), ensure_ascii=True)
        if out is not None:
            write_report(out, judged)
            errors.print(f"{out}: {judged.verdict}", soft_wrap=True)
        if error_out is not None:
            write_plane(error_out, judged.error_image(), {"expected_error_of": judged.title})
            median = np.nanmedian(judged.expected_error)
            errors.print(f"{error_out}: median {median:.4g}", soft_wrap=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results; it is created.")] = Path(
        "demo"
    ),
    device: DeviceOption = None,
    seed: SeedOption = None,
) -> None:
    """Deconvolve a real microscope image, and a synthetic scene whose truth is known."""
    with one_sentence_errors():
        from napari_blind_deconv.synthetic import cell_crop, fluorescence_scene

        out.mkdir(parents=True, exist_ok=True)
        settings = _settings("fast", None, device, seed)
        _, interrupted = _demonstrate(cell_crop(), "cell", out, settings)
        if not interrupted:
            scene = fluorescence_scene()
            result, interrupted = _demonstrate(scene.observed, "scene", out, settings)
            before, after = scene.psnr(scene.observed), scene.psnr(result.image)
            errors.print(
                f"Against the truth: {before:.2f} dB before, {after:.2f} dB after, "
                f"gain {after - before:+.2f} dB."
            )
        errors.print(f"The results are in {out}.")
    if interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command()
def presets() -> None:
    """List the presets, what each is for, and which settings differ from the default."""
    default = Settings()
    for name, preset in Settings.presets().items():
        console.print(f"[bold]{name}[/bold]  {PRESET_HELP[name]}")
        for field in preset.changes_from(default):
            console.print(f"    {field} = {getattr(preset, field)}", markup=False)


@app.command()
def doctor() -> None:
    """Print versions and devices, and test the devices. Exit code 1 means that a test failed."""
    with one_sentence_errors():
        from napari_blind_deconv.doctor import examine

        passed = examine(console)
    if not passed:
        raise typer.Exit(FAILED)


def _demonstrate(pixels: Any, name: str, out: Path, settings: Settings) -> tuple[Result, bool]:
    """Deconvolve an image and write its files; return the result, and whether it was stopped."""
    from napari_blind_deconv.figures import write_summary
    from napari_blind_deconv.image import Image
    from napari_blind_deconv.io.images import write_plane, write_traces

    result, interrupted = deconvolve_with_progress(pixels, settings, name)
    image, kernel, trace = (
        out / f"{name}_{ending}" for ending in ("deblurred.tif", "kernel.tif", "trace.csv")
    )
    write_plane(image, Image(result.image), result.provenance())
    write_plane(kernel, Image(result.kernel.weights), result.provenance())
    write_traces(trace, "", {(): result.trace.tolist()})
    write_summary(out / f"{name}_summary.png", pixels, result, name)
    print_result_summary(result, image)
    print_lines("note", [finding.text(n) for finding, n in result.findings.items()])
    print_lines("warning", [flag.sentence for flag in result.flags])
    return result, interrupted
