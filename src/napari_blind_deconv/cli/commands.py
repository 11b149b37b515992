"""The commands of ``blind-deconv`` and their options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_blind_deconv.cli.output import (
    FAILED,
    INTERRUPTED,
    SOME_FAILED,
    console,
    errors,
    one_sentence_errors,
    print_result_summary,
    progress_bar,
)
from napari_blind_deconv.cli.running import (
    check_distinct,
    deconvolve_with_progress,
    run_job_with_progress,
)
from napari_blind_deconv.settings import PRESET_HELP, Settings

if TYPE_CHECKING:
    from napari_blind_deconv.kernel import KernelScope
    from napari_blind_deconv.results import Result

__all__ = ["app"]

app = typer.Typer(
    help="Sharpen microscope images when nobody knows the point spread function.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DeviceOption = Annotated[
    str | None, typer.Option(help="The setting `device`: auto, cpu, cuda or mps.")
]
PresetOption = Annotated[str, typer.Option(help="See `blind-deconv presets`.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
]
AxesOption = Annotated[
    str | None, typer.Option(help="What the file's axes are, such as TCZYX, if it is wrong.")
]
KernelOption = Annotated[str, typer.Option(help="Of a stack: per-channel, shared or per-slice.")]
ResumeOption = Annotated[bool, typer.Option(help="Go on with a stack that was cut off.")]
OverwriteOption = Annotated[bool, typer.Option(help="Replace outputs that exist.")]
SeedOption = Annotated[
    int | None, typer.Option(help="The setting `seed`, of the networks' random start.")
]


@app.command()
def run(
    image: Annotated[
        Path | None, typer.Argument(metavar="INPUT", help="TIFF, OME-TIFF or OME-Zarr.")
    ] = None,
    output: Annotated[
        Path | None, typer.Argument(help="Where the estimate goes: .tif, .ome.tif or .ome.zarr.")
    ] = None,
    preset: PresetOption = "fast",
    assignments: SetOption = None,
    axes: AxesOption = None,
    select: Annotated[
        str | None,
        typer.Option(metavar="3,10:266,20:276", help="Part of the image, one item an axis."),
    ] = None,
    kernel: KernelOption = "per-channel",
    reference: Annotated[
        str | None,
        typer.Option(metavar="T,C,Z", help="Plane of a stack to find the kernel on."),
    ] = None,
    psf: Annotated[
        Path | None, typer.Option(help="A known PSF as TIFF: the kernel is then fixed.")
    ] = None,
    psf_guess: Annotated[
        Path | None, typer.Option(help="A PSF as TIFF for the kernel to start from.")
    ] = None,
    kernel_out: Annotated[
        Path | None, typer.Option(help="Where kernels go as TIFF; a page a channel or plane.")
    ] = None,
    trace_out: Annotated[
        Path | None, typer.Option(help="Where the early-stopping traces go, as CSV.")
    ] = None,
    from_sidecar: Annotated[
        Path | None, typer.Option(help="Run again what the .json beside a result tells of.")
    ] = None,
    resume: ResumeOption = False,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://HOST:PORT", help="Of a dask cluster to do a stack's planes."),
    ] = None,
    device: DeviceOption = None,
    seed: SeedOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Deblur an image, plane by plane if it is a stack. Ctrl-C keeps what there is, exit code 130.

    Exit code 3 says that planes of a stack failed; they hold their input.
    """
    with one_sentence_errors():
        from napari_blind_deconv.jobs import Job

        if from_sidecar is not None:
            job = Job.from_sidecar(from_sidecar)
        elif image is None or output is None:
            raise ValueError("Got no input or no output; accepted are both, or --from-sidecar.")
        else:
            job = Job(
                input=image,
                output=output,
                settings=_settings(preset, assignments, device, seed),
                axes=axes,
                kernel=_scope(kernel),
                select=select,
                psf=psf,
                psf_guess=psf_guess,
                reference=_position(reference),
            )
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
    """Settings of a preset, changed by what else was said on the command line."""
    said = {"device": device, "seed": seed}
    changes = {name: value for name, value in said.items() if value is not None}
    return Settings.preset(preset).with_texts(assignments or []).with_changes(**changes)


def _scope(name: str) -> KernelScope:
    from napari_blind_deconv.kernel import KernelChoice

    return KernelChoice.find(name).scope


def _position(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"The plane is {text!r}; accepted are numbers such as 0,1,5.") from None


