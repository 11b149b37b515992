"""``python -m benchmarks SUITE ...``: run suites and write each result at once."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.runner import HERE, run_suite
from benchmarks.suites import Options, find_suites

DATA = HERE.parents[1] / "shared" / "data"
console = Console(highlight=False, soft_wrap=True)


def main(
    suites: Annotated[list[str], typer.Argument(help="Names of suites, or 'all'.")],
    preset: Annotated[str | None, typer.Option(help="Run only this preset.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change its setting, as name=value.")
    ] = None,
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="Run only this method.")
    ] = None,
    only: Annotated[
        str, typer.Option("--case", help="Run tasks with this part of 'group | case | method'.")
    ] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Random seed of the networks.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Number of tasks that share the cores.")] = 1,
    again: Annotated[
        bool, typer.Option("--again", help="Repeat tasks that have a result.")
    ] = False,
    data: Annotated[Path, typer.Option(help="Folder of the benchmark images.")] = DATA,
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = HERE / "results",
) -> None:
    """Run suites, without the tasks that already have a result."""
    known = find_suites()
    names = list(known) if suites == ["all"] else suites
    unknown = [name for name in names if name not in known]
    if unknown:
        raise typer.BadParameter(f"no suite {unknown[0]!r}; suites are {', '.join(known)}.")
    try:
        options = Options(data, device, seed, tuple(methods or ()), preset, tuple(changes or ()))
        options.chosen([])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    failures = 0
    for name in names:
        command = _command_line(name, options, jobs, only)
        try:
            for record in run_suite(
                known[name], options, results, jobs=jobs, again=again, only=only, command=command
            ):
                console.print(_summary_line(record))
                failures += "failure" in record
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        except BrokenProcessPool:
            console.print(f"A worker of {name} was killed, possibly out of memory; run it again.")
            raise typer.Exit(1) from None
        except FileNotFoundError as error:
            console.print(f"Suite {name} was skipped: its images are missing ({error.filename}).")
    if failures:
        console.print(f"{failures} task(s) failed; their records give the reasons.")


def _command_line(suite: str, options: Options, jobs: int, only: str) -> str:
    """Return the command that repeats this run, without the paths of files."""
    words = [suite]
    words += ["--preset", options.preset] if options.preset else []
    words += [word for change in options.changes for word in ("--set", change)]
    words += [word for name in options.methods for word in ("--method", f"'{name}'")]
    words += ["--case", f"'{only}'"] if only else []
    words += ["--seed", str(options.seed)] if options.seed else []
    words += ["--device", options.device] if options.device != "auto" else []
    words += ["--jobs", str(jobs)] if jobs > 1 else []
    return " ".join(["python -m benchmarks", *words])


def _summary_line(record: dict[str, Any]) -> str:
    """Return one line about a measurement."""
    where = " | ".join(filter(None, (record["suite"], record["group"], record["case"])))
    if "failure" in record:
        return f"{where} | {record['method']}: FAILED, {record['failure']}"
    figures = (f"{name} {record[name]}" for name in ("psnr", "kept", "seconds") if name in record)
    return f"{where} | {record['method']}: {', '.join(figures)}"


if __name__ == "__main__":
    typer.run(main)
