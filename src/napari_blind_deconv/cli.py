"""The command line: ``blind-deconv run``, ``demo`` and ``presets``."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from napari_blind_deconv.settings import PRESET_HELP, Settings

if TYPE_CHECKING:
    from napari_blind_deconv.results import Result

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130

app = typer.Typer(
    help="Sharpen microscope images when nobody knows the point spread function.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
errors = Console(stderr=True, highlight=False, markup=False)

DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the networks' random start.")]


@app.command()
def run(
    image: Annotated[Path, typer.Argument(metavar="INPUT", help="One plane, as TIFF.")],
    output: Annotated[Path, typer.Argument(help="Where the estimate goes, as float TIFF.")],
    preset: Annotated[str, typer.Option(help="See `blind-deconv presets`.")] = "fast",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    psf: Annotated[
        Path | None, typer.Option(help="A known PSF as TIFF: the kernel is then fixed.")
    ] = None,
    kernel_out: Annotated[Path | None, typer.Option(help="Where the kernel goes.")] = None,
    trace_out: Annotated[
        Path | None, typer.Option(help="Where the early-stopping trace goes, as CSV.")
    ] = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace outputs that exist.")] = False,
) -> None:
    """Deblur one image. Ctrl-C keeps the best so far and exits with 130."""
    with _one_sentence_errors():
        from napari_blind_deconv.io.images import Plane, check_output, read_plane

        settings = Settings.preset(preset).with_texts(assignments or [])
        _check_distinct(image, psf, output, kernel_out, trace_out)
        for path, suffixes in ((output, None), (kernel_out, None), (trace_out, {".csv"})):
            if path is not None:
                check_output(path, overwrite=overwrite, suffixes=suffixes)
        plane = read_plane(image)
        known = None if psf is None else _grey(read_plane(psf), psf)
        result, interrupted = _deblur(
            plane.pixels, settings, image.name, psf=known, rgb=plane.rgb, device=device, seed=seed
        )
        calibration: dict[str, Any] = {"pixel_size": plane.pixel_size, "unit": plane.unit}
        _write(
            result,
            (Plane(result.image, plane.rgb, **calibration), output),
            (Plane(result.kernel, **calibration), kernel_out),
            trace_out,
        )
        _report(result, output)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results; created.")] = Path("demo"),
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """Deblur a real microscope image and a synthetic scene whose truth is known."""
    with _one_sentence_errors():
        from napari_blind_deconv.numerics.metrics import psnr_up_to_shift
        from napari_blind_deconv.synthetic import cell_crop, fluorescence_scene

        out.mkdir(parents=True, exist_ok=True)
        settings = Settings.preset("fast")
        _, interrupted = _demonstrate(cell_crop(), "cell", out, settings, device, seed)
        if not interrupted:
            scene = fluorescence_scene()
            result, interrupted = _demonstrate(scene.observed, "scene", out, settings, device, seed)
            before, after = (
                psnr_up_to_shift(scene.truth, picture, peak=scene.peak)
                for picture in (scene.observed.astype(float), result.image)
            )
            errors.print(
                f"Against the truth: {before:.2f} dB before, {after:.2f} dB after, "
                f"gain {after - before:+.2f} dB."
            )
        errors.print(f"The results are in {out}.")
    if interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command()
def presets() -> None:
    """List the presets with what they set."""
    table = Table("setting", *Settings.presets())
    table.add_row("", *(PRESET_HELP[name] for name in Settings.presets()))
    for field in Settings.model_fields:
        values = (getattr(preset, field) for preset in Settings.presets().values())
        table.add_row(field, *map(str, values))
    Console().print(table)


def _demonstrate(
    image: Any, name: str, out: Path, settings: Settings, device: str, seed: int
) -> tuple[Result, bool]:
    from napari_blind_deconv.figures import write_summary
    from napari_blind_deconv.io.images import Plane

    result, interrupted = _deblur(image, settings, name, device=device, seed=seed)
    _write(
        result,
        (Plane(result.image), out / f"{name}_deblurred.tif"),
        (Plane(result.kernel), out / f"{name}_kernel.tif"),
        out / f"{name}_trace.csv",
    )
    write_summary(out / f"{name}_summary.png", image, result, name)
    _report(result, out / f"{name}_deblurred.tif")
    return result, interrupted


def _deblur(image: Any, settings: Settings, name: str, **options: Any) -> tuple[Result, bool]:
    """Run with a progress bar; the result, and whether Ctrl-C ended it."""
    with errors.status("Loading PyTorch …"):
        from napari_blind_deconv.engine.optimise import deconvolve
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as progress, _interrupt_flag() as interrupted:
        progress.console.print(f"Sharpening {name}; Ctrl-C keeps the best so far.")
        task = progress.add_task(name, total=settings.max_iterations)
        result = deconvolve(
            image,
            settings,
            should_stop=interrupted,
            on_snapshot=lambda snapshot: progress.update(task, completed=snapshot.iteration),
            **options,
        )
        return result, interrupted()


def _write(
    result: Result,
    image: tuple[Any, Path],
    kernel: tuple[Any, Path | None],
    trace_out: Path | None,
) -> None:
    from napari_blind_deconv.io.images import write_plane, write_trace

    for plane, path in (image, kernel):
        if path is not None:
            write_plane(path, plane, result.provenance())
    if trace_out is not None:
        write_trace(trace_out, result.trace)


def _report(result: Result, output: Path) -> None:
    errors.print(
        f"{output}: picture of iteration {result.stop_iteration} kept of {len(result.trace)} "
        f"in {result.seconds:.0f} s on {result.device}. {result.stop_reason.sentence}",
        soft_wrap=True,
    )


def _check_distinct(*paths: Path | None) -> None:
    named = [path.resolve() for path in paths if path is not None]
    for path in named:
        if named.count(path) > 1:
            raise ValueError(
                f"The file {path} is named twice; input and outputs must be different files."
            )


def _grey(plane: Any, path: Path) -> Any:
    if plane.rgb:
        raise ValueError(f"The PSF {path} is a colour image; accepted is one grey plane.")
    return plane.pixels


@contextmanager
def _one_sentence_errors() -> Iterator[None]:
    """Anything a user can cause ends as one sentence and an exit code, not as a traceback."""
    from napari_blind_deconv.results import DeconvolutionError

    try:
        yield
    except (ValueError, TypeError) as error:  # what the user gave
        _fail(str(error), BAD_INPUT)
    except OSError as error:
        where = f": {error.filename}." if error.filename else ""
        _fail(f"{error.strerror or error}{where}", BAD_INPUT)
    except DeconvolutionError as error:
        _fail(str(error), FAILED)
    except MemoryError:
        _fail("There is not enough memory for this image; try a part of it.", FAILED)
    except KeyboardInterrupt:
        _fail("Interrupted; nothing was kept.", INTERRUPTED)


def _fail(sentence: str, code: int) -> None:
    errors.print("error:", style="red", end=" ")
    errors.print(sentence, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def _interrupt_flag() -> Iterator[Callable[[], bool]]:
    """A first Ctrl-C raises a flag; a second one interrupts as usual."""
    pressed = False

    def press(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    app()