@app.command()
def batch(
    images: Annotated[list[str], typer.Argument(metavar="INPUTS", help='Files, or "in/*.tif".')],
    out: Annotated[Path, typer.Option(help="Folder for the results; created.")],
    suffix: Annotated[str, typer.Option(help="Of the results.")] = "_deblurred.ome.tif",
    preset: PresetOption = "fast",
    assignments: SetOption = None,
    axes: AxesOption = None,
    kernel: KernelOption = "per-channel",
    psf: Annotated[Path | None, typer.Option(help="A known PSF as TIFF, for all.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Files at a time, sharing the cores.")] = 1,
    resume: ResumeOption = False,
    device: DeviceOption = None,
    seed: SeedOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Deblur many images, one after the other or several at a time; a bad one is listed at the end.

    Exit code 3 says that some failed, or planes of them.
    """
    with one_sentence_errors():
        from napari_blind_deconv.batch import plan_batch, run_batch
        from napari_blind_deconv.jobs import Job

        common = {
            "settings": _settings(preset, assignments, device, seed),
            "axes": axes,
            "kernel": _scope(kernel),
            "psf": psf,
        }
        pairs = plan_batch(images, out, suffix)
        out.mkdir(parents=True, exist_ok=True)
        todo = [Job(input=source, output=target, **common) for source, target in pairs]
        troubles, doubted = {}, {}
        with progress_bar() as progress:
            task = progress.add_task("sharpening", total=len(todo), unit="files")
            for job, report in run_batch(todo, at_a_time=jobs, resume=resume, overwrite=overwrite):
                progress.advance(task)
                if report.trouble:
                    troubles[job.input] = report.trouble
                if report.warnings:
                    doubted[job.input] = report.warnings
        for path, trouble in troubles.items():
            errors.print(f"{path}: {trouble}", soft_wrap=True)
        for path, warnings in doubted.items():
            for line in warnings:
                errors.print(f"{path}: warning: {line}", soft_wrap=True)
        errors.print(f"{len(todo) - len(troubles)} of {len(todo)} files done, in {out}.")
    if troubles:
        raise typer.Exit(SOME_FAILED)


@app.command()
def report(
    result: Annotated[Path, typer.Argument(help="A result, its .json beside it.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the page goes, as .png or .pdf. None: numbers only.")
    ] = None,
    plane: Annotated[
        str | None, typer.Option(metavar="T,C,Z", help="Of a stack; the first if not given.")
    ] = None,
    error_out: Annotated[
        Path | None, typer.Option(help="Where a map of the expected error goes, as TIFF: slow.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Runs that map is made from; more make it less noisy.")
    ] = 4,
    device: DeviceOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Say how far a result can be trusted: numbers as JSON, and a page with the residual."""
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
        found = Report.of(result, _position(plane))
        # Redirected on Windows, the output takes few characters beyond ASCII.
        console.print_json(data=found.as_record(), ensure_ascii=True)
        if out is not None:
            write_report(out, found)
            errors.print(f"{out}: {found.verdict}", soft_wrap=True)
        if error_out is not None:
            with errors.status(f"Sharpening {repeats} times again …"):
                error = found.expected_error(repeats=repeats, device=device or "auto")
            write_plane(error_out, error, {"expected_error_of": found.title})
            errors.print(f"{error_out}: median {np.median(error.array):.4g}", soft_wrap=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results; created.")] = Path("demo"),
    device: DeviceOption = None,
    seed: SeedOption = None,
) -> None:
    """Deblur a real microscope image and a synthetic scene whose truth is known."""
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
    """List the presets: what each is for, and what it sets otherwise than the default."""
    default = Settings()
    for name, preset in Settings.presets().items():
        console.print(f"[bold]{name}[/bold]  {PRESET_HELP[name]}")
        for field in preset.changes_from(default):
            console.print(f"    {field} = {getattr(preset, field)}", markup=False)


@app.command()
def doctor() -> None:
    """Print versions and devices, and try whether they work; exit code 1 if not."""
    with one_sentence_errors():
        from napari_blind_deconv.doctor import examine

        passed = examine(console)
    if not passed:
        raise typer.Exit(FAILED)


def _demonstrate(pixels: Any, name: str, out: Path, settings: Settings) -> tuple[Result, bool]:
    from napari_blind_deconv.figures import write_summary
    from napari_blind_deconv.image import Image
    from napari_blind_deconv.io.images import write_plane, write_traces

    result, interrupted = deconvolve_with_progress(pixels, settings, name)
    image, kernel, trace = (
        out / f"{name}_{what}" for what in ("deblurred.tif", "kernel.tif", "trace.csv")
    )
    write_plane(image, Image(result.image), result.provenance())
    write_plane(kernel, Image(result.kernel.weights), result.provenance())
    write_traces(trace, "", {(): result.trace.tolist()})
    write_summary(out / f"{name}_summary.png", pixels, result, name)
    print_result_summary(result, image)
    for flag in result.flags:
        errors.print(f"warning: {flag.sentence}", soft_wrap=True)
    return result, interrupted
